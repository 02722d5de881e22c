//! WebSocket and other tunnels: what comes after `101 Switching Protocols`.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;

use common::{Backend, BackendConn, Client, Proxy, wait_until};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const ASK: &str = "GET /ws HTTP/1.1\r\nHost: app\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A backend that switches and then does `then`.
fn switching(then: impl Fn(BackendConn) + Send + Sync + 'static) -> Backend {
    Backend::start(move |mut conn| {
        if conn.request().is_some() {
            conn.send(SWITCH);
            then(conn);
        }
    })
}

/// Echoes until the client's end, then ends.
fn echo(mut conn: BackendConn) {
    while let Some(bytes) = conn.bytes() {
        conn.send(bytes);
    }
    conn.close();
}

fn switched(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    client.send(ASK);
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    client
}

#[test]
fn a_websocket_passes_bytes_both_ways() {
    let backend = switching(echo);
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    client.send(ASK);
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    for field in ["Upgrade: websocket\r\n", "Connection: Upgrade\r\n", "Sec-WebSocket-Accept: s3pPLM"] {
        assert!(head.contains(field), "{field:?} is missing: {head}");
    }
    for size in [1, 5, 70_000] {
        let bytes: Vec<u8> = (0..size).map(|n| (n * 7 % 251) as u8).collect();
        client.send(&bytes);
        assert!(client.exactly(size) == bytes, "{size} bytes have changed");
    }
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert!(client.is_closed());
}

#[test]
fn the_upstream_sees_the_wish_without_h2c_and_nothing_of_a_body() {
    let backend = Backend::answering(|request| request.head.clone());
    let proxy = Proxy::to(backend.addr);
    let seen = |ask: &str| {
        let mut client = proxy.client();
        client.send(ask);
        let response = client.response();
        assert_eq!(response.status, 200, "an answer other than 101 is an ordinary one");
        common::Request { head: response.text(), body: Vec::new() }
    };
    let request = seen(
        "GET / HTTP/1.1\r\nHost: app\r\nUpgrade: h2c, foo/1, bar\r\nConnection: upgrade, x\r\nX: 1\r\n\r\n",
    );
    assert_eq!(request.fields("upgrade"), ["foo/1, bar"]);
    assert_eq!(request.fields("connection"), ["Upgrade"]);
    assert!(request.fields("x").is_empty());
    for ask in [
        "GET / HTTP/1.1\r\nHost: app\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: app\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: app\r\nUpgrade: a\r\nConnection: upgrade\r\nContent-Length: 1\r\n\r\nx",
    ] {
        let request = seen(ask);
        assert!(request.fields("upgrade").is_empty(), "{ask:?}: {}", request.head);
        assert!(request.fields("connection").is_empty(), "{ask:?}: {}", request.head);
    }
}

#[test]
fn a_connection_goes_on_after_an_upgrade_that_was_declined() {
    let backend = Backend::answering(|request| request.line().to_owned());
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    client.send(format!("{ASK}GET /next HTTP/1.1\r\nHost: app\r\n\r\n"));
    assert_eq!(client.response().text(), "GET /ws HTTP/1.1");
    assert_eq!(client.response().text(), "GET /next HTTP/1.1");
    assert_eq!(backend.connections(), 1);
}

#[test]
fn bytes_sent_with_the_heads_come_first() {
    let backend = Backend::start(|mut conn| {
        conn.request();
        conn.send(format!("{SWITCH}hello"));
        echo(conn);
    });
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    client.send(format!("{ASK}early"));
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    client.send(" late");
    assert_eq!(client.exactly(15), b"helloearly late");
}

