//! One writer, many cores: the current snapshot behind a lock, its generation beside it.

use super::Snapshot;
use crate::util::Locked;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where `control` puts each new snapshot.
pub struct Publisher {
    generation: AtomicU64,
    current: Locked<Arc<Snapshot>>,
}

impl Publisher {
    /// Starts with `first`.
    pub fn new(first: Snapshot) -> Arc<Self> {
        let generation = AtomicU64::new(first.generation);
        Arc::new(Publisher { generation, current: Locked::new(Arc::new(first)) })
    }

    /// Replaces the snapshot. The caller then wakes the cores, whose gates wait for it.
    pub fn publish(&self, snapshot: Snapshot) {
        let generation = snapshot.generation;
        let old = self.current.with(|current| std::mem::replace(current, Arc::new(snapshot)));
        self.generation.store(generation, Ordering::Release);
        drop(old);
    }

    /// The current snapshot.
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.with(|current| Arc::clone(current))
    }
}

/// A core's view: its own `Arc`, refreshed when the generation has moved.
pub struct CoreView {
    publisher: Arc<Publisher>,
    held: Arc<Snapshot>,
}

impl CoreView {
    /// A view of what `publisher` publishes.
    pub fn new(publisher: Arc<Publisher>) -> Self {
        let held = publisher.current();
        CoreView { publisher, held }
    }

    /// The current snapshot; one atomic load when nothing has changed.
    pub fn snapshot(&mut self) -> &Arc<Snapshot> {
        if self.publisher.generation.load(Ordering::Acquire) != self.held.generation {
            self.held = self.publisher.current();
        }
        &self.held
    }
}
