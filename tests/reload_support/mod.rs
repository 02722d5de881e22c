//! What the tests of reload share: the real binary on files that change, its log, its descriptors.
#![allow(dead_code)] // each test binary uses its part
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

use crate::common::{Client, DEADLINE, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// `tidegate serve` on a file; killed when dropped.
pub struct Served {
    pub child: Child,
    log: PathBuf,
    /// Where it listens without TLS.
    pub addr: SocketAddr,
}

impl Served {
    pub fn start(dir: &Path, file: &str) -> Served {
        Served::start_by(Command::new(env!("CARGO_BIN_EXE_tidegate")), dir, file)
    }

    /// By a command that becomes the program, whose arguments follow.
    pub fn start_by(command: Command, dir: &Path, file: &str) -> Served {
        Served::start_as(command, dir, file, |_| ())
    }

    /// As [`Served::start`]; `prepare` may change how it is started.
    pub fn start_with(dir: &Path, file: &str, prepare: impl FnOnce(&mut Command)) -> Served {
        Served::start_as(Command::new(env!("CARGO_BIN_EXE_tidegate")), dir, file, prepare)
    }

    fn start_as(mut command: Command, dir: &Path, file: &str, prepare: impl FnOnce(&mut Command)) -> Served {
        let log = dir.join("log.txt");
        let out = fs::File::create(&log).unwrap();
        command.args(["serve", "--config"]).arg(dir.join(file)).stdin(Stdio::null()).stderr(out);
        command.env_remove("RUST_LOG").env_remove("TIDEGATE_HTTP_ADDR").env_remove("GODOXY_HTTP_ADDR");
        // Its default is one port, and tests run at once.
        command.env("TIDEGATE_ADMIN_ADDR", "off");
        prepare(&mut command);
        let mut served = Served { child: command.spawn().unwrap(), log, addr: ([127, 0, 0, 1], 0).into() };
        served.wait_log("listening on http://");
        let log = served.log();
        let rest = log.split_once("listening on http://").unwrap().1;
        served.addr = rest.split_whitespace().next().unwrap().parse().unwrap();
        wait_until("it listens to signals", || served.catches(Signal::HUP));
        served
    }

    /// Where it listened with TLS at its start.
    pub fn https(&self) -> SocketAddr {
        self.wait_log("listening on https://");
        let log = self.log();
        let rest = log.split_once("listening on https://").unwrap().1;
        rest.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Where its admin API is, if it was started with one.
    pub fn admin(&self) -> SocketAddr {
        self.wait_log("admin API on http://");
        let log = self.log();
        let rest = log.split_once("admin API on http://").unwrap().1;
        rest.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Its metrics, by name with labels.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let mut client = Client::connect(self.admin());
        client.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let text = client.response().text();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let pair =
            |line: &str| Some((line.rsplit_once(' ')?.0.to_owned(), line.rsplit_once(' ')?.1.parse().ok()?));
        samples.filter_map(pair).collect()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn count(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    #[track_caller]
    pub fn wait_log(&self, text: &str) {
        self.wait_count(text, 1);
    }

    #[track_caller]
    pub fn wait_count(&self, text: &str, count: usize) {
        let end = Instant::now() + DEADLINE;
        while self.count(text) < count {
            assert!(Instant::now() < end, "no `{text}` ({count} times) in the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed()).unwrap()
    }

    pub fn catches(&self, signal: Signal) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << (signal.as_raw() - 1)) != 0
    }

    pub fn hang_up(&self) {
        kill_process(self.pid(), Signal::HUP).unwrap();
    }

    /// SIGHUP, and waits for what comes of it.
    #[track_caller]
    pub fn reload(&self) {
        let asked = "eloaded (asked for";
        let before = self.count(asked);
        self.hang_up();
        self.wait_count(asked, before + 1);
    }

    pub fn status(&self, host: &str) -> u16 {
        status(self.addr, host)
    }

    #[track_caller]
    pub fn wait_status(&self, host: &str, wanted: u16) {
        let end = Instant::now() + DEADLINE;
        while self.status(host) != wanted {
            assert!(Instant::now() < end, "{host} is not {wanted}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    pub fn rss_kb(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- tidegate's log:\n{}", self.log());
        }
    }
}

pub fn status(addr: SocketAddr, host: &str) -> u16 {
    let mut client = Client::connect(addr);
    client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
    client.response().status
}

/// A main file with listeners and engines; routes are in `routes.yml`.
pub fn main_file(listeners: &str, engines: &str) -> String {
    format!(
        "entrypoint: {{http_addr: [{listeners}]}}\nworkers: 2\n\
         providers: {{docker: {{{engines}}}, include: [routes.yml]}}\n"
    )
}

pub const ANY: &str = "\"127.0.0.1:0\"";

pub fn routes(routes: &[(&str, SocketAddr)]) -> String {
    let line = |(alias, addr): &(&str, SocketAddr)| {
        format!("{alias}: {{host: {}, port: {}}}\n", addr.ip(), addr.port())
    };
    routes.iter().map(line).collect()
}

/// Puts a file in another's place, as editors do.
pub fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, path).unwrap();
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Ends the threads of a scope even if the test fails.
pub struct EndGuard<'a>(pub &'a AtomicBool);

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
