//! The demo as a whole: the fake engine, and Tidegate in front of it.

use super::{DemoEngine, Link};
use crate::app::{App, StartError};
use crate::config::{Config, EngineConfig, ListenAddr, OnStaleSocket, TlsConfig};
use crate::error::{Place, Problem};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the demo listens, unless that is taken: then on any free port.
const FIRST_CHOICE: &str = "127.0.0.1:8080";

/// A running demo.
pub struct Demo {
    engine: DemoEngine,
    app: App,
    socket_dir: PathBuf,
}

/// Starts the engine and the proxy, on `http_addr` if one is given.
///
/// # Errors
/// An address that can't be listened on, or no place for the engine's socket.
pub fn start(http_addr: Option<&str>) -> Result<Demo, StartError> {
    let socket_dir = std::env::temp_dir().join(format!("tidegate-demo-{}", std::process::id()));
    std::fs::create_dir_all(&socket_dir)?;
    let engine = DemoEngine::start(&socket_dir, 0)?;
    let app = match http_addr {
        Some(addr) => App::start(config(&engine, parse(addr)?)),
        None => App::start(config(&engine, parse(FIRST_CHOICE)?)).or_else(|taken| {
            log::info!("{taken}: another port is used");
            App::start(config(&engine, parse("127.0.0.1:0")?))
        }),
    };
    let demo = Demo { engine, app: app?, socket_dir };
    demo.engine.set_http_port(demo.addr().port());
    Ok(demo)
}

impl Demo {
    /// Where the proxy listens.
    pub fn addr(&self) -> SocketAddr {
        self.app.addrs()[0]
    }

    /// The control page's URL.
    pub fn control_url(&self) -> String {
        self.engine.control_url()
    }

    /// The containers' URLs.
    pub fn links(&self) -> Vec<Link> {
        self.engine.urls()
    }

    /// Serves until a signal.
    ///
    /// # Errors
    /// If signals can't be listened to.
    pub fn run(self) -> io::Result<()> {
        let Demo { engine, app, socket_dir } = self;
        let ended = app.run();
        engine.shutdown();
        remove(&socket_dir);
        ended.map(drop)
    }
}

fn remove(dir: &Path) {
    if let Err(error) = std::fs::remove_dir_all(dir) {
        log::debug!("{}: {error}", dir.display());
    }
}

fn parse(addr: &str) -> Result<SocketAddr, StartError> {
    let full = if addr.starts_with(':') { format!("127.0.0.1{addr}") } else { addr.to_owned() };
    full.parse().map_err(|_| {
        let place = Place::Argument { name: "--http-addr".into() };
        StartError::Problem(Problem::new(
            place,
            format!("expected an address such as `{FIRST_CHOICE}`, got `{addr}`"),
        ))
    })
}

fn config(engine: &DemoEngine, addr: SocketAddr) -> Config {
    let engine = EngineConfig {
        name: "demo".into(),
        explicit_only: false,
        url: engine.docker_host(),
        on_stale_socket: OnStaleSocket::Keep,
        place: Place::Default,
    };
    Config {
        access_log: None,
        https_addr: Vec::new(),
        tls: TlsConfig::default(),
        redirect_http: false,
        http_addr: vec![ListenAddr { addr, dual_stack: false, place: Place::Default }],
        http_addr_is_default: false,
        workers: None,
        workers_place: Place::Default,
        match_domains: Vec::new(),
        entrypoint: Default::default(),
        timeout_shutdown: Duration::from_secs(5),
        recreate_wait: Duration::from_secs(10),
        engines: vec![engine],
        admin: None,
        admin_host: None,
        file_routes: Vec::new(),
    }
}
