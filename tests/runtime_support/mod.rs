//! What the runtime's tests share.
#![allow(dead_code)] // each test program uses a part
#![allow(clippy::disallowed_methods)] // tests measure deadlines

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tidegate::runtime::{self, Config, CoreId, Cores};

/// Starts cores with small pools.
pub fn start(cores: usize, init: impl Fn(CoreId) + Send + Sync + 'static) -> Cores {
    let config = Config { cores, name: "test", ..Config::default() };
    Cores::start(config, init).expect("the cores start")
}

/// Runs `f` on a coroutine of a core of its own; its panic is the test's.
pub fn on_a_core(f: impl FnOnce() + Send + 'static) {
    let cores = start(1, |_| ());
    let (tell, told) = mpsc::channel();
    let run = move || drop(tell.send(catch_unwind(AssertUnwindSafe(f))));
    cores.handles()[0].post(move || runtime::spawn(run).expect("a coroutine")).expect("a post");
    let outcome = told.recv_timeout(Duration::from_secs(120)).expect("the test hangs");
    cores.shutdown();
    cores.join().expect("the cores end");
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

/// Waits on a coroutine or thread for `condition`, at most 20 s.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + scaled(Duration::from_secs(20));
    while !condition() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        match runtime::in_coroutine() {
            true => runtime::sleep_until(runtime::now() + Duration::from_millis(1)).expect("a sleep"),
            false => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// How much smaller a test should be: `TIDEGATE_TEST_SCALE`, set where an emulator runs the tests.
pub fn scale() -> u32 {
    std::env::var("TIDEGATE_TEST_SCALE").ok().and_then(|s| s.parse().ok()).filter(|s| *s > 0).unwrap_or(1)
}

/// A count made smaller or a time bound made longer by [`scale`].
pub fn scaled<T: Scaled>(value: T) -> T {
    value.scaled(scale())
}

pub trait Scaled {
    fn scaled(self, by: u32) -> Self;
}

impl Scaled for usize {
    fn scaled(self, by: u32) -> usize {
        (self / by as usize).max(1)
    }
}

impl Scaled for Duration {
    fn scaled(self, by: u32) -> Duration {
        self * by
    }
}
