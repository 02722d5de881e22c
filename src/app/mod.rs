//! Build, run, drain: wires everything below.
//!
//! ```text
//!   build: descriptors → listeners → cores → control → one supervisor per engine
//!   run:   reload at SIGHUP or when a file changes (`reload`),
//!          until SIGTERM, SIGINT, or an engine's socket is gone for good (`on_stale_socket: exit`)
//!          (a second signal ends it at once)
//!   drain: listeners and idle connections close, requests in flight finish (at most `timeout_shutdown`),
//!          supervisors, control, cores end
//! ```

mod admin;
mod certs;
mod engines;
mod inherited;
mod listeners;
mod notify;
mod observe;
mod reload;
mod signals;
mod watch;

pub use certs::check_files;
pub use observe::Observed;
pub use reload::{Origin, Reloader, Summary};
pub use signals::End;

use crate::config::{Config, Loaded};
use crate::control::{Control, EngineSetup, World, WorldSetup};
use crate::docker;
use crate::error::Problem;
use crate::lifecycle::Registry;
use crate::limits::{
    CONNECTIONS, DESCRIPTORS_PER_CONNECTION, DESCRIPTORS_RESERVED, ENDPOINT_LEASES, SOFT_DESCRIPTORS,
    STOP_GRACE,
};
use crate::net::tls::CertStore;
use crate::proxy::{self, Protocol, Shared};
use crate::runtime::{self, Cores};
use crate::snapshot::Publisher;
use crate::util::Locked;
use crate::util::rng::Rng;
use crossbeam_channel::{Receiver, Sender, bounded};
use engines::Engines;
use listeners::Listeners;
use reload::{Reload, Running};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// A running Tidegate.
pub struct App {
    cores: Cores,
    control: Control,
    reload: Reload,
    reloadable: bool,
    observed: Arc<Observed>,
    admin: Arc<admin::Window>,
    addrs: Vec<SocketAddr>,
    https_addrs: Vec<SocketAddr>,
    certs: certs::Watched,
    ends: Receiver<End>,
    ender: Sender<End>,
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
    /// Binds the listeners and starts all threads. Serves from then on, with this configuration.
    ///
    /// # Errors
    /// A listener that can't be had, with its place; threads or descriptors that the system refuses.
    pub fn start(config: Config) -> Result<App, StartError> {
        App::build(Loaded { config, files: Vec::new(), warnings: Vec::new() }, None)
    }

    /// As [`App::start`], with a configuration that was read from `origin` and is read again from there. Its
    /// warnings are among the problems that `/api/problems` lists.
    ///
    /// # Errors
    /// As [`App::start`].
    pub fn start_reloadable(loaded: Loaded, origin: Origin) -> Result<App, StartError> {
        App::build(loaded, Some(origin))
    }

