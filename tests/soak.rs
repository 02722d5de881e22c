//! Mixed load with faults at random, for `TIDEGATE_SOAK_SECONDS` (8 by default). Every answer is judged, and at the end
//! three witnesses are held against each other: clients, backends, and what Tidegate counted and logged. Nothing may be
//! left behind. `TIDEGATE_SOAK_SEED` walks a run's clients again.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;
mod reload_support;
mod soak_support;
mod tls_support;

use common::fake::Dir;
use reload_support::{EndGuard, Served, replace};
use rustix::process::{Signal, kill_process};
use soak_support::backend;
use soak_support::clients::{Client, World};
use soak_support::ledger::Ledger;
use std::fs::{self, File};
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tls_support::{Authority, trusting};

const HEADER_TIMEOUT: Duration = Duration::from_secs(3);
/// Clients of each kind.
const SESSIONS: u64 = 8;
const TUNNELS: u64 = 6;
/// The access log is put aside beyond this.
const LOG_BYTES: u64 = 64 * 1024 * 1024;
/// What may stay behind: what the allocator keeps, and stacks that a core has not given back yet.
const RSS_GROWTH_KB: usize = 12 * 1024;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

#[test]
fn mixed_load_with_faults_gives_no_wrong_answer_and_leaves_nothing_behind() {
    let seconds = number("TIDEGATE_SOAK_SECONDS").unwrap_or(8);
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = number("TIDEGATE_SOAK_SEED").unwrap_or(since_1970.as_nanos() as u64 % 1_000_000_000);
    println!("MEASURED: soak of {seconds} s, TIDEGATE_SOAK_SEED={seed}");
    let run = Run::start();
    // What stays for good is set up by a first part; then all must be as behind it.
    let first = Duration::from_secs(seconds).div_f64(4.0).min(Duration::from_secs(20));
    let logged = AtomicBool::new(false);
    let (before, after) = std::thread::scope(|scope| {
        let _ended = EndGuard(&logged);
        scope.spawn(|| run.follow_log(&logged));
        run.load(seed, 0, first);
        let before = run.rest();
        run.load(seed, 1, Duration::from_secs(seconds) - first);
        (before, run.rest())
    });
    let ledger = &run.ledger;
    let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let left = ledger.close();
    println!(
        "MEASURED: {} requests, {} answered, {} lines, {left} never asked; {} connections, {} reloads; before and \
         after: {before:?} {after:?}",
        get(&ledger.requests),
        get(&ledger.answers),
        get(&ledger.lines),
        get(&ledger.connects),
        run.served.count("eloaded (")
    );
    run.adds_up();
    let failures = ledger.failures();
    assert!(failures.is_empty(), "TIDEGATE_SOAK_SEED={seed}: {failures:#?}");
    assert!(after.descriptors <= before.descriptors + 2, "seed {seed}: descriptors {before:?} {after:?}");
    assert!(after.coroutines <= before.coroutines, "seed {seed}: coroutines {before:?} {after:?}");
    assert!(after.rss_kb <= before.rss_kb + RSS_GROWTH_KB, "seed {seed}: memory {before:?} {after:?}");
}

/// What is held while nobody asks.
#[derive(Debug)]
struct Rest {
    descriptors: usize,
    coroutines: f64,
    rss_kb: usize,
}

struct Run {
    served: Served,
    dir: Dir,
    ledger: Arc<Ledger>,
    authority: Authority,
    backends: Vec<(&'static str, SocketAddr)>,
    /// Where nobody listens: the port is taken.
    down: SocketAddr,
    _down: std::os::fd::OwnedFd,
}

impl Run {
    fn start() -> Run {
        let (dir, ledger, authority) = (Dir::new(), Arc::<Ledger>::default(), Authority::new());
        let backends = ["a", "b", "moving", "moving", "fickle", "flap", "hung"];
        let backends = backends.map(|route| (route, backend::start(route, &ledger))).to_vec();
        let main = format!(
            "entrypoint:\n  http_addr: 127.0.0.1:0\n  https_addr: 127.0.0.1:0\n  timeouts: {{header: {}s}}\n  \
             access_log: {{path: access.log, format: json}}\nworkers: 2\nrecreate_wait: 100ms\n\
             tls: {{cert_path: app.crt, key_path: app.key}}\nproviders: {{docker: {{}}, include: [routes.yml]}}\n",
            HEADER_TIMEOUT.as_secs()
        );
        fs::write(dir.0.join("c.yml"), main).unwrap();
        fs::write(dir.0.join("routes.yml"), "").unwrap();
        new_certificate(&dir.0, &authority);
        let served = Served::start_with(&dir.0, "c.yml", |command| {
            command.env("TIDEGATE_ADMIN_ADDR", "127.0.0.1:0");
        });
        let (_down, down) = taken();
        Run { served, dir, ledger, authority, backends, down, _down }
    }

