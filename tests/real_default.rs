//! Stories on a real engine as it is installed: a bridge, iptables, containers that die with its restart.
#![allow(clippy::disallowed_methods)] // tests block, and measure deadlines

mod support;

use std::time::{Duration, Instant};
use support::engine::Engine;
use support::room::{Room, inside, measured, noted};
use support::tidegate::{Tidegate, config, host};
use support::traffic::{Outcome, Traffic};
use support::wait::{self, wall};

/// Time for what a goal allows a second at most.
const LIMIT: Duration = Duration::from_secs(10);
/// Time for an engine with its containers to be back; only a fault reaches it.
const ENGINE: Duration = Duration::from_secs(60);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// The whole of one story.
const STORY: Duration = Duration::from_secs(240);

const SIX: [&str; 6] = ["ada", "ben", "cyd", "dan", "eva", "fay"];

#[test]
fn an_engine_restarts_with_six_containers_under_traffic() {
    inside("an_engine_restarts_with_six_containers_under_traffic", STORY, |room| {
        let mut engine = Engine::default_bridge(room);
        for name in SIX {
            engine.run(name, &["--restart", "always", "-l", &format!("proxy.aliases={name}")]);
        }
        let proxy = Tidegate::start(room, &config(&engine), &[]);
        proxy.wait_apps(&SIX, LIMIT);
        // Short requests end before their container dies; long ones are cut by its death, or sent again if
        // they may be.
        restart(room, &mut engine, &proxy, 1, || Traffic::start(proxy.addr, &SIX, "/slow?ms=20"));
        restart(room, &mut engine, &proxy, 2, || Traffic::start(proxy.addr, &SIX, "/slow?ms=300"));
        restart(room, &mut engine, &proxy, 3, || Traffic::post(proxy.addr, &SIX, "/slow?ms=300"));
    });
}

/// The engine is killed and started again for the `round`th time under some traffic.
fn restart(room: &Room, engine: &mut Engine, proxy: &Tidegate, round: usize, traffic: impl Fn() -> Traffic) {
    let begin = wall();
    let traffic = traffic();
    wait::pass(Duration::from_secs(2));
    engine.kill9();
    wait::pass(Duration::from_secs(1));
    let start = wall();
    engine.start();
    engine.wait_ready();
    for name in SIX {
        wait::until("the app listens again", ENGINE, LOOK, || room.listening(name).get(round).copied());
        proxy.wait_app(name, LIMIT);
    }
    let well = wall();
    wait::pass(Duration::from_secs(2));
    let end = wall();
    let tally = traffic.stop();

    let lost = tally.assert_right_or_waiting(room, &engine.deaths(begin));
    noted(&format!("six containers restarted with their engine: {tally}; {lost} of them cut by a death"));
    // While nobody listened their containers lived, and so did their addresses.
    assert!(tally.assert_right_within(&SIX, &[(begin, start), (well, end)]) > 0);
    tally.assert_no_post_twice(room);
    if round > 1 {
        return; // long requests would be measured with their own time
    }
    let again = SIX.map(|name| {
        let listens = room.listening(name)[round];
        let right = tally.first_right_after(name, listens).expect("a right answer");
        Duration::from_nanos((right - listens) as u64)
    });
    let slowest = again.iter().max().copied().unwrap_or_default();
    measured("right again after an application listens, slowest of six", slowest, Duration::from_secs(1));
}

