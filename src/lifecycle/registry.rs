//! Entries by key.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::entry::{Clock, Common, Entry, Key, Lease, Outcome};
use super::machine::{Event, Refused, State};
use crate::limits;
use crate::util::Locked;

/// At most one live entry for each key. At most `limits::REGISTRY_ENTRIES` entries.
pub struct Registry<K: Key, T> {
    common: Arc<Common<K>>,
    map: Locked<Map<K, T>>,
    me: Weak<Registry<K, T>>,
}

/// Why [`Registry::acquire`] gave no lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcquireError<E> {
    /// The entry or the registry refused.
    Refused(Refused),
    /// There was no entry, and making its resource failed.
    Make(E),
}

impl<K: Key, T> Registry<K, T> {
    /// An empty registry; `name` is for the log, `limit` is how many leases of one entry may be out at once.
    pub fn new(name: &'static str, limit: u32, clock: Clock) -> Arc<Self> {
        Arc::new_cyclic(|me| Registry {
            common: Arc::new(Common::new(name, limit, clock)),
            map: Locked::new(Map { entries: HashMap::new(), serial: 0 }),
            me: me.clone(),
        })
    }

    /// Takes a lease on the entry of `key`, which is made first if there is none.
    ///
    /// `make` runs under the registry's lock: it builds a value and does nothing else (no I/O, no log, no
    /// call of this registry). A resource that needs a connection opens it on first use.
    ///
    /// # Errors
    /// `make`'s error, or [`Refused::Full`], [`Refused::Draining`], [`Refused::Closed`] (closed with leases
    /// still out: the key is free again when they are back) or [`Refused::NoRoom`].
    pub fn acquire<E>(
        self: &Arc<Self>,
        key: &K,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<Lease<K, T>, AcquireError<E>> {
        let now = self.common.now();
        let found = self.map.with(|map| {
            if let Some(entry) = map.entries.get(key) {
                let outcome = entry.step_acquire(now);
                if !outcome.met_vacant() {
                    return Ok((Found::old(entry), outcome));
                }
            }
            let found = self.insert(map, key, make, now)?;
            let outcome = found.entry.step_acquire(now);
            Ok((found, outcome))
        });
        let (found, outcome) = found.map_err(|error| self.warn(key, error, now))?;
        found.entry.settle_acquire(outcome, found.made, now).map_err(AcquireError::Refused)
    }

    /// The entry of `key`, made `Idle` if there is none. `make` as in [`Registry::acquire`].
    ///
    /// # Errors
    /// `make`'s error, [`Refused::Closed`] (a closed entry whose leases are still out has the key; it can
    /// never be used again, and [`Entry::drain`] tells when it is gone) or [`Refused::NoRoom`].
    pub fn entry<E>(
        self: &Arc<Self>,
        key: &K,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<Entry<K, T>>, AcquireError<E>> {
        let now = self.common.now();
        let found = self.map.with(|map| match map.entries.get(key).map(|entry| (entry, entry.state())) {
            Some((_, State::Closed(1..))) => Err(AcquireError::Refused(Refused::Closed)),
            None | Some((_, State::Closed(0))) => self.insert(map, key, make, now),
            Some((entry, _)) => Ok(Found::old(entry)),
        });
        let found = found.map_err(|error| self.warn(key, error, now))?;
        if found.made {
            found.entry.log_made();
        }
        Ok(found.entry)
    }

    /// The entry of `key`, if there is one.
    pub fn get(&self, key: &K) -> Option<Arc<Entry<K, T>>> {
        let entry = self.map.with(|map| map.entries.get(key).map(Arc::clone))?;
        (entry.state() != State::Closed(0)).then_some(entry)
    }

    /// Closes the entry of `key`, if there is one. `cause` is for the log.
    pub fn close(&self, key: &K, cause: &str) {
        self.step_some(Event::Close, cause, Some(key));
    }

    /// Closes all entries.
    pub fn close_all(&self, cause: &str) {
        self.step_some(Event::Close, cause, None);
    }

    /// Closes what has been idle for at least `after`; says how many those were. A sweep asks and doesn't
    /// insist: that others are in use is no refusal worth a log line.
    pub fn reap(&self, after: Duration) -> usize {
        self.step_some(Event::Reap { after }, "reap", None)
    }

    /// Entries that are not closed, or closed with leases still out.
    pub fn len(&self) -> usize {
        self.states().len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All keys with their states, in no order. Each state is read by itself: together they are no
    /// snapshot if others change them meanwhile.
    pub fn states(&self) -> Vec<(K, State)> {
        let entries: Vec<_> = self.map.with(|map| map.entries.values().map(Arc::clone).collect());
        let states = entries.iter().map(|entry| (entry.key().clone(), entry.state()));
        states.filter(|(_, state)| *state != State::Closed(0)).collect()
    }

    /// Removes `entry`, which is closed and done, if the registry still holds this very object.
    pub(super) fn forget(&self, entry: &Entry<K, T>) {
        let removed = self.map.with(|map| {
            let held = map.entries.get(entry.key())?;
            let same = std::ptr::eq(Arc::as_ptr(held), entry);
            same.then(|| map.entries.remove_entry(entry.key())).flatten()
        });
        drop(removed); // not under the lock
    }

    /// Inserts a new entry; the key has none, or one that is closed and done.
    fn insert<E>(
        &self,
        map: &mut Map<K, T>,
        key: &K,
        make: impl FnOnce() -> Result<T, E>,
        now: Instant,
    ) -> Result<Found<K, T>, AcquireError<E>> {
        if map.entries.len() >= limits::REGISTRY_ENTRIES && !map.entries.contains_key(key) {
            return Err(AcquireError::Refused(Refused::NoRoom));
        }
        let resource = make().map_err(AcquireError::Make)?;
        map.serial += 1;
        let (common, home) = (Arc::clone(&self.common), self.me.clone());
        let entry = Arc::new(Entry::new(key.clone(), map.serial, resource, common, home, now));
        let replaced = map.entries.insert(key.clone(), Arc::clone(&entry));
        Ok(Found { entry, made: true, _replaced: replaced })
    }

    /// Steps `event` on the entry of `key`, or on all, under one lock; says how many took it.
    fn step_some(&self, event: Event, cause: &str, key: Option<&K>) -> usize {
        let now = self.common.now();
        let step = |entry: &Arc<Entry<K, T>>| (Arc::clone(entry), entry.step(event, now));
        let stepped: Vec<Stepped<K, T>> = self.map.with(|map| match key {
            Some(key) => map.entries.get(key).map(step).into_iter().collect(),
            None => map.entries.values().map(step).filter(|(_, outcome)| !outcome.is_refused()).collect(),
        });
        let settle =
            |(entry, outcome): Stepped<K, T>| entry.settle(outcome, event.name(), cause, now).is_ok();
        stepped.into_iter().map(settle).filter(|taken| *taken).count()
    }

    /// Warns of what is refused before an entry is asked.
    fn warn<E>(&self, key: &K, error: AcquireError<E>, now: Instant) -> AcquireError<E> {
        if let AcquireError::Refused(refused) = error {
            self.common.warn(key, format_args!("{} {key}", self.common.name), "look-up", refused, now);
        }
        error
    }
}

/// What the registry's lock guards.
struct Map<K: Key, T> {
    entries: HashMap<K, Arc<Entry<K, T>>>,
    /// The last serial number given.
    serial: u64,
}

/// An entry, and what is left to do after its step.
type Stepped<K, T> = (Arc<Entry<K, T>>, Outcome<T>);

/// The entry that a look-up ended with.
struct Found<K: Key, T> {
    entry: Arc<Entry<K, T>>,
    made: bool,
    /// The closed entry that had the key: dropped when the lock is gone.
    _replaced: Option<Arc<Entry<K, T>>>,
}

impl<K: Key, T> Found<K, T> {
    fn old(entry: &Arc<Entry<K, T>>) -> Self {
        Found { entry: Arc::clone(entry), made: false, _replaced: None }
    }
}

impl<E: fmt::Display> fmt::Display for AcquireError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AcquireError::Refused(refused) => refused.fmt(f),
            AcquireError::Make(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for AcquireError<E> {}
