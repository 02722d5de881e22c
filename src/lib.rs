//! Tidegate: a reverse proxy for home labs on Docker.
//!
//! The modules stand in layers; a module imports only from lines below its own (ARCHITECTURE.md,
//! checked by `tests/tidy.rs`).

// top to bottom
pub mod cli;
pub mod demo;

pub mod app;

pub mod admin;

pub mod control;
pub mod proxy;

pub mod snapshot;

pub mod docker;
pub mod gate;
pub mod upstream;

pub mod net;

pub mod access_log;
pub mod blocking;
pub mod config;
pub mod runtime;

pub mod http;
pub mod lifecycle;
pub mod metrics;
pub mod route;

pub mod access;

pub mod error;
pub mod limits;
pub mod logging;
pub mod util;
