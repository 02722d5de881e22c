//! The mutex shell and the registry, seen by one thread.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::scenario::start;
use crate::lifecycle::machine::{Refused, State};
use crate::lifecycle::{AcquireError, Lease, Registry};
use crate::limits;
use crate::util::Locked;

/// A resource that counts how many of its kind were dropped.
struct Probe {
    number: usize,
    dropped: Arc<AtomicUsize>,
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// A registry, and counters of what was made and dropped.
struct Bench {
    registry: Arc<Registry<&'static str, Probe>>,
    made: AtomicUsize,
    dropped: Arc<AtomicUsize>,
}

type ProbeLease = Lease<&'static str, Probe>;

impl Bench {
    fn new(limit: u32) -> Self {
        let registry = Registry::new("test", limit, start);
        Bench { registry, made: AtomicUsize::new(0), dropped: Arc::default() }
    }

    fn make(&self) -> Result<Probe, Infallible> {
        let number = self.made.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Probe { number, dropped: Arc::clone(&self.dropped) })
    }

    fn acquire(&self, key: &'static str) -> Result<ProbeLease, AcquireError<Infallible>> {
        self.registry.acquire(&key, || self.make())
    }

    fn dropped(&self) -> usize {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// A callback that counts its calls.
fn counter() -> (Arc<AtomicUsize>, impl FnOnce() + Send + 'static) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let count = move || {
        counted.fetch_add(1, Ordering::Relaxed);
    };
    (calls, count)
}

fn refused<T, E>(result: Result<T, AcquireError<E>>) -> Option<Refused> {
    match result {
        Err(AcquireError::Refused(refused)) => Some(refused),
        _ => None,
    }
}

#[test]
fn leases_of_one_key_share_one_resource() {
    let bench = Bench::new(9);
    let (a, b) = (bench.acquire("k").unwrap(), bench.acquire("k").unwrap());
    let other = bench.acquire("other").unwrap();
    assert_eq!((a.get().number, b.get().number, other.get().number), (1, 1, 2));
    assert!(bench.registry.states().contains(&("k", State::Active(2))));
    drop((a, b));
    assert_eq!(bench.registry.get(&"k").unwrap().state(), State::Idle { since: start() });
    assert_eq!(bench.dropped(), 0, "idle is not closed");
}

#[test]
fn a_lease_can_move_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<ProbeLease>();
}

#[test]
fn the_limit_refuses_and_recovers() {
    let bench = Bench::new(2);
    let held = [bench.acquire("k").unwrap(), bench.acquire("k").unwrap()];
    assert_eq!(refused(bench.acquire("k")), Some(Refused::Full));
    drop(held);
    bench.acquire("k").unwrap();
}

#[test]
fn a_failed_make_leaves_nothing_behind() {
    let registry: Arc<Registry<&str, u8>> = Registry::new("test", 1, start);
    assert_eq!(registry.acquire(&"k", || Err("no socket")).unwrap_err(), AcquireError::Make("no socket"));
    assert!(registry.is_empty());
    assert_eq!(*registry.acquire(&"k", || Ok::<u8, ()>(7)).unwrap().get(), 7);
}

/// A panic in `make` is the caller's; the registry works on.
#[test]
fn a_panicking_make_leaves_nothing_behind() {
    let bench = Bench::new(1);
    let registry = Arc::clone(&bench.registry);
    let died = std::thread::spawn(move || registry.acquire(&"k", || -> Result<Probe, ()> { panic!("make") }));
    assert!(died.join().is_err());
    assert!(bench.registry.is_empty());
    bench.acquire("k").unwrap();
}

#[test]
fn a_closed_entry_keeps_its_key_until_the_last_lease_is_back() {
    let bench = Bench::new(9);
    let held = bench.acquire("k").unwrap();
    bench.registry.close(&"k", "test");
    assert_eq!(held.get().number, 1, "nothing is closed under a holder");
    assert_eq!(bench.dropped(), 0);
    assert_eq!(refused(bench.acquire("k")), Some(Refused::Closed));
    assert_eq!(refused(bench.registry.entry(&"k", || bench.make())), Some(Refused::Closed));
    assert_eq!(bench.registry.states(), [("k", State::Closed(1))]);
    drop(held);
    assert_eq!(bench.dropped(), 1);
    assert!(bench.registry.is_empty());
    assert_eq!(bench.acquire("k").unwrap().get().number, 2);
}

