//! The incident again, on real threads and sockets: list (1 → 0), then 100 routes started at once, while a
//! second actor sweeps; 20,000 times over. GoDoxy v0.9.8 panicked in 19,990 of 20,000.
#![cfg(all(not(loom), target_os = "linux"))]
#![allow(clippy::disallowed_methods)] // tests measure deadlines, and a resource here is a blocking socket

use std::convert::Infallible;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use tidegate::lifecycle::{Lease, Registry, State};

const ROUNDS: usize = 20_000;
const ROUTES: usize = 100;
const THREADS: usize = 8;

// ---- The engine: whatever listens on a Unix socket and answers each byte with a byte.

/// A listener with a thread of its own, one thread per connection.
struct Engine {
    path: PathBuf,
    open: Arc<AtomicUsize>,
    accepted: Arc<AtomicUsize>,
    listener: Option<thread::JoinHandle<()>>,
}

fn engine() -> Engine {
    let path = std::env::temp_dir().join(format!("tidegate-lifecycle-stress-{}.sock", std::process::id()));
    let listener = UnixListener::bind(&path).expect("bind a Unix socket in the temporary directory");
    let (open, accepted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, count) = (Arc::clone(&open), Arc::clone(&accepted));
    let listener = thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("accept");
            let mut first = [0];
            stream.read_exact(&mut first).expect("every client lists first");
            if first == *b"q" {
                return;
            }
            stream.write_all(&first).expect("answer");
            counted.fetch_add(1, SeqCst);
            count.fetch_add(1, SeqCst);
            let open = Arc::clone(&counted);
            thread::spawn(move || {
                serve(stream);
                open.fetch_sub(1, SeqCst);
            });
        }
    });
    Engine { path, open, accepted, listener: Some(listener) }
}

/// Answers until the client closes.
fn serve(mut stream: UnixStream) {
    let mut byte = [0];
    while stream.read_exact(&mut byte).is_ok() {
        if stream.write_all(&byte).is_err() {
            return;
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let quit = UnixStream::connect(&self.path).and_then(|mut stream| stream.write_all(b"q"));
        let ended = self.listener.take().is_some_and(|listener| quit.is_ok() && listener.join().is_ok());
        let _ = std::fs::remove_file(&self.path);
        assert!(ended || thread::panicking(), "the engine did not end");
    }
}

// ---- The client: like an agent it connects on first use, and is shared from then on.

struct Client {
    path: PathBuf,
    stream: OnceLock<UnixStream>,
}

impl Client {
    fn new(path: &Path) -> Result<Self, Infallible> {
        Ok(Client { path: path.to_owned(), stream: OnceLock::new() })
    }

    /// One call and its answer. Calls of several threads on one stream get each other's bytes, all alike.
    fn call(&self) {
        let mut stream = self.stream.get_or_init(|| {
            let mut stream = UnixStream::connect(&self.path).expect("connect");
            stream.write_all(b"l").expect("list");
            let mut answer = [0];
            stream.read_exact(&mut answer).expect("list's answer");
            stream
        });
        stream.write_all(b"c").expect("call");
        let mut answer = [0];
        stream.read_exact(&mut answer).expect("a call's answer");
        assert_eq!(answer, *b"c");
    }
}

// ---- The test.

struct World {
    registry: Arc<Registry<String, Client>>,
    key: String,
    path: PathBuf,
    /// Threads and the main thread meet here before and after each round.
    gate: Barrier,
    panics: AtomicUsize,
}

impl World {
    fn acquire(&self) -> Lease<String, Client> {
        self.registry
            .acquire(&self.key, || Client::new(&self.path))
            .expect("nothing here closes what is used")
    }

    /// A thread's share of the routes of one round. Every second route keeps its lease until the share is
    /// done, the others come and go, so that the count falls to zero and rises again within the round.
    fn start_routes(&self, routes: usize) {
        let mut kept = Vec::with_capacity(routes);
        for route in 0..routes {
            let lease = self.acquire();
            if route == 0 {
                lease.get().call();
            }
            if route % 2 == 0 {
                kept.push(lease);
            }
        }
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc is mounted").count()
}

#[track_caller]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn list_then_100_routes_at_once_20_000_times() {
    let engine = engine();
    let at_start = descriptors();
    let world = Arc::new(World {
        registry: Registry::new("docker client", 1_000, Instant::now),
        key: format!("unix://{}", engine.path.display()),
        path: engine.path.clone(),
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
                    let share = AssertUnwindSafe(|| world.start_routes(routes));
                    world.panics.fetch_add(usize::from(catch_unwind(share).is_err()), SeqCst);
                    world.gate.wait();
                }
            })
        })
        .collect();
    for round in 0..ROUNDS {
        world.acquire().get().call(); // list: 1 → 0
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

    assert_eq!(world.registry.len(), 1);
    assert!(matches!(world.registry.states()[..], [(_, State::Idle { .. })]));
    wait_until("the engine has one client", || engine.open.load(SeqCst) == 1);
    let generations = engine.accepted.load(SeqCst);
    assert!(generations >= ROUNDS, "{generations} connections in {ROUNDS} rounds");
    eprintln!("{generations} generations in {ROUNDS} rounds of {ROUTES} routes");

    world.registry.close_all("end");
    assert!(world.registry.is_empty());
    wait_until("the engine has no client", || engine.open.load(SeqCst) == 0);
    wait_until("the descriptors are those of the start", || descriptors() == at_start);
}
