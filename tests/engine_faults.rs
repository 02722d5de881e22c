//! Tidegate beside the fake engine: what the real one does only with luck, on demand.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;

use common::fake::{Engine, engine};
use common::{Proxy, config_with_engine, wait_until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tidegate::docker::fake::{Call, Page, Restart, RestartPolicy, Spec};

/// A fake engine with these containers, each served under its name.
fn lab(names: &[&str]) -> Engine {
    let engine = engine();
    for name in names {
        run(&engine, name);
    }
    engine
}

fn run(engine: &Engine, name: &str) {
    let spec = Spec::new(name).page(Page::Hello).policy(RestartPolicy::Always).label("proxy.aliases", name);
    engine.run(spec).unwrap();
}

fn proxy_for(engine: &Engine) -> Proxy {
    Proxy::start(config_with_engine(engine.socket()))
}

/// Asks for `hosts` in turn until it is stopped, and counts: right, 503, other, wrong.
struct Traffic {
    stop: Arc<AtomicBool>,
    counts: Arc<[AtomicU64; 4]>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Counts {
    right: u64,
    unavailable: u64,
    other: u64,
    wrong: u64,
}

impl Traffic {
    fn start(proxy: &Proxy, hosts: &[&str]) -> Traffic {
        let stop = Arc::new(AtomicBool::new(false));
        let counts: Arc<[AtomicU64; 4]> = Arc::default();
        let spawn = |host: &&str| {
            let (host, addr) = (host.to_string(), proxy.addr);
            let (stop, counts) = (Arc::clone(&stop), Arc::clone(&counts));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let mut client = common::Client::connect(addr);
                    client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
                    let response = client.response();
                    let slot = match (response.status, response.field("x-container")) {
                        (200, Some(container)) if container == host => 0,
                        (200, _) => 3,
                        (503, _) => 1,
                        _ => 2,
                    };
                    counts[slot].fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(2));
                }
            })
        };
        let threads = hosts.iter().map(spawn).collect();
        Traffic { stop, counts, threads }
    }

    fn counts(&self) -> Counts {
        let [right, unavailable, other, wrong] = [0, 1, 2, 3].map(|i| self.counts[i].load(Ordering::Relaxed));
        Counts { right, unavailable, other, wrong }
    }

    fn stop(self) -> Counts {
        self.stop.store(true, Ordering::Relaxed);
        let Traffic { counts, threads, .. } = self;
        for thread in threads {
            thread.join().expect("a client failed");
        }
        let [right, unavailable, other, wrong] = [0, 1, 2, 3].map(|i| counts[i].load(Ordering::Relaxed));
        Counts { right, unavailable, other, wrong }
    }
}

#[test]
fn a_container_is_served_stopped_started_and_removed() {
    let lab = lab(&["app"]);
    let proxy = proxy_for(&lab);
    let first = proxy.get_until("app.local", |r| r.status == 200);
    assert_eq!(first.field("x-container"), Some("app"));
    lab.stop_container("app").unwrap();
    let stopped = proxy.get_until("app.local", |r| r.status == 503);
    assert!(stopped.text().contains("container app is stopped"), "{}", stopped.text());
    assert!(stopped.field("retry-after").is_some());
    lab.start_container("app").unwrap();
    proxy.get_until("app.local", |r| r.status == 200);
    lab.remove("app").unwrap_or_else(|_| {
        lab.kill("app").unwrap();
        lab.remove("app").unwrap();
    });
    proxy.get_until("app.local", |r| r.status == 404);
}

#[test]
fn requests_at_start_wait_for_the_first_list_instead_of_a_404() {
    let lab = lab(&["app"]);
    lab.set_latency(Call::List, Duration::from_millis(300));
    let proxy = proxy_for(&lab);
    assert_eq!(proxy.get("app", "/").status, 200);
    assert_eq!(proxy.get("nobody", "/").status, 404);
}

#[test]
fn while_nobody_listens_on_the_socket_routes_serve_on() {
    let lab = lab(&["app"]);
    let proxy = proxy_for(&lab);
    proxy.get_until("app", |r| r.status == 200);
    let traffic = Traffic::start(&proxy, &["app"]);
    for outage in [20, 500] {
        lab.kill_engine();
        let before = traffic.counts().right;
        std::thread::sleep(Duration::from_millis(outage));
        wait_until("answers during the outage", || traffic.counts().right > before + 3);
        lab.start_engine(Restart::LiveRestore).unwrap();
        lab.wait_until_ready(common::DEADLINE);
        run(&lab, &format!("new{outage}"));
        proxy.get_until(&format!("new{outage}"), |r| r.status == 200);
    }
    let counts = traffic.stop();
    assert_eq!((counts.unavailable, counts.other, counts.wrong), (0, 0, 0), "{counts:?}");
}

