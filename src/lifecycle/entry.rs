//! The mutex shell of one entry, and the lease on it.

use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::machine::{self, Action, Event, Refused, State};
use super::registry::Registry;
use super::sync::{self, Handle};
use super::throttle::Throttle;
use super::transitions;
use crate::limits;
use crate::util::Locked;

/// Where an entry gets the time from. The pure line reads no clock, so whoever wires the program gives one.
pub type Clock = fn() -> Instant;

/// What a key must be able to do: be looked up, be copied for a warning, and be printed.
pub trait Key: Clone + Eq + Hash + fmt::Display {}

impl<K: Clone + Eq + Hash + fmt::Display> Key for K {}

/// One shared resource of a [`Registry`], with its state. Holding an entry keeps nothing open: only a
/// [`Lease`] does.
pub struct Entry<K: Key, T> {
    key: K,
    serial: u64,
    common: Arc<Common<K>>,
    home: Weak<Registry<K, T>>,
    cell: Locked<Cell<T>>,
}

/// The right to use an entry's resource. Dropping it is the only release.
///
/// It can't be cloned: one acquire, one release.
/// ```compile_fail,E0277
/// fn twice<T: Clone>(_: T) {}
/// fn lease(lease: tidegate::lifecycle::Lease<String, u8>) {
///     twice(lease);
/// }
/// ```
pub struct Lease<K: Key, T> {
    // Fields drop in this order: the handle is gone before the release is stepped. So whoever steps the
    // last release of a closed entry holds the last handle, and drops the resource.
    handle: Handle<T>,
    ticket: Ticket<K, T>,
}

impl<K: Key, T> Lease<K, T> {
    /// The resource, for the lease's life.
    pub fn get(&self) -> &T {
        &self.handle
    }

    /// The entry it is a lease on.
    pub fn entry(&self) -> &Arc<Entry<K, T>> {
        &self.ticket.entry
    }
}

impl<K: Key, T> Entry<K, T> {
    /// Takes a lease.
    ///
    /// # Errors
    /// [`Refused::Full`], [`Refused::Draining`] or [`Refused::Closed`].
    pub fn acquire(self: &Arc<Self>) -> Result<Lease<K, T>, Refused> {
        let now = self.common.now();
        let outcome = self.step_acquire(now);
        self.settle_acquire(outcome, false, now)
    }

    /// From now on no lease is given; `told` is called once, without any lock, as soon as none is out (at
    /// once, on this thread, if that is so already). It is dropped uncalled if the entry is undrained before.
    ///
    /// `told` may run wherever a lease is dropped, so it only posts a message. When the message is read the
    /// entry may have been undrained: whoever decides looks at [`Entry::state`] again.
    ///
    /// # Errors
    /// [`Refused::NoRoom`] if `limits::DRAINERS_PER_ENTRY` wait already; `told` is dropped then.
    pub fn drain(&self, told: impl FnOnce() + Send + 'static) -> Result<(), Refused> {
        let now = self.common.now();
        let mut told: Option<Told> = Some(Box::new(told));
        let outcome = self.cell.with(|cell| {
            if cell.drainers.len() >= limits::DRAINERS_PER_ENTRY {
                return cell.refuse(Refused::NoRoom);
            }
            cell.drainers.extend(told.take());
            cell.step(Event::Drain, now)
        });
        self.settle(outcome, Event::Drain.name(), Event::Drain.name(), now)
    }

    /// Gives leases again if it drains; who waits to be told is forgotten. Changes nothing elsewhere.
    ///
    /// # Errors
    /// [`Refused::Closed`]: it is too late.
    pub fn undrain(&self) -> Result<(), Refused> {
        self.apply(Event::Undrain, Event::Undrain.name())
    }

    /// Closes it for good. The resource is dropped when the last lease is back: here, if none is out.
    /// `cause` is for the log.
    pub fn close(&self, cause: &str) {
        let closed = self.apply(Event::Close, cause);
        debug_assert!(closed.is_ok(), "close is accepted in every state");
    }

