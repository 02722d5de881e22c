//! Answers that take their time: interim responses, events, and clients that go away.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;

use common::{Backend, Proxy};
use std::net::Shutdown;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tidegate::limits::HALF_CLOSE_WITHIN;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn interim_answers_go_on_in_order() {
    let backend = Backend::start(|mut conn| {
        while conn.request().is_some() {
            conn.send(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n",
            );
            for _ in 0..100 {
                conn.send("HTTP/1.1 102 Processing\r\nConnection: x\r\nX: 1\r\nContent-Length: 5\r\n\r\n");
            }
            conn.send(OK);
        }
    });
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(client.head(), "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n");
        for _ in 0..100 {
            assert_eq!(client.head(), "HTTP/1.1 102 Processing\r\n\r\n");
        }
        assert_eq!(client.response().text(), "ok");
    }
    assert_eq!(backend.connections(), 1);
    let mut old = proxy.client();
    old.send("GET / HTTP/1.0\r\nHost: app\r\n\r\n");
    assert!(old.head().starts_with("HTTP/1.1 200 "), "an HTTP/1.0 client gets no 1xx");
}

#[test]
fn an_expectation_is_answered_once() {
    let backend = Backend::start(|mut conn| {
        while conn.request_head().is_some() {
            conn.send("HTTP/1.1 100 Continue\r\n\r\n");
            conn.bytes();
            conn.send(OK);
        }
    });
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    client.send("PUT / HTTP/1.1\r\nHost: app\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 100 "));
    client.send("body");
    assert!(client.head().starts_with("HTTP/1.1 200 "), "a second 100");
}

#[test]
fn an_event_is_sent_on_before_the_next_is_made() {
    let (read, was_read) = mpsc::channel::<()>();
    let was_read = Mutex::new(was_read);
    let backend = Backend::start(move |mut conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        for n in 0..100 {
            was_read.lock().unwrap().recv().unwrap();
            conn.send(format!("data: {n}\n\n"));
        }
        conn.close();
    });
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    assert!(client.head().contains("text/event-stream"), "the head comes before the first event");
    for n in 0..100 {
        read.send(()).unwrap();
        let event = format!("data: {n}\n\n");
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        assert_eq!(client.exactly(chunk.len()), chunk.as_bytes());
    }
    assert_eq!(client.exactly(5), b"0\r\n\r\n");
}

/// What the backend does after the request: nothing, or the beginning of an endless answer.
const BEGINNINGS: [&str; 5] = [
    EVENTS,
    "",
    "HTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
];

const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n";

/// A backend that begins its answer and tells how long it takes until the proxy closes.
fn endless(beginning: &'static str) -> (Backend, mpsc::Receiver<()>, mpsc::Receiver<Instant>) {
    let (got, received) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    let backend = Backend::start(move |mut conn| {
        conn.request();
        conn.send(beginning);
        got.send(()).unwrap();
        while conn.bytes().is_some() {}
        tell.send(Instant::now()).unwrap();
    });
    (backend, received, told)
}

#[test]
fn a_client_that_goes_away_frees_the_upstream_within_a_second() {
    // A busy machine may stretch one round, not all of them.
    let in_time = |_| {
        let slowest = slowest_to_free();
        println!("MEASURED: the slowest to be freed: {slowest:?}");
        slowest < Duration::from_secs(1)
    };
    assert!((0..3).any(in_time));
}

/// The longest time over all ways to go away.
fn slowest_to_free() -> Duration {
    let goes: [fn(common::Client); 3] = [drop, common::reset, |mut client| {
        // What it has pipelined lies before its end.
        client.send("GET /next HTTP/1.1\r\nHost: app\r\n\r\n");
    }];
    let mut slowest = Duration::ZERO;
    for beginning in BEGINNINGS {
        for go in goes {
            let (backend, received, told) = endless(beginning);
            let proxy = Proxy::to(backend.addr);
            let mut client = proxy.client();
            client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
            received.recv_timeout(common::DEADLINE).unwrap();
            if !beginning.is_empty() {
                client.head();
            }
            // One that ends its side together with its request could still read the answer; not that of events.
            if beginning != EVENTS {
                std::thread::sleep(HALF_CLOSE_WITHIN + Duration::from_millis(100));
            }
            go(client);
            let gone = Instant::now();
            let freed = told.recv_timeout(common::DEADLINE).expect("the upstream stays open");
            let took = freed.saturating_duration_since(gone);
            slowest = slowest.max(took);
        }
    }
    slowest
}

