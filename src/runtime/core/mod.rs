//! One core: its coroutines, its loop, and the one way to wait.
//!
//! ```text
//!             spawn            resume              suspend (wait)
//!   (none) ─────────► Queued ─────────► Running ───────────────────► Waiting(key)
//!                       ▲                 │  │                          │
//!                       │    yield_now    │  └─ returned ─► (none)      │ wake(key, reason):
//!                       ├─────────────────┘                             │ the first one counts
//!                       └───────────────────────────────────────────────┘
//! ```
//!
//! A wait has a key of its own (slot and number). Readiness, deadline, abort and shutdown all wake by key;
//! the first ends the wait and the others miss, so a stale wake-up can't reach a later wait.

mod turn;
mod wait;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::AsFd;
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corosensei::{Coroutine, Yielder};

use crate::runtime::cores::{Config, CoreId, SpawnError};
use crate::runtime::inbox::Inbox;
use crate::runtime::panics;
use crate::runtime::poller::{Epoll, Poller};
use crate::runtime::slab::Slab;
use crate::runtime::source::{Sources, Token};
use crate::runtime::stack::{MappedStack, Pool};
use crate::runtime::timers::{TimerId, Timers};

/// A core, as its own thread sees it.
pub(crate) struct Core {
    id: CoreId,
    inbox: Arc<Inbox>,
    max_coroutines: usize,
    poller: RefCell<Epoll>,
    pub(super) sources: RefCell<Sources>,
    slots: RefCell<Slab<Slot>>,
    ready: RefCell<VecDeque<Task>>,
    timers: RefCell<Timers<Action>>,
    tickers: RefCell<Slab<Ticker>>,
    stacks: RefCell<Pool>,
    trimming: Cell<bool>,
    now: Cell<Instant>,
    running: Cell<Option<Running>>,
    /// Operations the running coroutine may still do before it lets others run.
    budget: Cell<u32>,
    wait_number: Cell<NonZeroU32>,
    stopping: Cell<bool>,
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Ready,
    Woken,
    TimedOut,
    Aborted,
    Stopped,
}

/// Names one wait of one coroutine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaitKey {
    number: NonZeroU32,
    slot: u32,
}

impl WaitKey {
    pub(super) fn into_parts(self) -> (u32, u32) {
        (self.slot, self.number.get())
    }

    pub(super) fn from_parts(slot: u32, number: u32) -> Option<Self> {
        Some(WaitKey { number: NonZeroU32::new(number)?, slot })
    }
}

type Fiber = Coroutine<(), (), (), MappedStack>;
type FiberYielder = Yielder<(), ()>;

struct Slot {
    /// Absent while it runs.
    fiber: Option<Fiber>,
    /// Null until it runs first.
    yielder: *const FiberYielder,
    /// The wait it is in.
    waiting: Option<WaitKey>,
    reason: Reason,
}

#[derive(Clone, Copy)]
struct Running {
    slot: u32,
    yielder: *const FiberYielder,
}

enum Task {
    Resume(u32),
    Call(Box<dyn FnOnce()>),
}

/// What a timer does.
#[derive(Clone, Copy)]
pub(crate) enum Action {
    Wake(WaitKey),
    Source(Token),
    Tick(u32),
    Trim,
}

struct Ticker {
    period: Duration,
    /// Absent while it runs.
    callback: Option<Box<dyn FnMut()>>,
}

thread_local! {
    /// The core of this thread. Set by `Core::run` for as long as it holds its `Rc`.
    static CURRENT: Cell<*const Core> = const { Cell::new(ptr::null()) };
}

/// Operations a coroutine may do in one go: about 1 MB copied, then others run.
const BUDGET: u32 = 64;
/// Stacks an idle core keeps.
const STACKS_KEPT_IDLE: usize = 16;
/// The doorbell's key at the poller; no token looks like it.
const DOORBELL: u64 = u64::MAX;

// ---- what a thread asks of its core

impl Core {
    pub(crate) fn new(id: CoreId, config: &Config, inbox: Arc<Inbox>) -> io::Result<Core> {
        let poller = Epoll::new()?;
        poller.attach(inbox.as_fd(), DOORBELL)?;
        let now = read_clock();
        Ok(Core {
            id,
            inbox,
            max_coroutines: config.max_coroutines,
            poller: RefCell::new(poller),
            sources: RefCell::new(Sources::new()),
            slots: RefCell::new(Slab::new()),
            ready: RefCell::new(VecDeque::new()),
            timers: RefCell::new(Timers::new(now)),
            tickers: RefCell::new(Slab::new()),
            stacks: RefCell::new(Pool::new(STACKS_KEPT_IDLE.min(config.stacks_kept), config.stacks_kept)),
            trimming: Cell::new(false),
            now: Cell::new(now),
            running: Cell::new(None),
            budget: Cell::new(BUDGET),
            wait_number: Cell::new(NonZeroU32::MIN),
            stopping: Cell::new(false),
        })
    }

