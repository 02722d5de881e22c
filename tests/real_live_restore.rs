//! Stories on a real engine with `--live-restore`: its containers outlive it.
#![allow(clippy::disallowed_methods)] // tests block, and measure deadlines

mod support;

use std::time::{Duration, Instant};
use support::engine::Engine;
use support::room::{inside, measured, noted};
use support::tidegate::{Tidegate, config};
use support::traffic::Traffic;
use support::wait;

/// Time for what a goal allows a second at most.
const LIMIT: Duration = Duration::from_secs(10);
/// The whole of one story.
const STORY: Duration = Duration::from_secs(240);

const THREE: [&str; 3] = ["ada", "ben", "cyd"];

/// Starts an app on the room's own network, which all share: each has a port of its own.
fn run(engine: &Engine, name: &str, port: u16) {
    let (env, alias) = (format!("PORT={port}"), format!("proxy.aliases={name}"));
    engine.run(name, &["-e", &env, "-l", &alias, "-l", &format!("proxy.{name}.port={port}")]);
}

/// Three apps behind the proxy, all answering.
fn three(engine: &Engine, room: &support::room::Room) -> Tidegate {
    THREE.iter().zip(9001..).for_each(|(name, port)| run(engine, name, port));
    let proxy = Tidegate::start(room, &config(engine), &[]);
    proxy.wait_apps(&THREE, LIMIT);
    proxy
}

#[test]
fn an_engine_is_gone_under_traffic() {
    inside("an_engine_is_gone_under_traffic", STORY, |room| {
        let mut engine = Engine::live_restore(room);
        let proxy = three(&engine, room);
        for (outage, name, port) in [(20_000, "dan", 9011), (500, "eva", 9012), (500, "fay", 9013)] {
            let outage = Duration::from_millis(outage);
            let traffic = Traffic::start(proxy.addr, &THREE, "/slow?ms=20");
            wait::pass(Duration::from_secs(1));
            engine.kill9();
            wait::pass(outage);
            engine.start();
            engine.wait_ready();
            run(&engine, name, port);
            let started = Instant::now();
            let right = proxy.wait_app(name, LIMIT);
            wait::pass(Duration::from_secs(1));
            let tally = traffic.stop();
            noted(&format!("engine gone for {outage:?}: {tally}"));
            tally.assert_all_right();
            let what = format!("a new container after an outage of {outage:?} is routed");
            measured(&what, right - started, Duration::from_millis(300));
        }
    });
}

#[test]
fn a_new_container_is_routed_at_once() {
    inside("a_new_container_is_routed_at_once", STORY, |room| {
        let engine = Engine::live_restore(room);
        let proxy = three(&engine, room);
        let mut times = Vec::new();
        for number in 0..10_u16 {
            let name = format!("new{number}");
            run(&engine, &name, 9100 + number);
            let started = Instant::now();
            times.push(proxy.wait_app(&name, LIMIT) - started);
        }
        times.sort();
        measured("a new container is routed, median of ten", times[5], Duration::from_millis(300));
        measured("a new container is routed, slowest of ten", times[9], Duration::from_millis(300));
    });
}

#[test]
fn a_frozen_engine_is_slow_and_not_lost() {
    inside("a_frozen_engine_is_slow_and_not_lost", STORY, |room| {
        let engine = Engine::live_restore(room);
        let proxy = three(&engine, room);
        let before = proxy.lines();
        let traffic = Traffic::start(proxy.addr, &THREE, "/");
        engine.freeze();
        wait::pass(Duration::from_secs(30));
        let problems = proxy.problems(before);
        engine.thaw();
        engine.wait_ready();
        wait::pass(Duration::from_secs(2));
        let tally = traffic.stop();
        noted(&format!("engine frozen for 30 s: {tally}"));
        tally.assert_all_right();
        assert_eq!(problems.len(), 1, "not one problem: {problems:#?}");
        let after = proxy.problems(before);
        assert_eq!(after.len(), 1, "problems after it went on: {after:#?}");
        run(&engine, "dan", 9011);
        proxy.wait_app("dan", LIMIT);
    });
}
