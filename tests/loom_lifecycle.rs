//! Every interleaving of small models of the lifecycle, up to a number of preemptions.
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test --profile loom --target-dir target/loom --test loom_lifecycle
//! ```
//!
//! Two older designs, kept here alone, are held against the same model and must fail it: otherwise the
//! model would prove nothing.
#![cfg(loom)]
#![allow(clippy::disallowed_methods)] // the older designs lock by hand; the clock needs a start

use std::collections::VecDeque;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use loom::thread;
use tidegate::lifecycle::{AcquireError, CoreLeases, Entry, Lease, Refused, Registry, State};
use tidegate::util::Locked;

/// Runs `f` in every interleaving with at most four preemptions (or `LOOM_MAX_PREEMPTIONS`).
fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(4));
    builder.check(f);
}

/// A clock that stands still: loom explores orders, not times.
fn clock() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// What all clients of one execution have in common. These are std's atomics on purpose: they note what
/// happens in the execution's order, and are no steps of their own.
#[derive(Default)]
struct World {
    made: AtomicUsize,
    closed: AtomicUsize,
    /// The number of each client that somebody holds, once per holder.
    held: std::sync::Mutex<Vec<usize>>,
}

impl World {
    fn client(self: &Arc<Self>) -> Client {
        let number = self.made.fetch_add(1, SeqCst) + 1;
        Client { number, closed: loom::sync::atomic::AtomicBool::new(false), world: Arc::clone(self) }
    }

    /// Holders of client `number`.
    fn holders(&self, number: usize) -> usize {
        self.held.lock().unwrap().iter().filter(|held| **held == number).count()
    }

    /// The end of every model.
    fn assert_all_closed(&self) {
        assert!(self.held.lock().unwrap().is_empty(), "a call that never ended");
        assert_eq!(self.closed.load(SeqCst), self.made.load(SeqCst), "not everything is closed in the end");
    }
}

/// What is shared in the models.
struct Client {
    number: usize,
    closed: loom::sync::atomic::AtomicBool,
    world: Arc<World>,
}

impl Client {
    /// Holds it for a while, as a call does.
    fn call(&self) {
        {
            let mut held = self.world.held.lock().unwrap();
            assert!(held.iter().all(|number| *number == self.number), "a second live client for one key");
            held.push(self.number);
        }
        assert!(!self.closed.load(loom::sync::atomic::Ordering::SeqCst), "a closed client was handed out");
        thread::yield_now();
        assert!(!self.closed.load(loom::sync::atomic::Ordering::SeqCst), "closed under a holder");
        let mut held = self.world.held.lock().unwrap();
        let mine = held.iter().position(|number| *number == self.number).unwrap();
        held.swap_remove(mine);
    }

    fn close(&self) {
        assert_eq!(self.world.holders(self.number), 0, "closed under a holder");
        let again = self.closed.swap(true, loom::sync::atomic::Ordering::SeqCst);
        assert!(!again, "closed twice");
        self.world.closed.fetch_add(1, SeqCst);
    }
}

/// A way to share clients by a key (there is but one key here).
trait Design: Send + Sync + 'static {
    type Lease;
    fn new(world: &Arc<World>) -> Self;
    /// A lease. None of the models that use it close what is in use, so it must succeed.
    fn acquire(&self) -> Self::Lease;
    fn client(lease: &Self::Lease) -> &Client;
    fn release(&self, lease: Self::Lease);
    /// The second actor: closes and removes what nobody uses.
    fn sweep(&self);
}

fn visit<D: Design>(design: &D) {
    let lease = design.acquire();
    D::client(&lease).call();
    design.release(lease);
}

/// The seed of it all: start-up lists (1 → 0), then routes start at once, while a second actor sweeps.
fn list_then_routes<D: Design>() {
    let world = Arc::new(World::default());
    let design = Arc::new(D::new(&world));
    visit(&*design);
    let routes: Vec<_> = (0..2)
        .map(|_| {
            let design = Arc::clone(&design);
            thread::spawn(move || visit(&*design))
        })
        .collect();
    design.sweep();
    for route in routes {
        route.join().unwrap();
    }
    design.sweep();
    world.assert_all_closed();
}

// ---- The two older designs.

/// GoDoxy v0.9.8: an atomic count beside the map. It falls to zero outside the map's lock, and a second
/// actor, woken by the zero, removes the entry later.
struct CountBesideTheMap {
    world: Arc<World>,
    map: loom::sync::Mutex<Option<Arc<Counted>>>,
}

struct Counted {
    count: loom::sync::atomic::AtomicUsize,
    client: Client,
}

