//! What the lifecycle logs: every transition at `debug`, a refusal at `warn` once a second per key and cause.
#![cfg(not(loom))]
#![allow(clippy::disallowed_methods)] // the test's clock needs a start

use std::convert::Infallible;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use log::{Level, LevelFilter, Log, Metadata, Record};
use tidegate::lifecycle::{AcquireError, CoreLeases, Refused, Registry};
use tidegate::util::Locked;

/// Keeps all lines.
struct Lines(OnceLock<Locked<Vec<String>>>);

static LINES: Lines = Lines(OnceLock::new());
static MILLIS: AtomicU64 = AtomicU64::new(0);

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("{} {}", record.level(), record.args());
        self.0.get_or_init(Locked::default).with(|lines| lines.push(line));
    }

    fn flush(&self) {}
}

fn clock() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now) + Duration::from_millis(MILLIS.load(SeqCst))
}

/// The lines since the last call.
fn lines() -> Vec<String> {
    LINES.0.get_or_init(Locked::default).with(std::mem::take)
}

fn make() -> Result<(), Infallible> {
    Ok(())
}

/// One test in this file: the logger is the process's.
#[test]
fn transitions_are_logged_and_refusals_once_a_second() {
    log::set_logger(&LINES).expect("the first logger");
    log::set_max_level(LevelFilter::Debug);
    let registry = Registry::new("thing", 2, clock);

    let lease = registry.acquire(&"k", make).unwrap();
    let entry = lease.entry().clone();
    entry.drain(|| ()).unwrap();
    entry.undrain().unwrap();
    entry.undrain().unwrap(); // changes nothing
    drop(lease);
    registry.reap(Duration::from_secs(1)); // too young: asked, not refused
    registry.reap(Duration::ZERO);
    let expected = [
        "DEBUG thing k #1: made, Idle",
        "DEBUG thing k #1: Idle -> Active(1) (acquire)",
        "DEBUG thing k #1: Active(1) -> Draining(1) (drain)",
        "DEBUG thing k #1: Draining(1) -> Active(1) (undrain)",
        "DEBUG thing k #1: Active(1) -> Idle (release)",
        "DEBUG thing k #1: Idle -> Closed(0) (reap)",
    ];
    assert_eq!(lines(), expected);

    // A refusal is said once a second per key and cause.
    let acquire = || entry.acquire().unwrap_err();
    assert_eq!([acquire(), acquire(), acquire()], [Refused::Closed; 3]);
    assert_eq!(lines(), ["WARN thing k #1: Closed(0): acquire refused: it is closed"]);
    assert_eq!(entry.undrain(), Err(Refused::Closed));
    assert_eq!(lines(), ["WARN thing k #1: Closed(0): undrain refused: it is closed"], "another cause");
    let other = registry.entry(&"other", make).unwrap();
    let full = [other.acquire().unwrap(), other.acquire().unwrap()];
    lines();
    assert_eq!(other.acquire().unwrap_err(), Refused::Full);
    let too_many = "WARN thing other #2: Active(2): acquire refused: as many are in use as its limit allows";
    assert_eq!(lines(), [too_many], "another key");
    MILLIS.store(999, SeqCst);
    acquire();
    assert_eq!(lines(), [""; 0]);
    MILLIS.store(1000, SeqCst);
    acquire();
    acquire();
    assert_eq!(lines(), ["WARN thing k #1: Closed(0): acquire refused: it is closed (3 more times since)"]);

    // The registry's own refusal, and an end without a begin.
    registry.close(&"other", "told to");
    lines();
    let busy = registry.entry(&"other", make).unwrap_err();
    assert_eq!(busy, AcquireError::Refused(Refused::Closed));
    assert_eq!(lines(), ["WARN thing other: look-up refused: it is closed"]);
    drop(full);
    let released = [
        "DEBUG thing other #2: Closed(2) -> Closed(1) (release)",
        "DEBUG thing other #2: Closed(1) -> Closed(0) (release)",
    ];
    assert_eq!(lines(), released);
    let mut core: CoreLeases<&str, ()> = CoreLeases::new();
    core.end(&"k", clock());
    core.end(&"k", clock());
    let end = "WARN k: end of a request refused: nothing was acquired that could be released";
    assert_eq!(lines(), [end]);
    assert_eq!(log::max_level(), Level::Debug.to_level_filter());
}