    /// Its state now. Unless the caller alone can change it, it may be another one in a moment.
    pub fn state(&self) -> State {
        self.cell.with(|cell| cell.state)
    }

    /// Its key.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// Tells entries of one key apart in the log, and nowhere else.
    pub fn serial(&self) -> u64 {
        self.serial
    }
}

// What the registry uses.
impl<K: Key, T> Entry<K, T> {
    pub(super) fn new(
        key: K,
        serial: u64,
        resource: T,
        common: Arc<Common<K>>,
        home: Weak<Registry<K, T>>,
        now: Instant,
    ) -> Self {
        let state = State::Idle { since: now };
        let cell = Locked::new(Cell { state, resource: Some(Handle::new(resource)), drainers: Vec::new() });
        Entry { key, serial, common, home, cell }
    }

    /// Steps `event`; under the map's lock, or none. `settle` must follow when all locks are gone.
    pub(super) fn step(&self, event: Event, now: Instant) -> Outcome<T> {
        self.cell.with(|cell| cell.step(event, now))
    }

    /// Steps an acquire; `settle_acquire` must follow when all locks are gone.
    pub(super) fn step_acquire(&self, now: Instant) -> Outcome<T> {
        let limit = self.common.limit;
        self.cell.with(|cell| cell.acquire(limit, now))
    }

    /// Does what a step left to do, without any lock. `event` and `cause` are for the log.
    pub(super) fn settle(
        &self,
        outcome: Outcome<T>,
        event: &'static str,
        cause: &str,
        now: Instant,
    ) -> Result<(), Refused> {
        match outcome.result {
            Ok(done) => {
                self.log_transition(outcome.old, done.new, cause);
                self.clean_up(done);
                Ok(())
            }
            Err(refused) => {
                let who = format_args!("{self}: {}", outcome.old);
                self.common.warn(&self.key, who, event, refused, now);
                Err(refused)
            }
        }
    }

    /// Makes the lease of a stepped acquire, of an entry that was `made` for it or not.
    pub(super) fn settle_acquire(
        self: &Arc<Self>,
        mut outcome: Outcome<T>,
        made: bool,
        now: Instant,
    ) -> Result<Lease<K, T>, Refused> {
        let handle = outcome.result.as_mut().ok().and_then(|done| done.lent.take());
        // The lease comes before the log line: should a logger panic, its drop gives the count back.
        let lease = handle.map(|handle| Lease { handle, ticket: Ticket { entry: Arc::clone(self) } });
        if made {
            self.log_made();
        }
        let name = Event::Acquire { limit: 0 }.name();
        self.settle(outcome, name, name, now)?;
        lease.ok_or(Refused::Closed)
    }

    pub(super) fn log_made(&self) {
        log::debug!("{self}: made, Idle");
    }
}

/// What the entries of one registry share.
pub(super) struct Common<K> {
    pub(super) name: &'static str,
    /// Leases of one entry at once.
    pub(super) limit: u32,
    pub(super) clock: Clock,
    warned: Locked<Throttle<(K, &'static str, Refused)>>,
}

impl<K: Key> Common<K> {
    pub(super) fn new(name: &'static str, limit: u32, clock: Clock) -> Self {
        Common { name, limit, clock, warned: Locked::new(Throttle::new()) }
    }

    pub(super) fn now(&self) -> Instant {
        (self.clock)()
    }

