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
//! A wait has a key of its own (slot and number). Readiness, deadline, abort and shutdown all wake by key; the
//! first ends the wait and the others miss, so a stale wake-up can't reach a later wait.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::AsFd;
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::cores::{Config, CoreId, SpawnError};
use super::inbox::Inbox;
use super::poller::{Epoll, Event, Poller};
use super::slab::Slab;
use super::source::{Sources, Token, Wake};
use super::stack::{MappedStack, Pool};
use super::timers::{TimerId, Timers};
use super::{error, panics};
use crate::limits;

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
/// Coroutines resumed between two looks at the clock.
const RESUMES_PER_CLOCK: u32 = 32;
/// Stacks an idle core keeps.
const STACKS_KEPT_IDLE: usize = 16;
/// The doorbell's key at the poller; no token looks like it.
const DOORBELL: u64 = u64::MAX;

// ---- what a thread asks of its core

impl Core {
    /// The calling thread's core.
    pub(crate) fn current() -> Option<Rc<Core>> {
        let core = CURRENT.get();
        if core.is_null() {
            return None;
        }
        // SAFETY: the pointer came from `Rc::into_raw`'s counterpart `Rc::as_ptr` in `run`, on this very thread,
        // and `run` holds that `Rc` until after it has set the pointer back to null.
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
        // SAFETY: the yielder lives at the base of the running coroutine's stack until that coroutine ends, and
        // this is code of that coroutine. `running` is `None` while `f` runs, so `f` can't suspend it.
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

// ---- waiting

impl Core {
    /// Suspends the running coroutine until something wakes it. `arm` learns the wait's key and may refuse (then
    /// the reason is `Woken`); `disarm` always follows.
    ///
    /// # Errors
    /// The core is stopping; the caller is no coroutine, or a panic unwinds.
    pub(crate) fn wait(
        &self,
        deadline: Option<Instant>,
        arm: impl FnOnce(WaitKey) -> bool,
        disarm: impl FnOnce(WaitKey),
    ) -> io::Result<Reason> {
        let running = self.running.get().ok_or_else(error::not_on_a_coroutine)?;
        if std::thread::panicking() {
            return Err(error::unwinding());
        }
        if self.stopping.get() {
            return Err(error::stopped());
        }
        let key = self.next_key(running.slot);
        if !arm(key) {
            disarm(key);
            return Ok(Reason::Woken);
        }
        let timer = deadline.map(|at| self.arm(at, Action::Wake(key)));
        if let Some(slot) = self.slots.borrow_mut().get_mut(running.slot) {
            slot.waiting = Some(key);
        }
        let reason = self.suspend(running);
        if let Some(timer) = timer.filter(|_| reason != Reason::TimedOut) {
            self.cancel(timer);
        }
        disarm(key);
        match reason {
            Reason::Stopped => Err(error::stopped()),
            reason => Ok(reason),
        }
    }

    /// Ends the wait `key` if it still lasts.
    pub(crate) fn wake(&self, key: WaitKey, reason: Reason) {
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = slots.get_mut(key.slot).filter(|s| s.waiting == Some(key)) else { return };
        slot.waiting = None;
        slot.reason = reason;
        self.ready.borrow_mut().push_back(Task::Resume(key.slot));
    }

    /// Lets every other ready coroutine run first. Nothing happens on the core's own stack.
    pub(crate) fn yield_now(&self) {
        let Some(running) = self.running.get() else { return };
        if std::thread::panicking() {
            return;
        }
        self.ready.borrow_mut().push_back(Task::Resume(running.slot));
        self.suspend(running);
    }

    /// Counts one operation that didn't wait; every so often the others get a turn.
    pub(crate) fn spend(&self) {
        match self.budget.get() {
            0 => self.yield_now(),
            left => self.budget.set(left - 1),
        }
    }

    fn suspend(&self, running: Running) -> Reason {
        // SAFETY: as in `on_core_stack`; no borrow of the core is held here, and the coroutine is resumed only
        // by `resume`, on this thread.
        unsafe { (*running.yielder).suspend(()) };
        self.slots.borrow().get(running.slot).map_or(Reason::Stopped, |s| s.reason)
    }

    fn next_key(&self, slot: u32) -> WaitKey {
        let number = self.wait_number.get();
        self.wait_number.set(number.checked_add(1).unwrap_or(NonZeroU32::MIN));
        WaitKey { number, slot }
    }

    /// The first thing a coroutine does.
    fn entered(&self, yielder: &FiberYielder) {
        let Some(running) = self.running.get() else { return };
        self.running.set(Some(Running { yielder, ..running }));
        if let Some(slot) = self.slots.borrow_mut().get_mut(running.slot) {
            slot.yielder = yielder;
        }
    }
}

// ---- the loop

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

    /// Runs the core on the calling thread until it is stopped and its coroutines have ended.
    pub(crate) fn run(self: Rc<Core>, init: impl FnOnce() + 'static) {
        CURRENT.set(Rc::as_ptr(&self));
        if let Err(e) = self.spawn(init) {
            log::error!("core {}: its first coroutine can't start: {e}", self.id);
        }
        self.turns();
        self.abandon();
        self.inbox.close();
        // Callbacks left behind may own sockets, whose drop looks for the core.
        drop(self.ready.take());
        drop(self.tickers.replace(Slab::new()));
        CURRENT.set(ptr::null());
    }

    fn turns(&self) {
        let mut events = Vec::new();
        let mut give_up: Option<Instant> = None;
        loop {
            self.run_ready();
            if self.stopping.get() {
                let idle = self.slots.borrow().live() == 0 && self.ready.borrow().is_empty();
                if idle || give_up.is_some_and(|at| at <= self.now()) {
                    return;
                }
            }
            let timeout = self.timeout(give_up);
            let polled = self.poller.borrow_mut().wait(timeout, &mut events);
            if let Err(e) = polled {
                log::error!("core {}: the poller failed: {e}", self.id);
                self.inbox.stop();
            }
            self.now.set(read_clock());
            if let Some(arrived) = self.inbox.rouse() {
                arrived.wakes.iter().for_each(|node| node.wake_on(self));
                arrived.jobs.into_iter().for_each(panics::contain);
            }
            events.drain(..).for_each(|event| self.dispatch(event));
            self.fire_timers();
            if !self.stopping.get() && self.inbox.is_stopped() {
                give_up = Some(self.now() + limits::STOP_GRACE);
                self.stop();
            }
        }
    }

    /// How long the poller may block; dozes if at all.
    fn timeout(&self, give_up: Option<Instant>) -> Option<Duration> {
        if !self.ready.borrow().is_empty() || !self.inbox.doze() {
            return Some(Duration::ZERO);
        }
        let now = self.now();
        let timer = self.timers.borrow().next_in(now);
        let end = give_up.map(|at| at.saturating_duration_since(now));
        match (timer, end) {
            (Some(timer), Some(end)) => Some(timer.min(end)),
            (timer, end) => timer.or(end),
        }
    }

    /// Runs what was ready when the turn began; what becomes ready meanwhile waits for the next.
    fn run_ready(&self) {
        let count = self.ready.borrow().len();
        let mut until_clock = RESUMES_PER_CLOCK;
        for _ in 0..count {
            let task = self.ready.borrow_mut().pop_front();
            match task {
                Some(Task::Resume(slot)) => self.resume(slot),
                Some(Task::Call(callback)) => panics::contain(callback),
                None => break,
            }
            until_clock -= 1;
            if until_clock == 0 {
                self.now.set(read_clock());
                until_clock = RESUMES_PER_CLOCK;
            }
        }
        let mut ready = self.ready.borrow_mut();
        if ready.capacity() > 1024 && ready.len() < ready.capacity() / 8 {
            ready.shrink_to(256);
        }
    }

    fn resume(&self, slot: u32) {
        let taken = self.slots.borrow_mut().get_mut(slot).and_then(|s| Some((s.fiber.take()?, s.yielder)));
        let Some((mut fiber, yielder)) = taken else { return };
        self.running.set(Some(Running { slot, yielder }));
        self.budget.set(BUDGET);
        let result = fiber.resume(());
        self.running.set(None);
        match result {
            CoroutineResult::Yield(()) => {
                if let Some(s) = self.slots.borrow_mut().get_mut(slot) {
                    s.fiber = Some(fiber);
                }
            }
            CoroutineResult::Return(()) => {
                self.slots.borrow_mut().remove(slot);
                let trim = self.stacks.borrow_mut().give(fiber.into_stack());
                if trim && !self.trimming.replace(true) {
                    self.arm(self.now() + limits::STACK_TRIM_EVERY, Action::Trim);
                }
            }
        }
    }

    fn dispatch(&self, event: Event) {
        if event.key == DOORBELL {
            return;
        }
        let woken = self.sources.borrow_mut().happened(Token::from_key(event.key), event);
        if let Some(key) = woken.write {
            self.wake(key, Reason::Ready);
        }
        if let Some(key) = woken.read {
            self.wake(key, Reason::Ready);
        }
        if let Some((callback, timer)) = woken.callback {
            if let Some(timer) = timer {
                self.cancel(timer);
            }
            panics::contain(move || callback(Wake::Ready));
        }
    }

    fn fire_timers(&self) {
        loop {
            let action = self.timers.borrow_mut().due(self.now());
            match action {
                None => return,
                Some(Action::Wake(key)) => self.wake(key, Reason::TimedOut),
                Some(Action::Source(token)) => {
                    let callback = self.sources.borrow_mut().take_callback(token);
                    if let Some((callback, _)) = callback {
                        panics::contain(move || callback(Wake::TimedOut));
                    }
                }
                Some(Action::Tick(ticker)) => self.tick(ticker),
                Some(Action::Trim) => {
                    let again = self.stacks.borrow_mut().trim();
                    self.trimming.set(again);
                    if again {
                        self.arm(self.now() + limits::STACK_TRIM_EVERY, Action::Trim);
                    }
                }
            }
        }
    }

    fn tick(&self, ticker: u32) {
        let taken =
            self.tickers.borrow_mut().get_mut(ticker).and_then(|t| Some((t.period, t.callback.take()?)));
        let Some((period, mut callback)) = taken else { return };
        panics::contain(&mut callback);
        if let Some(t) = self.tickers.borrow_mut().get_mut(ticker) {
            t.callback = Some(callback);
        }
        // Counted from now: ticks that were missed are not made up for.
        self.arm(self.now() + period, Action::Tick(ticker));
    }

    /// Wakes every waiter with `Stopped` and ends what would go on for ever.
    fn stop(&self) {
        self.stopping.set(true);
        self.timers.borrow_mut().clear();
        let tickers = self.tickers.replace(Slab::new());
        drop(tickers);
        let waiting: Vec<WaitKey> =
            self.slots.borrow_mut().iter_mut().filter_map(|(_, s)| s.waiting).collect();
        waiting.into_iter().for_each(|key| self.wake(key, Reason::Stopped));
        let callbacks = self.sources.borrow_mut().take_callbacks();
        for (callback, _) in callbacks {
            panics::contain(move || callback(Wake::Stopped));
        }
    }

    /// Coroutines that didn't end in time are left where they are: unwinding them from outside would run their
    /// destructors in the middle of anything.
    fn abandon(&self) {
        let left = self.slots.replace(Slab::new());
        if left.live() > 0 {
            log::error!("core {}: {} coroutines did not end in time and are abandoned", self.id, left.live());
            std::mem::forget(left);
        }
    }
}

/// The clock itself; everything else reads the copy.
#[allow(clippy::disallowed_methods)] // the source of runtime::now
pub(crate) fn read_clock() -> Instant {
    Instant::now()
}
