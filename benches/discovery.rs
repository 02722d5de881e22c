//! `scripts/bench-discovery`, or `cargo bench --bench discovery` as root: from the moment in which the engine's
//! start call returns to the first right answer through Tidegate, on a real engine in a room of its own. The
//! container's application listens at once. Exits with 1 beyond ten times the goal.
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
        let mut times: Vec<Duration> = (0..WARM_UP + STARTS).map(|n| one(&api, &proxy, n)).collect();
        let mut times = times.split_off(WARM_UP);
        noted(&format!("in their order, ms: {}", times.iter().map(in_ms).collect::<Vec<_>>().join(" ")));
        times.sort();
        let at = |share: usize| times[(STARTS - 1) * share / 100];
        let (least, p90) = (at(0), at(90));
        noted(&format!("{STARTS} starts: least {} ms, p90 {} ms", in_ms(&least), in_ms(&p90)));
        measured("start call returned to the first right answer, median", at(50), MEDIAN);
        measured("start call returned to the first right answer, slowest", at(100), SLOWEST);
    });
}

/// Starts one container and asks for it without a pause; gives the time from the call's return to the answer.
fn one(api: &Api, proxy: &Tidegate, number: usize) -> Duration {
    let name = format!("app{number}");
    api.create(&name);
    // It is known before it is started, as `docker run` and Compose have it too, and nothing is left to do.
    proxy.wait_status(&host(&name), 503, LIMIT);
    let returned = api.start(&name);
    let right = loop {
        let answer = proxy.get(&host(&name), "/").expect("an answer");
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
    api.remove(&name);
    proxy.wait_status(&host(&name), 404, LIMIT);
    // The engine still clears away behind its answer.
    wait::pass(Duration::from_millis(200));
    right - returned
}

fn in_ms(time: &Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1_000.0)
}
