//! The embedded default: the fake engine and the proxy in one process.
