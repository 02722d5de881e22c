//! A real Docker Engine of a test's own: its own containerd, socket and state, inside the test's room.

use super::room::{Room, end};
use super::{app, wait};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How the engine is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As installed: a bridge, iptables, containers die with a restart.
    Default,
    /// `--live-restore`, no bridge: containers on the room's own network outlive the engine.
    LiveRestore,
}

/// Time for anything an engine does; only a fault reaches it.
const LIMIT: Duration = Duration::from_secs(60);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// One engine. Everything it started ends with the room.
pub struct Engine<'r> {
    room: &'r Room,
    kind: Kind,
    dir: PathBuf,
    containerd: Child,
    dockerd: Option<Child>,
}

impl<'r> Engine<'r> {
    /// A default engine, ready, with the image `app`.
    pub fn default_bridge(room: &'r Room) -> Engine<'r> {
        Engine::ready(room, Kind::Default)
    }

    /// A `--live-restore` engine without a bridge, ready, with the image `app`.
    pub fn live_restore(room: &'r Room) -> Engine<'r> {
        Engine::ready(room, Kind::LiveRestore)
    }

    /// An engine that is ready.
    pub fn ready(room: &'r Room, kind: Kind) -> Engine<'r> {
        let mut engine = Engine::prepared(room, kind);
        engine.start();
        engine.wait_ready();
        engine.import();
        engine
    }

    /// Everything but dockerd itself: no socket exists yet.
    pub fn prepared(room: &'r Room, kind: Kind) -> Engine<'r> {
        let dir = room.dir.join("engine");
        std::fs::create_dir_all(dir.join("run")).expect("the engine's directory");
        let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
        let containerd = spawn(
            &dir,
            "containerd",
            &[
                "--root",
                &path("containerd"),
                "--state",
                &path("containerd-run"),
                "--address",
                &path("containerd.sock"),
            ],
        );
        wait::until("containerd's socket", LIMIT, LOOK, || {
            dir.join("containerd.sock").exists().then_some(())
        });
        Engine { room, kind, dir, containerd, dockerd: None }
    }

    /// Starts dockerd; does not wait for it. The time is that before the start.
    pub fn start(&mut self) -> Instant {
        assert!(self.dockerd.is_none(), "the engine runs already");
        let path = |name: &str| self.dir.join(name).to_string_lossy().into_owned();
        let (data, exec, pidfile) = (path("data"), path("exec"), path("docker.pid"));
        let (containerd, host) = (path("containerd.sock"), self.host());
        let mut args =
            vec!["--containerd", &containerd, "-H", &host, "--data-root", &data, "--exec-root", &exec];
        args.extend(["--pidfile", &pidfile, "--cgroup-parent", &self.room.cgroup]);
        args.extend(["--exec-opt", "native.cgroupdriver=cgroupfs"]);
        if self.kind == Kind::LiveRestore {
            args.extend(["--live-restore", "--bridge=none", "--iptables=false", "--ip-masq=false"]);
        }
        let start = Instant::now();
        self.dockerd = Some(spawn(&self.dir, "dockerd", &args));
        start
    }

    /// Waits until the API answers; gives the moment.
    pub fn wait_ready(&self) -> Instant {
        wait::until("the engine's API", LIMIT, LOOK, || {
            let out = self.try_docker(&["version", "--format", "{{.Server.Version}}"]);
            out.status.success().then(Instant::now)
        })
    }

    /// Kills dockerd as a crash does; containers live on.
    pub fn kill9(&mut self) {
        end(&mut self.dockerd.take().expect("the engine runs"));
        // What a crash leaves: the pid file names a process that is gone, and dockerd looks at that.
    }

    /// Stops the process (SIGSTOP): its socket accepts, nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a frozen engine go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let child = self.dockerd.as_ref().expect("the engine runs");
        let pid = Pid::from_raw(child.id().cast_signed()).expect("a pid");
        kill_process(pid, signal).expect("the signal is sent");
    }

    /// The socket's path.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("run/docker.sock")
    }

    /// The engine's URL, as `DOCKER_HOST` has it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Runs the docker CLI; panics if it fails.
    #[track_caller]
    pub fn docker(&self, args: &[&str]) -> String {
        let out = self.try_docker(args);
        let error = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "docker {args:?}: {error}");
        String::from_utf8_lossy(&out.stdout).trim().to_string()
    }

    /// Runs the docker CLI.
    pub fn try_docker(&self, args: &[&str]) -> Output {
        let mut command = Command::new("docker");
        command.args(args).env("DOCKER_HOST", self.host()).env("HOME", &self.dir).stdin(Stdio::null());
        command.output().expect("docker runs")
    }

    /// Starts a container `name` of the app, with further arguments for `docker run`; gives its id. It is
    /// killed at once when it is stopped: process 1 has no handler for SIGTERM.
    #[track_caller]
    pub fn run(&self, name: &str, args: &[&str]) -> String {
        let log = format!("{}:/log", self.room.log_dir().display());
        let named = format!("NAME={name}");
        let mut all = vec!["run", "-d", "--name", name, "-e", &named, "-e", "LOG=/log", "-v", &log];
        all.extend(["--stop-signal", "KILL"]);
        if self.kind == Kind::LiveRestore {
            all.extend(["--network", "host"]);
        }
        all.extend(args);
        all.extend(["app", "/app"]);
        self.docker(&all)
    }

    /// The container's address on the bridge.
    #[track_caller]
    pub fn ip(&self, name: &str) -> String {
        self.docker(&["inspect", "--format", "{{.NetworkSettings.IPAddress}}", name])
    }

    /// The deaths of containers since `since` (nanoseconds since the Unix epoch): name and time.
    pub fn deaths(&self, since: u128) -> Vec<(String, u128)> {
        let time = |nanos: u128| format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
        let (since, until) = (time(since), time(wait::wall()));
        let format = "{{.TimeNano}} {{.Actor.Attributes.name}}";
        let args =
            ["events", "--since", &since, "--until", &until, "--filter", "event=die", "--format", format];
        let pairs = self.docker(&args);
        let pairs = pairs.lines().filter_map(|line| line.split_once(' '));
        pairs.map(|(time, name)| (name.to_string(), time.parse().expect("a time"))).collect()
    }

    /// Makes the image `app`: one static binary, nothing is pulled.
    pub fn import(&self) {
        let dir = self.room.dir.join("bin");
        std::fs::copy(app::binary(), dir.join("app")).expect("the app's binary");
        let tar = dir.join("app.tar").to_string_lossy().into_owned();
        super::room::command("tar", &["-cf", &tar, "-C", &dir.to_string_lossy(), "app"]);
        self.docker(&["import", "--change", "EXPOSE 80", &tar, "app"]);
    }
}

impl Drop for Engine<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for log in ["dockerd.log", "containerd.log"] {
                let text = std::fs::read_to_string(self.dir.join(log)).unwrap_or_default();
                let last: Vec<&str> = text.lines().rev().take(25).collect();
                eprintln!("--- the end of {log}:");
                last.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
        if let Some(dockerd) = &mut self.dockerd {
            end(dockerd);
        }
        end(&mut self.containerd);
    }
}

/// Starts a daemon with its output in `dir/NAME.log`.
fn spawn(dir: &std::path::Path, program: &str, args: &[&str]) -> Child {
    let log =
        File::options().append(true).create(true).open(dir.join(format!("{program}.log"))).expect("a log");
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("the log again"))
        .stderr(log)
        .spawn()
        .unwrap_or_else(|e| panic!("{program}: {e}"))
}