    /// Asks for a while; all threads of clients have ended then.
    fn load(&self, seed: u64, part: u64, length: Duration) {
        self.routes(0);
        self.served.reload();
        let world = World {
            http: self.served.addr,
            https: self.served.https(),
            tls: Arc::new(trusting(&self.authority, rustls::DEFAULT_VERSIONS)),
            ledger: Arc::clone(&self.ledger),
            ending: AtomicBool::new(false),
            header_timeout: HEADER_TIMEOUT,
        };
        std::thread::scope(|scope| {
            let _ended = EndGuard(&world.ending);
            let client = |kind: u64| Client::new(&world, seed, part * 1_000 + kind);
            for number in 0..SESSIONS {
                let client = client(number);
                scope.spawn(move || client.run());
            }
            for number in 0..TUNNELS {
                let client = client(100 + number);
                scope.spawn(move || client.tunnel());
            }
            let client = client(200);
            scope.spawn(move || client.half_open());
            scope.spawn(|| self.reload_every_second(&world));
            let end = Instant::now() + length;
            while Instant::now() < end && world.goes_on() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
    }

    /// Takes all routes away and waits until nothing is under way or kept; gives what is held then.
    fn rest(&self) -> Rest {
        replace(&self.dir.0.join("routes.yml"), "");
        self.served.reload();
        let metrics = || self.served.metrics();
        let gauges = ["connections_open", "tunnels", "gate_waiting", "upstream_idle_connections", "routes"];
        let end = Instant::now() + common::DEADLINE * 2;
        let busy = || {
            let metrics = metrics();
            let busy = gauges.iter().filter(|name| metrics[&format!("tidegate_{name}")] != 0.0);
            (busy.copied().collect::<Vec<_>>(), self.ledger.waiting())
        };
        while busy() != (vec![], 0) && !self.ledger.has_failed() {
            if Instant::now() > end {
                self.ledger.fail(format!("it does not come to rest: {:?}", busy()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        // What is given back by a core's tick, or the allocator's leisure, has its time.
        let mut held = Vec::new();
        while held.len() < 40 {
            held.push((self.served.descriptors(), metrics()["tidegate_coroutines"], self.served.rss_kb()));
            std::thread::sleep(Duration::from_millis(50));
        }
        let least = held.iter().copied().reduce(|a, b| (a.0.min(b.0), a.1.min(b.1), a.2.min(b.2)));
        let (descriptors, coroutines, rss_kb) = least.unwrap_or_default();
        Rest { descriptors, coroutines, rss_kb }
    }

    /// Tidegate's counts against those of its lines and its clients.
    fn adds_up(&self) {
        let (ledger, metrics) = (&self.ledger, self.served.metrics());
        let wrong = |what: &str, counted: f64, wanted: u64| {
            if counted != wanted as f64 {
                ledger.fail(format!("{what}: Tidegate counts {counted}, others {wanted}"));
            }
        };
        let mut lines = ledger.counts();
        let requests = metrics.iter().filter_map(|(name, count)| {
            let rest = name.strip_prefix("tidegate_requests_total{route=\"")?;
            let (route, class) = rest.split_once("\",class=\"")?;
            Some((route, class.strip_suffix("\"}")?, *count))
        });
        let mut sum = 0.0;
        for (route, class, count) in requests {
            let key = lines.keys().find(|(of, known)| of == route && *known == class).cloned();
            let wanted = key.and_then(|key| lines.remove(&key)).unwrap_or(0);
            wrong(&format!("requests of {route:?} {class}"), count, wanted);
            sum += count;
        }
        let of = |name: &str| metrics.get(&format!("tidegate_{name}")).copied().unwrap_or(f64::NAN);
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        wrong("classes that nobody counts", lines.len() as f64, 0);
        wrong("requests", sum, get(&ledger.lines));
        let timed =
            metrics.iter().filter(|(name, _)| name.starts_with("tidegate_request_duration_seconds_count"));
        wrong("durations", timed.map(|(_, count)| count).sum(), get(&ledger.lines));
        wrong("bytes received", of("received_bytes_total"), get(&ledger.received));
        wrong("connections", of("connections_accepted_total"), get(&ledger.connects));
        wrong("tunnels", of("tunnels_total"), get(&ledger.tunnels));
        let through = |way: &str| of(&format!("tunnel_bytes_total{{direction=\"{way}\"}}"));
        wrong("bytes into tunnels", through("received"), get(&ledger.tunnel_sent));
        wrong("bytes out of tunnels", through("sent"), get(&ledger.tunnel_read));
        for zero in ["panics_total", "log_lines_dropped_total"] {
            wrong(zero, of(zero), 0);
        }
        let lost =
            metrics.iter().filter(|(name, _)| name.contains("lost_total") || name.contains("refused_total"));
        wrong("lost or refused", lost.map(|(_, count)| count).sum(), 0);
        let (failed, left) = (of("tls_handshakes_failed_total"), get(&ledger.left_in_tls));
        if failed > left as f64 {
            ledger.fail(format!("{failed} handshakes failed, but {left} clients left"));
        }
        if of("sent_bytes_total") < get(&ledger.read) as f64 {
            ledger.fail(format!(
                "clients have read {}, of {} sent",
                get(&ledger.read),
                of("sent_bytes_total")
            ));
        }
    }

    /// Routes as in a round: some lead elsewhere each time.
    fn routes(&self, round: usize) {
        let at = |route: &str, nth: usize| {
            self.backends.iter().filter(|(name, _)| *name == route).nth(nth).map(|(_, addr)| *addr).unwrap()
        };
        let flap = if round.is_multiple_of(2) { at("flap", 0) } else { self.down };
        let all = [
            ("a", at("a", 0)),
            ("b", at("b", 0)),
            ("moving", at("moving", round % 2)),
            ("fickle", at("fickle", 0)),
            ("flap", flap),
            ("down", self.down),
        ];
        let hung = format!(
            "hung: {{host: 127.0.0.1, port: {}, response_header_timeout: 1s}}\n",
            at("hung", 0).port()
        );
        replace(&self.dir.0.join("routes.yml"), &(reload_support::routes(&all) + &hung));
    }

    fn reload_every_second(&self, world: &World) {
        for round in 1.. {
            let next = Instant::now() + Duration::from_secs(1);
            while Instant::now() < next {
                if !world.goes_on() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            match round % 4 {
                0 => replace(&self.dir.0.join("routes.yml"), "a: {port: none}\n"),
                2 => new_certificate(&self.dir.0, &self.authority),
                _ => self.routes(round / 2),
            }
            self.served.hang_up();
        }
    }

    /// Reads the access log as it grows, and puts it aside when it is long.
    fn follow_log(&self, ended: &AtomicBool) {
        let path = self.dir.0.join("access.log");
        let (mut tail, mut read) = (Vec::new(), 0);
        let Some(mut file) = open(&path) else { return self.ledger.fail("no access log".into()) };
        while !ended.load(Ordering::Relaxed) {
            read += self.lines(&mut file, &mut tail);
            if read > LOG_BYTES {
                let old = path.with_extension("old");
                fs::rename(&path, &old).unwrap();
                kill_process(self.served.pid(), Signal::USR1).unwrap();
                let Some(new) = open(&path) else { return self.ledger.fail("no new access log".into()) };
                self.lines(&mut file, &mut tail);
                fs::remove_file(old).unwrap();
                (file, read) = (new, 0);
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    fn lines(&self, file: &mut File, tail: &mut Vec<u8>) -> u64 {
        let read = file.read_to_end(tail).unwrap() as u64;
        let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let rest = tail.split_off(whole);
        let text = String::from_utf8_lossy(tail).into_owned();
        text.lines().for_each(|line| self.ledger.line(line));
        *tail = rest;
        read
    }
}

fn open(path: &Path) -> Option<File> {
    let end = Instant::now() + common::DEADLINE;
    loop {
        match File::open(path) {
            Ok(file) => return Some(file),
            Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
            Err(_) => return None,
        }
    }
}

/// A certificate for the names of all routes, and its key, in the place of the last.
fn new_certificate(dir: &Path, authority: &Authority) {
    let (cert, key) = authority.issue(&["*.soak.test"]);
    replace(&dir.join("app.key"), &key);
    replace(&dir.join("app.crt"), &cert);
}

/// An address where connections are refused for as long as the socket is held.
fn taken() -> (std::os::fd::OwnedFd, SocketAddr) {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
    let held = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&held, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let addr = getsockname(&held).unwrap().try_into().unwrap();
    (held, addr)
}
