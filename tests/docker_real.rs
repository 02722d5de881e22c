//! The supervisor against real engines, each in a room of its own.
#![allow(clippy::disallowed_methods)] // tests block, and measure deadlines

mod docker_support;
mod support;

use docker_support::{Recorder, Watched};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::engine::Engine;
use support::room::{command, inside, measured, noted};
use tidegate::docker::own;
use tidegate::docker::{EngineState, Report, RunState};

const LIMIT: Duration = Duration::from_secs(180);

fn died(id: &str) -> impl FnMut(&Report) -> Option<i64> + '_ {
    move |report| match report {
        Report::Died { id: of, at, .. } if of == id => Some(*at),
        _ => None,
    }
}

fn now_nanos() -> i64 {
    i64::try_from(support::wait::wall()).unwrap()
}

/// The time of a report on the clock of the engine's events.
fn on_wall(at: Instant) -> i64 {
    now_nanos() - i64::try_from(at.elapsed().as_nanos()).unwrap()
}

fn millis(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap())
}

#[test]
fn a_default_engine_comes_late_dies_and_comes_back() {
    inside("a_default_engine_comes_late_dies_and_comes_back", LIMIT, |room| {
        let mut engine = Engine::prepared(room, support::engine::Kind::Default);
        let watched = Watched::start(&engine.socket(), |_| {});
        let reports = &watched.reports;
        let next = reports.state(0, &EngineState::Connecting);
        engine.start();
        let answered = engine.wait_ready();
        let (containers, at, next) = reports.wait("the first list", next, |report| match report {
            Report::Synced { containers, .. } => Some(containers.len()),
            _ => None,
        });
        assert_eq!(containers, 0);
        measured(
            "first list after the engine's first answer",
            at.saturating_duration_since(answered),
            SECOND,
        );
        reports.state(next, &EngineState::Ready);
        engine.import();
        lives(&engine, &watched);
        let ids: Vec<String> =
            ["c1", "d1", "e1", "f1"].map(|name| engine.run(name, &["--restart", "always"])).into();
        let next = reports.len();
        engine.kill9();
        let lost = reports.state(next, &EngineState::Lost);
        settled_lost(reports, next);
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(reports.len(), lost, "while nobody listens nothing is reported");
        let started_at = now_nanos();
        engine.start();
        let (_, unverified, next) = reports.wait("unverified", lost, |report| match report {
            Report::State { state: EngineState::Unverified, .. } => Some(()),
            _ => None,
        });
        let (containers, _) = reports.synced(next);
        let deaths = engine.deaths(u128::try_from(started_at).unwrap());
        let first_death = deaths.iter().map(|(_, at)| *at).min().expect("the restart kills the containers");
        noted(&format!(
            "unverified {:?} after the start of dockerd, its first kill {:?} later",
            millis(on_wall(unverified) - started_at),
            millis(i64::try_from(first_death).unwrap() - on_wall(unverified)),
        ));
        for id in &ids {
            let container = containers.iter().find(|container| container.id == *id).unwrap();
            assert!(container.started_at.unwrap() > started_at, "{} runs anew", container.name);
            let real = engine.ip(&container.name);
            assert_eq!(container.networks[0].ip.map(|ip| ip.to_string()), Some(real), "{}", container.name);
        }
    });
}

/// A dying engine may still accept for a moment; it must not look like one that is back for longer.
#[track_caller]
fn settled_lost(reports: &Recorder, from: usize) {
    let states = reports.states(from);
    let lost = states.iter().position(|state| *state == EngineState::Lost).expect("lost");
    assert!(states[..lost].iter().all(|state| *state == EngineState::Unverified) && lost <= 1, "{states:?}");
}

const SECOND: Duration = Duration::from_secs(1);

