//! Parking of requests with a deadline and a count: the gate of a service that can't be asked just now.
//!
//! A gate is core-local: a request waits on its own core, and the core wakes all its waiters when a new
//! snapshot arrives (a message on its wake-up queue). No lock is shared between cores.

use crate::limits::GATE_WAITERS_PER_CORE;
use crate::runtime::{self, LocalWaker, Parked};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// The gates of one core, by service.
#[derive(Default)]
pub struct Gates {
    waiters: RefCell<HashMap<Arc<str>, Vec<Waiter>>>,
    serial: Cell<u64>,
}

/// A parked request: its number, and what wakes it.
type Waiter = (u64, LocalWaker);

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// Something has changed: look up the route again.
    Changed,
    /// The deadline has passed.
    TimedOut,
    /// Too many wait already.
    Full,
}

impl Gates {
    /// Parks this coroutine at the gate of `service` until the next [`Gates::open_all`] or `deadline`. `leaving`
    /// gets what wakes it before that, as [`Passed::Changed`].
    ///
    /// # Errors
    /// Only when the core stops (`runtime::is_stopped`).
    pub fn wait(
        &self,
        service: &Arc<str>,
        deadline: Instant,
        leaving: impl FnOnce(LocalWaker),
    ) -> io::Result<Passed> {
        let (mut parker, waker) = runtime::local_parker();
        let id = self.serial.get();
        self.serial.set(id + 1);
        let entered = {
            let mut waiters = self.waiters.borrow_mut();
            let queue = waiters.entry(Arc::clone(service)).or_default();
            let room = queue.len() < GATE_WAITERS_PER_CORE;
            if room {
                queue.push((id, waker.clone()));
            }
            room
        };
        if !entered {
            return Ok(Passed::Full);
        }
        leaving(waker);
        let parked = parker.park(Some(deadline));
        self.leave(service, id);
        match parked? {
            Parked::Woken => Ok(Passed::Changed),
            Parked::TimedOut => Ok(Passed::TimedOut),
        }
    }

    /// Wakes the waiters at one service's gate.
    pub fn open(&self, service: &str) {
        let waiters = self.waiters.borrow_mut().remove(service);
        for (_, waker) in waiters.into_iter().flatten() {
            waker.wake();
        }
    }

    /// Wakes every waiter of this core.
    pub fn open_all(&self) {
        let waiters = std::mem::take(&mut *self.waiters.borrow_mut());
        for (_, waker) in waiters.into_values().flatten() {
            waker.wake();
        }
    }

    fn leave(&self, service: &Arc<str>, id: u64) {
        let mut waiters = self.waiters.borrow_mut();
        if let Some(queue) = waiters.get_mut(service) {
            queue.retain(|(waiter, _)| *waiter != id);
            if queue.is_empty() {
                waiters.remove(service);
            }
        }
    }
}
