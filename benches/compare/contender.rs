//! The proxies: their configurations (`benches/peers`), how each is started, and what it can't.
//!
//! In a template a word in double braces is a value, and a line that begins with `?tls ` stays only where TLS
//! is measured. Neighbouring lines that begin with `?route ` are repeated for each route, as one.

use crate::measure;
use crate::wire::HOST;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const BACKEND_PORT: u16 = 9000;
/// A contender that doesn't answer by then has failed.
const START: Duration = Duration::from_secs(20);
const END: Duration = Duration::from_secs(10);

pub struct Contender {
    pub name: &'static str,
    /// File in its directory, and template.
    files: &'static [(&'static str, &'static str)],
    /// Its command line after the binary; values as in templates, empty words are left out.
    arguments: &'static [&'static str],
    /// How it is asked for its version.
    version: &'static [&'static str],
    /// Its access log.
    pub log: Option<&'static str>,
    pub tls: bool,
    /// Request bodies and upgrades.
    pub whole_http: bool,
    pub routes: bool,
    pub threads: bool,
}

macro_rules! peer {
    ($file:literal) => {
        ($file, include_str!(concat!("../peers/", $file)))
    };
}

const FULL: Contender = Contender {
    name: "",
    files: &[],
    arguments: &[],
    version: &[],
    log: Some("access.log"),
    tls: true,
    whole_http: true,
    routes: true,
    threads: true,
};

/// In the order of the report; the first is the measure.
pub const ALL: [Contender; 8] = [
    Contender {
        name: "nginx",
        files: &[peer!("nginx.conf"), peer!("nginx-tls.inc")],
        arguments: &[
            "-p",
            "{{RUN}}",
            "-e",
            "out.log",
            "-c",
            "nginx.conf",
            "-g",
            "daemon off; user {{USER}};",
        ],
        version: &["-v"],
        ..FULL
    },
    Contender {
        name: "tidegate",
        files: &[peer!("tidegate.yml"), ("routes.yml", include_str!("../peers/tidegate-routes.yml"))],
        arguments: &["serve", "--config", "tidegate.yml"],
        version: &["version"],
        ..FULL
    },
    Contender {
        name: "haproxy",
        files: &[peer!("haproxy.cfg"), ("hosts.map", include_str!("../peers/haproxy-hosts.map"))],
        arguments: &["-db", "-f", "haproxy.cfg"],
        version: &["-v"],
        ..FULL
    },
    Contender {
        name: "caddy",
        files: &[peer!("Caddyfile")],
        arguments: &["run", "--config", "Caddyfile", "--adapter", "caddyfile"],
        version: &["version"],
        ..FULL
    },
    Contender {
        name: "traefik",
        files: &[peer!("traefik.yml"), peer!("traefik-routes.yml")],
        arguments: &["--configfile=traefik.yml"],
        version: &["version"],
        ..FULL
    },
    Contender {
        name: "godoxy",
        files: &[
            ("config/config.yml", include_str!("../peers/godoxy.yml")),
            ("config/routes.yml", include_str!("../peers/godoxy-routes.yml")),
        ],
        version: &["--version"],
        ..FULL
    },
    Contender {
        name: "pingora",
        arguments: &[
            "{{PORT}}",
            "{{BACKEND}}",
            "access.log",
            "{{WORKERS}}",
            "{{TLS_PORT}}",
            "{{CRT}}",
            "{{KEY}}",
        ],
        routes: false,
        ..FULL
    },
    Contender {
        name: "floor",
        arguments: &["{{PORT}}", "{{BACKEND}}"],
        log: None,
        tls: false,
        whole_http: false,
        routes: false,
        threads: false,
        ..FULL
    },
];