#[test]
fn what_is_pipelined_behind_a_slow_answer_is_not_lost() {
    let backend = Backend::start(|mut conn| {
        while let Some(request) = conn.request() {
            if request.line().contains("/slow") {
                std::thread::sleep(Duration::from_millis(600));
            }
            let line = request.line();
            conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{line}", line.len()));
        }
    });
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    client.send("GET /slow HTTP/1.1\r\nHost: app\r\n\r\nGET /a HTTP/1.1\r\nHost: app\r\n\r\n");
    std::thread::sleep(Duration::from_millis(400));
    client.send("GET /b HTTP/1.1\r\nHost: app\r\n\r\n");
    for path in ["/slow", "/a", "/b"] {
        assert_eq!(client.response().text(), format!("GET {path} HTTP/1.1"));
    }
}

/// Answers after longer than any watch takes, and rests as long within the answer.
fn slow() -> Backend {
    Backend::start(|mut conn| {
        while let Some(request) = conn.request() {
            std::thread::sleep(HALF_CLOSE_WITHIN * 3);
            let body = format!("{} {}", request.line(), request.body.len());
            conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len() + 4));
            conn.send(&body[..2]);
            std::thread::sleep(HALF_CLOSE_WITHIN * 3);
            conn.send(&body[2..]);
            conn.send("last");
        }
    })
}

#[test]
fn a_client_that_only_ends_its_own_side_gets_its_whole_answer() {
    let backend = slow();
    let proxy = Proxy::to(backend.addr);
    let large = vec![b'x'; 3_000_000];
    let requests: [(&str, &[u8]); 4] = [
        ("GET / HTTP/1.1\r\nHost: app\r\n\r\n", b""),
        ("GET / HTTP/1.0\r\nHost: app\r\n\r\n", b""),
        ("PUT / HTTP/1.1\r\nHost: app\r\nContent-Length: 5\r\n\r\n", b"hello"),
        ("PUT / HTTP/1.1\r\nHost: app\r\nContent-Length: 3000000\r\n\r\n", &large),
    ];
    let asking: Vec<_> = requests
        .iter()
        .map(|(head, body)| {
            let mut client = proxy.client();
            client.send([head.as_bytes(), body].concat());
            client.stream.shutdown(Shutdown::Write).unwrap();
            (client, head.split(" HTTP/").next().unwrap(), body.len())
        })
        .collect();
    for (mut client, asked, length) in asking {
        let response = client.response();
        assert!(response.complete, "{asked}: {response:?}");
        assert_eq!(response.text(), format!("{asked} HTTP/1.1 {length}last"));
        assert!(client.is_closed());
    }
}

#[test]
fn what_was_pipelined_before_the_end_is_answered_too() {
    let backend = slow();
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    client.send("GET /1 HTTP/1.1\r\nHost: app\r\n\r\nGET /2 HTTP/1.1\r\nHost: app\r\n\r\n");
    client.stream.shutdown(Shutdown::Write).unwrap();
    for path in ["/1", "/2"] {
        assert_eq!(client.response().text(), format!("GET {path} HTTP/1.1 0last"));
    }
    assert!(client.is_closed());
}

#[test]
fn a_half_closed_client_that_resets_frees_its_upstream_at_once() {
    for beginning in BEGINNINGS.into_iter().filter(|beginning| *beginning != EVENTS) {
        let (backend, received, told) = endless(beginning);
        let proxy = Proxy::to(backend.addr);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        client.stream.shutdown(Shutdown::Write).unwrap();
        received.recv_timeout(common::DEADLINE).unwrap();
        let still = told.recv_timeout(HALF_CLOSE_WITHIN * 3);
        assert!(still.is_err(), "{beginning:?}: its upstream is closed although it reads");
        common::reset(client);
        told.recv_timeout(Duration::from_secs(10)).expect("the upstream stays open");
    }
}

#[test]
fn an_upload_that_ends_before_its_end_is_no_half_close() {
    let (backend, _received, told) = endless("");
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    client.send("PUT / HTTP/1.1\r\nHost: app\r\nContent-Length: 10\r\n\r\nhalf");
    client.stream.shutdown(Shutdown::Write).unwrap();
    told.recv_timeout(Duration::from_secs(10)).expect("the upstream stays open");
}