#[test]
fn two_containers_swap_addresses_under_traffic() {
    inside("two_containers_swap_addresses_under_traffic", STORY, |room| {
        let engine = Engine::default_bridge(room);
        let pair = ["ada", "ben"];
        pair.iter().for_each(|name| drop(engine.run(name, &["-l", &format!("proxy.aliases={name}")])));
        let proxy = Tidegate::start(room, &config(&engine), &[]);
        proxy.wait_apps(&pair, LIMIT);
        let begin = wall();
        let traffic = Traffic::post(proxy.addr, &pair, "/slow?ms=20");
        let (mut swaps, mut calm) = (0, vec![]);
        for round in 0..10 {
            let before = pair.map(|name| engine.ip(name));
            let order = if round % 2 == 0 { ["ben", "ada"] } else { ["ada", "ben"] };
            engine.docker(&["kill", "ada", "ben"]);
            engine.docker(&["start", order[0], order[1]]);
            let after = pair.map(|name| engine.ip(name));
            swaps += usize::from(before[0] == after[1] && before[1] == after[0]);
            proxy.wait_apps(&pair, LIMIT);
            let well = wall();
            wait::pass(Duration::from_millis(500));
            calm.push((well, wall()));
        }
        let tally = traffic.stop();
        assert!(tally.assert_right_within(&pair, &calm) > 0);
        tally.assert_no_post_twice(room);
        let lost = tally.assert_right_or_waiting(room, &engine.deaths(begin));
        noted(&format!("{swaps} swaps of two addresses: {tally}; {lost} of them cut by a death"));
        assert!(swaps > 0, "the engine never swapped the addresses: the story proves nothing");
    });
}

#[test]
fn another_container_takes_the_old_address() {
    inside("another_container_takes_the_old_address", STORY, |room| {
        let engine = Engine::default_bridge(room);
        engine.run("ada", &[]);
        let proxy = Tidegate::start(room, &config(&engine), &[]);
        proxy.wait_app("ada", LIMIT);
        let begin = wall();
        let traffic = Traffic::start(proxy.addr, &["ada", "ada", "ben"], "/");
        let (mut taken, mut calm) = (0, vec![]);
        for _ in 0..5 {
            let old = engine.ip("ada");
            engine.docker(&["kill", "ada"]);
            engine.run("ben", &[]);
            taken += usize::from(engine.ip("ben") == old);
            proxy.wait_app("ben", LIMIT);
            engine.docker(&["start", "ada"]);
            proxy.wait_app("ada", LIMIT);
            engine.docker(&["rm", "-f", "ben"]);
            engine.docker(&["kill", "ada"]);
            engine.docker(&["start", "ada"]);
            proxy.wait_app("ada", LIMIT);
            let well = wall();
            wait::pass(Duration::from_millis(500));
            calm.push((well, wall()));
        }
        let mut tally = traffic.stop();
        assert!(tally.assert_right_within(&["ada"], &calm) > 0);
        assert!(taken > 0, "the address was never taken over: the story proves nothing");
        // While `ben` does not exist its host is unknown.
        tally.samples.retain(|s| s.app != "ben" || s.outcome != Outcome::Status(404));
        let lost = tally.assert_right_or_waiting(room, &engine.deaths(begin));
        noted(&format!("{taken} addresses taken over: {tally}; {lost} of them cut by a death"));
    });
}

#[test]
fn a_container_is_stopped_started_removed_and_made_again() {
    inside("a_container_is_stopped_started_removed_and_made_again", STORY, |room| {
        let engine = Engine::default_bridge(room);
        let proxy = Tidegate::start(room, &config(&engine), &[]);
        let (unknown, _) = proxy.wait_status(&host("ada"), 404, LIMIT);
        assert!(unknown.app().is_none());

        engine.run("box", &["-l", "proxy.aliases=ada"]);
        let started = Instant::now();
        let (answer, right) = proxy.wait_status(&host("ada"), 200, LIMIT);
        assert_eq!(answer.app(), Some("box"));
        measured("a new container is routed", right - started, Duration::from_millis(300));

        engine.docker(&["stop", "box"]);
        let (stopped, _) = proxy.wait_status(&host("ada"), 503, LIMIT);
        let text = stopped.text().to_lowercase();
        assert!(text.contains("stopped") || text.contains("not running"), "the 503 does not say so: {text}");

        engine.docker(&["start", "box"]);
        proxy.wait_status(&host("ada"), 200, LIMIT);
        engine.docker(&["kill", "box"]);
        proxy.wait_status(&host("ada"), 503, LIMIT);
        engine.docker(&["rm", "box"]);
        proxy.wait_status(&host("ada"), 404, LIMIT);
        engine.run("box", &["-l", "proxy.aliases=ada"]);
        proxy.wait_status(&host("ada"), 200, LIMIT);

        assert!(proxy.terminate().success(), "SIGTERM did not end it with 0");
    });
}
