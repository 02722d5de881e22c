//! Build, run, drain: wires everything below.
//!
//! ```text
//!   build: descriptors → listeners → cores → control → one supervisor per engine
//!   run:   until SIGTERM, SIGINT, or an engine's socket is gone for good (`on_stale_socket: exit`)
//!          (a second signal ends it at once)
//!   drain: listeners close, requests in flight finish (at most `timeout_shutdown`), supervisors, control, cores end
//! ```

mod admin;
mod certs;
mod engines;
mod inherited;
mod listeners;
mod notify;
mod observe;
mod signals;

pub use observe::Observed;
pub use signals::End;

use crate::admin::Admin;
use crate::config::{Config, Loaded};
use crate::control::{Control, EngineSetup, World, WorldSetup};
use crate::docker::{self, Backlog};
use crate::error::Problem;
use crate::lifecycle::Registry;
use crate::limits::{
    CONNECTIONS, DESCRIPTORS_PER_CONNECTION, DESCRIPTORS_RESERVED, ENDPOINT_LEASES, SOFT_DESCRIPTORS,
};
use crate::net::tls::CertStore;
use crate::proxy::{self, Shared};
use crate::runtime::{self, Cores};
use crate::snapshot::Publisher;
use crate::util::Locked;
use crate::util::rng::Rng;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A running Tidegate.
pub struct App {
    cores: Cores,
    control: Control,
    engines: engines::Engines,
    observed: Arc<Observed>,
    admin: Option<Admin>,
    addrs: Vec<SocketAddr>,
    https_addrs: Vec<SocketAddr>,
    certs: certs::Watched,
    ends: Receiver<End>,
    ender: Sender<End>,
    timeout_shutdown: Duration,
}

/// Why it could not start.
#[derive(Debug)]
pub enum StartError {
    /// Something in the configuration can't be had; exit code 64 is for those who wrote it.
    Problem(Problem),
    /// The system refused a thread, a descriptor or memory.
    Io(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Problem(problem) => write!(f, "{problem}"),
            StartError::Io(error) => write!(f, "{error}"),
        }
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        StartError::Io(error)
    }
}

impl App {
    /// Binds the listeners and starts all threads. Serves from then on.
    ///
    /// # Errors
    /// A listener that can't be had, with its place; threads or descriptors that the system refuses.
    pub fn start(config: Config) -> Result<App, StartError> {
        App::start_loaded(Loaded { config, files: Vec::new(), warnings: Vec::new() })
    }

    /// The same for a configuration from files; its warnings are among the problems that `/api/problems` lists.
    ///
    /// # Errors
    /// See [`App::start`].
    pub fn start_loaded(loaded: Loaded) -> Result<App, StartError> {
        let Loaded { config, files, warnings: mut standing } = loaded;
        let certs = certs::Watched::start(&config)?;
        let connections = connection_cap();
        let workers = config.workers.unwrap_or_else(cores_here);
        let bound = listeners::bind(&config, workers)?;
        let (addrs, https_addrs) = (bound.addrs.clone(), bound.https.clone());
        let (admin_listener, problem) = admin::bind(&config);
        standing.extend(problem);
        let admin_addr = admin_listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let seed = seed();
        let backlogs: Vec<Arc<Backlog>> = config.engines.iter().map(|_| Backlog::new()).collect();
        let mut world = new_world(&config, &backlogs, standing, files);
        let publisher = Publisher::new(world.snapshot(now()));
        let instance = format!("tidegate-{seed:08x}");
        let observed = Observed::start(&config, workers, &publisher)?;
        let shared = Shared::new(proxy::Setup {
            publisher: Arc::clone(&publisher),
            instance,
            own_listeners: addrs.iter().chain(&https_addrs).copied().chain(admin_addr).collect(),
            https_port: https_addrs.first().map(SocketAddr::port),
            certs: certs.store(),
            seed,
            cap: connections,
            observers: observed.observers(),
        });
        let cores = start_cores(workers, shared, bound.per_core)?;
        let handles = cores.handles().to_vec();
        let control = Control::start(world, publisher, move || proxy::announce(&handles))?;
        for addr in &addrs {
            log::info!("listening on http://{addr}");
        }
        for addr in &https_addrs {
            log::info!("listening on https://{addr}");
        }
        let (ender, ends) = bounded(4);
        let engines = engines::start(&config, &backlogs, &control.mailbox(), &ender, &observed)?;
        let admin = admin::start(admin_listener, cores.handles().first(), control.mailbox(), &observed);
        let timeout_shutdown = config.timeout_shutdown;
        Ok(App {
            cores,
            control,
            engines,
            observed,
            admin,
            addrs,
            https_addrs,
            certs,
            ends,
            ender,
            timeout_shutdown,
        })
    }

