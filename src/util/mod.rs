//! Small helpers.

pub mod cidr;
pub mod duration;
pub mod hash;
pub mod locked;
pub mod rng;
pub mod secret;
pub mod suggest;
pub mod text;
pub mod timestamp;
pub mod wall_clock;

pub use cidr::Cidr;
pub use locked::Locked;
