//! Counts that one thread writes and any thread reads.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count that only its owner changes: a load and a store, no locked instruction. Two writers would lose
/// counts, never more than that.
#[derive(Debug, Default)]
pub struct Tally(AtomicU64);

impl Tally {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.set(self.get().wrapping_add(n));
    }

    /// Takes `n` away, at most what is there.
    pub fn take(&self, n: u64) {
        self.set(self.get().saturating_sub(n));
    }

    /// Replaces the count: a gauge.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
