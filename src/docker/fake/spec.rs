//! What the fake engine is told: options, containers, faults; and what it tells: views and counts.

use super::page::Page;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

/// A container's full id: 64 hex digits.
pub type Id = String;

/// How the engine behaves. `Options::new(socket)` is a Docker 20.10.24 in its default configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// Path of the Unix socket (at most 107 bytes); its directory must exist.
    pub socket: PathBuf,
    /// `ServerVersion` of `/info`.
    pub server_version: String,
    /// The newest API version that is taken, and that `/_ping` announces.
    pub api_version: String,
    /// The oldest API version that is taken.
    pub min_api_version: String,
    /// `LiveRestoreEnabled` of `/info`. What a restart does is told to `start_engine`.
    pub live_restore: bool,
    /// Which /20 of 127.0.0.0/8 the containers' addresses come from; if it is taken by another fake engine
    /// of this machine, the next free one. None: any free one.
    pub subnet_seed: Option<u64>,
    /// From the `die` event to the release of the address (Docker 20.10: some 50 ms).
    pub release_after: Duration,
    /// From the 200 of `/events` to the subscription: events in between are seen only with `since`.
    pub subscribe_after: Duration,
    /// The times of `Restart::Default`.
    pub restart_delays: RestartDelays,
}

impl Options {
    /// Docker 20.10.24 (API 1.41) at `socket`.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Options {
            socket: socket.into(),
            server_version: "20.10.24".into(),
            api_version: "1.41".into(),
            min_api_version: "1.12".into(),
            live_restore: false,
            subnet_seed: None,
            release_after: Duration::from_millis(50),
            subscribe_after: Duration::from_millis(1),
            restart_delays: RestartDelays::default(),
        }
    }
}

/// Times of an engine's start without live-restore, each counted from the moment its socket listens. The
/// defaults are Docker 20.10's with six containers, three times as fast.
#[derive(Clone, Copy, Debug)]
pub struct RestartDelays {
    /// The containers that outlived the old engine are killed.
    pub kill: Duration,
    /// They are started again, with their addresses in reversed order.
    pub start: Duration,
    /// The API answers.
    pub answer: Duration,
}

impl Default for RestartDelays {
    fn default() -> Self {
        let ms = Duration::from_millis;
        RestartDelays { kill: ms(40), start: ms(200), answer: ms(650) }
    }
}

/// How an engine comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// As with `--live-restore`: the containers and their addresses are what they were.
    LiveRestore,
    /// As Docker does by default (`RestartDelays`): kills what runs, starts what has a restart policy.
    Default,
}

/// `HostConfig.RestartPolicy.Name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    No,
    Always,
    UnlessStopped,
}

impl RestartPolicy {
    /// The name in Docker's JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            RestartPolicy::No => "no",
            RestartPolicy::Always => "always",
            RestartPolicy::UnlessStopped => "unless-stopped",
        }
    }
}

/// A container to create, as `docker create` is told.
#[derive(Clone, Debug)]
pub struct Spec {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) exposed: Vec<String>,
    pub(super) published: Vec<(u16, u16)>,
    pub(super) mounts: Vec<String>,
    pub(super) network: String,
    pub(super) policy: RestartPolicy,
    pub(super) page: Option<Page>,
    pub(super) port: Option<u16>,
    pub(super) listen_after: Duration,
}

impl Spec {
    /// A container of image `tidegate/<name>` on the network `bridge` with restart policy `always` (Docker's
    /// own default is `no`), without labels, ports or a page.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Spec {
            image: format!("tidegate/{name}:latest"),
            name,
            labels: BTreeMap::new(),
            exposed: Vec::new(),
            published: Vec::new(),
            mounts: Vec::new(),
            network: "bridge".into(),
            policy: RestartPolicy::Always,
            page: None,
            port: None,
            listen_after: Duration::ZERO,
        }
    }

    /// `Config.Image`.
    pub fn image(mut self, image: impl Into<String>) -> Self {
        self.image = image.into();
        self
    }

    /// Adds a label.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Exposes a port that nothing listens on, as in a Dockerfile: `80/tcp`, `53/udp`.
    pub fn expose(mut self, port: impl Into<String>) -> Self {
        self.exposed.push(port.into());
        self
    }

    /// Publishes `private` as `public` in the JSON only: nothing listens there.
    pub fn publish(mut self, private: u16, public: u16) -> Self {
        self.published.push((private, public));
        self
    }

    /// Adds a mount with this destination.
    pub fn mount(mut self, destination: impl Into<String>) -> Self {
        self.mounts.push(destination.into());
        self
    }

    /// Its only network; `host` makes it a container without an address of its own, whose page listens on
    /// 127.0.0.1.
    pub fn network(mut self, name: impl Into<String>) -> Self {
        self.network = name.into();
        self
    }

    /// Its restart policy.
    pub fn policy(mut self, policy: RestartPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Serves `page` on its port while it runs, and exposes that port.
    pub fn page(mut self, page: Page) -> Self {
        self.page = Some(page);
        self
    }

    /// The page's port. By default all containers of an engine share one that is free on this machine, so
    /// that a connect to an address which changed hands reaches the new occupant.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// The page listens this long after the start, as an application that takes its time.
    pub fn listen_after(mut self, time: Duration) -> Self {
        self.listen_after = time;
        self
    }
}

/// A container as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub id: Id,
    pub name: String,
    pub image: String,
    pub labels: BTreeMap<String, String>,
    /// None while it doesn't run, and on the host network.
    pub ip: Option<Ipv4Addr>,
    /// The port of its page (or the engine's common one, if it has none).
    pub port: u16,
    /// Nanoseconds since the Unix epoch; none if it never ran.
    pub started_at: Option<i64>,
    /// Runs, and is not paused.
    pub running: bool,
    pub paused: bool,
}

/// Why a container could not be started, stopped, removed: what Docker's API would answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// 304, 404, 409 or 500.
    pub status: u16,
    /// Docker's words.
    pub message: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.status, self.message)
    }
}

impl std::error::Error for Refused {}

/// A kind of API call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    Ping,
    Version,
    Info,
    List,
    Inspect,
    Events,
    Start,
    Stop,
    Kill,
    Restart,
    Remove,
    /// What the fake doesn't know.
    Other,
}

/// Counts since the engine object was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections to the API that are open.
    pub connections_open: usize,
    /// Connections to the API that were ever accepted.
    pub connections_total: u64,
    /// Calls by kind, failed ones too.
    pub calls: BTreeMap<Call, u64>,
    /// Event streams with a subscription.
    pub event_streams: usize,
    /// Connections to pages that are open.
    pub page_connections_open: usize,
    /// Requests answered by pages.
    pub page_requests: u64,
}

impl Stats {
    /// Calls of one kind.
    pub fn calls_of(&self, call: Call) -> u64 {
        self.calls.get(&call).copied().unwrap_or(0)
    }
}