impl Design for CountBesideTheMap {
    type Lease = Arc<Counted>;

    fn new(world: &Arc<World>) -> Self {
        CountBesideTheMap { world: Arc::clone(world), map: loom::sync::Mutex::new(None) }
    }

    fn acquire(&self) -> Arc<Counted> {
        let mut map = self.map.lock().unwrap();
        if let Some(counted) = &*map {
            let before = counted.count.fetch_add(1, loom::sync::atomic::Ordering::SeqCst);
            assert!(before > 0, "RefCount.Add() called after count reached zero");
            return Arc::clone(counted);
        }
        let count = loom::sync::atomic::AtomicUsize::new(1);
        let counted = Arc::new(Counted { count, client: self.world.client() });
        *map = Some(Arc::clone(&counted));
        counted
    }

    fn client(lease: &Arc<Counted>) -> &Client {
        &lease.client
    }

    fn release(&self, lease: Arc<Counted>) {
        lease.count.fetch_sub(1, loom::sync::atomic::Ordering::SeqCst);
    }

    fn sweep(&self) {
        let mut map = self.map.lock().unwrap();
        let zero = |counted: &Arc<Counted>| counted.count.load(loom::sync::atomic::Ordering::SeqCst) == 0;
        if map.as_ref().is_some_and(zero) {
            map.take().unwrap().client.close();
        }
    }
}

/// Its successor: the sweep decides under the map's lock, but the reference is added after the look-up has
/// let go of it.
struct AddedAfterTheLock(CountBesideTheMap);

impl Design for AddedAfterTheLock {
    type Lease = Arc<Counted>;

    fn new(world: &Arc<World>) -> Self {
        AddedAfterTheLock(CountBesideTheMap::new(world))
    }

    fn acquire(&self) -> Arc<Counted> {
        let counted = {
            let mut map = self.0.map.lock().unwrap();
            let made = || {
                let count = loom::sync::atomic::AtomicUsize::new(0);
                Arc::new(Counted { count, client: self.0.world.client() })
            };
            Arc::clone(map.get_or_insert_with(made))
        };
        counted.count.fetch_add(1, loom::sync::atomic::Ordering::SeqCst);
        counted
    }

    fn client(lease: &Arc<Counted>) -> &Client {
        &lease.client
    }

    fn release(&self, lease: Arc<Counted>) {
        self.0.release(lease);
    }

    fn sweep(&self) {
        self.0.sweep();
    }
}

/// Asserts that loom finds a fault in `D`, and one of these.
fn must_fail<D: Design>(faults: &[&str]) {
    let found = catch_unwind(AssertUnwindSafe(|| model(list_then_routes::<D>)));
    let panic = found.expect_err("the model let a broken design pass");
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string())).unwrap_or_default();
    assert!(faults.iter().any(|fault| text.contains(fault)), "another fault than expected: {text}");
}

#[test]
fn the_seeds_design_fails_the_model() {
    must_fail::<CountBesideTheMap>(&["called after count reached zero"]);
}

#[test]
fn its_successors_design_fails_the_model() {
    must_fail::<AddedAfterTheLock>(&["a closed client was handed out", "closed under a holder"]);
}

// ---- The lifecycle.

/// A registry's resource: a client that is closed by its drop.
struct Resource(Client);

impl Drop for Resource {
    fn drop(&mut self) {
        self.0.close();
    }
}

struct Lifecycle {
    world: Arc<World>,
    registry: Arc<Registry<u8, Resource>>,
}

const KEY: u8 = 1;

impl Lifecycle {
    fn with_limit(limit: u32) -> Arc<Self> {
        let world = Arc::new(World::default());
        Arc::new(Lifecycle { registry: Registry::new("model", limit, clock), world })
    }

    fn make(&self) -> Result<Resource, Infallible> {
        Ok(Resource(self.world.client()))
    }

    fn try_acquire(&self) -> Result<Lease<u8, Resource>, Refused> {
        self.registry.acquire(&KEY, || self.make()).map_err(|error| match error {
            AcquireError::Refused(refused) => refused,
            AcquireError::Make(never) => match never {},
        })
    }

    fn entry(&self) -> Arc<Entry<u8, Resource>> {
        self.registry.entry(&KEY, || self.make()).unwrap()
    }

    /// Acquires by key and calls; what it may be refused with is `allowed`.
    fn visit(&self, allowed: &[Refused]) {
        match self.try_acquire() {
            Ok(lease) => lease.get().0.call(),
            Err(refused) => assert!(allowed.contains(&refused), "{refused}"),
        }
    }

