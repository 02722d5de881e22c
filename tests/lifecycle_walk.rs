//! Seeded random walks: the pure machine, the slot's machine and the registry, each beside a reference model
//! that is written in another way. A failure prints its seed; `TIDEGATE_WALK_SEED=n` walks that one alone.
#![cfg(not(loom))]
#![allow(clippy::disallowed_methods)] // a walk needs some start for its clock

use std::cell::Cell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tidegate::lifecycle::{AcquireError, Action, CoreLeases, Entry, Event, Lease, Refused, Registry, State};
use tidegate::util::rng::Rng;
use tidegate::{lifecycle, limits};

/// Steps of each of the three walks, all seeds together.
const STEPS: u64 = 1_000_000;
const SEEDS: u64 = 4;

/// Runs a walk for each seed; on a failure says which.
fn walk(name: &str, steps: impl Fn(&mut Rng, u64)) {
    let chosen = std::env::var("TIDEGATE_WALK_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in chosen.map_or(1..SEEDS + 1, |seed: u64| seed..seed + 1) {
        let _failure = FailedSeed(name, seed);
        steps(&mut Rng::new(seed), STEPS / SEEDS);
    }
}

/// Prints the seed when it is dropped by a panic.
struct FailedSeed<'n>(&'n str, u64);

impl Drop for FailedSeed<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} failed with TIDEGATE_WALK_SEED={}", self.0, self.1);
        }
    }
}

thread_local! {
    /// Milliseconds since the start.
    static TIME: Cell<u64> = const { Cell::new(0) };
}

fn at(millis: u64) -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now) + Duration::from_millis(millis)
}

/// The walk's clock: it moves when the walk says so.
fn clock() -> Instant {
    at(TIME.get())
}

fn pass_time(millis: u64) {
    TIME.set(TIME.get() + millis);
}

// ---- The pure machine.

/// What an entry is, in other words than `State`: facts beside each other.
#[derive(Clone, Copy, Default)]
struct Facts {
    leases: u64,
    draining: bool,
    closed: bool,
    /// Drainers to be told.
    waiting: bool,
    gone: bool,
    idle_since: u64,
}

impl Facts {
    fn state(&self) -> State {
        let n = self.leases as u32;
        match (self.closed, self.draining, n) {
            (true, ..) => State::Closed(n),
            (false, true, _) => State::Draining(n),
            (false, false, 0) => State::Idle { since: at(self.idle_since) },
            (false, false, _) => State::Active(n),
        }
    }

    fn acquire(&mut self, limit: u32) -> Result<(), Refused> {
        if self.closed {
            return Err(Refused::Closed);
        }
        if self.draining {
            return Err(Refused::Draining);
        }
        if self.leases >= u64::from(limit) {
            return Err(Refused::Full);
        }
        self.leases += 1;
        Ok(())
    }

    fn apply(&mut self, event: Event) -> Result<(), Refused> {
        let busy = self.leases > 0 || self.draining;
        match event {
            Event::Acquire { limit } => return self.acquire(limit),
            Event::Release if self.leases == 0 => return Err(Refused::Underflow),
            Event::Release => {
                self.leases -= 1;
                self.idle_since = TIME.get();
            }
            Event::Reap { .. } | Event::Undrain if self.closed => return Err(Refused::Closed),
            Event::Reap { after } => {
                let idle_for = Duration::from_millis(TIME.get() - self.idle_since);
                if busy || idle_for < after {
                    return Err(Refused::NotIdle);
                }
                self.closed = true;
            }
            Event::Drain => {
                self.draining = true;
                self.waiting = true;
            }
            Event::Undrain => {
                if self.draining {
                    self.idle_since = TIME.get();
                }
                self.draining = false;
                self.waiting = false;
            }
            Event::Close => self.closed = true,
        }
        Ok(())
    }

    /// What the last event made due: (drainers are told, the resource is dropped).
    fn due(&mut self) -> (bool, bool) {
        let told = self.waiting && self.leases == 0;
        let dropped = self.closed && !self.gone && self.leases == 0;
        self.waiting &= !told;
        self.gone |= dropped;
        (told, dropped)
    }
}

