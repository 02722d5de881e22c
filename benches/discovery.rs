//! `scripts/bench-discovery`, or `cargo bench --bench discovery` as root: from the moment in which the engine's
//! start call returns to the first right answer through Tidegate, on a real engine in a room of its own. The
//! container's application listens at once. Exits with 1 beyond ten times the goal.
//!
//! Measured beside another container, and alone on the bridge. A bridge without any container has no carrier, and
//! the kernel gives it back a moment after the start: an ARP request that is lost meanwhile is sent again only
//! after a second (with `neigh/docker0/retrans_time_ms` at 50 the seconds become 70 ms). So for those alone the
//! figures are said, and nothing is asserted.
#![allow(clippy::disallowed_methods)] // a bench blocks, and reads the clock

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};
use support::api::Api;
use support::engine::Engine;
use support::room::{inside, is_inside, measured, noted};
use support::tidegate::{Tidegate, config, host};
use support::wait;

const NAME: &str = "bench-discovery";
/// Starts that count, and those before them that warm the machine up.
const STARTS: usize = 60;
const WARM_UP: usize = 3;
/// What the median and the slowest may take.
const MEDIAN: Duration = Duration::from_millis(30);
const SLOWEST: Duration = Duration::from_millis(100);
/// Time for one answer; only a fault reaches it.
const LIMIT: Duration = Duration::from_secs(10);

fn main() {
    if !is_inside() && !std::env::args().any(|arg| arg == "--bench") {
        println!("run it by `cargo bench --bench discovery`: an unoptimised build measures nothing");
        return;
    }
    inside(NAME, Duration::from_secs(300), |room| {
        let engine = Engine::default_bridge(room);
        let api = Api::new(&engine.socket());
        let proxy = Tidegate::start(room, &config(&engine), &[]);
        let alone = series(&api, &proxy, "alone");
        say("alone on its bridge", &alone);
        api.create("beside");
        api.start("beside");
        proxy.wait_app("beside", LIMIT);
        let beside = series(&api, &proxy, "app");
        say("beside another container", &beside);
        measured("start call returned to the first right answer, median", share(&beside, 50), MEDIAN);
        measured("start call returned to the first right answer, slowest", share(&beside, 100), SLOWEST);
    });
}

/// The times of so many starts, one after the other, in their order.
fn series(api: &Api, proxy: &Tidegate, kind: &str) -> Vec<Duration> {
    (0..WARM_UP + STARTS).map(|number| one(api, proxy, &format!("{kind}{number}"))).skip(WARM_UP).collect()
}

/// The time that so many of a hundred stay below.
fn share(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted[(sorted.len() - 1) * percent / 100]
}

fn say(what: &str, times: &[Duration]) {
    let all: Vec<String> = times.iter().map(in_ms).collect();
    noted(&format!("{what}, in their order, ms: {}", all.join(" ")));
    let [least, median, p90, slowest] = [0, 50, 90, 100].map(|percent| in_ms(&share(times, percent)));
    let count = times.len();
    noted(&format!(
        "{what}: {count} starts: min {least} ms, median {median} ms, p90 {p90} ms, max {slowest} ms"
    ));
}

/// Starts one container and asks for it without a pause; gives the time from the call's return to the answer.
fn one(api: &Api, proxy: &Tidegate, name: &str) -> Duration {
    api.create(name);
    // It is known before it is started, as `docker run` and Compose have it too, and nothing is left to do.
    proxy.wait_status(&host(name), 503, LIMIT);
    let returned = api.start(name);
    let right = loop {
        let answer = proxy.get(&host(name), "/").expect("an answer");
        let now = Instant::now();
        match answer.app() {
            Some(app) => assert_eq!(app, name, "another container answered"),
            None => {
                assert!(now - returned < LIMIT, "{name} is not answered: {}", answer.text());
                continue;
            }
        }
        break now;
    };
    api.remove(name);
    proxy.wait_status(&host(name), 404, LIMIT);
    // The engine still clears away behind its answer.
    wait::pass(Duration::from_millis(200));
    right - returned
}

fn in_ms(time: &Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1_000.0)
}
