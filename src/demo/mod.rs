//! The embedded default: a fake engine with a handful of containers, to be put behind the proxy in the same
//! process. Its control page starts, stops and relabels them; the routes follow.

mod control;
mod probe;
mod run;

pub use run::{Demo, start};

use crate::docker::fake::{FakeEngine, Options, Page, Refused, RestartPolicy, Spec};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

/// The label that names a container's aliases.
const ALIASES: &str = "proxy.aliases";
/// The control page's container and alias.
const CONTROL: &str = "demo";
/// The socket's file name: not `docker.sock`, so that no directory can hold somebody else's.
const SOCKET: &str = "tidegate-demo.sock";

/// A route that leads to a container of the demo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The alias.
    pub alias: String,
    /// What to type into a browser.
    pub url: String,
}

/// The demo's engine and containers: `whoami`, `hello`, `counter`, the stopped `sleeper`, and `demo`.
pub struct DemoEngine {
    engine: FakeEngine,
    http_port: Arc<AtomicU16>,
}

impl DemoEngine {
    /// Starts the engine on a socket in `socket_dir`, which must exist and belong to the demo. Links show
    /// `http_port` until `set_http_port` says otherwise.
    ///
    /// # Errors
    /// The socket can't be bound, or a container can't listen on its loopback address.
    pub fn start(socket_dir: &Path, http_port: u16) -> io::Result<DemoEngine> {
        let engine = FakeEngine::start(Options::new(socket_dir.join(SOCKET)))?;
        let http_port = Arc::new(AtomicU16::new(http_port));
        let control = control::page(engine.downgrade(), http_port.clone());
        let spec = |name: &str, page: Page| Spec::new(name).page(page).policy(RestartPolicy::UnlessStopped);
        let labelled = |name: &str, page: Page| spec(name, page).label(ALIASES, name);
        let run = |spec: Spec| engine.run(spec).map_err(into_io);
        run(labelled("whoami", Page::Whoami))?;
        run(spec("hello", Page::Hello))?; // without an alias: its name is one
        run(labelled("counter", Page::Counter))?;
        engine.create(labelled("sleeper", Page::Hello));
        run(labelled(CONTROL, control))?;
        Ok(DemoEngine { engine, http_port })
    }

    /// The port that the proxy really got.
    pub fn set_http_port(&self, port: u16) {
        self.http_port.store(port, Ordering::Relaxed);
    }

    /// `DOCKER_HOST` of the engine: `unix:///…`.
    pub fn docker_host(&self) -> String {
        format!("unix://{}", self.engine.socket().display())
    }

    /// The engine itself.
    pub fn engine(&self) -> &FakeEngine {
        &self.engine
    }

    /// The control page's URL.
    pub fn control_url(&self) -> String {
        url(CONTROL, self.http_port.load(Ordering::Relaxed))
    }

    /// Where the containers answer once the proxy is up, running or not; sorted by container.
    pub fn urls(&self) -> Vec<Link> {
        let port = self.http_port.load(Ordering::Relaxed);
        let containers = control::sorted(&self.engine);
        let aliases = containers.iter().flat_map(|c| control::aliases(&c.name, &c.labels));
        aliases.map(|alias| Link { url: url(&alias, port), alias }).collect()
    }

    /// Ends the engine and removes its socket.
    pub fn shutdown(&self) {
        self.engine.shutdown();
    }
}

fn into_io(e: Refused) -> io::Error {
    io::Error::other(e.to_string())
}

/// Browsers resolve every name beneath `localhost` to the loopback (RFC 6761 §6.3).
fn url(alias: &str, port: u16) -> String {
    match port {
        80 => format!("http://{alias}.localhost/"),
        _ => format!("http://{alias}.localhost:{port}/"),
    }
}