impl Contender {
    /// Its binary: Tidegate's own build, then the directory `PEERS_BIN`, then PATH for what Debian has.
    pub fn binary(&self) -> Option<PathBuf> {
        if self.name == "tidegate" {
            return Some(env!("CARGO_BIN_EXE_tidegate").into());
        }
        let given = std::env::var_os("PEERS_BIN").map(PathBuf::from);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let known = ["nginx", "haproxy", "caddy", "traefik", "godoxy"].contains(&self.name);
        let path = std::env::split_paths(&path).filter(|_| known);
        let debian = ["/usr/sbin".into()].into_iter().filter(|_| known);
        given.into_iter().chain(path).chain(debian).map(|dir| dir.join(self.name)).find(|file| file.is_file())
    }

    /// The first line it says about its version.
    pub fn version(&self) -> String {
        let Some(binary) = self.binary() else { return "not there".into() };
        if self.version.is_empty() || self.name == "godoxy" {
            return "says none".into();
        }
        let Ok(out) = Command::new(binary).args(self.version).stdin(Stdio::null()).output() else {
            return "says none".into();
        };
        let text = [out.stdout, out.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("says none");
        let words = line.split_whitespace().filter(|word| !["version", "version:", "nginx"].contains(word));
        words.take(3).collect::<Vec<_>>().join(" ")
    }
}

/// How the contenders are to be set up.
#[derive(Clone)]
pub struct Setup {
    pub dir: PathBuf,
    /// PEM: certificate, key, both.
    pub pem: [PathBuf; 3],
    pub workers: usize,
    pub tls: bool,
    pub routes: usize,
    /// Connections that each can have at once.
    pub connections: usize,
    /// A fake engine's socket, for discovery.
    pub engine: PathBuf,
    /// CPUs for the proxies, as taskset takes them; none: all.
    pub cpus: Option<String>,
}

/// The host of a route.
pub fn host(route: usize) -> String {
    if route == 0 { HOST.into() } else { format!("app{route}.local") }
}

/// A contender that runs.
pub struct Running {
    pub contender: &'static Contender,
    child: Child,
    dir: PathBuf,
    pub plain: SocketAddr,
    pub tls: Option<SocketAddr>,
}

impl Running {
    /// Starts it and waits until it serves the last route. Ports are free: the namespace is its own.
    pub fn start(index: usize, setup: &Setup) -> Result<Running, String> {
        let contender = &ALL[index];
        let binary = contender.binary().ok_or("its binary is not there")?;
        let dir = setup.dir.join(contender.name);
        let port = 10_000 + 10 * index as u16;
        let values = values(contender, setup, &dir, port);
        let failed = |e: io::Error| e.to_string();
        let _ = fs::remove_dir_all(&dir);
        for (name, template) in contender.files {
            let file = dir.join(name);
            fs::create_dir_all(file.parent().unwrap_or(&dir)).map_err(failed)?;
            fs::write(&file, render(template, setup, &values)).map_err(failed)?;
        }
        fs::create_dir_all(&dir).map_err(failed)?;
        let out = append(&dir.join("out.log")).map_err(failed)?;
        // HAProxy writes its access log to its standard output.
        let stdout =
            if contender.name == "haproxy" { append(&dir.join("access.log")) } else { out.try_clone() };
        let mut command = match &setup.cpus {
            Some(cpus) => {
                let mut command = Command::new("taskset");
                command.args(["-c", cpus]).arg(binary);
                command
            }
            None => Command::new(binary),
        };
        let arguments = contender.arguments.iter().map(|a| fill(a, &values)).filter(|a| !a.is_empty());
        command.args(arguments).current_dir(&dir).stdin(Stdio::null());
        command.stdout(stdout.map_err(failed)?).stderr(out).env("GOMAXPROCS", setup.workers.to_string());
        if contender.name == "godoxy" {
            godoxy(&mut command, setup, port);
        }
        let child = command.spawn().map_err(failed)?;
        let addr = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let tls = (setup.tls && contender.tls).then(|| addr(port + 1));
        let mut running = Running { contender, child, dir, plain: addr(port), tls };
        running.wait(&host(setup.routes - 1)).map(|()| running)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait(&mut self, host: &str) -> Result<(), String> {
        let end = Instant::now() + START;
        loop {
            let last = match crate::load::ask(None, self.plain, host) {
                Ok(_) => return Ok(()),
                Err(e) => e.to_string(),
            };
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > end {
                let log = fs::read_to_string(self.dir.join("out.log")).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(5)..].join("\n");
                return Err(format!("it does not answer for {host}: {last}\n{tail}"));
            }
            crate::pause(Duration::from_millis(50));
        }
    }

