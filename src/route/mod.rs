//! Routes: an alias and its settings, and the look-up from a Host to its route. Pure.

pub mod alias;
mod entrypoint;
pub mod image;
pub mod ports;
mod settings;
mod table;

pub use alias::{canonical, check_alias};
pub use entrypoint::{Entrypoint, Opening, ProxyMode, ProxyProtocol, Timeouts};
pub use settings::{Scheme, ServerName, Settings, Tuning, UpstreamTls};
pub use table::Table;