#[test]
fn a_restarted_engine_hands_out_other_addresses_and_nobody_gets_anothers_answer() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let lab = lab(&names);
    let proxy = proxy_for(&lab);
    for name in names {
        proxy.get_until(name, |r| r.status == 200);
    }
    let before: Vec<_> = names.iter().map(|n| lab.container(n).unwrap().ip).collect();
    let traffic = Traffic::start(&proxy, &names);
    wait_until("some traffic", || traffic.counts().right > 50);
    lab.kill_engine();
    std::thread::sleep(Duration::from_millis(100));
    lab.start_engine(Restart::Default).unwrap();
    assert!(lab.wait_until_ready(common::DEADLINE));
    for name in names {
        proxy.get_until(name, |r| r.status == 200);
    }
    let after: Vec<_> = names.iter().map(|n| lab.container(n).unwrap().ip).collect();
    assert_ne!(before, after, "the restart should have moved addresses");
    let counts = traffic.stop();
    assert_eq!(counts.wrong, 0, "{counts:?}");
    println!("restart: {counts:?}");
}

#[test]
fn two_containers_swap_addresses_and_none_is_wrong() {
    let lab = lab(&["a", "b"]);
    let proxy = proxy_for(&lab);
    for name in ["a", "b"] {
        proxy.get_until(name, |r| r.status == 200);
    }
    let traffic = Traffic::start(&proxy, &["a", "b", "a", "b"]);
    for _ in 0..10 {
        lab.swap_addresses("a", "b").unwrap();
        for name in ["a", "b"] {
            proxy.get_until(name, |r| r.status == 200);
        }
    }
    let counts = traffic.stop();
    assert_eq!(counts.wrong, 0, "{counts:?}");
    assert!(counts.right > 100, "{counts:?}");
    println!("ten swaps: {counts:?}");
}

#[test]
fn a_frozen_engine_is_slow_not_lost() {
    let lab = lab(&["app"]);
    let proxy = proxy_for(&lab);
    proxy.get_until("app", |r| r.status == 200);
    let traffic = Traffic::start(&proxy, &["app"]);
    lab.freeze();
    std::thread::sleep(Duration::from_secs(3));
    lab.thaw();
    run(&lab, "later");
    proxy.get_until("later", |r| r.status == 200);
    let counts = traffic.stop();
    assert_eq!((counts.unavailable, counts.other, counts.wrong), (0, 0, 0), "{counts:?}");
}

#[test]
fn an_engine_that_comes_later_is_found() {
    let lab = lab(&["app"]);
    lab.remove_socket();
    let proxy = proxy_for(&lab);
    let early = proxy.get_until("app", |r| r.status == 404);
    assert!(early.text().contains("engine local"), "{}", early.text());
    lab.start_engine(Restart::LiveRestore).unwrap();
    proxy.get_until("app", |r| r.status == 200);
}

#[test]
fn cut_event_streams_lose_nothing() {
    let lab = lab(&["app"]);
    let proxy = proxy_for(&lab);
    proxy.get_until("app", |r| r.status == 200);
    for n in 0..20 {
        lab.cut_event_streams();
        let name = format!("n{n}");
        run(&lab, &name);
        proxy.get_until(&name, |r| r.status == 200);
    }
}

#[test]
fn failing_calls_leave_old_routes() {
    let lab = lab(&["app"]);
    let proxy = proxy_for(&lab);
    proxy.get_until("app", |r| r.status == 200);
    lab.fail(Call::Inspect, 500, 3);
    lab.fail(Call::List, 500, 3);
    run(&lab, "new");
    assert_eq!(proxy.get("app", "/").status, 200);
    proxy.get_until("new", |r| r.status == 200);
}

#[test]
fn a_container_that_listens_late_makes_requests_wait() {
    let lab = lab(&[]);
    let proxy = proxy_for(&lab);
    let slow = Spec::new("slow").page(Page::Hello).label("proxy.aliases", "slow");
    lab.run(slow.listen_after(Duration::from_millis(700))).unwrap();
    let response = proxy.get_until("slow", |r| r.status != 404);
    assert_eq!(response.status, 200, "the first answer is the application's: {response:?}");
}
