//! Timeouts by phase and by progress, and how many connections there may be.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;

use common::{Backend, Proxy, config, wait_until};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tidegate::config::Config;
use tidegate::route::{Timeouts, Tuning};

const SHORT: Duration = Duration::from_millis(300);
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn with(timeouts: Timeouts, backend: &Backend) -> Config {
    let mut config = config(&[("app", backend.addr)]);
    config.entrypoint.timeouts = timeouts;
    config
}

fn tuned(tuning: Tuning, backend: &Backend) -> Config {
    let mut config = config(&[("app", backend.addr)]);
    config.file_routes[0].tuning = tuning;
    config
}

/// Never answers.
fn hanging() -> Backend {
    Backend::start(|mut conn| while conn.bytes().is_some() {})
}

#[test]
fn a_service_that_does_not_answer_is_504_by_the_entrypoint_and_by_the_route() {
    let backend = hanging();
    let global = with(Timeouts { response_header: SHORT, ..Timeouts::default() }, &backend);
    let route = tuned(Tuning { response_header_timeout: Some(SHORT), ..Tuning::default() }, &backend);
    for config in [global, route] {
        let proxy = Proxy::start(config);
        let begun = Instant::now();
        assert_eq!(proxy.get("app", "/").status, 504);
        let took = begun.elapsed();
        assert!(took >= SHORT && took < Duration::from_secs(5), "after {took:?}");
    }
}

#[test]
fn the_routes_own_timeout_stands_over_the_entrypoints() {
    let backend = Backend::start(|mut conn| {
        while conn.request().is_some() {
            std::thread::sleep(SHORT * 2);
            conn.send(OK);
        }
    });
    let mut config = tuned(
        Tuning { response_header_timeout: Some(Duration::from_secs(20)), ..Tuning::default() },
        &backend,
    );
    config.entrypoint.timeouts.response_header = SHORT;
    let proxy = Proxy::start(config);
    assert_eq!(proxy.get("app", "/").status, 200);
}

#[test]
fn an_idle_client_and_a_slow_head_are_ended_as_configured() {
    let backend = Backend::answering(|_| "ok".into());
    let timeouts = Timeouts { idle: SHORT, header: SHORT, ..Timeouts::default() };
    let proxy = Proxy::start(with(timeouts, &backend));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    assert_eq!(client.response().status, 200);
    let begun = Instant::now();
    assert!(client.is_closed(), "idle");
    assert!(begun.elapsed() < Duration::from_secs(5));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHos");
    assert_eq!(client.response().status, 408);
}

#[test]
fn a_body_counts_by_progress_not_in_all() {
    // Ten pieces, each well within the timeout, all of them far beyond it.
    let backend = Backend::start(|mut conn| {
        while conn.request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
            for _ in 0..10 {
                std::thread::sleep(SHORT / 3);
                conn.send("x");
            }
        }
    });
    let timeouts =
        Timeouts { body: SHORT, response_body: SHORT, response_header: SHORT, ..Timeouts::default() };
    let proxy = Proxy::start(with(timeouts, &backend));
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 10\r\n\r\n");
    for _ in 0..10 {
        std::thread::sleep(SHORT / 3);
        client.send("x");
    }
    let response = client.response();
    assert_eq!((response.status, response.complete, response.body.len()), (200, true, 10));
}

#[test]
fn a_body_that_stalls_is_ended_on_either_side() {
    let backend = Backend::start(|mut conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        while conn.bytes().is_some() {}
    });
    let proxy = Proxy::start(tuned(
        Tuning { response_body_timeout: Some(SHORT), body_timeout: Some(SHORT), ..Tuning::default() },
        &backend,
    ));
    assert!(!proxy.get("app", "/").complete, "the upstream stalls");
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 10\r\n\r\nhalf");
    assert!(client.is_closed(), "the client stalls");
}

#[test]
fn a_route_has_no_more_connections_than_it_allows() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (busy, seen) = (Arc::clone(&now), Arc::clone(&most));
    let backend = Backend::start(move |mut conn| {
        seen.fetch_max(busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        while conn.request().is_some() {
            std::thread::sleep(Duration::from_millis(20));
            busy.fetch_sub(1, Ordering::SeqCst);
            conn.send(OK);
        }
    });
    let proxy = Proxy::start(tuned(Tuning { max_conns_per_host: Some(2), ..Tuning::default() }, &backend));
    let mut clients: Vec<_> = (0..30).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.response().status, 200, "all are served in the end");
    }
    assert!((1..=2).contains(&most.load(Ordering::SeqCst)), "{most:?} at once");
    wait_until("all to end", || now.load(Ordering::SeqCst) == 0);
}

#[test]
fn who_waits_too_long_for_a_connection_is_503() {
    let backend = hanging();
    let mut config = tuned(Tuning { max_conns_per_host: Some(1), ..Tuning::default() }, &backend);
    config.recreate_wait = SHORT;
    let proxy = Proxy::start(config);
    let mut first = proxy.client();
    first.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    wait_until("the first to arrive", || backend.connections() == 1);
    let second = proxy.get("app", "/");
    assert_eq!((second.status, second.field("retry-after").is_some()), (503, true));
    assert!(second.text().contains("max_conns_per_host"), "{}", second.text());
    assert_eq!(backend.connections(), 1);
    common::reset(first);
    wait_until("the place to be free again", || {
        let mut next = proxy.client();
        next.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        std::thread::sleep(Duration::from_millis(50));
        backend.connections() >= 2
    });
}

#[test]
fn one_client_can_not_have_all_connections() {
    let backend = Backend::answering(|_| "ok".into());
    let mut config = config(&[("app", backend.addr)]);
    config.entrypoint.max_conns_per_client = 5;
    let proxy = Proxy::start(config);
    let mut clients: Vec<_> = (0..5).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        assert_eq!(client.response().status, 200);
    }
    let sixth = proxy.client().response();
    assert_eq!((sixth.status, sixth.field("connection")), (503, Some("close")));
    assert!(sixth.text().contains("from your address"), "{}", sixth.text());
    // Another client of the same machine.
    let mut other = common::Client::connect_from("127.0.0.2:0".parse().unwrap(), proxy.addr);
    other.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    assert_eq!(other.response().status, 200);
    clients.pop();
    proxy.get_until("app", |response| response.status == 200);
}
