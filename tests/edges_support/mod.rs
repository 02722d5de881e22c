//! What the tests of the edges share: cases as files, a stage that plays them, readers that judge.
#![allow(dead_code)] // each test binary uses its part
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

pub mod case;
pub mod judge;
pub mod play;
pub mod readers;
pub mod text;
