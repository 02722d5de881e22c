//! What a process and its children cost, as the kernel counts it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// System calls that are counted by name; the rest is in the sum.
const CALLS: [&str; 45] = [
    "read",
    "write",
    "readv",
    "writev",
    "recvfrom",
    "sendto",
    "recvmsg",
    "sendmsg",
    "splice",
    "pipe2",
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_ctl",
    "poll",
    "accept",
    "accept4",
    "connect",
    "socket",
    "close",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "getsockname",
    "getpeername",
    "ioctl",
    "fcntl",
    "futex",
    "madvise",
    "mmap",
    "munmap",
    "mprotect",
    "clock_nanosleep",
    "nanosleep",
    "sched_yield",
    "getpid",
    "tgkill",
    "timerfd_settime",
    "timer_settime",
    "timer_gettime",
    "gettid",
    "rt_sigprocmask",
    "clock_gettime",
    "getrusage",
    "fstat",
];

/// The process and all below it.
pub fn tree(root: u32) -> Vec<u32> {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // After the name, which is in parentheses and may hold anything: state, parent.
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        if let Some(parent) = after.split_whitespace().nth(1).and_then(|parent| parent.parse::<u32>().ok()) {
            parents.insert(pid, parent);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(parents.iter().filter(|(_, p)| **p == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found
}

/// CPU time of each thread so far, in nanoseconds.
pub fn cpu(root: u32) -> BTreeMap<u32, u64> {
    let mut threads = BTreeMap::new();
    for pid in tree(root) {
        for entry in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let text = fs::read_to_string(entry.path().join("schedstat")).unwrap_or_default();
            let nanos = text.split_whitespace().next().and_then(|n| n.parse().ok());
            let thread = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let (Some(thread), Some(nanos)) = (thread, nanos) {
                threads.insert(thread, nanos);
            }
        }
    }
    threads
}

/// Nanoseconds between two looks.
pub fn cpu_between(before: &BTreeMap<u32, u64>, after: &BTreeMap<u32, u64>) -> u64 {
    after.iter().map(|(thread, nanos)| nanos - before.get(thread).copied().unwrap_or(0).min(*nanos)).sum()
}

/// Proportional set size in KiB.
pub fn pss(root: u32) -> u64 {
    let one = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    tree(root).iter().map(one).sum()
}

/// A count of system calls that is under way.
pub struct Syscalls {
    perf: Child,
    file: std::path::PathBuf,
}

impl Syscalls {
    /// Whether perf can count them here; else why not.
    pub fn available() -> Result<(), String> {
        let probe = Command::new("perf").args(["stat", "-e", "raw_syscalls:sys_enter", "true"]).output();
        match probe {
            Ok(out) if out.status.success() => Ok(()),
            Ok(out) => Err(String::from_utf8_lossy(&out.stderr).lines().next().unwrap_or("?").to_owned()),
            Err(e) => Err(format!("perf: {e}")),
        }
    }

    pub fn start(root: u32, dir: &Path) -> std::io::Result<Syscalls> {
        let pids: Vec<String> = tree(root).iter().map(u32::to_string).collect();
        let known = |call: &&&str| {
            Path::new(&format!("/sys/kernel/tracing/events/syscalls/sys_enter_{call}")).exists()
        };
        let events: Vec<String> =
            CALLS.iter().filter(known).map(|call| format!("syscalls:sys_enter_{call}")).collect();
        let file = dir.join("perf.csv");
        let _ = fs::remove_file(&file);
        let mut command = Command::new("perf");
        command.args(["stat", "-x", ",", "-o"]).arg(&file).args(["-e", "raw_syscalls:sys_enter"]);
        if !events.is_empty() {
            command.args(["-e", &events.join(",")]);
        }
        let perf =
            command.args(["-p", &pids.join(",")]).stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
        crate::pause(Duration::from_millis(700));
        Ok(Syscalls { perf, file })
    }

    /// The sum, and the calls by name, the most frequent first.
    pub fn stop(mut self) -> std::io::Result<(u64, Vec<(String, u64)>)> {
        let pid = rustix::process::Pid::from_child(&self.perf);
        rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
        let end = Instant::now() + Duration::from_secs(5);
        while self.perf.try_wait()?.is_none() && Instant::now() < end {
            crate::pause(Duration::from_millis(10));
        }
        let text = fs::read_to_string(&self.file)?;
        let mut sum = 0;
        let mut calls = Vec::new();
        for line in text.lines() {
            let fields: Vec<&str> = line.split(',').collect();
            let [count, _, event, ..] = fields[..] else { continue };
            let Ok(count) = count.parse::<u64>() else { continue };
            match event.strip_prefix("syscalls:sys_enter_") {
                Some(call) if count > 0 => calls.push((call.to_owned(), count)),
                Some(_) => {}
                None => sum = count,
            }
        }
        calls.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Ok((sum, calls))
    }
}
