//! The hand-over to a core that may sleep: a flag in front of the doorbell (an eventfd), so that a busy core
//! costs no system call and a sleeping one is never forgotten. `tests/loom_runtime.rs` explores every order.
//!
//! ```text
//!            announce                announce
//!   Awake ─────────────► Rung ◄────────────────── Asleep     only Asleep → Rung rings the doorbell
//!     ▲ ▲                 │                          ▲
//!     │ └─────rouse───────┘ (then drain the queue)   │
//!     └────────────────────────rouse─────────────────┤
//!   Awake ─────────────doze──────────────────────────┘      refused in Rung: drain first
//! ```
//!
//! A producer puts its item into the queue *before* `announce`; the core drains *after* `rouse`. Whatever was
//! announced before the core dozes makes `doze` fail; whatever comes after rings.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU8, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU8, Ordering};

const AWAKE: u8 = 0;
const RUNG: u8 = 1;
const ASLEEP: u8 = 2;

/// The flag; it starts awake.
pub struct Handover {
    state: AtomicU8,
}

impl Handover {
    /// An awake core with nothing announced.
    #[allow(clippy::new_without_default)] // a default flag would hide which side owns it
    pub fn new() -> Self {
        Handover { state: AtomicU8::new(AWAKE) }
    }

    /// For a producer, after its item is in the queue. True: the core sleeps, ring the doorbell.
    #[must_use]
    pub fn announce(&self) -> bool {
        self.state.swap(RUNG, Ordering::AcqRel) == ASLEEP
    }

    /// For the core, before it blocks on the doorbell. False: something was announced, drain instead.
    #[must_use]
    pub fn doze(&self) -> bool {
        self.state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// For the core, after it blocked and on every turn. True: drain the queue.
    #[must_use]
    pub fn rouse(&self) -> bool {
        // The usual turn of a busy core only reads.
        self.state.load(Ordering::Acquire) != AWAKE && self.state.swap(AWAKE, Ordering::AcqRel) == RUNG
    }
}
