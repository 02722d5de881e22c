//! Engines that come and go leave no thread and no descriptor. Alone in its process, so that it may count.
#![allow(clippy::disallowed_methods)] // tests measure deadlines

mod fake_support;

use fake_support::fake::engine;
use fake_support::{Client, get, until};
use tidegate::docker::fake::{Page, Restart, Spec};

fn count(what: &str) -> usize {
    std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count()
}

/// An engine's life with everything that holds threads and descriptors.
fn round() {
    let engine = engine();
    let a = engine.run(Spec::new("a").page(Page::Hello)).unwrap();
    let mut events = Client::unix(engine.socket()).unwrap();
    events.send("GET /events HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(events.head().unwrap().status, 200);
    for _ in 0..100 {
        let mut client = Client::unix(engine.socket()).unwrap();
        assert_eq!(client.call("GET", "/containers/a/json").unwrap().status, 200);
        assert_eq!(get(a.ip.unwrap(), a.port).unwrap().status, 200);
    }
    let _idle = Client::unix(engine.socket()).unwrap();
    engine.start_engine(Restart::Default).unwrap();
    engine.freeze();
    let mut waiting = Client::unix(engine.socket()).unwrap();
    waiting.send("GET /_ping HTTP/1.1\r\n\r\n").unwrap();
    engine.fake.shutdown();
    assert!(waiting.answer("GET").is_err(), "a dead engine answered");
}

#[test]
fn engines_leave_no_thread_and_no_descriptor() {
    round();
    let settled = |threads, files| move || count("task") <= threads && count("fd") <= files;
    until("the first is gone", settled(2, 64));
    // 0, 1, 2, the directory that is being read, and what the test harness holds
    let files = count("fd");
    for _ in 0..10 {
        round();
    }
    until("threads and descriptors are what they were", settled(2, files));
}
