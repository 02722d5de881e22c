//! Counts of what is rare, shared by all threads.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that only grows, for what is rare: it is shared between threads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at zero.
    pub const fn new() -> Self {
        Counter(AtomicU64::new(0))
    }

    /// Adds one and returns the new count.
    pub fn add(&self) -> u64 {
        self.add_many(1)
    }

    /// Adds `n` and returns the new count.
    pub fn add_many(&self, n: u64) -> u64 {
        self.0.fetch_add(n, Ordering::Relaxed) + n
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
