//! YAML to types, with places. Only this module knows YAML.
//!
//! A file becomes one tree with spans (`tree`), the schema table (`schema`) drives its decoding
//! (`decode`), and `load` gathers all problems of all files before it says no.

mod load;
mod types;

pub mod labels;

pub use load::{Check, FileChoice, Loaded, Sources, check, load};
pub use types::{Config, EngineConfig, ListenAddr, OnStaleSocket};
