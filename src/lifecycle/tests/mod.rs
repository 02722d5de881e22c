//! One file per state of the pure machine, one for the slot's machine, and the shells'.

mod active;
mod closed;
mod draining;
mod idle;
mod per_core;
mod scenario;
mod shell;
mod slot;
