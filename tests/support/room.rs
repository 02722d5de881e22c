//! A room of its own for each test with a real engine: new network, mount and process namespaces. The test
//! binary starts itself again inside; engine, proxy, clients and containers all live there, and the kernel
//! ends them all with the room, also when the test panics.

use super::{app, wait};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Set inside a room to the test's name.
const INSIDE: &str = "TIDEGATE_TEST_ROOM";

/// What a room needs besides root.
const PROGRAMS: [&str; 7] = ["dockerd", "containerd", "docker", "iptables", "ip", "unshare", "setpriv"];

/// A directory below `target` for what tests build and write.
pub fn scratch() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// Says a line past the test runner's capture, so that it is seen when the test passes.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// How a line with a figure begins.
const MEASURED: &str = "MEASURED: ";

/// Says a figure: `what`, the value, and the most that is allowed.
#[track_caller]
pub fn measured(what: &str, value: Duration, goal: Duration) {
    say(&format!("{MEASURED}{what}: {value:.1?} (goal {goal:?})"));
    // A goal stands for a quiet machine; ten times as much is a fault on any.
    assert!(value <= goal * 10, "{what} took {value:?}, ten times the goal of {goal:?}");
}

/// Says a count or another fact that is not asserted.
pub fn noted(what: &str) {
    say(&format!("{MEASURED}{what}"));
}

/// Says that a test can't run on this machine; a failure where everything is required.
pub fn skip(test: &str, reason: &str) {
    say(&format!("SKIPPED: {test}: {reason}"));
    assert!(!all_required(), "{test} was skipped, and TIDEGATE_REQUIRE_ALL=1: {reason}");
}

/// True where a skipped test is a failure.
pub fn all_required() -> bool {
    std::env::var("TIDEGATE_REQUIRE_ALL").is_ok_and(|value| value == "1")
}

/// True inside a room.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs `story` in a room of its own; `test` is the test function's full name. The whole must end within
/// `limit`. One room at a time on a machine: stories measure times.
pub fn inside(test: &str, limit: Duration, story: impl FnOnce(&Room)) {
    if std::env::var_os(INSIDE).is_some_and(|name| name == test) {
        return story(&Room::furnish(test));
    }
    if let Err(reason) = possible() {
        return skip(test, &reason);
    }
    let turn = File::create(scratch().join("room.lock")).expect("the lock's file");
    turn.lock().expect("the lock");
    app::binary();
    let log = scratch().join(format!("{test}.log"));
    let (status, took) = run(test, limit, &log);
    remove_cgroups(&cgroup_parent(test));
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    // The runner's "test NAME ... " may stand before it on the line.
    said.lines().filter_map(|line| line.find(MEASURED).map(|at| &line[at..])).for_each(say);
    match status {
        Some(status) if status.success() => {}
        Some(status) => panic!("{test} failed after {took:?} ({status}):\n{said}"),
        None => panic!("{test} did not end within {limit:?}:\n{said}"),
    }
}

/// Why no room can be had here.
fn possible() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("needs root for namespaces and a real engine".into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    for program in PROGRAMS {
        if !std::env::split_paths(&path).any(|dir| dir.join(program).is_file()) {
            return Err(format!("needs {program}"));
        }
    }
    match Command::new("unshare").args(NAMESPACES).arg("true").output() {
        Ok(out) if out.status.success() => Ok(()),
        Ok(out) => Err(format!("unshare: {}", String::from_utf8_lossy(&out.stderr).trim())),
        Err(e) => Err(format!("unshare: {e}")),
    }
}

const NAMESPACES: [&str; 6] = ["--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"];

