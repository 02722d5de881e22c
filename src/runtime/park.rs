//! Parking: a coroutine waits until somebody wakes it, from any thread or (cheaper) from its own core.
//!
//! A wake-up is never lost: one that comes before the park makes it return at once. Wake-ups don't add up.
//!
//! ```text
//!           unpark                        park                    unpark: the home is told, the
//!   Empty ─────────► Notified    Empty ─────────► Parked          parker resumes and takes
//!     ▲                 │                            │            the note
//!     └──────park───────┘                 Notified ◄─┘
//! ```

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::thread::Thread;
use std::time::Instant;

use super::core::{Core, Reason, WaitKey};
use super::error;
use super::inbox::Inbox;

/// How a park ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parked {
    /// Somebody woke it.
    Woken,
    /// The deadline passed first.
    TimedOut,
}

/// Makes a parker for the calling coroutine's core and a waker for any thread. On a thread that is no core,
/// the parker parks that thread.
pub fn parker() -> (Parker, Unparker) {
    let home = match Core::current() {
        Some(core) => Home::Core(core.inbox().clone()),
        None => Home::Thread(std::thread::current()),
    };
    let node =
        Arc::new(Node { state: AtomicU8::new(EMPTY), key: [AtomicU32::new(0), AtomicU32::new(0)], home });
    (Parker { node: node.clone(), pinned: PhantomData }, Unparker { node })
}

/// The waiting side; it stays on its core.
pub struct Parker {
    node: Arc<Node>,
    pinned: PhantomData<*const ()>,
}

/// The waking side, for any thread.
#[derive(Clone)]
pub struct Unparker {
    node: Arc<Node>,
}

impl Parker {
    /// Waits for a wake-up, at most until `deadline`.
    ///
    /// # Errors
    /// `is_stopped` when the cores shut down; an error when called on a core but not on a coroutine.
    pub fn park(&mut self, deadline: Option<Instant>) -> io::Result<Parked> {
        match &self.node.home {
            Home::Core(_) => self.park_coroutine(deadline),
            Home::Thread(_) => Ok(self.park_thread(deadline)),
        }
    }

    fn park_coroutine(&mut self, deadline: Option<Instant>) -> io::Result<Parked> {
        let core = Core::current().ok_or_else(error::not_on_a_coroutine)?;
        let node = &self.node;
        loop {
            if node.take_note() {
                return Ok(Parked::Woken);
            }
            let waited = core.wait(deadline, |key| node.arm(key), |_| ());
            // The wake-up may have raced the deadline or the shutdown: it wins.
            if node.take_note() {
                return Ok(Parked::Woken);
            }
            match waited? {
                Reason::TimedOut => return Ok(Parked::TimedOut),
                _ => continue,
            }
        }
    }

    #[allow(clippy::disallowed_methods)] // a plain thread has no cached clock
    fn park_thread(&mut self, deadline: Option<Instant>) -> Parked {
        loop {
            if self.node.take_note() {
                return Parked::Woken;
            }
            match deadline.map(|d| d.saturating_duration_since(Instant::now())) {
                Some(left) if left.is_zero() => return Parked::TimedOut,
                Some(left) => std::thread::park_timeout(left),
                None => std::thread::park(),
            }
        }
    }
}

impl Unparker {
    /// Wakes the parker, now or at its next park.
    pub fn unpark(&self) {
        let before = self.node.state.swap(NOTIFIED, Ordering::AcqRel);
        match &self.node.home {
            Home::Core(inbox) if before == PARKED => inbox.wake(self.node.clone()),
            Home::Core(_) => {}
            Home::Thread(thread) => thread.unpark(),
        }
    }
}

const EMPTY: u8 = 0;
const PARKED: u8 = 1;
const NOTIFIED: u8 = 2;

/// What both sides share.
pub(crate) struct Node {
    state: AtomicU8,
    /// The wait to wake, as slot and number. Only the home core reads and writes it.
    key: [AtomicU32; 2],
    home: Home,
}

enum Home {
    Core(Arc<Inbox>),
    Thread(Thread),
}

impl Node {
    /// For the home core: wakes the wait that was noted last. A stale one is harmless: the parker looks
    /// again.
    pub(crate) fn wake_on(&self, core: &Core) {
        let [slot, number] = &self.key;
        if let Some(key) = WaitKey::from_parts(slot.load(Ordering::Relaxed), number.load(Ordering::Relaxed)) {
            core.wake(key, Reason::Woken);
        }
    }

    fn take_note(&self) -> bool {
        self.state.swap(EMPTY, Ordering::AcqRel) == NOTIFIED
    }

    /// False: a wake-up came first, don't wait.
    fn arm(&self, key: WaitKey) -> bool {
        let (slot, number) = key.into_parts();
        self.key[0].store(slot, Ordering::Relaxed);
        self.key[1].store(number, Ordering::Relaxed);
        self.state.compare_exchange(EMPTY, PARKED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Makes a parker and a waker that both stay on this core: no atomics, no system call.
pub fn local_parker() -> (LocalParker, LocalWaker) {
    let node = Rc::new(LocalNode { notified: Cell::new(false), key: Cell::new(None) });
    (LocalParker { node: node.clone() }, LocalWaker { node })
}

/// The waiting side of [`local_parker`].
pub struct LocalParker {
    node: Rc<LocalNode>,
}

/// The waking side of [`local_parker`].
#[derive(Clone)]
pub struct LocalWaker {
    node: Rc<LocalNode>,
}

struct LocalNode {
    notified: Cell<bool>,
    key: Cell<Option<WaitKey>>,
}

impl LocalParker {
    /// Waits for a wake-up, at most until `deadline`.
    ///
    /// # Errors
    /// `is_stopped` when the cores shut down; an error when not called on a coroutine.
    pub fn park(&mut self, deadline: Option<Instant>) -> io::Result<Parked> {
        let node = &self.node;
        if node.notified.take() {
            return Ok(Parked::Woken);
        }
        let core = Core::current().ok_or_else(error::not_on_a_coroutine)?;
        loop {
            let arm = |key| {
                node.key.set(Some(key));
                true
            };
            let waited = core.wait(deadline, arm, |_| node.key.set(None));
            if node.notified.take() {
                return Ok(Parked::Woken);
            }
            match waited? {
                Reason::TimedOut => return Ok(Parked::TimedOut),
                _ => continue,
            }
        }
    }
}

impl LocalWaker {
    /// Wakes the parker, now or at its next park.
    pub fn wake(&self) {
        self.node.notified.set(true);
        if let (Some(key), Some(core)) = (self.node.key.take(), Core::current()) {
            core.wake(key, Reason::Woken);
        }
    }
}