    fn build(loaded: Loaded, origin: Option<Origin>) -> Result<App, StartError> {
        let Loaded { config, files, warnings: mut standing } = loaded;
        let mut certs = certs::Watched::load(&config)?;
        let connections = connection_cap();
        let workers = config.workers.unwrap_or_else(cores_here);
        let (listeners, per_core) = Listeners::bind_all(&config, workers)?;
        let (addrs, https_addrs) = (listeners.addrs_of(Protocol::Http), listeners.addrs_of(Protocol::Https));
        let (to_admin, problem) = admin::first(&config);
        standing.extend(problem);
        let admin_addr = to_admin.addr(None);
        let seed = seed();
        let mut engines = Engines::default();
        let mut world = new_world(&config, engines.plan(&config.engines), standing, files, admin_addr);
        let publisher = Publisher::new(world.snapshot(now()));
        let instance = format!("tidegate-{seed:08x}");
        let observed = Observed::start(&config, workers, &publisher, certs.store())?;
        let shared = Shared::new(proxy::Setup {
            publisher: Arc::clone(&publisher),
            instance,
            own_listeners: addrs.iter().chain(&https_addrs).copied().chain(admin_addr).collect(),
            https_port: listeners.https_port(&config),
            certs: certs.store(),
            seed,
            cap: connections,
            observers: observed.observers(),
        });
        let cores = start_cores(workers, Arc::clone(&shared), per_core)?;
        let handles = cores.handles().to_vec();
        let control = Control::start(world, publisher, move || proxy::announce(&handles))?;
        certs.watch(control.mailbox())?;
        let (ender, ends) = bounded(4);
        engines.start_missing(&config.engines, &control.mailbox(), &ender, &observed)?;
        let has_origin = origin.is_some();
        let admin = admin::Window::new(&cores, control.mailbox(), &observed, certs.store(), has_origin)?;
        admin.apply(to_admin);
        let workers = config.workers;
        let (mailbox, handles) = (control.mailbox(), cores.handles().to_vec());
        let (told, seen) = (ender.clone(), Arc::clone(&observed));
        // Else a SIGHUP says that the terminal is gone.
        let reloadable = has_origin || config.access_log.is_some();
        let running = Running {
            config,
            workers,
            engines,
            listeners,
            cores: handles,
            mailbox,
            shared,
            admin: Arc::clone(&admin),
            certs: certs.store(),
            ender: told,
            observed: seen,
        };
        let reload = Reload::start(running, origin)?;
        admin.set_reloader(reload.reloader());
        Ok(App {
            cores,
            control,
            reload,
            reloadable,
            observed,
            admin,
            addrs,
            https_addrs,
            certs,
            ends,
            ender,
        })
    }

    /// The addresses that it listens on since its start.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// What can be known of it, from any thread.
    pub fn observed(&self) -> Arc<Observed> {
        Arc::clone(&self.observed)
    }

    /// Where the admin API listens, if it does.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.addr()
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

    /// A way to reload its configuration from another thread.
    pub fn reloader(&self) -> Reloader {
        self.reload.reloader()
    }

    /// Serves until a signal or another end, then drains.
    ///
    /// # Errors
    /// If the signals can't be listened to.
    pub fn run(self) -> io::Result<End> {
        let reloader = self.reloadable.then(|| self.reloader());
        let watcher = signals::watch(&self.ender, &self.observed, reloader)?;
        // Who reads these lines may send a signal at once.
        for addr in &self.addrs {
            log::info!("listening on http://{addr}");
        }
        for addr in &self.https_addrs {
            log::info!("listening on https://{addr}");
        }
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
        let App { cores, control, reload, observed, admin, certs, .. } = self;
        admin.ending();
        let running = reload.stop();
        let timeout_shutdown = running.as_ref().map_or(STOP_GRACE, |running| running.config.timeout_shutdown);
        let (told, heard) = bounded(cores.handles().len());
        proxy::drain(cores.handles(), &told);
        let deadline = now() + timeout_shutdown;
        let drained = cores.handles().iter().all(|_| heard.recv_deadline(deadline).is_ok());
        if !drained {
            log::warn!("timeout_shutdown ({timeout_shutdown:?}) is over: requests in flight are cut");
        }
        drop(certs);
        if let Some(running) = running {
            running.engines.stop();
        }
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
    engines: Vec<EngineSetup>,
    standing: Vec<Problem>,
    files: Vec<PathBuf>,
    admin_addr: Option<SocketAddr>,
) -> World {
    World::new(WorldSetup {
        engines,
        file_routes: config.file_routes.clone(),
        match_domains: config.match_domains.clone(),
        recreate_wait: config.recreate_wait,
        entrypoint: Arc::new(config.entrypoint.clone()),
        redirect_http: config.redirect_http,
        own_id: docker::own_container_id(),
        endpoints: Registry::new("endpoint", ENDPOINT_LEASES, now),
        standing,
        files,
        admin: admin::way(config, admin_addr),
    })
}

fn start_cores(workers: usize, shared: Arc<Shared>, per_core: listeners::PerCore) -> io::Result<Cores> {
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
