//! Out of descriptors. Alone in its program: it changes the process's limit.
#![allow(clippy::disallowed_methods)] // tests speak over std's sockets

mod runtime_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use runtime_support::{scaled, start, wait_for};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidegate::runtime::{self, TcpListener};

struct CountWarnings;

static WARNINGS: AtomicUsize = AtomicUsize::new(0);

impl log::Log for CountWarnings {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let text = record.args().to_string();
        WARNINGS
            .fetch_add(usize::from(text.starts_with("cannot accept connections for now")), Ordering::Relaxed);
    }

    fn flush(&self) {}
}

#[test]
fn accept_backs_off_without_descriptors_and_recovers() {
    log::set_logger(&CountWarnings).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    assert_eq!(runtime::raise_nofile().unwrap(), getrlimit(Resource::Nofile).current);

    let std = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = std.local_addr().unwrap();
    let std = std::sync::Mutex::new(Some(std));
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = accepted.clone();
    // Nothing is accepted before the clients have all descriptors: else both ends share them and none lacks one.
    let clients_are_in = Arc::new(AtomicBool::new(false));
    let may_accept = clients_are_in.clone();
    let cores = start(1, move |_| {
        let listener = TcpListener::from_std(std.lock().unwrap().take().unwrap()).unwrap();
        let mut kept = Vec::new();
        while !may_accept.load(Ordering::Relaxed) {
            runtime::sleep_until(runtime::now() + Duration::from_millis(5)).unwrap();
        }
        while let Ok(connection) = listener.accept(None) {
            kept.push(connection);
            counter.store(kept.len(), Ordering::Relaxed);
        }
    });
    // Twenty more descriptors: the clients' ends go first, the server's ends run out.
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let full = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(open + 20), maximum: full.maximum }).unwrap();
    let mut clients = Vec::new();
    while let Ok(client) = std::net::TcpStream::connect(addr) {
        clients.push(client);
    }
    assert!(!clients.is_empty());
    clients_are_in.store(true, Ordering::Relaxed);
    wait_for("the first warning", || WARNINGS.load(Ordering::Relaxed) > 0);
    assert!(accepted.load(Ordering::Relaxed) < clients.len(), "descriptors did not run out");

    let (start, busy) = (Instant::now(), cpu_time());
    while start.elapsed() < Duration::from_millis(1500) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let burnt = cpu_time() - busy;
    assert!(burnt < scaled(Duration::from_millis(150)), "{burnt:?} of CPU in 1.5 s: it spins");
    let warnings = WARNINGS.load(Ordering::Relaxed);
    assert!((1..=4).contains(&warnings), "{warnings} warnings in some 1.5 s");

    setrlimit(Resource::Nofile, full).unwrap();
    wait_for("every connection", || accepted.load(Ordering::Relaxed) == clients.len());
    cores.shutdown();
    cores.join().unwrap();
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
