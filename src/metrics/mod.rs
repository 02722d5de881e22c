//! What the program counts, and its text for Prometheus.
//!
//! Each core counts in blocks of its own ([`CoreMetrics`], [`RouteTally`]): a load and a store for each
//! count, no lock and no line of memory that two cores write. Whoever reads sums over the cores; sums are
//! right to within what happens meanwhile.

mod core;
mod counter;
mod render;
mod routes;
mod tally;

pub use self::core::{CoreMetrics, Refusal, UpstreamError};
pub use counter::Counter;
pub use render::{EngineRow, Process, render};
pub use routes::{BUCKETS, CLASSES, RouteTally, Routes};
pub use tally::Tally;

use std::sync::Arc;

/// The blocks of all cores.
pub struct Metrics {
    cores: Vec<Arc<CoreMetrics>>,
    /// Counts by route.
    pub routes: Routes,
}

impl Metrics {
    /// Blocks for so many cores.
    pub fn new(cores: usize) -> Arc<Metrics> {
        Arc::new(Metrics { cores: (0..cores).map(|_| Arc::default()).collect(), routes: Routes::new(cores) })
    }

    /// The block of core number `core`; one that nobody reads if there is no such core.
    pub fn core(&self, core: usize) -> Arc<CoreMetrics> {
        self.cores.get(core).cloned().unwrap_or_default()
    }

    /// The sum of one count over all cores.
    pub fn sum(&self, count: impl Fn(&CoreMetrics) -> u64) -> u64 {
        self.cores.iter().map(|core| count(core)).fold(0, u64::wrapping_add)
    }
}

/// TLS handshakes of clients that failed.
pub static TLS_HANDSHAKES_FAILED: Counter = Counter::new();
/// Connections closed because `limits::TLS_HANDSHAKES` was reached.
pub static TLS_HANDSHAKES_REFUSED: Counter = Counter::new();
