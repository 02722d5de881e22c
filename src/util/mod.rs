//! Small helpers.

pub mod duration;
pub mod locked;
pub mod rng;
pub mod suggest;
pub mod timestamp;

pub use locked::Locked;
pub mod wall_clock;