    /// The calling thread's core.
    pub(crate) fn current() -> Option<Rc<Core>> {
        let core = CURRENT.get();
        if core.is_null() {
            return None;
        }
        // SAFETY: the pointer came from `Rc::into_raw`'s counterpart `Rc::as_ptr` in `run`, on this very
        // thread, and `run` holds that `Rc` until after it has set the pointer back to null.
        unsafe {
            Rc::increment_strong_count(core);
            Some(Rc::from_raw(core))
        }
    }

    /// Whether the calling code runs on a coroutine (and not on the core's own stack).
    pub(crate) fn in_coroutine(&self) -> bool {
        self.running.get().is_some()
    }

    pub(crate) fn id(&self) -> CoreId {
        self.id
    }

    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    pub(crate) fn now(&self) -> Instant {
        self.now.get()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Coroutines alive on this core.
    pub(crate) fn coroutines(&self) -> usize {
        self.slots.borrow().live()
    }

    /// Starts a coroutine; it runs in this turn or the next.
    pub(crate) fn spawn(&self, f: impl FnOnce() + 'static) -> Result<(), SpawnError> {
        if self.stopping.get() {
            return Err(SpawnError::Stopped);
        }
        if self.slots.borrow().live() >= self.max_coroutines {
            return Err(SpawnError::TooMany);
        }
        let stack = self.stacks.borrow_mut().take().map_err(SpawnError::NoStack)?;
        let fiber = Fiber::with_stack(stack, move |yielder, ()| {
            // The `Rc` must not live on this stack while `f` waits.
            if let Some(core) = Core::current() {
                core.entered(yielder);
            }
            panics::contain(f);
        });
        let slot = Slot { fiber: Some(fiber), yielder: ptr::null(), waiting: None, reason: Reason::Woken };
        let slot = self.slots.borrow_mut().insert(slot);
        self.ready.borrow_mut().push_back(Task::Resume(slot));
        Ok(())
    }

    /// Runs `callback` on the core's own stack, in this turn or the next.
    pub(crate) fn defer(&self, callback: impl FnOnce() + 'static) {
        self.ready.borrow_mut().push_back(Task::Call(Box::new(callback)));
    }

    /// Runs `callback` on the core's own stack every `period`.
    pub(crate) fn every(&self, period: Duration, callback: Box<dyn FnMut()>) {
        let period = period.max(Duration::from_millis(1));
        let ticker = self.tickers.borrow_mut().insert(Ticker { period, callback: Some(callback) });
        self.arm(self.now() + period, Action::Tick(ticker));
    }

    pub(crate) fn arm(&self, at: Instant, action: Action) -> TimerId {
        self.timers.borrow_mut().arm(at, action)
    }

    pub(crate) fn cancel(&self, timer: TimerId) {
        self.timers.borrow_mut().cancel(timer);
    }

    pub(crate) fn attach(&self, fd: &impl AsFd, token: Token) -> io::Result<()> {
        self.poller.borrow().attach(fd.as_fd(), token.to_key())
    }

    pub(crate) fn attach_shared(&self, fd: &impl AsFd, token: Token) -> io::Result<()> {
        self.poller.borrow().attach_shared(fd.as_fd(), token.to_key())
    }

    pub(crate) fn detach(&self, fd: &impl AsFd) -> io::Result<()> {
        self.poller.borrow().detach(fd.as_fd())
    }

    /// Runs `f` on the core's own stack.
    pub(crate) fn on_core_stack<R>(&self, f: impl FnOnce() -> R) -> R {
        let Some(running) = self.running.get() else { return f() };
        /// Makes the coroutine the running one again, also when `f` panics.
        struct Restore<'c>(&'c Core, Running);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.0.running.set(Some(self.1));
            }
        }
        self.running.set(None);
        let _restore = Restore(self, running);
        let f = SameThread(f);
        // SAFETY: the yielder lives at the base of the running coroutine's stack until that coroutine ends,
        // and this is code of that coroutine. `running` is `None` while `f` runs, so `f` can't suspend it.
        unsafe { (*running.yielder).on_parent_stack(move || f.call()) }
    }
}

/// Passes a closure to another stack of the same thread, where `Send` is asked for.
struct SameThread<F>(F);

// SAFETY: `Yielder::on_parent_stack` runs the closure on the calling thread. It asks for `Send` only to keep
// references to the yielder out, and yielders never leave this module.
unsafe impl<F> Send for SameThread<F> {}

impl<F> SameThread<F> {
    /// Takes the whole value, so that a closure captures the wrapper and not its field.
    fn call<R>(self) -> R
    where
        F: FnOnce() -> R,
    {
        (self.0)()
    }
}

/// The clock itself; everything else reads the copy.
#[allow(clippy::disallowed_methods)] // the source of runtime::now
pub(crate) fn read_clock() -> Instant {
    Instant::now()
}
