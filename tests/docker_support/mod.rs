//! What the tests of client and supervisor share: a scripted HTTP server on a Unix socket, and a recorder of
//! reports.
#![allow(clippy::disallowed_methods)] // tests block, and measure deadlines
#![allow(dead_code)] // each test binary uses a part

#[path = "../common/fake.rs"]
pub mod fake;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use tidegate::docker::{
    Clients, Container, EngineState, EngineUrl, Report, Supervisor, SupervisorConfig, Timings, clients,
    supervise,
};

/// Nothing in these tests takes that long.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn url(path: &Path) -> EngineUrl {
    EngineUrl::parse(&format!("unix://{}", path.display())).unwrap()
}

/// What a handler says after it has answered.
pub enum Then {
    Keep,
    Close,
}

/// A server whose answers are written by the test, byte for byte.
pub struct Scripted {
    pub path: PathBuf,
    targets: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
}

impl Scripted {
    /// Serves `handler(target, connection)`, each connection on a thread of its own.
    pub fn start(
        path: PathBuf,
        handler: impl Fn(&str, &mut UnixStream) -> Then + Send + Sync + 'static,
    ) -> Scripted {
        let listener = UnixListener::bind(&path).unwrap();
        let server =
            Scripted { path, targets: Arc::default(), connections: Arc::default(), ended: Arc::default() };
        let (targets, connections) = (Arc::clone(&server.targets), Arc::clone(&server.connections));
        let (ended, handler) = (Arc::clone(&server.ended), Arc::new(handler));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                connections.fetch_add(1, Ordering::SeqCst);
                let (targets, handler) = (Arc::clone(&targets), Arc::clone(&handler));
                std::thread::spawn(move || serve(stream.unwrap(), &targets, &*handler));
            }
        });
        server
    }

    /// The targets asked for so far.
    pub fn targets(&self) -> Vec<String> {
        self.targets.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = UnixStream::connect(&self.path);
    }
}

fn serve(
    stream: UnixStream,
    targets: &Mutex<Vec<String>>,
    handler: &(dyn Fn(&str, &mut UnixStream) -> Then + Send + Sync),
) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let target = head.split(' ').nth(1).unwrap().to_owned();
        targets.lock().unwrap().push(target.clone());
        if let Then::Close = handler(&target, &mut writer) {
            return;
        }
    }
}

/// Writes a whole answer.
pub fn answer(stream: &mut UnixStream, status: &str, headers: &str, body: &str) -> Then {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
    let _ = stream.write_all(text.as_bytes());
    Then::Keep
}

/// Writes one chunk.
pub fn chunk(stream: &mut UnixStream, text: &str) -> std::io::Result<()> {
    stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes())
}

type Timed = (Instant, Report);

/// Reports in their order, with the time each arrived.
#[derive(Clone, Default)]
pub struct Recorder {
    all: Arc<(Mutex<Vec<Timed>>, Condvar)>,
}

impl Recorder {
    /// Not which engine it is: that comes at any time after the connect, and the admin API's tests see it.
    pub fn push(&self, report: Report) {
        if matches!(report, Report::Identity { .. }) {
            return;
        }
        self.all.0.lock().unwrap().push((Instant::now(), report));
        self.all.1.notify_all();
    }

    pub fn len(&self) -> usize {
        self.all.0.lock().unwrap().len()
    }

    /// The first report from number `from` on that `wanted` takes, with its time and the number after it.
    #[track_caller]
    pub fn wait<T>(
        &self,
        what: &str,
        from: usize,
        mut wanted: impl FnMut(&Report) -> Option<T>,
    ) -> (T, Instant, usize) {
        let end = Instant::now() + PATIENCE;
        let mut all = self.all.0.lock().unwrap();
        let mut next = from;
        loop {
            while let Some((at, report)) = all.get(next) {
                next += 1;
                if let Some(found) = wanted(report) {
                    return (found, *at, next);
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain: {what}; reports: {:?}", &all[from.min(all.len())..]);
            all = self.all.1.wait_timeout(all, left).unwrap().0;
        }
    }

    /// Waits for a state; the number after it.
    #[track_caller]
    pub fn state(&self, from: usize, wanted: &EngineState) -> usize {
        let is = |report: &Report| match report {
            Report::State { state, .. } => (state == wanted).then_some(()),
            _ => None,
        };
        self.wait(&format!("state {wanted:?}"), from, is).2
    }

    /// The states from number `from` on.
    pub fn states(&self, from: usize) -> Vec<EngineState> {
        let all = self.all.0.lock().unwrap();
        let state = |(_, report): &Timed| match report {
            Report::State { state, .. } => Some(state.clone()),
            _ => None,
        };
        all[from..].iter().filter_map(state).collect()
    }

    /// Waits for the next full list.
    #[track_caller]
    pub fn synced(&self, from: usize) -> (Vec<Container>, usize) {
        let is = |report: &Report| match report {
            Report::Synced { containers, .. } => Some(containers.clone()),
            _ => None,
        };
        let (containers, _, next) = self.wait("a full list", from, is);
        (containers, next)
    }

    /// Waits for a change that `wanted` takes.
    #[track_caller]
    pub fn changed(&self, from: usize, wanted: impl Fn(&Container) -> bool) -> (Container, Instant, usize) {
        self.wait("a changed container", from, |report| match report {
            Report::Changed { container, .. } if wanted(container) => Some((**container).clone()),
            _ => None,
        })
    }
}

/// A supervisor whose reports are recorded.
pub struct Watched {
    pub supervisor: Option<Supervisor>,
    pub reports: Recorder,
    pub clients: Arc<Clients>,
}

impl Watched {
    pub fn start(path: &Path, change: impl FnOnce(&mut SupervisorConfig)) -> Watched {
        Watched::start_with(path, &clients(), change)
    }

    pub fn start_with(
        path: &Path,
        clients: &Arc<Clients>,
        change: impl FnOnce(&mut SupervisorConfig),
    ) -> Watched {
        let mut config = SupervisorConfig::new("local", url(path));
        change(&mut config);
        let reports = Recorder::default();
        let recorder = reports.clone();
        let supervisor = supervise(config, Arc::clone(clients), move |report| recorder.push(report)).unwrap();
        Watched { supervisor: Some(supervisor), reports, clients: Arc::clone(clients) }
    }

    pub fn stop(&mut self) {
        self.supervisor.take().unwrap().stop();
    }
}

/// Times short enough for tests, with the same proportions.
pub fn short(timings: &mut Timings) {
    timings.call = Duration::from_millis(800);
    timings.ping_every = Duration::from_millis(200);
    timings.ping_late = Duration::from_millis(300);
    timings.retry_refused = Duration::from_millis(200);
    timings.denied_after = Duration::from_millis(300);
    timings.backoff = Duration::from_millis(200);
    timings.reap_after = Duration::from_millis(900);
}

/// Open descriptors of this process.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Threads of this process whose name begins with `docker-`.
pub fn docker_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let name =
        |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    tasks.filter_map(Result::ok).map(name).filter(|name| name.starts_with("docker-")).count()
}

/// Waits for a condition.
#[track_caller]
pub fn until(what: &str, mut ready: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !ready() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Says that a test can't run here; a failure where everything is required.
pub fn skip(test: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {reason}");
    let required = std::env::var("TIDEGATE_REQUIRE_ALL").is_ok_and(|value| value == "1");
    assert!(!required, "{test} was skipped, and TIDEGATE_REQUIRE_ALL=1: {reason}");
}