/// Start, die, swap of addresses, pause, removal.
fn lives(engine: &Engine, watched: &Watched) {
    let reports = &watched.reports;
    let next = reports.len();
    let (a, b) = (engine.run("a1", &["-l", "proxy.aliases=x"]), engine.run("b1", &["--expose", "8080/udp"]));
    let called = Instant::now();
    let (shown, at, next) = reports.changed(next, |container| container.id == b && container.is_running());
    measured("a container known after `docker run`", at.saturating_duration_since(called), SECOND / 10);
    assert_eq!((shown.name.as_str(), shown.image.as_str(), shown.ports.len()), ("b1", "app", 2));
    assert!(shown.mounts.contains(&"/log".to_owned()), "{:?}", shown.mounts);
    assert_eq!(shown.networks[0].ip.map(|ip| ip.to_string()), Some(engine.ip("b1")));

    // What a program in the container would read of itself.
    let pid = engine.docker(&["inspect", "--format", "{{.State.Pid}}", "a1"]);
    let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    assert_eq!(own::from_mountinfo(&mounts).as_ref(), Some(&a), "{mounts}");
    let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let other = own::from_cgroup(&cgroup).filter(|id| *id != a);
    assert_eq!(other, None, "{cgroup}");
    assert_eq!(tidegate::docker::own_container_id(), None, "the room is no container");

    engine.docker(&["kill", "a1", "b1"]);
    let (die_a, at, next_a) = reports.wait("a's die", next, died(&a));
    let after = millis(on_wall(at) - die_a);
    measured("a die reported after the engine's time of it", after, SECOND / 100);
    reports.wait("b's die", next, died(&b));
    engine.docker(&["start", "b1", "a1"]);
    let next = next_a;
    for (id, name) in [(&a, "a1"), (&b, "b1")] {
        let real = engine.ip(name);
        reports.changed(next, |container| {
            let ip = container.networks.first().and_then(|network| network.ip);
            container.id == *id
                && container.is_running()
                && ip.map(|ip| ip.to_string()).as_ref() == Some(&real)
        });
    }
    let next = reports.len();
    engine.docker(&["pause", "a1"]);
    reports.changed(next, |container| container.id == a && container.state == RunState::Paused);
    engine.docker(&["unpause", "a1"]);
    reports.changed(next, |container| container.id == a && container.state == RunState::Running);
    engine.docker(&["rename", "a1", "aa"]);
    reports.changed(next, |container| container.id == a && container.name == "aa");
    engine.docker(&["network", "create", "other"]);
    engine.docker(&["network", "connect", "other", "aa"]);
    reports.changed(next, |container| container.id == a && container.networks.len() == 2);
    engine.docker(&["network", "disconnect", "other", "aa"]);
    let (_, _, next) = reports.changed(next, |container| container.id == a && container.networks.len() == 1);
    engine.docker(&["rm", "-f", "aa", "b1"]);
    reports.wait("a's end", next, |report| match report {
        Report::Destroyed { id, .. } => (*id == a).then_some(()),
        _ => None,
    });
}

#[test]
fn a_live_restore_engine_is_stopped_gone_and_stale() {
    inside("a_live_restore_engine_is_stopped_gone_and_stale", LIMIT, |room| {
        let mut engine = Engine::live_restore(room);
        let id = engine.run("a1", &[]);
        // As a container has it: the socket alone, bind-mounted as a file.
        let mounted: PathBuf = room.dir.join("mounted.sock");
        std::fs::write(&mounted, "").unwrap();
        let show = |path: &Path| path.display().to_string();
        command("mount", &["--bind", &show(&engine.socket()), &show(&mounted)]);
        let watched = Watched::start(&engine.socket(), |_| {});
        let inside = Watched::start(&mounted, |_| {});
        let reports = &watched.reports;
        let (containers, next) = reports.synced(0);
        assert_eq!((containers.len(), containers[0].host_network), (1, true));
        let next = reports.state(next, &EngineState::Ready);
        inside.reports.state(0, &EngineState::Ready);

        // Whether it restores live is asked once it is ready, and nothing tells that the answer is there.
        std::thread::sleep(SECOND);
        engine.freeze();
        std::thread::sleep(Duration::from_secs(30));
        engine.thaw();
        let slow = reports.state(next, &EngineState::Slow);
        let next = reports.state(slow, &EngineState::Ready);
        assert_eq!(reports.states(0)[2..], [EngineState::Slow, EngineState::Ready], "and nothing else");

        for outage in [Duration::from_millis(500), Duration::from_secs(5)] {
            let next = reports.len();
            engine.kill9();
            let lost = reports.state(next, &EngineState::Lost);
            std::thread::sleep(outage);
            engine.start();
            let (containers, synced) = reports.synced(lost);
            assert_eq!(containers[0].id, id);
            reports.state(synced, &EngineState::Ready);
            settled_lost(reports, next);
            let states = reports.states(lost);
            assert_eq!(states, [EngineState::Unverified, EngineState::Ready]);
        }
        let _ = next;
        let (reason, ..) = inside.reports.wait("stale", 0, |report| match report {
            Report::State { state: EngineState::Stale { trusted: true }, reason, .. } => Some(reason.clone()),
            _ => None,
        });
        assert!(reason.contains("mount the directory, or restart me"), "{reason}");
        assert!(matches!(inside.reports.states(0).last(), Some(EngineState::Stale { .. })));
    });
}