#[test]
fn close_twice_counts_once() {
    let bench = Bench::new(9);
    let held = bench.acquire("k").unwrap();
    let entry = Arc::clone(held.entry());
    entry.close("first");
    entry.close("second");
    bench.registry.close_all("third");
    assert_eq!(entry.state(), State::Closed(1));
    drop(held);
    entry.close("fourth");
    assert_eq!((entry.state(), bench.dropped()), (State::Closed(0), 1));
}

#[test]
fn a_late_close_of_an_old_entry_spares_its_successor() {
    let bench = Bench::new(9);
    let old = bench.registry.entry(&"k", || bench.make()).unwrap();
    old.close("gone");
    let new = bench.acquire("k").unwrap();
    old.close("late");
    assert!(Arc::ptr_eq(&bench.registry.get(&"k").unwrap(), new.entry()));
    assert_ne!(old.serial(), new.entry().serial());
    assert_eq!(old.key(), new.entry().key());
    assert_eq!(old.acquire().unwrap_err(), Refused::Closed);
}

#[test]
fn reap_closes_what_is_idle_and_nothing_else() {
    let bench = Bench::new(9);
    let held = bench.acquire("active").unwrap();
    drop(bench.acquire("idle").unwrap());
    bench.registry.entry(&"draining", || bench.make()).unwrap().drain(|| ()).unwrap();
    assert_eq!(bench.registry.reap(Duration::from_secs(1)), 0, "the test's clock stands still");
    assert_eq!(bench.registry.reap(Duration::ZERO), 1);
    assert!(bench.registry.get(&"idle").is_none());
    assert_eq!((bench.registry.len(), bench.dropped()), (2, 1));
    drop(held);
}

