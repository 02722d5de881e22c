//! Steady traffic over several hosts, each answer judged: who should have answered, and who did.

use super::http::{self, Failure};
use super::room::Room;
use super::tidegate::host;
use super::wait::{self, wall};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Workers; each has one request in flight at most.
const WORKERS: u64 = 8;
/// Requests a second, all workers together.
const RATE: u64 = 80;
/// The next request's id, over all traffic of a test.
static NEXT: AtomicU64 = AtomicU64::new(0);
/// One traffic ends by itself after this.
const LIMIT: Duration = Duration::from_secs(240);

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The right app answered.
    Right,
    /// Another app answered: the worst that a proxy can do.
    Wrong(String),
    /// The proxy answered itself.
    Status(u16),
    /// No whole answer.
    Failed(Failure),
}

/// One request.
#[derive(Clone, Debug)]
pub struct Sample {
    pub id: u64,
    pub app: String,
    pub method: &'static str,
    /// Begin and end, nanoseconds since the Unix epoch.
    pub from: u128,
    pub to: u128,
    pub outcome: Outcome,
}

/// Running traffic.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<Vec<Sample>>>,
}

/// All that was asked and answered.
pub struct Tally {
    pub samples: Vec<Sample>,
}

impl Traffic {
    /// Begins to ask the proxy at `addr` for `apps` in turn. `path` is asked; `?id=N` comes behind it, so
    /// that an app can tell which heads it has seen.
    pub fn start(addr: SocketAddr, apps: &[&str], path: &str) -> Traffic {
        Traffic::begin(addr, apps, path, "GET")
    }

    /// The same with `POST`, which nobody may send twice.
    pub fn post(addr: SocketAddr, apps: &[&str], path: &str) -> Traffic {
        Traffic::begin(addr, apps, path, "POST")
    }

    fn begin(addr: SocketAddr, apps: &[&str], path: &str, method: &'static str) -> Traffic {
        let stop = Arc::new(AtomicBool::new(false));
        let apps: Arc<[String]> = apps.iter().map(ToString::to_string).collect();
        let join = if path.contains('?') { '&' } else { '?' };
        let worker = |number: u64| {
            let (stop, apps, path) = (stop.clone(), apps.clone(), path.to_string());
            std::thread::spawn(move || {
                let begin = Instant::now();
                let every = Duration::from_micros(1_000_000 * WORKERS / RATE);
                let mut due = begin + every * number as u32 / WORKERS as u32;
                let mut samples = Vec::new();
                while !stop.load(Ordering::Relaxed) && begin.elapsed() < LIMIT {
                    wait::pass(due.saturating_duration_since(Instant::now()));
                    due = Instant::now().max(due + every);
                    let id = NEXT.fetch_add(1, Ordering::Relaxed);
                    let app = &apps[id as usize % apps.len()];
                    samples.push(ask(addr, id, app, method, &format!("{path}{join}id={id}")));
                }
                samples
            })
        };
        let workers = (0..WORKERS).map(worker).collect();
        Traffic { stop, workers }
    }

