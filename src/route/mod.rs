//! Routes: an alias and its settings, and the look-up from a Host to its route. Pure.

mod settings;

pub use settings::{Scheme, Settings};
