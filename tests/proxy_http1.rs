//! HTTP/1.1 through the proxy: real sockets, real bytes.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;

use common::{Backend, Proxy, wait_until};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

#[test]
fn a_get_passes_and_both_sides_are_kept_alive() {
    let backend = Backend::answering(|request| request.line().to_owned());
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    for path in ["/one", "/two?q=%20x", "/three"] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: app.local\r\n\r\n"));
        let response = client.response();
        assert_eq!((response.status, response.text()), (200, format!("GET {path} HTTP/1.1")));
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::answering(|request| request.line().to_owned());
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    let one = |n: usize| format!("POST /{n} HTTP/1.1\r\nHost: app\r\nContent-Length: 3\r\n\r\nabc");
    client.send((0..20).map(one).collect::<String>());
    for n in 0..20 {
        assert_eq!(client.response().text(), format!("POST /{n} HTTP/1.1"));
    }
}

#[test]
fn a_head_may_trickle_in_byte_by_byte() {
    let backend = Backend::answering(|_| "ok".into());
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    for byte in b"GET / HTTP/1.1\r\nHost: app\r\n\r\n" {
        client.send([*byte]);
    }
    assert_eq!(client.response().text(), "ok");
}

#[test]
fn bodies_go_up_whole_by_length_and_in_chunks() {
    let backend = Backend::start(|mut conn| {
        while let Some(request) = conn.request() {
            let body = request.body;
            conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
            conn.send(body);
        }
    });
    let proxy = Proxy::to(backend.addr);
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n * 7 % 251) as u8).collect();
    let mut client = proxy.client();
    client.send(format!("PUT / HTTP/1.1\r\nHost: app\r\nContent-Length: {}\r\n\r\n", body.len()));
    client.send(&body);
    assert!(client.response().body == body, "the body by length has changed");
    client.send("PUT / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in body.chunks(70_001) {
        client.send(format!("{:x}\r\n", chunk.len()));
        client.send(chunk);
        client.send("\r\n");
    }
    client.send("0\r\n\r\n");
    assert!(client.response().body == body, "the body in chunks has changed");
    assert_eq!(backend.connections(), 1, "the connection is reused after both");
}

#[test]
fn a_chunked_response_stays_chunked_and_streams() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let backend = Backend::start(move |mut conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        wait.lock().unwrap().recv().unwrap();
        conn.send("6\r\nsecond\r\n0\r\n\r\n");
        conn.bytes();
    });
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    assert!(client.head().contains("Transfer-Encoding: chunked"));
    // The first chunk is here before the backend sends the second.
    assert_eq!(client.exactly(10), b"5\r\nfirst\r\n");
    go.send(()).unwrap();
    let rest = b"6\r\nsecond\r\n0\r\n\r\n";
    assert_eq!(client.exactly(rest.len()), rest);
}

#[test]
fn head_204_and_304_have_no_body() {
    let backend = Backend::start(|mut conn| {
        while let Some(request) = conn.request() {
            let line = request.line().to_owned();
            match line.split(' ').nth(1) {
                Some("/head") => conn.send("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"),
                Some("/204") => conn.send("HTTP/1.1 204 No Content\r\n\r\n"),
                Some("/304") => conn.send("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n"),
                _ => conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast"),
            }
        }
    });
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    client.send("HEAD /head HTTP/1.1\r\nHost: app\r\n\r\n");
    let head = client.response_to("HEAD");
    assert_eq!((head.status, head.field("content-length")), (200, Some("1234")));
    client.send("GET /204 HTTP/1.1\r\nHost: app\r\n\r\n");
    assert_eq!(client.response().status, 204);
    client.send("GET /304 HTTP/1.1\r\nHost: app\r\n\r\n");
    assert_eq!(client.response().status, 304);
    client.send("GET /last HTTP/1.1\r\nHost: app\r\n\r\n");
    assert_eq!(client.response().text(), "last");
    assert_eq!(backend.connections(), 1);
}