/// Starts this test binary again in new namespaces, for this one test. Process 1 is a shell: it reaps what
/// engines leave behind.
fn run(test: &str, limit: Duration, log: &Path) -> (Option<ExitStatus>, Duration) {
    let out = File::create(log).expect("the log");
    let start = Instant::now();
    // Killed with this thread, should the test runner itself be killed.
    let mut room = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare"])
        .args(NAMESPACES)
        .args(["sh", "-c", "\"$0\" \"$@\" & wait $!"])
        .arg(std::env::current_exe().expect("this binary"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, test)
        .stdin(Stdio::null())
        .stdout(out.try_clone().expect("the log again"))
        .stderr(out)
        .spawn()
        .expect("setpriv starts");
    let status = loop {
        match room.try_wait().expect("the room's end") {
            None if start.elapsed() < limit => wait::pass(Duration::from_millis(20)),
            None => {
                end(&mut room);
                break None;
            }
            status => break status,
        }
    };
    (status, start.elapsed())
}

/// Kills a child of ours, by its pid, and waits for it.
pub fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// The cgroup that a room's containers are in; removed after the room.
fn cgroup_parent(test: &str) -> String {
    format!("tidegate-{test}")
}

/// Removes the empty cgroups that killed containers leave, in every hierarchy of v1, or in v2's only one.
fn remove_cgroups(parent: &str) {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    for top in hierarchies.map(|path| path.join(parent)).chain([root.join(parent)]) {
        let mut dirs = vec![top];
        let mut at = 0;
        while at < dirs.len() {
            let inner = std::fs::read_dir(&dirs[at]).into_iter().flatten().flatten();
            let inner: Vec<PathBuf> = inner.map(|e| e.path()).filter(|path| path.is_dir()).collect();
            dirs.extend(inner);
            at += 1;
        }
        for dir in dirs.iter().rev() {
            let _ = std::fs::remove_dir(dir);
        }
    }
}

/// What a room has left behind: processes and cgroups.
pub fn remains(test: &str) -> Vec<String> {
    let mark = format!("{INSIDE}={test}");
    let has = |bytes: &[u8]| bytes.split(|b| *b == 0).any(|variable| variable == mark.as_bytes());
    let entries =
        |dir: &str| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let lives = |path: &PathBuf| std::fs::read(path.join("environ")).is_ok_and(|bytes| has(&bytes));
    let processes = entries("/proc").filter(lives);
    let cgroups = entries("/sys/fs/cgroup").map(|path| path.join(cgroup_parent(test))).filter(|p| p.exists());
    processes.chain(cgroups).map(|path| path.display().to_string()).collect()
}

/// Inside: the furnished room.
pub struct Room {
    /// A directory in memory; gone with the room.
    pub dir: PathBuf,
    /// The cgroup for its containers.
    pub cgroup: String,
}

impl Room {
    fn furnish(test: &str) -> Room {
        command("ip", &["link", "set", "lo", "up"]);
        // Sockets at fixed places (/run/docker.sock, /run/containerd/s) are this room's own.
        command("mount", &["-t", "tmpfs", "tmpfs", "/run"]);
        let dir = PathBuf::from("/run/room");
        for sub in ["log", "bin"] {
            std::fs::create_dir_all(dir.join(sub)).expect("a directory in the room");
        }
        Room { dir, cgroup: format!("/{}", cgroup_parent(test)) }
    }

    /// The directory that containers of `Engine::run` write to.
    pub fn log_dir(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// When the app `name` listened last, in nanoseconds since the Unix epoch, and how often it did.
    pub fn listening(&self, name: &str) -> Vec<u128> {
        let text = std::fs::read_to_string(self.log_dir().join(format!("{name}.listening")));
        text.unwrap_or_default().lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// The ids of the requests whose head has reached the app `name`, one for each time.
    pub fn heads(&self, name: &str) -> Vec<u64> {
        let text = std::fs::read_to_string(self.log_dir().join(format!("{name}.heads")));
        text.unwrap_or_default().lines().filter_map(|line| line.parse().ok()).collect()
    }
}

/// Runs a command to its end; gives its output, panics if it fails.
#[track_caller]
pub fn command(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{program} {args:?}: {}: {error}", out.status);
    String::from_utf8_lossy(&out.stdout).trim().to_string()
}