    /// The end of every model.
    fn finish(&self) {
        self.registry.close_all("end");
        assert!(self.registry.is_empty());
        self.world.assert_all_closed();
    }
}

impl Design for Lifecycle {
    type Lease = Lease<u8, Resource>;

    fn new(world: &Arc<World>) -> Self {
        Lifecycle { registry: Registry::new("model", 9, clock), world: Arc::clone(world) }
    }

    fn acquire(&self) -> Self::Lease {
        self.try_acquire().unwrap()
    }

    fn client(lease: &Self::Lease) -> &Client {
        &lease.get().0
    }

    fn release(&self, lease: Self::Lease) {
        drop(lease);
    }

    fn sweep(&self) {
        self.registry.reap(Duration::ZERO);
    }
}

/// A thread that visits, and what it may be refused with.
fn visitor(lifecycle: &Arc<Lifecycle>, allowed: &'static [Refused]) -> thread::JoinHandle<()> {
    let lifecycle = Arc::clone(lifecycle);
    thread::spawn(move || lifecycle.visit(allowed))
}

#[test]
fn the_lifecycle_passes_the_same_model() {
    model(list_then_routes::<Lifecycle>);
}

#[test]
fn close_by_key_against_visitors() {
    model(|| {
        let it = Lifecycle::with_limit(9);
        let visitors = [visitor(&it, &[Refused::Closed]), visitor(&it, &[Refused::Closed])];
        it.registry.close(&KEY, "model");
        visitors.into_iter().for_each(|visitor| visitor.join().unwrap());
        it.visit(&[]); // the key is free again
        it.finish();
    });
}

#[test]
fn close_by_entry_and_by_key_under_a_holder() {
    model(|| {
        let it = Lifecycle::with_limit(9);
        let lease = it.try_acquire().unwrap();
        let entry = Arc::clone(lease.entry());
        let closer = thread::spawn(move || entry.close("entry"));
        let visitor = visitor(&it, &[Refused::Closed]);
        it.registry.close(&KEY, "key");
        lease.get().0.call();
        drop(lease);
        closer.join().unwrap();
        visitor.join().unwrap();
        it.finish();
    });
}

/// What is closed with no lease out is as good as absent: a look-up makes a new one and is not refused.
#[test]
fn a_close_of_an_idle_entry_refuses_nobody() {
    model(|| {
        let it = Lifecycle::with_limit(9);
        let entry = it.entry();
        let visitor = visitor(&it, &[]);
        let reaper = {
            let it = Arc::clone(&it);
            thread::spawn(move || it.registry.reap(Duration::ZERO))
        };
        entry.close("model");
        visitor.join().unwrap();
        reaper.join().unwrap();
        it.finish();
    });
}

/// A remover that comes late must not take the successor away.
#[test]
fn late_close_against_the_successor() {
    model(|| {
        let it = Lifecycle::with_limit(9);
        let old = it.entry();
        let closer = {
            let old = Arc::clone(&old);
            thread::spawn(move || old.close("closer"))
        };
        let visitor = visitor(&it, &[Refused::Closed]);
        old.close("main");
        // Refused if the visitor still has the old one.
        let new = it.try_acquire();
        closer.join().unwrap();
        visitor.join().unwrap();
        if let Ok(new) = new {
            new.get().0.call();
            let kept = it.registry.get(&KEY).expect("the successor is still there");
            assert!(Arc::ptr_eq(&kept, new.entry()) && !Arc::ptr_eq(&kept, &old));
        }
        it.finish();
    });
}

#[test]
fn reap_and_close_against_a_visitor() {
    model(|| {
        let it = Lifecycle::with_limit(9);
        drop(it.entry());
        let visitor = visitor(&it, &[Refused::Closed]);
        let reaper = {
            let it = Arc::clone(&it);
            thread::spawn(move || it.registry.reap(Duration::ZERO))
        };
        it.registry.close(&KEY, "model");
        visitor.join().unwrap();
        reaper.join().unwrap();
        it.finish();
    });
}

#[test]
fn the_limit_holds() {
    model(|| {
        let it = Lifecycle::with_limit(1);
        let visitors = [visitor(&it, &[Refused::Full]), visitor(&it, &[Refused::Full])];
        if let Ok(lease) = it.try_acquire() {
            assert_eq!(lease.entry().state(), State::Active(1));
        }
        visitors.into_iter().for_each(|visitor| visitor.join().unwrap());
        it.visit(&[]); // no lease is lost
        it.finish();
    });
}