#[test]
fn hop_by_hop_fields_end_here_and_a_clients_forwarded_fields_are_not_believed() {
    let backend = Backend::answering(|request| request.head.clone());
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    client.send(
        "GET / HTTP/1.1\r\nHost: app.local\r\nConnection: X-Secret, keep-alive\r\nX-Secret: 1\r\nKeep-Alive: 5\r\n\
         X-Forwarded-For: 6.6.6.6\r\nX_Forwarded_Proto: https\r\nForwarded: for=6.6.6.6\r\nX-Kept: yes\r\n\r\n",
    );
    let head = client.response().text();
    let request = common::Request { head, body: Vec::new() };
    assert_eq!(request.fields("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.fields("x-forwarded-proto"), ["http"]);
    assert_eq!(request.fields("x-forwarded-host"), ["app.local"]);
    assert_eq!(request.fields("host"), ["app.local"]);
    assert_eq!(request.fields("x-kept"), ["yes"]);
    for gone in ["x-secret", "keep-alive", "forwarded", "x_forwarded_proto"] {
        assert!(request.fields(gone).is_empty(), "{gone} went on: {}", request.head);
    }
}

#[test]
fn what_is_not_understood_is_refused_and_the_connection_closed() {
    let backend = Backend::answering(|_| "reached".into());
    let proxy = Proxy::to(backend.addr);
    let cases: [(&str, u16); 9] = [
        ("GET / HTTP/1.1\nHost: app\n\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: app\r\nHost: app\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", 400),
        (
            "POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        ("CONNECT app:443 HTTP/1.1\r\nHost: app:443\r\n\r\n", 501),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("GET / HTTP/1.1\r\nHost: app\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", 501),
    ];
    for (bytes, status) in cases {
        let mut client = proxy.client();
        client.send(bytes);
        let response = client.response();
        assert_eq!(response.status, status, "{bytes:?}: {response:?}");
        assert_eq!(response.field("connection"), Some("close"), "{bytes:?}");
        assert!(client.is_closed(), "{bytes:?}");
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_head_too_large_is_431() {
    let backend = Backend::answering(|_| "reached".into());
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: app\r\nX: {}\r\n\r\n", "a".repeat(40_000)));
    assert_eq!(client.response().status, 431);
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_clients_bad_chunk_is_its_400() {
    let backend = Backend::start(|mut conn| {
        conn.request_head();
        while conn.bytes().is_some() {}
    });
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n");
    let response = client.response();
    assert_eq!((response.status, response.field("connection")), (400, Some("close")));
}

#[test]
fn a_body_that_is_cut_upstream_is_cut_for_the_client() {
    for framing in ["Content-Length: 100\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"] {
        let backend = Backend::start(move |mut conn| {
            conn.request();
            conn.send(format!("HTTP/1.1 200 OK\r\n{framing}"));
            conn.close();
        });
        let proxy = Proxy::to(backend.addr);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        let response = client.response();
        assert!(!response.complete, "{framing:?} looks complete: {response:?}");
    }
}

#[test]
fn a_response_until_close_is_framed_for_the_client() {
    let backend = Backend::start(|mut conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\n\r\nuntil the end");
        conn.close();
    });
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        let response = client.response();
        assert_eq!((response.text().as_str(), response.complete), ("until the end", true));
    }
}

#[test]
fn an_early_answer_reaches_a_client_that_still_sends() {
    let backend = Backend::start(|mut conn| {
        conn.request_head();
        conn.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig");
        while conn.bytes().is_some_and(|bytes| !bytes.is_empty()) {}
    });
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 50000000\r\n\r\n");
    client.send(vec![b'x'; 20_000]);
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (413, "big"));
}

#[test]
fn an_upstream_may_answer_while_it_still_reads() {
    let backend = Backend::start(|mut conn| {
        conn.request_head();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 8000000\r\n\r\n");
        let mut left = 8_000_000;
        while left > 0 {
            let Some(bytes) = conn.bytes() else { return };
            left -= bytes.len();
            conn.send(bytes);
        }
        conn.bytes();
    });
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    let mut writer = client.stream.try_clone().unwrap();
    let body: Vec<u8> = (0..8_000_000_u32).map(|n| (n * 13 % 251) as u8).collect();
    let sent = body.clone();
    let thread = std::thread::spawn(move || {
        use std::io::Write;
        writer.write_all(b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 8000000\r\n\r\n").unwrap();
        writer.write_all(&sent).unwrap();
    });
    let response = client.response();
    assert!(response.body == body, "the echo has changed");
    thread.join().unwrap();
}

#[test]
fn expect_100_continue_is_answered_once_the_service_is_reached() {
    let backend = Backend::answering(|request| String::from_utf8_lossy(&request.body).into_owned());
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    client.send("PUT / HTTP/1.1\r\nHost: app\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 100 "));
    client.send("body");
    assert_eq!(client.response().text(), "body");
    client.send("PUT / HTTP/1.1\r\nHost: nobody\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 404 "), "no 100 before a refusal");
}

#[test]
fn http_1_0_clients_get_no_chunks() {
    let backend = Backend::start(|mut conn| {
        while conn.request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
        }
    });
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.0\r\nHost: app\r\n\r\n");
    let response = client.response();
    assert_eq!((response.field("transfer-encoding"), response.text().as_str()), (None, "hello"));
    assert!(client.is_closed());
}

#[test]
fn a_pooled_connection_that_was_closed_is_not_used() {
    // Each connection answers once and closes, without saying so: a POST must not be sent on it again.
    let closed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&closed);
    let backend = Backend::start(move |mut conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        conn.close();
        count.fetch_add(1, Ordering::SeqCst);
    });
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    for n in 1..=20 {
        client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 1\r\n\r\nx");
        let response = client.response();
        // On the loopback a close has arrived when it returns.
        wait_until("the backend's close", || closed.load(Ordering::SeqCst) >= n);
        assert_eq!(response.status, 200, "request {n}: {response:?}");
    }
    assert_eq!(backend.connections(), 20);
}

