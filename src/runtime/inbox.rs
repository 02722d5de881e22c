//! What other threads hand to a core: closures to run and parkers to wake.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fmt, io, mem};

use rustix::event::{EventfdFlags, eventfd};

use super::handover::Handover;
use super::park::Node;
use crate::limits;
use crate::util::Locked;

/// A core's queue is full (or the core has ended): the closure was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the core's queue is full")
    }
}

impl std::error::Error for Full {}

pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// The part of a core that other threads see.
pub(crate) struct Inbox {
    queues: Locked<Queues>,
    handover: Handover,
    doorbell: OwnedFd,
    stop: AtomicBool,
}

/// What has arrived.
#[derive(Default)]
pub(crate) struct Queues {
    pub(crate) jobs: VecDeque<Job>,
    /// Each parker is here at most once per wait, so their number bounds this.
    pub(crate) wakes: Vec<Arc<Node>>,
    closed: bool,
}

impl Inbox {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Inbox {
            queues: Locked::new(Queues::default()),
            handover: Handover::new(),
            doorbell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            stop: AtomicBool::new(false),
        })
    }

    /// Queues `job` for the core.
    pub(crate) fn post(&self, job: Job) -> Result<(), Full> {
        let refused = self.queues.with(|q| {
            if q.closed || q.jobs.len() >= limits::CORE_QUEUE {
                return Some(job);
            }
            q.jobs.push_back(job);
            None
        });
        // A refused closure is dropped outside the lock: its captures may do anything.
        match refused {
            Some(_) => Err(Full),
            None => {
                self.announce();
                Ok(())
            }
        }
    }

    /// Has the core wake `node`'s parker. Never refused while the core lives.
    pub(crate) fn wake(&self, node: Arc<Node>) {
        let taken = self.queues.with(|q| {
            if !q.closed {
                q.wakes.push(node);
            }
            !q.closed
        });
        if taken {
            self.announce();
        }
    }

    /// Tells the core to end.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.announce();
    }

    /// Whether the core was told to end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// For the core, before it blocks: false means something has arrived.
    pub(crate) fn doze(&self) -> bool {
        self.handover.doze()
    }

    /// For the core, on every turn: what has arrived, if anything.
    pub(crate) fn rouse(&self) -> Option<Queues> {
        let take = |q: &mut Queues| Queues {
            jobs: mem::take(&mut q.jobs),
            wakes: mem::take(&mut q.wakes),
            closed: q.closed,
        };
        self.handover.rouse().then(|| self.queues.with(take))
    }

    /// The core has ended: from now on all is refused.
    pub(crate) fn close(&self) {
        let rest = self.queues.with(|q| mem::replace(q, Queues { closed: true, ..Queues::default() }));
        drop(rest);
    }

    fn announce(&self) {
        if self.handover.announce() {
            // Never read: each write is an edge of its own, and 2^64 of them don't fit into a lifetime. So it
            // can't fail for being full, and nothing else can go wrong with an open eventfd.
            let _ = rustix::io::write(&self.doorbell, &1u64.to_ne_bytes());
        }
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.doorbell.as_fd()
    }
}
