//! Small helpers.

pub mod cidr;
pub mod duration;
pub mod locked;
pub mod rng;
pub mod secret;
pub mod suggest;
pub mod timestamp;

pub use cidr::Cidr;
pub use locked::Locked;
pub mod wall_clock;
