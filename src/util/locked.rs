//! The only way to a value shared between threads: a closure under the lock, so that no guard can be held
//! across I/O or a coroutine switch.

#[cfg(loom)]
use loom::sync::Mutex;
#[cfg(not(loom))]
use std::sync::Mutex;

/// A mutex without guards.
pub struct Locked<T> {
    inner: Mutex<T>,
}

impl<T> Locked<T> {
    /// Wraps `value`.
    pub fn new(value: T) -> Self {
        Locked { inner: Mutex::new(value) }
    }

    /// Runs `f` with the value, under the lock. `f` must not block, switch coroutines or log: the lock may
    /// be awaited by a core. A panic in `f` poisons nothing: the next caller sees the value as it was left.
    #[allow(clippy::disallowed_methods)] // the one place where a lock is taken
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let mut guard = match self.inner.lock() {
            Ok(guard) => guard,
            Err(poisoned) => poisoned.into_inner(),
        };
        f(&mut guard)
    }
}

impl<T: Default> Default for Locked<T> {
    fn default() -> Self {
        Locked::new(T::default())
    }
}
