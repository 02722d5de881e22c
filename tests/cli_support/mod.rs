//! What the tests of the program share: starting it, its lines, its end.
#![allow(dead_code)] // each test binary uses its part
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

use crate::common::fake::Dir;
use crate::common::{self, Client, DEADLINE};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

pub fn tidegate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    for name in ["TIDEGATE_CONFIG", "TIDEGATE_HTTP_ADDR", "GODOXY_HTTP_ADDR", "DOCKER_HOST", "RUST_LOG"] {
        command.env_remove(name);
    }
    // Its default is one port, and tests run at once.
    command.env("TIDEGATE_ADMIN_ADDR", "off");
    command
}

pub fn run(args: &[&str]) -> Output {
    tidegate().args(args).stdin(Stdio::null()).output().expect("tidegate runs")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A directory for one test's configuration.
pub struct Home(Dir);

impl Home {
    pub fn new() -> Home {
        Home(Dir::new())
    }

    pub fn path(&self) -> &Path {
        &self.0.0
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A configuration whose engine does not exist, with one route.
    pub fn config(&self, extra: &str, route: SocketAddr) -> PathBuf {
        self.write("routes.yml", &format!("app:\n  host: {}\n  port: {}\n", route.ip(), route.port()));
        let socket = self.0.socket();
        let engine = format!(
            "providers:\n  docker:\n    local: unix://{}\n  include: [routes.yml]\n",
            socket.display()
        );
        self.write("config.yml", &format!("{engine}{extra}"))
    }
}

/// A running `tidegate`; ended when dropped.
pub struct Running {
    pub child: Child,
    lines: Receiver<String>,
}

impl Running {
    pub fn start(command: Command) -> Running {
        Running::start_with(command, Stdio::null())
    }

    pub fn start_with(mut command: Command, stdin: Stdio) -> Running {
        let mut child = command.stdin(stdin).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        for pipe in [child.stderr.take().map(boxed), child.stdout.take().map(boxed)].into_iter().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        Running { child, lines }
    }

    /// The first line that holds `part`.
    pub fn line(&self, part: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("no line with {part:?} ({error}); seen: {seen:#?}"),
            }
        }
    }

    pub fn addr(&self) -> SocketAddr {
        let line = self.line("listening on http://");
        line.rsplit("http://").next().unwrap().trim().parse().unwrap()
    }

    /// After [`Running::addr`], in the order of the lines.
    pub fn https_addr(&self) -> SocketAddr {
        let line = self.line("listening on https://");
        line.rsplit("https://").next().unwrap().trim().parse().unwrap()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    pub fn exit_code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "tidegate does not end");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

pub fn boxed(pipe: impl Read + Send + 'static) -> Box<dyn Read + Send> {
    Box::new(pipe)
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn get(addr: SocketAddr, host: &str) -> common::Response {
    let mut client = Client::connect(addr);
    client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
    client.response()
}

pub fn serve(config: &Path) -> Command {
    let mut command = tidegate();
    command.arg("serve").arg("--config").arg(config);
    command
}