    /// Warns that `event` is refused to `who`, at most once a second per key, event and reason.
    pub(super) fn warn(
        &self,
        key: &K,
        who: fmt::Arguments<'_>,
        event: &'static str,
        refused: Refused,
        now: Instant,
    ) {
        let subject = (key.clone(), event, refused);
        match self.warned.with(|warned| warned.admit(subject, now)) {
            None => {}
            Some(0) => log::warn!("{who}: {event} refused: {refused}"),
            Some(n) => log::warn!("{who}: {event} refused: {refused} ({n} more times since)"),
        }
    }
}

/// Gives the lease back when dropped.
struct Ticket<K: Key, T> {
    entry: Arc<Entry<K, T>>,
}

impl<K: Key, T> Drop for Ticket<K, T> {
    fn drop(&mut self) {
        // A refused release is a bug; it is logged, and nothing else can be done about it here.
        let _ = self.entry.apply(Event::Release, "release");
    }
}

type Told = Box<dyn FnOnce() + Send>;

/// What the entry's lock guards.
struct Cell<T> {
    state: State,
    /// There until the state is `Closed(0)`.
    resource: Option<Handle<T>>,
    /// Who wants to be told when no lease is out.
    drainers: Vec<Told>,
}

/// What a step did, to be settled without the lock.
pub(super) struct Outcome<T> {
    old: State,
    result: Result<Done<T>, Refused>,
}

struct Done<T> {
    new: State,
    /// The handle of an acquire.
    lent: Option<Handle<T>>,
    /// The resource of an entry that is closed with no lease out.
    resource: Option<Handle<T>>,
    told: Vec<Told>,
    forgotten: Vec<Told>,
}

impl<T> Outcome<T> {
    /// True if it met an entry that was closed and done: as good as absent.
    pub(super) fn met_vacant(&self) -> bool {
        self.old == State::Closed(0)
    }

    pub(super) fn is_refused(&self) -> bool {
        self.result.is_err()
    }
}

impl<T> Cell<T> {
    fn step(&mut self, event: Event, now: Instant) -> Outcome<T> {
        let old = self.state;
        let (new, action) = match machine::step(old, event, now) {
            Ok(stepped) => stepped,
            Err(refused) => return self.refuse(refused),
        };
        self.state = new;
        let mut done = Done { new, lent: None, resource: None, told: Vec::new(), forgotten: Vec::new() };
        match action {
            Action::None => {}
            Action::TellDrained => done.told = std::mem::take(&mut self.drainers),
            Action::ForgetDrainers => done.forgotten = std::mem::take(&mut self.drainers),
            Action::DropResource => {
                done.resource = self.resource.take();
                done.told = std::mem::take(&mut self.drainers);
            }
        }
        Outcome { old, result: Ok(done) }
    }

    fn acquire(&mut self, limit: u32, now: Instant) -> Outcome<T> {
        let Some(handle) = self.resource.clone() else {
            return self.refuse(Refused::Closed);
        };
        let mut outcome = self.step(Event::Acquire { limit }, now);
        // A refused acquire drops this clone here, under the lock; the cell still holds the resource.
        if let Ok(done) = &mut outcome.result {
            done.lent = Some(handle);
        }
        outcome
    }

    fn refuse(&self, refused: Refused) -> Outcome<T> {
        Outcome { old: self.state, result: Err(refused) }
    }
}

impl<K: Key, T> Entry<K, T> {
    fn apply(&self, event: Event, cause: &str) -> Result<(), Refused> {
        let now = self.common.now();
        let outcome = self.step(event, now);
        self.settle(outcome, event.name(), cause, now)
    }

    fn clean_up(&self, done: Done<T>) {
        if let Some(resource) = done.resource {
            // The registry first: should the resource's drop panic or dawdle, its place is free.
            if let Some(home) = self.home.upgrade() {
                home.forget(self);
            }
            if !sync::contain(move || drop(resource)) {
                log::error!("{self}: its resource panicked while it was dropped");
            }
        }
        for told in done.told {
            if !sync::contain(told) {
                log::error!("{self}: the callback of a drain panicked");
            }
        }
        drop(done.forgotten);
    }

    fn log_transition(&self, old: State, new: State, cause: &str) {
        if old != new {
            transitions::count(new);
            log::debug!("{self}: {old} -> {new} ({cause})");
        }
    }
}

impl<K: Key, T> fmt::Display for Entry<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} #{}", self.common.name, self.key, self.serial)
    }
}

impl<K: Key, T> fmt::Debug for Entry<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({self})")
    }
}

impl<K: Key, T> fmt::Debug for Lease<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({})", self.ticket.entry)
    }
}
