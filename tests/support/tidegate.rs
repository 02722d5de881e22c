//! The real binary, started in a test's room.

use super::engine::Engine;
use super::http::{self, Failure, Response};
use super::room::{Room, end};
use super::wait;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Time for the proxy to listen, and to end after SIGTERM (its own drain takes 5 s at most).
const LIMIT: Duration = Duration::from_secs(20);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// A running proxy; killed when dropped.
pub struct Tidegate {
    child: Child,
    log: PathBuf,
    /// Where it listens.
    pub addr: SocketAddr,
}

/// A configuration for one engine: any free port, hosts below `.local`.
pub fn config(engine: &Engine) -> String {
    config_for(&engine.host())
}

/// The same for an engine that may not exist yet.
pub fn config_for(docker_host: &str) -> String {
    format!(
        "entrypoint: {{http_addr: \"127.0.0.1:0\"}}\n\
         match_domains: [.local]\n\
         providers: {{docker: {{local: \"{docker_host}\"}}}}\n"
    )
}

impl Tidegate {
    /// Starts `tidegate serve --config FILE` and waits until it says where it listens.
    pub fn start(room: &Room, config: &str, env: &[(&str, &str)]) -> Tidegate {
        Tidegate::spawn(room, config, env, Command::new(env!("CARGO_BIN_EXE_tidegate")))
    }

    /// The same as a user without rights: the binary is copied to where that user can read it.
    pub fn start_as_nobody(room: &Room, config: &str, env: &[(&str, &str)]) -> Tidegate {
        let binary = room.dir.join("bin/tidegate");
        std::fs::copy(env!("CARGO_BIN_EXE_tidegate"), &binary).expect("the binary is copied");
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]).arg(binary);
        Tidegate::spawn(room, config, env, command)
    }

    fn spawn(room: &Room, config: &str, env: &[(&str, &str)], mut command: Command) -> Tidegate {
        let number = (0..).find(|n| !room.dir.join(format!("tidegate-{n}.log")).exists()).expect("a number");
        let log = room.dir.join(format!("tidegate-{number}.log"));
        let file = room.dir.join(format!("tidegate-{number}.yml"));
        std::fs::write(&file, config).expect("the configuration");
        let out = File::create(&log).expect("the log");
        command.args(["serve", "--config"]).arg(&file).envs(env.iter().copied()).stdin(Stdio::null());
        let child = command.stdout(out.try_clone().expect("the log again")).stderr(out).spawn();
        let child = child.expect("tidegate starts");
        let mut proxy = Tidegate { child, log, addr: SocketAddr::from(([127, 0, 0, 1], 0)) };
        proxy.addr = wait::until("tidegate listens", LIMIT, LOOK, || {
            if let Some(status) = proxy.child.try_wait().expect("its state") {
                panic!("tidegate ended at once: {status}\n{}", proxy.log());
            }
            address(&proxy.log())
        });
        proxy
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The lines of `WARN` and `ERROR` that it has logged, from the line `from` on.
    pub fn problems(&self, from: usize) -> Vec<String> {
        let log = self.log();
        let lines = log.lines().skip(from);
        lines.filter(|line| line.contains("WARN") || line.contains("ERROR")).map(str::to_string).collect()
    }

    /// How many lines it has logged.
    pub fn lines(&self) -> usize {
        self.log().lines().count()
    }

    /// `GET path` of a host.
    pub fn get(&self, host: &str, path: &str) -> Result<Response, Failure> {
        http::get(self.addr, host, path)
    }

    /// Asks for a host's `/` until it is answered with `status`; gives the answer and the moment.
    #[track_caller]
    pub fn wait_status(&self, host: &str, status: u16, limit: Duration) -> (Response, Instant) {
        let mut last = None;
        let end = Instant::now() + limit;
        while Instant::now() < end {
            match self.get(host, "/") {
                Ok(response) if response.status == status => return (response, Instant::now()),
                other => last = Some(other),
            }
            wait::pass(LOOK);
        }
        panic!("{host} was not answered with {status} within {limit:?}: {last:?}\n{}", self.log());
    }

    /// Asks until the app `name` answers for its host; gives the moment.
    #[track_caller]
    pub fn wait_app(&self, name: &str, limit: Duration) -> Instant {
        let (response, at) = self.wait_status(&host(name), 200, limit);
        assert_eq!(response.app(), Some(name), "another app answered for {name}");
        at
    }

    /// Asks until each app has answered for its host.
    #[track_caller]
    pub fn wait_apps(&self, names: &[impl AsRef<str>], limit: Duration) {
        for name in names {
            self.wait_app(name.as_ref(), limit);
        }
    }

    /// Its open descriptors, once the number has stayed the same for a second.
    pub fn descriptors(&self) -> usize {
        let dir = format!("/proc/{}/fd", self.child.id());
        let count = || std::fs::read_dir(&dir).expect("its descriptors").count();
        let mut last = (count(), Instant::now());
        wait::until("the number of descriptors settles", LIMIT, Duration::from_millis(50), || {
            let now = count();
            if now != last.0 {
                last = (now, Instant::now());
            }
            (last.1.elapsed() > Duration::from_secs(1)).then_some(now)
        })
    }

    /// CPU time of all its threads, also of those that have ended, to 10 ms.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("its times");
        // The program's name may hold anything, so what follows its closing bracket is counted.
        let rest = stat.rsplit_once(')').expect("a name in brackets").1;
        let ticks = rest.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().expect("ticks"));
        Duration::from_millis(ticks.sum::<u64>() * 1_000 / rustix::param::clock_ticks_per_second())
    }

    /// Sends SIGTERM and waits for its end.
    pub fn terminate(mut self) -> ExitStatus {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a pid");
        kill_process(pid, Signal::TERM).expect("the signal is sent");
        wait::until("tidegate ends", LIMIT, LOOK, || self.child.try_wait().expect("its state"))
    }
}

impl Drop for Tidegate {
    fn drop(&mut self) {
        end(&mut self.child);
        if std::thread::panicking() {
            eprintln!("--- tidegate's log:\n{}", self.log());
        }
    }
}

/// The host that an app's name is served under.
pub fn host(name: &str) -> String {
    format!("{name}.local")
}

/// The address of the first line `… listening on http://ADDR`.
fn address(log: &str) -> Option<SocketAddr> {
    let rest = log.lines().find_map(|line| line.split_once("listening on http://"))?.1;
    rest.split(|c: char| c.is_whitespace() || c == '/' || c == ',').next()?.parse().ok()
}
