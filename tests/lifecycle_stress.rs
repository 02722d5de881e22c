//! The incident again, on real threads and sockets: list (1 → 0), then 100 routes started at once, while a
//! second actor sweeps; 20,000 times over. GoDoxy v0.9.8 panicked in 19,990 of 20,000.
#![cfg(all(not(loom), target_os = "linux"))]
#![allow(clippy::disallowed_methods)] // tests measure deadlines, and a resource here is a blocking socket

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use tidegate::docker::client::Client;
use tidegate::docker::fake::{FakeEngine, Options};
use tidegate::docker::{ClientKey, Clients, EngineUrl};
use tidegate::lifecycle::{Lease, Registry, State};

const ROUNDS: usize = 20_000;
const ROUTES: usize = 100;
const THREADS: usize = 8;
const DEADLINE: Duration = Duration::from_secs(10);

/// One call over the client's own socket, which the first call of a generation opens.
fn call(client: &Client) {
    client.get("/_ping", DEADLINE).expect("the engine answers");
}

// ---- The test.

struct World {
    registry: Arc<Clients>,
    key: ClientKey,
    url: EngineUrl,
    /// Threads and the main thread meet here before and after each round.
    gate: Barrier,
    panics: AtomicUsize,
}

impl World {
    fn acquire(&self) -> Lease<ClientKey, Client> {
        self.registry
            .acquire(&self.key, || Ok::<_, Infallible>(Client::new(&self.url)))
            .expect("nothing here closes what is used")
    }

    /// A thread's share of the routes of one round. Every second route keeps its lease until the share is
    /// done, the others come and go, so that the count falls to zero and rises again within the round.
    fn start_routes(&self, routes: usize, asks: bool) {
        let mut kept = Vec::with_capacity(routes);
        for route in 0..routes {
            let lease = self.acquire();
            if asks && route == 0 {
                call(lease.get());
            }
            if route % 2 == 0 {
                kept.push(lease);
            }
        }
    }
}

fn socket() -> PathBuf {
    std::env::temp_dir().join(format!("tidegate-lifecycle-stress-{}.sock", std::process::id()))
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc is mounted").count()
}

#[track_caller]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn list_then_100_routes_at_once_20_000_times() {
    let socket = socket();
    let engine = FakeEngine::start(Options::new(&socket)).expect("the fake engine starts");
    let url = EngineUrl::Unix(socket);
    let at_start = descriptors();
    let world = Arc::new(World {
        registry: Registry::new("docker client", 1_000, Instant::now),
        key: ClientKey::plain(url.clone()),
        url,
        gate: Barrier::new(THREADS + 1),
        panics: AtomicUsize::new(0),
    });
    let threads: Vec<_> = (0..THREADS)
        .map(|i| {
            let world = Arc::clone(&world);
            let routes = ROUTES / THREADS + usize::from(i < ROUTES % THREADS);
            thread::spawn(move || {
                for _ in 0..ROUNDS {
                    world.gate.wait();
                    // A panic must not keep the others waiting at the gate.
                    let share = AssertUnwindSafe(|| world.start_routes(routes, i == 0));
                    world.panics.fetch_add(usize::from(catch_unwind(share).is_err()), SeqCst);
                    world.gate.wait();
                }
            })
        })
        .collect();
    for round in 0..ROUNDS {
        call(world.acquire().get()); // list: 1 → 0
        world.gate.wait();
        world.registry.reap(Duration::ZERO); // the second actor, in the midst
        world.gate.wait();
        assert_eq!(world.panics.load(SeqCst), 0, "routes panicked in round {round}");
        if round + 1 < ROUNDS {
            world.registry.reap(Duration::ZERO); // the next round begins with a new generation
        }
    }
    for thread in threads {
        thread.join().expect("no panic");
    }

    // The last round's reap may have come after its last route.
    call(world.acquire().get());
    assert_eq!(world.registry.len(), 1);
    assert!(matches!(world.registry.states()[..], [(_, State::Idle { .. })]));
    let connections = engine.stats().connections_total;
    assert!(connections >= ROUNDS as u64, "{connections} connections in {ROUNDS} rounds");
    eprintln!("{connections} connections in {ROUNDS} rounds of {ROUTES} routes");

    world.registry.close_all("end");
    assert!(world.registry.is_empty());
    wait_until("the engine has no client", || engine.stats().connections_open == 0);
    wait_until("the descriptors are those of the start", || descriptors() == at_start);
}
