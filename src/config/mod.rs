//! YAML to types, with places. Only this module knows YAML.
//!
//! A file (`source`) becomes one tree with places (`tree`, `merge`), the schema table (`schema`) drives its
//! decoding (`decode`, `leaf`, `names`, `expand`), values become a configuration (`build`), and `load`
//! gathers all problems of all files before it says no.

mod access;
mod access_log;
mod build;
mod decode;
mod example;
mod expand;
mod include;
mod leaf;
mod load;
mod merge;
mod names;
mod source;
mod text;
mod tls;
mod tree;
mod types;

pub mod labels;
pub mod schema;

pub use example::example;
pub use load::{Attempt, Check, FileChoice, Loaded, Sources, admin_addr, attempt, check, load};
pub use types::{
    AccessLog, AccessLogFormat, CertPair, Config, EngineConfig, ListenAddr, OnStaleSocket, TlsConfig,
};