    /// The addresses that it listens on.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// What can be known of it, from any thread.
    pub fn observed(&self) -> Arc<Observed> {
        Arc::clone(&self.observed)
    }

    /// Where the admin API listens, if it does.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::addr)
    }

    /// The addresses that it serves HTTPS on.
    pub fn https_addrs(&self) -> &[SocketAddr] {
        &self.https_addrs
    }

    /// The certificates of HTTPS, to be looked at or swapped.
    pub fn certs(&self) -> Arc<CertStore> {
        self.certs.store()
    }

    /// A way to end it from another thread.
    pub fn ender(&self) -> Sender<End> {
        self.ender.clone()
    }

    /// Serves until a signal or another end, then drains.
    ///
    /// # Errors
    /// If the signals can't be listened to.
    pub fn run(self) -> io::Result<End> {
        let watcher = signals::watch(&self.ender, &self.observed)?;
        notify::notify(notify::READY);
        let end = self.ends.recv().unwrap_or(End::Asked);
        log::info!("ending: {end}");
        notify::notify(notify::STOPPING);
        self.drain();
        watcher.close();
        Ok(end)
    }

    /// Ends in order: what is in flight finishes, within `timeout_shutdown`.
    fn drain(self) {
        let App { cores, control, engines, observed, admin, certs, timeout_shutdown, .. } = self;
        if let Some(admin) = &admin {
            admin.ending();
        }
        let (told, heard) = bounded(cores.handles().len());
        proxy::drain(cores.handles(), &told);
        let deadline = now() + timeout_shutdown;
        let drained = cores.handles().iter().all(|_| heard.recv_deadline(deadline).is_ok());
        if !drained {
            log::warn!("timeout_shutdown ({timeout_shutdown:?}) is over: requests in flight are cut");
        }
        drop(certs);
        engines.stop();
        control.stop();
        cores.shutdown();
        if let Err(error) = cores.join() {
            log::error!("a core did not end: {error}");
        }
        observed.stop();
    }
}

fn new_world(
    config: &Config,
    backlogs: &[Arc<Backlog>],
    standing: Vec<Problem>,
    files: Vec<PathBuf>,
) -> World {
    let engines = config.engines.iter().zip(backlogs).map(|(engine, backlog)| EngineSetup {
        name: engine.name.as_str().into(),
        url: engine.url.clone(),
        explicit_only: engine.explicit_only,
        backlog: Arc::clone(backlog),
    });
    World::new(WorldSetup {
        engines: engines.collect(),
        file_routes: config.file_routes.clone(),
        match_domains: config.match_domains.clone(),
        recreate_wait: config.recreate_wait,
        entrypoint: Arc::new(config.entrypoint.clone()),
        redirect_http: config.redirect_http,
        own_id: docker::own_container_id(),
        endpoints: Registry::new("endpoint", ENDPOINT_LEASES, now),
        standing,
        files,
    })
}

fn start_cores(
    workers: usize,
    shared: Arc<Shared>,
    per_core: Vec<Vec<proxy::Entrance>>,
) -> io::Result<Cores> {
    let listeners = Locked::new(per_core);
    let config = runtime::Config { cores: workers, name: "core", ..runtime::Config::default() };
    Cores::start(config, move |id| proxy::start_core(id, &shared, &listeners))
}

/// How many client connections are served at once: as many as `limits` has, fewer if descriptors are scarce.
fn connection_cap() -> usize {
    let limit = match runtime::raise_nofile() {
        Ok(limit) => limit,
        Err(error) => {
            log::warn!("the soft descriptor limit can't be raised: {error}");
            Some(SOFT_DESCRIPTORS)
        }
    };
    let affordable = limit.map_or(CONNECTIONS, |limit| {
        let left = limit.saturating_sub(DESCRIPTORS_RESERVED) / DESCRIPTORS_PER_CONNECTION;
        usize::try_from(left).unwrap_or(CONNECTIONS)
    });
    if affordable < CONNECTIONS {
        log::info!(
            "{affordable} connections at once instead of {CONNECTIONS}: the hard descriptor limit is small"
        );
    }
    affordable.clamp(1, CONNECTIONS)
}

/// One worker per core that this process may use.
fn cores_here() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// A number that differs from process to process: request ids and the loop guard, nothing secret.
fn seed() -> u32 {
    let since = std::time::SystemTime::UNIX_EPOCH;
    #[allow(clippy::disallowed_methods)] // a seed, not a time
    let nanos = std::time::SystemTime::now().duration_since(since).map_or(0, |d| d.as_nanos() as u64);
    (Rng::new(nanos ^ (u64::from(std::process::id()) << 32)).next_u64() >> 32) as u32
}

#[allow(clippy::disallowed_methods)] // the clock of the endpoints' registry and of the drain
fn now() -> Instant {
    Instant::now()
}