#[test]
fn a_101_that_was_not_asked_for_is_502() {
    let cases = [
        ("GET / HTTP/1.1\r\nHost: app\r\n\r\n", SWITCH),
        (ASK, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n"),
        (ASK, "HTTP/1.1 101 Switching Protocols\r\n\r\n"),
        (ASK, "HTTP/1.0 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"),
    ];
    for (ask, answer) in cases {
        let backend = Backend::start(move |mut conn| {
            conn.request();
            conn.send(answer);
            conn.bytes();
        });
        let proxy = Proxy::to(backend.addr);
        let mut client = proxy.client();
        client.send(ask);
        assert_eq!(client.response().status, 502, "{ask:?} {answer:?}");
    }
}

#[test]
fn half_close_goes_through_and_the_other_direction_goes_on() {
    // The client ends first, and is sent a megabyte after that.
    let backend = switching(|mut conn| {
        while conn.bytes().is_some() {}
        for _ in 0..16 {
            conn.send([b'x'; 65_536]);
        }
        conn.close();
    });
    let proxy = Proxy::to(backend.addr);
    let mut client = switched(&proxy);
    client.send("the last");
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest().len(), 1_048_576);
    // The same after a 101 that took its time.
    let backend = Backend::start(|mut conn| {
        conn.request();
        std::thread::sleep(Duration::from_millis(400));
        conn.send(SWITCH);
        while conn.bytes().is_some() {}
        std::thread::sleep(Duration::from_millis(800));
        conn.send("late");
        conn.close();
    });
    let proxy = Proxy::to(backend.addr);
    let mut client = switched(&proxy);
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest(), b"late");
    // The upstream ends first, and is sent something after that.
    let (tell, told) = std::sync::mpsc::channel();
    let backend = switching(move |mut conn| {
        conn.half_close();
        let mut all = Vec::new();
        while let Some(bytes) = conn.bytes() {
            all.extend(bytes);
        }
        tell.send(all).unwrap();
    });
    let proxy = Proxy::to(backend.addr);
    let mut client = switched(&proxy);
    assert!(client.is_closed(), "the upstream's end goes on");
    client.send("still here");
    drop(client);
    assert_eq!(told.recv_timeout(common::DEADLINE).unwrap(), b"still here");
}

#[test]
fn when_either_side_dies_the_other_is_closed() {
    let ended = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ended);
    let backend = switching(move |mut conn| {
        while conn.bytes().is_some() {}
        count.fetch_add(1, Ordering::SeqCst);
    });
    let proxy = Proxy::to(backend.addr);
    for n in 1..=20 {
        let client = switched(&proxy);
        common::reset(client);
        wait_until("the upstream to be told", || ended.load(Ordering::SeqCst) == n);
    }
    let backend = switching(BackendConn::reset);
    let proxy = Proxy::to(backend.addr);
    for _ in 0..20 {
        let mut client = switched(&proxy);
        assert!(client.is_closed());
    }
}

#[test]
fn a_side_that_dies_while_the_other_takes_nothing_is_noticed() {
    let (tell, told) = std::sync::mpsc::channel();
    let backend = switching(move |mut conn| {
        // Reads nothing until the proxy has closed its side.
        let closed = conn.peer_closes();
        tell.send(closed).unwrap();
    });
    let proxy = Proxy::to(backend.addr);
    let mut client = switched(&proxy);
    client.stream.set_nonblocking(true).unwrap();
    let mut full = 0;
    // Until the pipe has been full for a while.
    while full < 50 {
        use std::io::Write;
        match client.stream.write(&[7; 65_536]) {
            Ok(0) | Err(_) => {
                full += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(1..) => full = 0,
        }
    }
    common::reset(client);
    assert!(told.recv_timeout(common::DEADLINE).unwrap(), "the upstream's connection stays open");
}

#[test]
fn a_drain_leaves_tunnels_the_rest_of_its_time() {
    let backend = switching(echo);
    let mut config = common::config(&[("app", backend.addr)]);
    config.timeout_shutdown = Duration::from_secs(2);
    let proxy = Proxy::start(config);
    let addr = proxy.addr;
    let mut client = switched(&proxy);
    let ending = std::thread::spawn(move || proxy.stop());
    wait_until("the listener to close", || std::net::TcpStream::connect(addr).is_err());
    client.send("still");
    assert_eq!(client.exactly(5), b"still");
    assert!(!ending.is_finished());
    assert!(client.is_closed(), "the tunnel outlives timeout_shutdown");
    ending.join().unwrap();
}
