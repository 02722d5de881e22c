//! The load of `scripts/bench` counts what it should: a bench that takes a wrong answer for a right one, or a
//! late one for an early one, would praise whoever answers wrong or late.
#![allow(clippy::disallowed_methods)] // tests block, and read the clock

#[path = "../benches/compare/backend.rs"]
mod backend;
#[path = "../benches/compare/client.rs"]
#[allow(dead_code)] // the bench uses all of it
mod client;
#[path = "../benches/compare/hist.rs"]
mod hist;
#[path = "../benches/compare/load.rs"]
#[allow(dead_code)] // the bench uses all of it
mod load;
#[path = "../benches/compare/stats.rs"]
mod stats;
#[path = "../benches/compare/wire.rs"]
#[allow(dead_code)] // the bench uses all of it
mod wire;

use hist::Histogram;
use load::{Load, Pace, Plan, Tally};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;
use wire::Exchange;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn plan(addr: SocketAddr, exchange: Exchange, connections: usize) -> Plan {
    Plan { addr, tls: None, exchanges: vec![exchange], connections, fresh: false, upgrade: None }
}

fn run(plan: Plan, pace: Pace) -> Tally {
    Load::new(plan).expect("connections").run(pace)
}

/// A server of one connection after the other, each served by `serve` until it says false.
fn server(serve: impl Fn(&mut TcpStream) -> bool + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind(ANY).expect("a port");
    let addr = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            while serve(&mut stream) {}
        }
    });
    addr
}

/// Reads one request's head; false at the end.
fn head(stream: &mut TcpStream) -> bool {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n") {
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return false;
        }
        seen.push(byte[0]);
    }
    true
}

#[test]
fn right_answers_are_counted_and_none_fails() {
    let addr = backend::start(ANY).expect("the backend");
    for (path, _) in wire::BODIES {
        let tally = run(plan(addr, wire::get(wire::HOST, path, false), 4), Pace::Count(100));
        assert_eq!((tally.requests, tally.failures), (100, 0), "{path}: {:?}", tally.failure);
    }
    let fresh = Plan { fresh: true, ..plan(addr, wire::get(wire::HOST, "/100", true), 4) };
    let tally = run(fresh, Pace::Count(100));
    assert_eq!((tally.requests, tally.failures), (100, 0), "fresh: {:?}", tally.failure);
    let tally = run(plan(addr, wire::upload(wire::HOST), 4), Pace::Count(20));
    assert_eq!((tally.requests, tally.failures), (20, 0), "upload: {:?}", tally.failure);
    let (upgrade, message) = wire::websocket(wire::HOST);
    let tally = run(Plan { upgrade: Some(upgrade), ..plan(addr, message, 4) }, Pace::Count(100));
    assert_eq!((tally.requests, tally.failures), (100, 0), "websocket: {:?}", tally.failure);
}

#[test]
fn an_upload_that_arrives_changed_is_refused() {
    let addr = backend::start(ANY).expect("the backend");
    let mut exchange = wire::upload(wire::HOST);
    let last = exchange.request.len() - 1;
    exchange.request[last] ^= 1;
    let tally = run(plan(addr, exchange, 1), Pace::Count(1));
    assert_eq!(tally.failure.as_deref(), Some("status 400"));
}

#[test]
fn what_is_not_the_whole_right_answer_fails() {
    let right = wire::answer("200 OK", &wire::body(100));
    let mut changed = right.clone();
    *changed.last_mut().expect("a byte") ^= 1;
    let cases = [
        ("another status", wire::answer("502 Bad Gateway", &wire::body(100)), "status 502"),
        ("a byte changed", changed, "wrong bytes from 0 on"),
        ("another length", wire::answer("200 OK", &wire::body(99)), "no Content-Length of 100"),
        ("cut off", right[..right.len() - 1].to_vec(), "closed before the answer's end"),
        ("no answer", Vec::new(), "closed before the answer's end"),
    ];
    for (name, answer, why) in cases {
        let addr = server(move |stream| {
            let _ = head(stream) && stream.write_all(&answer).is_ok();
            false
        });
        let tally = run(plan(addr, wire::get(wire::HOST, "/100", false), 1), Pace::Count(1));
        assert_eq!((tally.requests, tally.failures), (0, 1), "{name}");
        assert_eq!(tally.failure.as_deref(), Some(why), "{name}");
    }
}

/// 50 requests at 100 a second over one connection whose first answer takes 400 ms: those that were due
/// meanwhile are late too. A load that only counts from when it sent would find one slow answer.
#[test]
fn the_open_loop_counts_from_when_a_request_was_due() {
    let slow = std::sync::atomic::AtomicBool::new(true);
    let addr = server(move |stream| {
        if !head(stream) {
            return false;
        }
        if slow.swap(false, std::sync::atomic::Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(400));
        }
        stream.write_all(&wire::answer("200 OK", &wire::body(100))).is_ok()
    });
    let pace = Pace::Open(100.0, Duration::from_millis(500));
    let tally = run(plan(addr, wire::get(wire::HOST, "/100", false), 1), pace);
    assert_eq!((tally.requests, tally.failures), (50, 0), "{:?}", tally.failure);
    let half = Duration::from_nanos(tally.latency.quantile(0.5));
    assert!(half > Duration::from_millis(100), "half took less than {half:?}");
}

#[test]
fn quantiles_are_right_within_two_percent() {
    let mut latencies = Histogram::new();
    assert_eq!(latencies.quantile(0.5), 0);
    (1..=100_000).for_each(|n| latencies.add(n * 37));
    for share in [0.001, 0.5, 0.99, 0.999, 1.0] {
        let (right, got) = (share * 100_000.0 * 37.0, latencies.quantile(share) as f64);
        assert!((got / right - 1.0).abs() < 0.02, "{share}: {got} instead of {right}");
    }
}

#[test]
fn the_spread_is_that_of_quartiles() {
    let spread = stats::spread([5.0, 1.0, 3.0, 2.0, 4.0]).expect("figures");
    assert_eq!((spread.low, spread.median, spread.high), (2.0, 3.0, 4.0));
    let even = stats::spread([1.0, 2.0]).expect("figures");
    assert_eq!((even.low, even.median, even.high), (1.25, 1.5, 1.75));
    assert!(stats::spread([]).is_none());
}
