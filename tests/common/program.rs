//! The program itself, as a child of the test.
#![allow(dead_code)] // each test binary uses a part
#![allow(clippy::disallowed_methods)] // tests block, and measure deadlines

use super::DEADLINE;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

/// The program, with an environment that says nothing.
pub fn tidegate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    for name in ["TIDEGATE_CONFIG", "TIDEGATE_HTTP_ADDR", "GODOXY_HTTP_ADDR", "DOCKER_HOST", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

/// A running `tidegate`; ended when dropped.
pub struct Running {
    pub child: Child,
    lines: Receiver<String>,
}

impl Running {
    pub fn start(mut command: Command) -> Running {
        let mut child =
            command.stdin(Stdio::null()).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
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

fn boxed(pipe: impl Read + Send + 'static) -> Box<dyn Read + Send> {
    Box::new(pipe)
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