fn random_event(rng: &mut Rng) -> Event {
    match rng.below(20) {
        0..8 => Event::Acquire { limit: rng.below(6) as u32 },
        8..14 => Event::Release,
        14 => Event::Reap { after: Duration::from_millis(rng.below(30)) },
        15 | 16 => Event::Drain,
        17 | 18 => Event::Undrain,
        _ => Event::Close,
    }
}

#[test]
fn the_pure_machine_agrees_with_the_model() {
    walk("machine", |rng, steps| {
        let (mut state, mut facts) = (State::Idle { since: clock() }, Facts::default());
        facts.idle_since = TIME.get();
        for _ in 0..steps {
            pass_time(rng.below(10));
            let event = random_event(rng);
            let stepped = lifecycle::machine::step(state, event, clock());
            let before = facts;
            assert_eq!(facts.apply(event).err(), stepped.err(), "{event:?} in {state:?}");
            let Ok((new, action)) = stepped else { continue };
            assert_eq!(new, facts.state(), "{event:?} in {state:?}");
            let expected = match facts.due() {
                (_, true) => Action::DropResource,
                (true, false) => Action::TellDrained,
                (false, false) if before.draining && !facts.draining => Action::ForgetDrainers,
                (false, false) => Action::None,
            };
            assert_eq!(action, expected, "{event:?} in {state:?}");
            state = new;
            if facts.gone && rng.below(8) == 0 {
                (state, facts) = (State::Idle { since: clock() }, Facts::default());
                facts.idle_since = TIME.get();
            }
        }
    });
}

// ---- The registry.

const LIMIT: u32 = 5;

/// A resource that notes its drop in the counter of its number.
struct Numbered {
    number: usize,
    dropped: Arc<AtomicUsize>,
}

impl Drop for Numbered {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Relaxed);
    }
}

/// An entry that was made, what is expected of it, and what was seen.
struct Made {
    entry: Arc<Entry<u64, Numbered>>,
    facts: Facts,
    expected_told: usize,
    told: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
    /// Drainers that wait for it: more than one may.
    waiting: usize,
}

impl Made {
    /// Applies `event` to the facts, and what follows from it.
    fn expect(&mut self, event: Event) -> Result<(), Refused> {
        self.facts.apply(event)?;
        if event == Event::Drain {
            self.waiting += 1;
        } else if !self.facts.waiting {
            self.waiting = 0;
        }
        if self.facts.due().0 {
            self.expected_told += self.waiting;
            self.waiting = 0;
        }
        Ok(())
    }

    fn assert_as_expected(&self) {
        assert_eq!(self.entry.state(), self.facts.state());
        assert_eq!(self.told.load(Relaxed), self.expected_told, "told");
        assert_eq!(self.dropped.load(Relaxed), usize::from(self.facts.gone), "dropped");
    }
}

/// A registry, all entries it ever made (the last few keep being watched), and the leases that are out.
struct World {
    registry: Arc<Registry<u64, Numbered>>,
    made: BTreeMap<usize, Made>,
    current: BTreeMap<u64, usize>,
    leases: Vec<Lease<u64, Numbered>>,
    numbers: usize,
}

const KEYS: u64 = 4;

impl World {
    fn new() -> Self {
        let registry = Registry::new("walk", LIMIT, clock);
        let (made, current) = (BTreeMap::new(), BTreeMap::new());
        World { registry, made, current, leases: Vec::new(), numbers: 0 }
    }

    /// The number of the entry that `key` has, closed and done not counted.
    fn current(&self, key: u64) -> Option<usize> {
        self.current.get(&key).copied().filter(|number| !self.made[number].facts.gone)
    }

    /// What a look-up may make.
    fn next(&mut self) -> Numbered {
        self.numbers += 1;
        Numbered { number: self.numbers, dropped: Arc::default() }
    }

    fn note_made(&mut self, entry: &Arc<Entry<u64, Numbered>>, number: usize, dropped: Arc<AtomicUsize>) {
        let facts = Facts { idle_since: TIME.get(), ..Facts::default() };
        let entry = Arc::clone(entry);
        let made = Made { entry, facts, expected_told: 0, told: Arc::default(), dropped, waiting: 0 };
        self.current.insert(*made.entry.key(), number);
        self.made.insert(number, made);
    }

