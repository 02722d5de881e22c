//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Calls `probe` every `every` until it gives a value; panics with `what` after `limit`.
#[track_caller]
pub fn until<T>(what: &str, limit: Duration, every: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < end, "waited {limit:?} in vain: {what}");
        std::thread::sleep(every);
    }
}

/// Lets time pass where the story is "for so long": an outage, a silence.
pub fn pass(time: Duration) {
    std::thread::sleep(time);
}

/// Nanoseconds since the Unix epoch: the clock that containers and tests share.
pub fn wall() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock past 1970").as_nanos()
}
