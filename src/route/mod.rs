//! Routes: an alias and its settings, and the look-up from a Host to its route. Pure.

pub mod alias;
mod hash;
pub mod image;
pub mod ports;
mod settings;
mod table;

pub use alias::{canonical, check_alias};
pub use settings::{Scheme, ServerName, Settings, UpstreamTls};
pub use table::Table;
