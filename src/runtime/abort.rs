//! A token that ends waits of its core before their time: a connect to an address that is no longer trusted.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::core::{Core, Reason, WaitKey};

/// A core-local token. Clones are the same token; once fired it stays fired.
#[derive(Clone, Default)]
pub struct Abort {
    inner: Rc<Inner>,
}

#[derive(Default)]
struct Inner {
    fired: Cell<bool>,
    waiters: RefCell<Vec<WaitKey>>,
}

impl Abort {
    /// A token that hasn't fired.
    pub fn new() -> Self {
        Abort::default()
    }

    /// Ends every wait that was given this token, now and later: they return an error of
    /// [`is_aborted`](super::is_aborted).
    pub fn fire(&self) {
        self.inner.fired.set(true);
        let waiters = self.inner.waiters.take();
        if let Some(core) = Core::current() {
            waiters.into_iter().for_each(|key| core.wake(key, Reason::Aborted));
        }
    }

    /// Whether it has fired.
    pub fn is_fired(&self) -> bool {
        self.inner.fired.get()
    }

    pub(crate) fn add(&self, key: WaitKey) {
        self.inner.waiters.borrow_mut().push(key);
    }

    pub(crate) fn remove(&self, key: WaitKey) {
        let mut waiters = self.inner.waiters.borrow_mut();
        if let Some(at) = waiters.iter().position(|k| *k == key) {
            waiters.swap_remove(at);
        }
    }
}
