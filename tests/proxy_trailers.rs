//! Trailer fields behind chunked bodies, both ways.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;

use common::{Backend, Proxy};
use std::sync::mpsc;

const FORBIDDEN: &str = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: evil\r\nAuthorization: x\r\n\
                         X-Forwarded-For: 6.6.6.6\r\nX_Real_IP: 6.6.6.6\r\nSet-Cookie: a=b\r\nIf-Match: x\r\n\
                         Content-Type: text/html\r\nConnection: close\r\nTE: x\r\n";

/// A backend that tells what it received, from the head's end to the last byte, and answers in chunks.
fn telling(answer: &'static str) -> (Backend, mpsc::Receiver<(String, String)>) {
    let (tell, told) = mpsc::channel();
    let backend = Backend::start(move |mut conn| {
        while let Some(head) = conn.request_head() {
            let mut body = String::new();
            while head.contains("chunked") && !body.ends_with("\r\n\r\n") {
                let Some(bytes) = conn.bytes() else { return };
                body += &String::from_utf8(bytes).unwrap();
            }
            tell.send((head, body)).unwrap();
            conn.send(answer);
        }
    });
    (backend, told)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_requests_trailers_go_on_but_for_those_that_may_not_stand_there() {
    let (backend, told) = telling(OK);
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    let head = "POST / HTTP/1.1\r\nHost: app\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = format!("5\r\nhello\r\n0\r\nX-Sum: 1\r\n{FORBIDDEN}x-empty:\r\n\r\n");
    // At once, and byte by byte.
    client.send(format!("{head}{body}"));
    assert_eq!(client.response().text(), "ok");
    client.send(head);
    for byte in body.bytes() {
        client.send([byte]);
    }
    assert_eq!(client.response().text(), "ok");
    for _ in 0..2 {
        let (head, body) = told.recv().unwrap();
        assert!(head.contains("Trailer: X-Sum\r\n"), "{head}");
        assert!(body.ends_with("\r\n0\r\nX-Sum: 1\r\nx-empty:\r\n\r\n"), "{body:?}");
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_responses_trailers_go_on_and_the_connection_too() {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n{FORBIDDEN}\r\n"
    );
    let (backend, told) = telling(answer.leak());
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: app\r\nTE: trailers, deflate\r\nConnection: TE\r\n\r\n");
        assert!(client.head().contains("Trailer: X-Sum\r\n"));
        let body = "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n";
        assert_eq!(String::from_utf8(client.exactly(body.len())).unwrap(), body);
        let (head, _) = told.recv().unwrap();
        let request = common::Request { head, body: Vec::new() };
        assert_eq!((request.fields("te"), request.fields("connection")), (vec!["trailers"], vec!["TE"]));
    }
    assert_eq!(backend.connections(), 1);
    client.send("GET / HTTP/1.0\r\nHost: app\r\n\r\n");
    let response = client.response();
    assert_eq!(
        (response.text().as_str(), response.field("trailer")),
        ("hello", None),
        "no chunks, no trailers"
    );
    assert!(!told.recv().unwrap().0.to_ascii_lowercase().contains("\r\nte:"));
}

#[test]
fn a_trailer_section_that_is_too_long_or_malformed_is_refused() {
    let long = format!("X: {}\r\n", "x".repeat(9_000));
    for trailers in [long.as_str(), "no colon\r\n", "X: a\nY: b\r\n", "X\r\n", ": x\r\n"] {
        let (backend, _told) = telling(OK);
        let proxy = Proxy::to(backend.addr);
        let mut client = proxy.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n{trailers}\r\n"
        ));
        assert_eq!(client.response().status, 400, "{trailers:.20?}");
        let answer =
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n{trailers}\r\n");
        let (backend, _told) = telling(answer.leak());
        let proxy = Proxy::to(backend.addr);
        let response = proxy.get("app", "/");
        assert!(!response.complete, "{trailers:.20?}: {response:?}");
    }
}
