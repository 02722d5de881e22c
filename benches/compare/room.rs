//! The place of the measurement: namespaces of its own, so that ports are free, all ends with it, and TCP is as
//! on a common machine (bbr, the default of some, paces on loopback).

use crate::contender;
use crate::measure::Syscalls;
use std::fs;
use std::process::{Command, ExitCode, Stdio};

/// The variable that says: inside.
const INSIDE: &str = "TIDEGATE_BENCH_INSIDE";

pub fn inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// What is not there, and what that costs.
pub struct Lacking {
    /// Without these nothing can be measured.
    pub fatal: Vec<String>,
    pub rest: Vec<String>,
}

pub fn lacking() -> Lacking {
    let mut lacking = Lacking { fatal: vec![], rest: vec![] };
    for (program, probe) in [("unshare", &["--version"][..]), ("ip", &["-V"]), ("taskset", &["--version"])] {
        let found = Command::new(program).args(probe).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if found.is_err() {
            lacking.fatal.push(format!("{program} (Debian: util-linux, iproute2)"));
        }
    }
    let mut enter = enter();
    if !enter.arg("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        lacking.fatal.push("the right to make namespaces: run it as root".into());
    }
    if cpus() < 2 {
        lacking.fatal.push("a second CPU for load and backend".into());
    }
    for contender in &contender::ALL {
        if contender.binary().is_none() {
            let what = format!("{}: not found, left out", contender.name);
            if contender.name == "nginx" {
                lacking.fatal.push("nginx, the measure".into())
            } else {
                lacking.rest.push(what)
            }
        }
    }
    if let Err(why) = Syscalls::available() {
        lacking.rest.push(format!("perf: system calls are not counted ({why})"));
    }
    lacking
}

pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

fn enter() -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::getuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--net", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]);
    command
}

/// Starts this program again inside; with one worker away from the proxies' CPU, the first.
pub fn run_inside(words: &[String], workers: usize) -> ExitCode {
    let last = cpus() - 1;
    let mut command = enter();
    if workers == 1 {
        command.args(["taskset", "-c", &if last == 1 { "1".into() } else { format!("1-{last}") }]);
    }
    command.arg(std::env::current_exe().unwrap_or_default()).arg("run").args(words).env(INSIDE, "1");
    match command.status() {
        Ok(status) => ExitCode::from(status.code().map_or(1, |code| code as u8)),
        Err(e) => {
            println!("unshare: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Brings the network up; gives TCP's congestion control.
pub fn set_up() -> Result<String, String> {
    let status = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    if !status.is_ok_and(|status| status.success()) {
        return Err("lo does not come up".into());
    }
    let set = |name: &str, value: &str| fs::write(format!("/proc/sys/net/ipv4/{name}"), value);
    // A connection for each request uses up ports.
    set("ip_local_port_range", "10240 65535").map_err(|e| format!("ip_local_port_range: {e}"))?;
    set("tcp_tw_reuse", "1").map_err(|e| format!("tcp_tw_reuse: {e}"))?;
    let control = ["cubic", "reno"].into_iter().find(|name| set("tcp_congestion_control", name).is_ok());
    raise_descriptors();
    control.map(str::to_owned).ok_or("neither cubic nor reno can be had".into())
}

/// As many descriptors as the hard limit allows, for all that is started from here too.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Idle connections that two descriptors each leave room for, up to `wanted`.
pub fn idle_connections(wanted: usize) -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let room = limit.map_or(usize::MAX, |limit| (limit as usize).saturating_sub(400) / 2);
    wanted.min(room)
}