#[test]
fn bytes_after_a_response_are_nobodys() {
    let backend = Backend::start(|mut conn| {
        while conn.request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
        }
    });
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    for _ in 0..5 {
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        assert_eq!(client.response().text(), "ok");
    }
    assert_eq!(backend.connections(), 5);
}

#[test]
fn a_bad_answer_is_502_and_names_why() {
    for answer in
        ["garbage\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", ""]
    {
        let backend = Backend::start(move |mut conn| {
            conn.request();
            conn.send(answer);
            conn.close();
        });
        let proxy = Proxy::to(backend.addr);
        let response = proxy.get("app", "/");
        assert_eq!(response.status, 502, "{answer:?}: {response:?}");
    }
}

#[test]
fn own_answers_follow_accept_and_name_reason_and_request_id() {
    let proxy = Proxy::start(common::config(&[]));
    for (accept, kind) in
        [("text/html", "text/html"), ("application/json", "application/json"), ("*/*", "text/plain")]
    {
        let mut client = proxy.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: no<b>ody\r\nAccept: {accept}\r\n\r\n"));
        let bad = client.response();
        assert_eq!(bad.status, 400, "{bad:?}");
        let mut client = proxy.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: nobody.local\r\nAccept: {accept}\r\n\r\n"));
        let response = client.response();
        assert_eq!(response.status, 404);
        assert!(response.field("content-type").unwrap().starts_with(kind), "{response:?}");
        assert!(response.text().contains("nobody.local"), "{}", response.text());
    }
}

#[test]
fn a_connection_outlives_our_own_answers_if_the_body_is_here() {
    let backend = Backend::answering(|_| "ok".into());
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: nobody\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: app\r\n\r\n",
    );
    assert_eq!(client.response().status, 404);
    assert_eq!(client.response().text(), "ok");
    client.send("POST / HTTP/1.1\r\nHost: nobody\r\nContent-Length: 3\r\n\r\na");
    assert_eq!(client.response().field("connection"), Some("close"));
    assert!(client.is_closed());
}

#[test]
fn a_refused_connect_is_502_after_the_wait_and_waits_before() {
    // The port was free a moment ago; a young endpoint gets `recreate_wait`, here 300 ms.
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let mut config = common::config(&[("app", closed)]);
    config.recreate_wait = Duration::from_millis(300);
    let proxy = Proxy::start(config);
    let response = proxy.get("app", "/");
    assert!(matches!(response.status, 502 | 503), "{response:?}");
    assert!(response.text().contains(&closed.to_string()), "{}", response.text());
    let later = proxy.get_until("app", |response| response.status == 502);
    assert!(later.text().contains("refused"), "{}", later.text());
}

#[test]
fn a_route_to_itself_is_refused_as_a_loop() {
    // The listener's port is known only once it listens: the route leads to a second Tidegate that leads back.
    let second = Proxy::start(common::config(&[]));
    let own = second.addr;
    drop(second);
    let mut config = common::config(&[("app", own)]);
    config.http_addr[0].addr = own;
    let proxy = Proxy::start(config);
    let response = proxy.get("app", "/");
    assert_eq!(response.status, 508, "{response:?}");
}

#[test]
fn a_client_that_half_closes_still_gets_its_answer() {
    let backend = Backend::answering(|_| "late".into());
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.response().text(), "late");
}

#[test]
fn a_drain_finishes_what_is_in_flight_and_refuses_what_is_new() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let backend = Backend::start(move |mut conn| {
        conn.request();
        wait.lock().unwrap().recv().unwrap();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
        conn.bytes();
    });
    let proxy = Proxy::to(backend.addr);
    let addr = proxy.addr;
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    wait_until("the request to arrive", || backend.connections() == 1);
    let ending = std::thread::spawn(move || proxy.stop());
    wait_until("the listener to close", || std::net::TcpStream::connect(addr).is_err());
    go.send(()).unwrap();
    let response = client.response();
    assert_eq!((response.text().as_str(), response.field("connection")), ("done", Some("close")));
    ending.join().unwrap();
}
