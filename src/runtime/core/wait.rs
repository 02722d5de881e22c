//! The one way to wait, and to wake.

use std::io;
use std::num::NonZeroU32;
use std::time::Instant;

use super::{Action, Core, FiberYielder, Reason, Running, Task, WaitKey};
use crate::runtime::error;

impl Core {
    /// Suspends the running coroutine until something wakes it. `arm` learns the wait's key and may refuse
    /// (then the reason is `Woken`); `disarm` always follows.
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
        // SAFETY: as in `on_core_stack`; no borrow of the core is held here, and the coroutine is resumed
        // only by `resume`, on this thread.
        unsafe { (*running.yielder).suspend(()) };
        self.slots.borrow().get(running.slot).map_or(Reason::Stopped, |s| s.reason)
    }

    fn next_key(&self, slot: u32) -> WaitKey {
        let number = self.wait_number.get();
        self.wait_number.set(number.checked_add(1).unwrap_or(NonZeroU32::MIN));
        WaitKey { number, slot }
    }

    /// The first thing a coroutine does.
    pub(super) fn entered(&self, yielder: &FiberYielder) {
        let Some(running) = self.running.get() else { return };
        self.running.set(Some(Running { yielder, ..running }));
        if let Some(slot) = self.slots.borrow_mut().get_mut(running.slot) {
            slot.yielder = yielder;
        }
    }
}
