//! Long bodies, which pass through the kernel alone: whole, cut, left, and never too much of them.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;

use common::{Backend, Proxy, wait_until};
use std::sync::Mutex;
use std::sync::mpsc;

/// Pipes of this process are counted: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Above and below where a body is spliced, and around the capacity of a pipe.
const LENGTHS: [usize; 7] = [60_000, 65_535, 65_536, 90_000, 262_144, 300_001, 3_000_017];

/// A byte at each place that no shift by a block's length hides.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8 ^ (at / 65_521) as u8).collect()
}

fn pipes() -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    open.filter_map(|fd| std::fs::read_link(fd.path()).ok())
        .filter(|to| to.to_string_lossy().starts_with("pipe:"))
        .count()
}

#[test]
fn bodies_arrive_whole_both_ways_on_kept_connections() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let backend = Backend::start(|mut conn| {
        while let Some(request) = conn.request() {
            conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len()));
            conn.send(&request.body);
        }
    });
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    for length in LENGTHS {
        let body = pattern(length);
        client.send(format!("POST /{length} HTTP/1.1\r\nHost: app\r\nContent-Length: {length}\r\n\r\n"));
        // The echo is sent once all is read, so this can't block for ever.
        client.send(&body);
        let answer = client.response();
        assert!(answer.status == 200 && answer.complete, "{length}: {}", answer.head);
        assert!(answer.body == body, "{length}: other bytes came back");
    }
    assert_eq!(backend.connections(), 1, "the upstream connection is kept behind a spliced body");
}

#[test]
fn what_follows_a_long_body_is_the_next_request() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let backend = Backend::start(|mut conn| {
        while let Some(request) = conn.request() {
            let saw = format!("{} {}", request.line(), request.body.len());
            conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{saw}", saw.len()));
        }
    });
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    let mut bytes = b"POST /a HTTP/1.1\r\nHost: app\r\nContent-Length: 200000\r\n\r\n".to_vec();
    bytes.extend_from_slice(&pattern(200_000));
    bytes.extend_from_slice(b"GET /b HTTP/1.1\r\nHost: app\r\n\r\n");
    client.send(&bytes);
    assert_eq!(client.response().text(), "POST /a HTTP/1.1 200000");
    assert_eq!(client.response().text(), "GET /b HTTP/1.1 0");
}

#[test]
fn bytes_after_a_long_answer_never_reach_the_next_client() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let backend = Backend::start(|mut conn| {
        while conn.request().is_some() {
            let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n".to_vec();
            answer.extend_from_slice(&pattern(400_000));
            answer.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray");
            conn.send(&answer);
        }
    });
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        let answer = client.response();
        assert!(answer.body == pattern(400_000));
    }
}

#[test]
fn a_long_body_is_in_a_pipe_and_the_pipe_goes_back() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::start(move |mut conn| {
        while conn.request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
            conn.send(&pattern(1_000_000)[..500_000]);
            wait.lock().unwrap().recv().ok();
            conn.send(&pattern(1_000_000)[500_000..]);
        }
    });
    let proxy = Proxy::to(backend.addr);
    let before = pipes();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    client.head();
    let first = client.exactly(500_000);
    assert_eq!(pipes(), before + 2, "the body is copied, not spliced");
    go.send(()).unwrap();
    let second = client.exactly(500_000);
    assert!([first, second].concat() == pattern(1_000_000));
    // An idle core gives pipes back within seconds.
    wait_until("the pipe to be closed", || pipes() == before);
}

#[test]
fn a_long_answer_that_is_cut_is_seen_as_cut() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let backend = Backend::start(|mut conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
        conn.send(&pattern(1_000_000)[..700_000]);
        if conn.number % 2 == 0 { conn.close() } else { conn.reset() }
    });
    let proxy = Proxy::to(backend.addr);
    let before = pipes();
    for _ in 0..4 {
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        let answer = client.response();
        assert!(!answer.complete && answer.body.len() <= 700_000);
    }
    wait_until("the pipes to be closed", || pipes() == before);
}

#[test]
fn a_client_that_leaves_a_long_answer_frees_the_upstream() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let (ended, saw_end) = mpsc::channel();
    let backend = Backend::start(move |mut conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 900000000\r\n\r\n");
        conn.send(pattern(300_000));
        ended.send(conn.peer_closes()).ok();
    });
    let proxy = Proxy::to(backend.addr);
    let before = pipes();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    client.head();
    client.exactly(300_000);
    common::reset(client);
    assert!(saw_end.recv().unwrap(), "the upstream was kept busy");
    wait_until("the pipe to be closed", || pipes() == before);
}

#[test]
fn a_client_that_does_not_read_holds_the_upstream_back() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    const WHOLE: usize = 64_000_000;
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&sent);
    let backend = Backend::start(move |mut conn| {
        conn.request();
        conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {WHOLE}\r\n\r\n"));
        let block = vec![7; 1_000_000];
        for _ in 0..WHOLE / block.len() {
            conn.send(&block);
            counted.fetch_add(block.len(), std::sync::atomic::Ordering::SeqCst);
        }
    });
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    client.head();
    // Until the backend stands still.
    let load = || sent.load(std::sync::atomic::Ordering::SeqCst);
    let mut last = (load(), std::time::Instant::now());
    while last.1.elapsed() < std::time::Duration::from_millis(500) {
        let now = load();
        if now != last.0 {
            last = (now, std::time::Instant::now());
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(last.0 < WHOLE, "{} bytes lie between the backend and a client that reads nothing", last.0);
    assert!(client.exactly(WHOLE).iter().all(|byte| *byte == 7));
}
