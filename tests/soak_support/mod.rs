//! The parts of the run under mixed load with faults.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

pub mod backend;
pub mod clients;
pub mod ledger;
pub mod plan;
pub mod wire;
