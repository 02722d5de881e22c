//! Two hundred containers on a real engine, all started at once and all killed at once.
#![allow(clippy::disallowed_methods)] // tests block, and measure deadlines

mod support;

use std::time::{Duration, Instant};
use support::api::Api;
use support::engine::Engine;
use support::room::{inside, measured, noted};
use support::tidegate::{Tidegate, config, host};
use support::wait;

/// How many containers.
const COUNT: usize = 200;
/// Time for an alias to be right once its own call has returned; only a fault reaches it.
const LIMIT: Duration = Duration::from_secs(30);
/// Time between two looks at one alias; the proxy pays for each, and its CPU time is measured.
const LOOK: Duration = Duration::from_millis(20);
/// CPU time of the proxy for all starts, built for release.
const CPU: Duration = Duration::from_secs(1);

#[test]
fn two_hundred_containers_start_at_once_and_end_at_once() {
    inside("two_hundred_containers_start_at_once_and_end_at_once", Duration::from_secs(400), |room| {
        let engine = Engine::default_bridge(room);
        let api = Api::new(&engine.socket());
        let names: Vec<String> = (0..COUNT).map(|number| format!("app{number}")).collect();
        at_once(&names, |name| api.create(name));
        let proxy = Tidegate::start(room, &config(&engine), &[]);
        names.iter().for_each(|name| drop(proxy.wait_status(&host(name), 503, LIMIT)));

        let (before, starts) =
            (proxy.cpu(), story(&names, |name| api.start(name), |name| right(&proxy, name)));
        let cpu = proxy.cpu() - before;
        noted(&format!("{COUNT} containers started at once: {starts}"));
        measured("the last one is right after the last start call", starts.last, Duration::from_secs(1));
        measured("CPU time for all starts", cpu, CPU);
        assert!(names.iter().all(|name| right(&proxy, name)), "a container that was right is missing");

        let (before, ends) =
            (proxy.cpu(), story(&names, |name| api.kill(name), |name| refused(&proxy, name)));
        let cpu = proxy.cpu() - before;
        noted(&format!("{COUNT} containers killed at once: {ends}"));
        measured("the last one is refused after the last kill call", ends.last, Duration::from_secs(1));
        measured("CPU time for all ends", cpu, CPU);
        assert!(names.iter().all(|name| refused(&proxy, name)), "a container that is dead is served");
    });
}

/// How long it took.
struct Times {
    /// Until the last call returned.
    calls: Duration,
    /// From each container's own call, sorted.
    each: Vec<Duration>,
    /// From the last call to the last container.
    last: Duration,
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = |share: usize| self.each[(self.each.len() - 1) * share / 100];
        let (calls, median, p90, most) = (self.calls, at(50), at(90), at(100));
        write!(f, "calls {calls:.1?}; from its own call: median {median:.1?}, p90 {p90:.1?}, most {most:.1?}")
    }
}

/// Calls `call` for each name on a thread of its own, each then waiting until `done`.
fn story(
    names: &[String],
    call: impl Fn(&str) -> Instant + Sync,
    done: impl Fn(&str) -> bool + Sync,
) -> Times {
    let begun = Instant::now();
    let both = at_once(names, |name| {
        let returned = call(name);
        let what = format!("{name} is answered as it should be");
        (returned, wait::until(&what, LIMIT, LOOK, || done(name).then(Instant::now)))
    });
    let calls = both.iter().map(|(returned, _)| *returned).max().expect("a call");
    let last = both.iter().map(|(_, done)| *done).max().expect("an end").saturating_duration_since(calls);
    let mut each: Vec<Duration> = both.iter().map(|(returned, done)| *done - *returned).collect();
    each.sort();
    Times { calls: calls - begun, each, last }
}

/// Calls `call` for each name on a thread of its own; gives what they gave.
fn at_once<T: Send>(names: &[String], call: impl Fn(&str) -> T + Sync) -> Vec<T> {
    let call = &call;
    std::thread::scope(|scope| {
        let threads: Vec<_> = names.iter().map(|name| scope.spawn(move || call(name))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread's end")).collect()
    })
}

/// True if the container itself answers for its alias; an answer of another one fails at once.
fn right(proxy: &Tidegate, name: &str) -> bool {
    let answer = proxy.get(&host(name), "/").expect("an answer");
    let right = answer.text().starts_with(&format!("{name} "));
    assert!(right || answer.status == 503, "{name} was answered {}: {}", answer.status, answer.text());
    right
}

/// True if it is said of the alias that its container does not run.
fn refused(proxy: &Tidegate, name: &str) -> bool {
    proxy.get(&host(name), "/").is_ok_and(|answer| answer.status == 503)
}