#[test]
fn a_drainer_is_told_once_by_the_last_release() {
    let bench = Bench::new(9);
    let (a, b) = (bench.acquire("k").unwrap(), bench.acquire("k").unwrap());
    let entry = Arc::clone(a.entry());
    let (calls, told) = counter();
    entry.drain(told).unwrap();
    assert_eq!(entry.acquire().unwrap_err(), Refused::Draining);
    assert_eq!(refused(bench.acquire("k")), Some(Refused::Draining));
    drop(a);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    drop(b);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    entry.undrain().unwrap();
    drop(entry.acquire().unwrap());
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[test]
fn a_drainer_of_an_idle_entry_is_told_at_once() {
    let bench = Bench::new(9);
    let entry = bench.registry.entry(&"k", || bench.make()).unwrap();
    let (calls, told) = counter();
    entry.drain(told).unwrap();
    assert_eq!((calls.load(Ordering::Relaxed), entry.state()), (1, State::Draining(0)));
}

#[test]
fn an_undrain_forgets_the_drainer() {
    let bench = Bench::new(9);
    let lease = bench.acquire("k").unwrap();
    let entry = Arc::clone(lease.entry());
    let (calls, told) = counter();
    entry.drain(told).unwrap();
    entry.undrain().unwrap();
    assert_eq!(Arc::strong_count(&calls), 1, "the callback is dropped");
    drop(lease);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

#[test]
fn a_drainer_is_told_after_the_resource_of_a_closed_entry_is_dropped() {
    let bench = Bench::new(9);
    let lease = bench.acquire("k").unwrap();
    let entry = Arc::clone(lease.entry());
    let dropped_when_told = Arc::new(AtomicUsize::new(usize::MAX));
    let (dropped, seen) = (Arc::clone(&bench.dropped), Arc::clone(&dropped_when_told));
    entry.drain(move || seen.store(dropped.load(Ordering::Relaxed), Ordering::Relaxed)).unwrap();
    entry.close("test");
    assert_eq!(entry.undrain(), Err(Refused::Closed));
    drop(lease);
    assert_eq!(dropped_when_told.load(Ordering::Relaxed), 1);
    let (calls, told) = counter();
    entry.drain(told).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1, "a closed entry is drained, too");
}

#[test]
fn drainers_are_bounded() {
    let bench = Bench::new(9);
    let lease = bench.acquire("k").unwrap();
    let counters: Vec<_> = (0..limits::DRAINERS_PER_ENTRY)
        .map(|_| {
            let (calls, told) = counter();
            lease.entry().drain(told).unwrap();
            calls
        })
        .collect();
    let (one_more, told) = counter();
    assert_eq!(lease.entry().drain(told), Err(Refused::NoRoom));
    drop(lease);
    assert!(counters.iter().all(|calls| calls.load(Ordering::Relaxed) == 1));
    assert_eq!(one_more.load(Ordering::Relaxed), 0);
}

/// Callbacks and drops that come back to the entry and the registry would deadlock under a lock.
#[test]
fn foreign_code_runs_without_any_lock() {
    struct Nosy {
        registry: Arc<Registry<&'static str, Nosy>>,
        entries_seen: Arc<AtomicUsize>,
    }
    impl Drop for Nosy {
        fn drop(&mut self) {
            self.entries_seen.store(self.registry.len(), Ordering::Relaxed);
        }
    }
    let entries_seen = Arc::new(AtomicUsize::new(usize::MAX));
    let registry: Arc<Registry<&'static str, Nosy>> = Registry::new("test", 9, start);
    let nosy = Nosy { registry: Arc::clone(&registry), entries_seen: Arc::clone(&entries_seen) };
    let lease = registry.acquire(&"k", || Ok::<_, Infallible>(nosy)).unwrap();
    let entry = Arc::clone(lease.entry());
    let (asked, seen) = (Arc::clone(&entry), Arc::new(Locked::new(None)));
    let answer = Arc::clone(&seen);
    entry
        .drain(move || {
            let state = asked.state();
            answer.with(|answer| *answer = Some(state));
        })
        .unwrap();
    registry.close(&"k", "test");
    drop(lease);
    assert_eq!(entries_seen.load(Ordering::Relaxed), 0, "it is out of the registry before it is dropped");
    assert_eq!(seen.with(|seen| *seen), Some(State::Closed(0)));
}

#[test]
fn a_panicking_resource_or_drainer_harms_nobody() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a bomb of the test");
        }
    }
    let registry: Arc<Registry<&'static str, Bomb>> = Registry::new("test", 9, start);
    let lease = registry.acquire(&"k", || Ok::<_, Infallible>(Bomb)).unwrap();
    let (calls, told) = counter();
    lease.entry().drain(|| panic!("a drainer of the test")).unwrap();
    lease.entry().drain(told).unwrap();
    lease.entry().close("test");
    drop(lease);
    assert_eq!(calls.load(Ordering::Relaxed), 1, "the next drainer is told");
    assert!(registry.is_empty());
}

#[test]
fn a_lease_outlives_its_registry() {
    let bench = Bench::new(9);
    let lease = bench.acquire("k").unwrap();
    let dropped = Arc::clone(&bench.dropped);
    drop(bench);
    assert_eq!(lease.get().number, 1);
    drop(lease);
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}

#[test]
fn the_registry_is_bounded() {
    let registry: Arc<Registry<usize, ()>> = Registry::new("test", 1, start);
    for key in 0..limits::REGISTRY_ENTRIES {
        registry.entry(&key, || Ok::<_, Infallible>(())).unwrap();
    }
    let one_more = registry.acquire(&usize::MAX, || Ok::<_, Infallible>(()));
    assert_eq!(refused(one_more), Some(Refused::NoRoom));
    registry.acquire(&0, || Ok::<_, Infallible>(())).unwrap();
    registry.close(&0, "test");
    registry.acquire(&usize::MAX, || Ok::<_, Infallible>(())).unwrap();
}