    fn acquire_by_key(&mut self, key: u64) {
        let resource = self.next();
        let (number, dropped) = (resource.number, Arc::clone(&resource.dropped));
        let got = self.registry.acquire(&key, || Ok::<_, Infallible>(resource));
        match (self.current(key), got) {
            (None, Ok(lease)) => {
                assert_eq!(lease.get().number, number, "a new one");
                self.note_made(lease.entry(), number, dropped);
                self.made.get_mut(&number).unwrap().expect(Event::Acquire { limit: LIMIT }).unwrap();
                self.leases.push(lease);
            }
            (Some(current), got) => {
                let expected = self.made.get_mut(&current).unwrap().expect(Event::Acquire { limit: LIMIT });
                match got {
                    Ok(lease) => {
                        assert_eq!((lease.get().number, expected), (current, Ok(())));
                        self.leases.push(lease);
                    }
                    Err(AcquireError::Refused(refused)) => assert_eq!(expected, Err(refused)),
                    Err(AcquireError::Make(never)) => match never {},
                }
            }
            (None, Err(error)) => panic!("a vacant key refused: {error}"),
        }
    }

    /// Any entry that is still watched, an old one as likely as a current one.
    fn any_made(&self, rng: &mut Rng) -> Option<usize> {
        let count = self.made.len() as u64;
        (count > 0).then(|| *self.made.keys().nth(rng.below(count) as usize).unwrap())
    }

    fn acquire_by_entry(&mut self, rng: &mut Rng) {
        let Some(number) = self.any_made(rng) else { return };
        let made = self.made.get_mut(&number).unwrap();
        let got = made.entry.acquire();
        assert_eq!(made.expect(Event::Acquire { limit: LIMIT }).err(), got.as_ref().err().copied());
        self.leases.extend(got);
    }

    fn release(&mut self, rng: &mut Rng) {
        if self.leases.is_empty() {
            return;
        }
        let lease = self.leases.swap_remove(rng.below(self.leases.len() as u64) as usize);
        let number = lease.get().number;
        drop(lease);
        self.made.get_mut(&number).unwrap().expect(Event::Release).unwrap();
    }

    fn drain_or_undrain(&mut self, rng: &mut Rng) {
        let Some(number) = self.any_made(rng) else { return };
        let made = self.made.get_mut(&number).unwrap();
        if rng.below(2) == 0 {
            assert_eq!(made.entry.undrain(), made.expect(Event::Undrain));
            return;
        }
        let told = Arc::clone(&made.told);
        let count = move || {
            told.fetch_add(1, Relaxed);
        };
        match made.entry.drain(count) {
            Ok(()) => made.expect(Event::Drain).unwrap(),
            Err(refused) => {
                assert_eq!((refused, made.waiting), (Refused::NoRoom, limits::DRAINERS_PER_ENTRY));
            }
        }
    }

    fn close(&mut self, rng: &mut Rng) {
        if rng.below(2) == 0 {
            let key = rng.below(KEYS);
            self.registry.close(&key, "walk");
            if let Some(current) = self.current(key) {
                self.made.get_mut(&current).unwrap().expect(Event::Close).unwrap();
            }
        } else if let Some(number) = self.any_made(rng) {
            let made = self.made.get_mut(&number).unwrap();
            made.entry.close("walk");
            made.expect(Event::Close).unwrap();
        }
    }

    fn reap(&mut self, rng: &mut Rng) {
        let after = Duration::from_millis(rng.below(60));
        let reaped = self.registry.reap(after);
        let current: Vec<usize> = (0..KEYS).filter_map(|key| self.current(key)).collect();
        let expected = current.iter().filter(|number| {
            let made = self.made.get_mut(number).unwrap();
            made.expect(Event::Reap { after }).is_ok()
        });
        assert_eq!(reaped, expected.count());
    }

    fn step(&mut self, rng: &mut Rng) {
        pass_time(rng.below(10));
        match rng.below(24) {
            0..7 => self.acquire_by_key(rng.below(KEYS)),
            7 | 8 => self.acquire_by_entry(rng),
            9..17 => self.release(rng),
            17..21 => self.drain_or_undrain(rng),
            21 => self.close(rng),
            _ => self.reap(rng),
        }
    }