/// Counts how often a drainer of the first client is told, and asserts that nobody holds it then.
fn told(it: &Arc<Lifecycle>) -> (Arc<AtomicUsize>, impl FnOnce() + Send + 'static) {
    let count = Arc::new(AtomicUsize::new(0));
    let (counted, world) = (Arc::clone(&count), Arc::clone(&it.world));
    let told = move || {
        assert_eq!(world.holders(1), 0, "told while a lease is out");
        counted.fetch_add(1, SeqCst);
    };
    (count, told)
}

#[test]
fn a_drainer_is_told_exactly_once() {
    model(|| {
        let it = Lifecycle::with_limit(9);
        let entry = it.entry();
        let visitors = [visitor(&it, &[Refused::Draining]), visitor(&it, &[Refused::Draining])];
        let (count, told) = told(&it);
        entry.drain(told).unwrap();
        visitors.into_iter().for_each(|visitor| visitor.join().unwrap());
        assert_eq!((count.load(SeqCst), entry.state()), (1, State::Draining(0)));
        entry.undrain().unwrap();
        it.visit(&[]);
        assert_eq!(count.load(SeqCst), 1);
        it.finish();
    });
}

#[test]
fn drain_against_undrain() {
    model(|| {
        let it = Lifecycle::with_limit(9);
        let entry = it.entry();
        let visitor = visitor(&it, &[Refused::Draining]);
        let undrainer = {
            let entry = Arc::clone(&entry);
            thread::spawn(move || entry.undrain().unwrap())
        };
        let (count, told) = told(&it);
        entry.drain(told).unwrap();
        visitor.join().unwrap();
        undrainer.join().unwrap();
        match (entry.state(), count.load(SeqCst)) {
            (State::Draining(0), 1) => entry.undrain().unwrap(), // the undrain came first
            (State::Idle { .. }, 0 | 1) => {}                    // before, or after, it reached 0
            other => panic!("{other:?}"),
        }
        it.visit(&[]);
        let before = count.load(SeqCst);
        entry.drain(|| ()).unwrap();
        assert_eq!(count.load(SeqCst), before, "told although it was undrained, or told again");
        it.finish();
    });
}

#[test]
fn drain_against_close() {
    model(|| {
        let it = Lifecycle::with_limit(9);
        let entry = it.entry();
        let visitor = visitor(&it, &[Refused::Draining, Refused::Closed]);
        let closer = {
            let it = Arc::clone(&it);
            thread::spawn(move || it.registry.close(&KEY, "model"))
        };
        let (count, told) = told(&it);
        entry.drain(told).unwrap();
        visitor.join().unwrap();
        closer.join().unwrap();
        assert_eq!((count.load(SeqCst), entry.state()), (1, State::Closed(0)));
        it.finish();
    });
}

/// Who drains what is closed is told when the resource is gone, not before.
#[test]
fn a_drainer_of_a_closed_entry_is_told_when_the_resource_is_gone() {
    model(|| {
        let it = Lifecycle::with_limit(9);
        let leases = [it.try_acquire().unwrap(), it.try_acquire().unwrap()];
        let entry = Arc::clone(leases[0].entry());
        entry.close("model");
        let holders = leases.map(|lease| thread::spawn(move || lease.get().0.call()));
        let (count, told) = told(&it);
        let world = Arc::clone(&it.world);
        let gone = move || {
            assert_eq!(world.closed.load(SeqCst), 1, "told before the resource was gone");
            told();
        };
        entry.drain(gone).unwrap();
        holders.into_iter().for_each(|holder| holder.join().unwrap());
        assert_eq!(count.load(SeqCst), 1);
        it.finish();
    });
}

// ---- The handshake of the cores.

/// A core's wake-up queue.
type Queue = Arc<Locked<VecDeque<Message>>>;

enum Message {
    Drain,
    Undrain,
}

struct Core {
    leases: CoreLeases<u8, Resource>,
    queue: Queue,
}

/// What the control thread and the cores of a model share.
#[derive(Default)]
struct Traffic {
    in_flight: AtomicUsize,
    stopped: AtomicBool,
}

impl Core {
    fn new(queue: &Queue) -> Self {
        Core { leases: CoreLeases::new(), queue: Arc::clone(queue) }
    }

    /// Takes what is on the queue; says whether its last word was to drain.
    fn wake(&mut self) -> bool {
        let mut drained = false;
        while let Some(message) = self.queue.with(VecDeque::pop_front) {
            drained = matches!(message, Message::Drain);
            match message {
                Message::Drain => self.leases.drain(&KEY, clock()),
                Message::Undrain => self.leases.undrain(&KEY, clock()),
            }
        }
        drained
    }

