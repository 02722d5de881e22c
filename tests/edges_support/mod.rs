//! What the tests of the edges share: cases as files, a stage that plays them, readers that judge.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

pub mod case;
pub mod play;
pub mod readers;
pub mod text;
