//! Listeners and sockets on the runtime.
