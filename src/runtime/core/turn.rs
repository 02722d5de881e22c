//! The loop of a core: one turn runs what is ready, waits at the poller, and takes in what has happened.

use std::ptr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use corosensei::CoroutineResult;

use super::{Action, BUDGET, CURRENT, Core, DOORBELL, Reason, Running, Task, WaitKey, read_clock};
use crate::limits;
use crate::runtime::panics;
use crate::runtime::poller::{Event, Poller};
use crate::runtime::slab::Slab;
use crate::runtime::source::{Token, Wake};

/// Coroutines resumed between two looks at the clock.
const RESUMES_PER_CLOCK: u32 = 32;

impl Core {
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
            if let Err(e) = polled
                && !self.inbox.is_stopped()
            {
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
        if let Some(callback) = woken.ended {
            panics::contain(callback);
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

    /// Runs every callback that waits for a socket.
    pub(crate) fn rouse_waiting(&self) {
        let callbacks = self.sources.borrow_mut().take_callbacks();
        for (callback, timer) in callbacks {
            if let Some(timer) = timer {
                self.cancel(timer);
            }
            panics::contain(move || callback(Wake::Roused));
        }
    }

    /// Coroutines that didn't end in time are left where they are: unwinding them from outside would run
    /// their destructors in the middle of anything.
    fn abandon(&self) {
        let left = self.slots.replace(Slab::new());
        if left.live() > 0 {
            log::error!("core {}: {} coroutines did not end in time and are abandoned", self.id, left.live());
            std::mem::forget(left);
        }
    }
}
