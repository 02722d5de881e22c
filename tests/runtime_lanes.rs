//! Blocking work for coroutines: lanes and DNS.
#![allow(clippy::disallowed_methods)] // tests measure deadlines and block lanes on purpose

mod runtime_support;

use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use runtime_support::{on_a_core, start, wait_for};
use tidegate::blocking::{Lane, LaneError};
use tidegate::net;
use tidegate::runtime;

fn late() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(60))
}

#[test]
fn a_coroutine_waits_for_its_lane_while_others_run() {
    on_a_core(|| {
        let lane = Lane::new("test-lane", 2, 8).unwrap();
        let turns = Rc::new(Cell::new(0));
        let turned = turns.clone();
        runtime::every(Duration::from_millis(1), move || turned.set(turned.get() + 1));
        let (go, wait) = mpsc::channel();
        let thread = || std::thread::current().name().map(str::to_owned);
        runtime::spawn({
            let turns = turns.clone();
            move || {
                wait_for("turns of the core", || turns.get() >= 5);
                go.send(()).unwrap();
            }
        })
        .unwrap();
        let name = net::lane_run(&lane, move || (wait.recv().unwrap(), thread()).1, late()).unwrap();
        assert!(name.is_some_and(|n| n.starts_with("test-lane-")));
        assert!(turns.get() >= 5);
    });
}

#[test]
fn a_full_lane_a_late_answer_and_a_panic_are_errors() {
    on_a_core(|| {
        let lane = Rc::new(Lane::new("test-lane", 1, 1).unwrap());
        let panicked = net::lane_run(&lane, || panic!("planted in a lane"), late());
        assert_eq!(panicked, Err(LaneError::Panicked));

        let (go, wait) = mpsc::channel::<()>();
        let (began, begun) = mpsc::channel();
        let (first, blocked) = (lane.clone(), Rc::new(Cell::new(None)));
        let told = blocked.clone();
        runtime::spawn(move || {
            let work = move || {
                began.send(()).unwrap();
                wait.recv().unwrap();
            };
            told.set(Some(net::lane_run(&first, work, late())));
        })
        .unwrap();
        wait_for("the lane to be busy", || begun.try_recv().is_ok());

        let ran = Arc::new(AtomicUsize::new(0));
        let count = ran.clone();
        let soon = Some(Instant::now() + Duration::from_millis(10));
        let queued = net::lane_run(&lane, move || count.fetch_add(1, Ordering::Relaxed), soon);
        assert_eq!(queued, Err(LaneError::TimedOut));
        // What timed out still lies in the queue.
        assert_eq!(net::lane_run(&lane, || (), late()), Err(LaneError::Full));
        go.send(()).unwrap();
        wait_for("the first answer", || blocked.get() == Some(Ok(())));
        assert_eq!(net::lane_run(&lane, || 7, late()), Ok(7));
        assert_eq!(ran.load(Ordering::Relaxed), 0, "work that nobody waits for was begun");
    });
}

#[test]
fn the_shutdown_ends_the_wait_for_a_lane() {
    let lane = Arc::new(Lane::new("test-lane", 1, 1).unwrap());
    let (go, wait) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let (lent, wait) = (lane.clone(), std::sync::Mutex::new(Some(wait)));
    let (began, begun) = mpsc::channel();
    let cores = start(1, move |_| {
        let (wait, began) = (wait.lock().unwrap().take().unwrap(), began.clone());
        let work = move || (began.send(()).unwrap(), wait.recv().unwrap()).1;
        tell.send(net::lane_run(&lent, work, None)).unwrap();
    });
    begun.recv_timeout(Duration::from_secs(20)).unwrap();
    cores.shutdown();
    assert_eq!(told.recv_timeout(Duration::from_secs(20)), Ok(Err(LaneError::Stopped)));
    cores.join().unwrap();
    go.send(()).unwrap();
}

#[test]
fn names_and_addresses_resolve() {
    on_a_core(|| {
        let all = |name: &str| {
            net::resolve(name, 80, late()).map(|a| a.iter().map(|a| a.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(all("192.0.2.7").unwrap(), ["192.0.2.7:80"]);
        assert_eq!(all("[2001:db8::1]").unwrap(), ["[2001:db8::1]:80"]);
        let local = all("localhost").unwrap();
        assert!(
            local.iter().all(|a| a == "127.0.0.1:80" || a == "[::1]:80") && !local.is_empty(),
            "{local:?}"
        );
        assert_eq!(all("LOCALHOST").unwrap(), local);
        assert_eq!(all("").unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(all(&"a".repeat(300)).unwrap_err().kind(), ErrorKind::InvalidInput);
    });
    // A plain thread may ask too.
    assert!(net::resolve("localhost", 1, late()).is_ok());
}
