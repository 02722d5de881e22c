//! Counters. What happens per request is counted in plain core-local integers; what is rare, here.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that only grows, for what is rare: it is shared between cores.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at zero.
    pub const fn new() -> Self {
        Counter(AtomicU64::new(0))
    }

    /// Adds one and returns the new count.
    pub fn add(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Connections answered 503 and closed because `limits::CONNECTIONS` was reached.
pub static CONNECTIONS_REFUSED: Counter = Counter::new();
/// Requests answered 503 because a gate was full.
pub static GATE_FULL: Counter = Counter::new();
/// TLS handshakes of clients that failed.
pub static TLS_HANDSHAKES_FAILED: Counter = Counter::new();
/// Connections closed because `limits::TLS_HANDSHAKES` was reached.
pub static TLS_HANDSHAKES_REFUSED: Counter = Counter::new();