    /// One request, during which the core looks at its queue as between any two slices of work.
    fn request(&mut self, entry: &Arc<Entry<u8, Resource>>, traffic: &Traffic) -> Result<(), Refused> {
        self.leases.begin(entry, clock())?;
        traffic.in_flight.fetch_add(1, SeqCst);
        assert!(!traffic.stopped.load(SeqCst), "a request began after all leases were said to be back");
        self.leases.get(&KEY).expect("a lease is held during a request").0.call();
        if self.wake() {
            let next = self.leases.begin(entry, clock());
            assert_eq!(next, Err(Refused::Draining), "a drained core lets requests in");
        }
        assert!(!traffic.stopped.load(SeqCst), "stopped under a request in flight");
        traffic.in_flight.fetch_sub(1, SeqCst);
        self.leases.end(&KEY, clock());
        Ok(())
    }
}

/// A core's thread with one request; what it may be refused with is `allowed`. The core is handed back, so
/// that what still waits on its queue can be taken: the runtime wakes an idle core.
fn core(
    entry: &Arc<Entry<u8, Resource>>,
    queue: &Queue,
    traffic: &Arc<Traffic>,
    allowed: &'static [Refused],
) -> thread::JoinHandle<Core> {
    let (entry, mut core, traffic) = (Arc::clone(entry), Core::new(queue), Arc::clone(traffic));
    thread::spawn(move || {
        if let Err(refused) = core.request(&entry, &traffic) {
            assert!(allowed.contains(&refused), "{refused}");
        }
        core.wake();
        core
    })
}

fn queues() -> [Queue; 2] {
    [Queue::default(), Queue::default()]
}

#[test]
fn the_control_thread_stops_only_when_all_cores_gave_back() {
    model(|| {
        let (it, traffic, queues) = (Lifecycle::with_limit(9), Arc::new(Traffic::default()), queues());
        let entry = it.entry();
        let cores = [0, 1].map(|i| core(&entry, &queues[i], &traffic, &[Refused::Draining]));
        let (count, told) = told(&it);
        let seen = Arc::clone(&traffic);
        let stop = move || {
            assert_eq!(seen.in_flight.load(SeqCst), 0, "stopped under a request in flight");
            seen.stopped.store(true, SeqCst);
            told();
        };
        entry.drain(stop).unwrap();
        for queue in &queues {
            queue.with(|queue| queue.push_back(Message::Drain));
        }
        let cores = cores.map(|core| {
            let mut core = core.join().unwrap();
            core.wake();
            core
        });
        assert!(cores.iter().all(|core| core.leases.is_empty()));
        assert_eq!((count.load(SeqCst), entry.state()), (1, State::Draining(0)));
        entry.close("stopped");
        it.finish();
    });
}

#[test]
fn a_visit_undrains_before_the_stop() {
    model(|| {
        let (it, traffic, queues) = (Lifecycle::with_limit(9), Arc::new(Traffic::default()), queues());
        let entry = it.entry();
        let running = core(&entry, &queues[0], &traffic, &[Refused::Draining]);
        let (count, told) = told(&it);
        entry.drain(told).unwrap();
        queues[0].with(|queue| queue.push_back(Message::Drain));
        entry.undrain().unwrap();
        queues[0].with(|queue| queue.push_back(Message::Undrain));
        let mut core = running.join().unwrap();
        core.wake();
        assert!(count.load(SeqCst) <= 1);
        core.request(&entry, &traffic).expect("it is undrained, and so is the core");
        drop(core);
        assert!(matches!(entry.state(), State::Idle { .. }));
        it.finish();
    });
}

/// A close reaches the core by its queue (a new snapshot). Until it gives back, nobody gets a second client.
#[test]
fn a_close_under_a_core_and_a_visitor() {
    model(|| {
        let (it, traffic, queues) = (Lifecycle::with_limit(9), Arc::new(Traffic::default()), queues());
        let entry = it.entry();
        let running = core(&entry, &queues[0], &traffic, &[Refused::Closed]);
        let visitor = visitor(&it, &[Refused::Closed]);
        it.registry.close(&KEY, "model");
        queues[0].with(|queue| queue.push_back(Message::Drain));
        visitor.join().unwrap();
        let mut core = running.join().unwrap();
        core.wake();
        assert!(core.leases.is_empty());
        assert_eq!(entry.state(), State::Closed(0));
        it.visit(&[]);
        it.finish();
    });
}
