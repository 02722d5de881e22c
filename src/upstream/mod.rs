//! Per-core pools of connections to the services.