    fn check(&mut self) {
        self.made.values().for_each(Made::assert_as_expected);
        let mut states = self.registry.states();
        states.sort_by_key(|(key, _)| *key);
        let current = (0..KEYS).filter_map(|key| Some((key, self.made[&self.current(key)?].facts.state())));
        assert_eq!(states, current.collect::<Vec<_>>());
        // Old ones that are closed and done are watched for a while, then forgotten.
        while self.made.len() > 24 {
            let gone = self.made.iter().find(|(_, made)| made.facts.gone).map(|(number, _)| *number);
            let Some(gone) = gone else { break };
            self.current.retain(|_, number| *number != gone);
            self.made.remove(&gone);
        }
    }
}

#[test]
fn the_registry_agrees_with_the_model() {
    walk("registry", |rng, steps| {
        let mut world = World::new();
        for step in 0..steps {
            world.step(rng);
            if step % 16 == 0 {
                world.check();
            }
        }
        world.leases.clear();
        world.registry.close_all("end");
        assert!(world.registry.is_empty());
    });
}

// ---- The leases of a few cores on a few entries, with the handshake.

#[derive(Clone, Copy)]
enum Message {
    Drain(u64),
    Undrain(u64),
}

/// A core, its queue, and how many requests of each key it has in flight.
#[derive(Default)]
struct Core {
    leases: CoreLeases<u64, u64>,
    queue: Vec<Message>,
    in_flight: [u32; KEYS as usize],
    /// The last word it heard was to drain, and requests were in flight.
    returning: [bool; KEYS as usize],
}

impl Core {
    fn wake(&mut self) {
        for message in std::mem::take(&mut self.queue) {
            match message {
                Message::Drain(key) => {
                    self.leases.drain(&key, clock());
                    self.returning[key as usize] = self.in_flight[key as usize] > 0;
                }
                Message::Undrain(key) => {
                    self.leases.undrain(&key, clock());
                    self.returning[key as usize] = false;
                }
            }
        }
    }

    fn request(&mut self, entry: &Arc<Entry<u64, u64>>, stopped: bool) {
        if self.leases.begin(entry, clock()).is_ok() {
            assert!(!self.returning[*entry.key() as usize], "a drained core let a request in");
            assert!(!stopped, "a request began after all leases were said to be back");
            self.in_flight[*entry.key() as usize] += 1;
        }
    }

    fn end(&mut self, key: u64) {
        if self.in_flight[key as usize] > 0 {
            self.in_flight[key as usize] -= 1;
            self.leases.end(&key, clock());
            self.returning[key as usize] &= self.in_flight[key as usize] > 0;
        }
    }
}

#[test]
fn the_cores_agree_with_the_model() {
    walk("cores", |rng, steps| {
        let registry = Registry::new("walk", 99, clock);
        let entry = |key: u64| registry.entry(&key, || Ok::<_, Infallible>(key)).unwrap();
        let mut cores: [Core; 3] = Default::default();
        let stopped: [Arc<AtomicUsize>; KEYS as usize] = Default::default();
        for _ in 0..steps {
            pass_time(rng.below(20));
            let key = rng.below(KEYS);
            let core = &mut cores[rng.below(3) as usize];
            let stops = &stopped[key as usize];
            match rng.below(32) {
                0..11 => core.request(&entry(key), stops.load(Relaxed) == 1),
                11..26 => core.end(key),
                26 | 27 => core.wake(),
                28 => core.leases.tick(clock()),
                29 if matches!(entry(key).state(), State::Idle { .. } | State::Active(_)) => {
                    let stops = Arc::clone(stops);
                    entry(key).drain(move || stops.store(1, Relaxed)).unwrap();
                    cores.iter_mut().for_each(|core| core.queue.push(Message::Drain(key)));
                }
                _ if rng.below(8) == 0 => {
                    entry(key).undrain().unwrap();
                    stops.store(0, Relaxed);
                    cores.iter_mut().for_each(|core| core.queue.push(Message::Undrain(key)));
                }
                _ => {}
            }
            let in_flight: u32 = cores.iter().map(|core| core.in_flight[key as usize]).sum();
            assert!(stopped[key as usize].load(Relaxed) == 0 || in_flight == 0, "stopped under a request");
            for core in &cores {
                assert_eq!(core.leases.in_flight(&key), core.in_flight[key as usize]);
            }
            let held = cores.iter().filter(|core| core.leases.get(&key).is_some()).count();
            assert_eq!(entry(key).state().leases() as usize, held, "a lost lease");
        }
    });
}