    /// Lets what is in flight end.
    pub fn stop(mut self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let workers = std::mem::take(&mut self.workers);
        let mut samples: Vec<Sample> =
            workers.into_iter().flat_map(|w| w.join().expect("a worker")).collect();
        samples.sort_by_key(|sample| sample.from);
        Tally { samples }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn ask(addr: SocketAddr, id: u64, app: &str, method: &'static str, path: &str) -> Sample {
    let from = wall();
    let body = if method == "POST" { "Content-Length: 4\r\n\r\nping" } else { "\r\n" };
    let host = host(app);
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{body}");
    let outcome = match http::exchange(addr, request.as_bytes()) {
        Ok(response) => match (response.status, response.app()) {
            (200, Some(name)) if name == app && response.text().starts_with(app) => Outcome::Right,
            (_, Some(name)) => Outcome::Wrong(name.to_string()),
            (status, None) => Outcome::Status(status),
        },
        Err(failure) => Outcome::Failed(failure),
    };
    Sample { id, app: app.to_string(), method, from, to: wall(), outcome }
}

impl Tally {
    /// The requests that ended like this.
    pub fn count(&self, matches: impl Fn(&Outcome) -> bool) -> usize {
        self.samples.iter().filter(|sample| matches(&sample.outcome)).count()
    }

    /// The first right answer for `app` to a request that ended after `time`.
    pub fn first_right_after(&self, app: &str, time: u128) -> Option<u128> {
        let right =
            self.samples.iter().filter(|s| s.app == app && s.outcome == Outcome::Right && s.to >= time);
        right.map(|sample| sample.to).min()
    }

    /// Panics unless each request for `apps` that began and ended within one of `times` was right; gives how
    /// many there were.
    #[track_caller]
    pub fn assert_right_within(&self, apps: &[&str], times: &[(u128, u128)]) -> usize {
        let within = |s: &&Sample| times.iter().any(|(from, to)| s.from >= *from && s.to <= *to);
        let calm = self.samples.iter().filter(|s| apps.contains(&s.app.as_str())).filter(within);
        let bad: Vec<_> = calm.clone().filter(|s| s.outcome != Outcome::Right).take(10).collect();
        assert!(bad.is_empty(), "not right while all was well: {bad:#?}");
        calm.count()
    }

    /// Panics if an app has seen the head of one `POST` twice, or another's.
    #[track_caller]
    pub fn assert_no_post_twice(&self, room: &Room) {
        let apps: std::collections::BTreeSet<&str> = self.samples.iter().map(|s| s.app.as_str()).collect();
        let mut seen: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
        for app in apps {
            room.heads(app).into_iter().for_each(|id| seen.entry(id).or_default().push(app));
        }
        for sample in self.samples.iter().filter(|sample| sample.method == "POST") {
            let by = seen.get(&sample.id).cloned().unwrap_or_default();
            assert!(by.is_empty() || by == [sample.app.as_str()], "{sample:?} was seen by {by:?}");
        }
    }

    /// Panics unless each answer was right.
    #[track_caller]
    pub fn assert_all_right(&self) {
        let bad: Vec<_> = self.samples.iter().filter(|s| s.outcome != Outcome::Right).take(10).collect();
        assert!(bad.is_empty(), "{self}: {bad:#?}");
        assert!(!self.samples.is_empty(), "no traffic");
    }

    /// Panics if an answer was wrong, or if a request was lost for another reason than that its container
    /// was killed under it: its head had come there (the app says so), or it was in flight when its
    /// container died (`deaths`: app and time). Gives the number of the lost.
    #[track_caller]
    pub fn assert_right_or_waiting(&self, room: &Room, deaths: &[(String, u128)]) -> usize {
        let mut lost = 0;
        for sample in &self.samples {
            let excusable = match &sample.outcome {
                Outcome::Right | Outcome::Status(503) => continue,
                Outcome::Status(502) | Outcome::Failed(Failure::Cut { .. }) => true,
                _ => false,
            };
            let reached = room.heads(&sample.app).contains(&sample.id);
            // A `die` is recorded some milliseconds after the death.
            let until = sample.to + Duration::from_millis(500).as_nanos();
            let died = |(app, at): &(String, u128)| *app == sample.app && (sample.from..until).contains(at);
            assert!(
                excusable && (reached || deaths.iter().any(died)),
                "{self}: {sample:?}, reached: {reached}"
            );
            lost += 1;
        }
        assert!(self.count(|o| *o == Outcome::Right) > 0, "{self}: nothing was right");
        lost
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for sample in &self.samples {
            let kind = match &sample.outcome {
                Outcome::Right => "right".to_string(),
                Outcome::Wrong(_) => "wrong".to_string(),
                Outcome::Status(status) => status.to_string(),
                Outcome::Failed(Failure::Cut { .. }) => "cut".to_string(),
                Outcome::Failed(Failure::Late) => "late".to_string(),
                Outcome::Failed(Failure::Refused(_)) => "refused".to_string(),
            };
            *kinds.entry(kind).or_default() += 1;
        }
        write!(f, "{} requests", self.samples.len())?;
        kinds.iter().try_for_each(|(kind, count)| write!(f, ", {count} {kind}"))
    }
}