    /// Bytes of the access log since the last look; none if it keeps none.
    pub fn logged(&self) -> Option<u64> {
        let file = append(&self.dir.join(self.contender.log?)).ok()?;
        let length = file.metadata().ok()?.len();
        file.set_len(0).ok()?;
        Some(length)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let signal = |pid: u32, signal| {
            if let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) {
                let _ = rustix::process::kill_process(pid, signal);
            }
        };
        let all = measure::tree(self.child.id());
        signal(self.child.id(), rustix::process::Signal::TERM);
        let end = Instant::now() + END;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            crate::pause(Duration::from_millis(20));
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            all.iter().for_each(|pid| signal(*pid, rustix::process::Signal::KILL));
            let _ = self.child.wait();
        }
    }
}

fn append(file: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(file)
}

/// GoDoxy takes its addresses from the environment. It would fetch lists of icons: nobody is where it asks.
fn godoxy(command: &mut Command, setup: &Setup, port: u16) {
    command.env("GODOXY_API_USER", "bench").env("GODOXY_API_PASSWORD", "a password of the bench");
    command.env("GODOXY_HTTP_ADDR", format!("127.0.0.1:{port}")).env("GODOXY_API_ADDR", "");
    let https = if setup.tls { format!("127.0.0.1:{}", port + 1) } else { String::new() };
    command.env("GODOXY_HTTPS_ADDR", https);
    command.env("HTTP_PROXY", "http://127.0.0.1:9").env("HTTPS_PROXY", "http://127.0.0.1:9");
}

type Values = Vec<(&'static str, String)>;

fn values(contender: &Contender, setup: &Setup, dir: &Path, port: u16) -> Values {
    let path = |path: &Path| path.display().to_string();
    let tls = setup.tls && contender.tls;
    let only = |text: String| if tls { text } else { String::new() };
    let user = if rustix::process::getuid().is_root() { "root" } else { "nobody" };
    vec![
        ("PORT", port.to_string()),
        ("TLS_PORT", only((port + 1).to_string())),
        ("ADMIN_PORT", (port + 2).to_string()),
        ("BACKEND", BACKEND_PORT.to_string()),
        ("WORKERS", setup.workers.to_string()),
        ("CONNECTIONS", setup.connections.to_string()),
        // nginx closes idle connections when less than a sixteenth is free.
        ("SLOTS", (setup.connections / 8 * 9).to_string()),
        ("PIPES", if setup.connections > 9_000 { "64" } else { "1024" }.into()),
        ("CRT", only(path(&setup.pem[0]))),
        ("KEY", only(path(&setup.pem[1]))),
        ("PEM", only(path(&setup.pem[2]))),
        ("ENGINE", path(&setup.engine)),
        ("RUN", path(dir)),
        ("USER", user.into()),
    ]
}

fn fill(text: &str, values: &Values) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{{{name}}}}}"), value))
}

fn render(template: &str, setup: &Setup, values: &Values) -> String {
    let mut text = String::new();
    let mut lines = template.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(first) = line.strip_prefix("?route ") {
            let mut block = format!("{first}\n");
            while let Some(line) = lines.next_if(|line| line.starts_with("?route ")) {
                block += &line["?route ".len()..];
                block.push('\n');
            }
            for route in 0..setup.routes {
                let host = host(route);
                let alias = host.trim_end_matches(".local");
                text += &block.replace("{{HOST}}", &host).replace("{{ALIAS}}", alias);
            }
        } else if let Some(line) = line.strip_prefix("?tls ") {
            if setup.tls {
                text += line;
                text.push('\n');
            }
        } else {
            text += line;
            text.push('\n');
        }
    }
    fill(&text, values)
}
