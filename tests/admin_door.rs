//! The admin API's door: what may pass and what is refused, by raw sockets.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;

use common::{Backend, Client, Proxy, Response, config, wait_until, with_admin};
use std::io::Write;
use std::net::SocketAddr;

fn proxy() -> (Proxy, SocketAddr) {
    let proxy = Proxy::start(with_admin(config(&[])));
    let admin = proxy.admin.unwrap();
    (proxy, admin)
}

fn raw(admin: SocketAddr, method: &str, request: &str) -> Response {
    let mut client = Client::connect(admin);
    client.send(request);
    let response = client.response_to(method);
    assert!(client.is_closed(), "one answer per connection");
    response
}

fn get(admin: SocketAddr, path: &str, fields: &str) -> Response {
    raw(admin, "GET", &format!("GET {path} HTTP/1.1\r\n{fields}\r\n"))
}

fn post(admin: SocketAddr, fields: &str) -> Response {
    raw(admin, "POST", &format!("POST /api/reload HTTP/1.1\r\n{fields}\r\n"))
}

#[test]
fn only_loopback_names_are_answered() {
    let (_proxy, admin) = proxy();
    for host in ["localhost", "LOCALHOST:8888", "localhost.", "127.0.0.1", "127.9.9.9:1", "[::1]:80"] {
        assert_eq!(get(admin, "/healthz", &format!("Host: {host}\r\n")).status, 200, "{host}");
    }
    for host in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "0.0.0.0",
        "[::]",
        "2130706433",
    ] {
        assert_eq!(get(admin, "/healthz", &format!("Host: {host}\r\n")).status, 403, "{host}");
    }
    // The target's authority stands over the field.
    let absolute = "GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert!([400, 403].contains(&raw(admin, "GET", absolute).status));
    assert_eq!(raw(admin, "GET", "GET /healthz HTTP/1.0\r\n\r\n").status, 403);
    assert_eq!(raw(admin, "GET", "GET /healthz HTTP/1.1\r\n\r\n").status, 400);
}

#[test]
fn what_changes_something_is_refused_to_web_pages() {
    let (_proxy, admin) = proxy();
    // 501: this app has no reload; it is the page's own answer.
    assert_eq!(post(admin, "Host: localhost\r\nContent-Length: 0\r\n").status, 501);
    for fields in [
        "Origin: http://evil.example",
        "Origin: null",
        "Origin: http://localhost",
        "Sec-Fetch-Site: cross-site",
    ] {
        let answer = post(admin, &format!("Host: localhost\r\n{fields}\r\nContent-Length: 0\r\n"));
        assert_eq!(answer.status, 403, "{fields}");
    }
    assert_eq!(post(admin, "Host: evil.example\r\nContent-Length: 0\r\n").status, 403);
    assert_eq!(get(admin, "/healthz", "Host: localhost\r\nOrigin: http://evil.example\r\n").status, 200);
}

#[test]
fn paths_and_methods() {
    let (_proxy, admin) = proxy();
    assert_eq!(get(admin, "/", "Host: localhost\r\n").status, 404);
    assert_eq!(get(admin, "/api/routes/", "Host: localhost\r\n").status, 404);
    assert_eq!(get(admin, "/healthz?x=1", "Host: localhost\r\n").status, 200);
    let wrong = get(admin, "/api/reload", "Host: localhost\r\n");
    assert_eq!((wrong.status, wrong.field("allow")), (405, Some("POST")));
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let wrong = raw(admin, method, &format!("{method} /api/routes HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert_eq!((wrong.status, wrong.field("allow")), (405, Some("GET, HEAD")), "{method}");
    }
}

#[test]
fn head_has_the_length_and_no_body() {
    let (_proxy, admin) = proxy();
    for path in ["/healthz", "/api/routes", "/nothing"] {
        let request = format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let head = raw(admin, "HEAD", &request);
        let body = get(admin, path, "Host: localhost\r\n").body;
        assert!(!body.is_empty());
        assert_eq!(head.field("content-length"), Some(body.len().to_string().as_str()), "{path}");
    }
}

#[test]
fn heads_that_may_minihttp_could_not_bear() {
    let (_proxy, admin) = proxy();
    let many: String = (0..50).map(|i| format!("X-Field-{i}: {i}\r\n")).collect();
    assert_eq!(get(admin, "/healthz", &format!("Host: localhost\r\n{many}")).status, 200);
    for length in ["-1", "x", "1, 2", "99999999999999999999999", "+1", ""] {
        let answer = post(admin, &format!("Host: localhost\r\nContent-Length: {length}\r\n"));
        assert!([400, 413].contains(&answer.status), "{length:?}: {}", answer.status);
    }
    let two = "Host: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n";
    assert_eq!(post(admin, two).status, 400);
    assert_eq!(post(admin, "Host: localhost\r\nContent-Length: 100000000\r\n").status, 413);
    assert_eq!(post(admin, "Host: localhost\r\nTransfer-Encoding: chunked\r\n").status, 411);
    assert_eq!(raw(admin, "GET", "\u{16}\u{3}\u{1}\r\n\r\n").status, 400);
    assert_eq!(get(admin, "/healthz", "Host: localhost\r\n").status, 200, "and it still answers");
}

#[test]
fn a_body_is_never_the_next_request() {
    let (_proxy, admin) = proxy();
    let smuggled = "POST /api/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    // As a body that the page does not read, as bytes after the end, and after a refusal.
    for request in [
        format!(
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{smuggled}",
            smuggled.len()
        ),
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n{smuggled}"),
        format!(
            "POST /api/reload HTTP/1.1\r\nHost: localhost\r\nOrigin: x\r\nContent-Length: 0\r\n\r\n{smuggled}"
        ),
    ] {
        let mut client = Client::connect(admin);
        client.send(&request);
        let answers = String::from_utf8(client.rest()).unwrap();
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{request}\n{answers}");
        assert!(!answers.contains(" 501 "), "{request}\n{answers}");
    }
    let upload = format!(
        "POST /api/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n{}",
        "x".repeat(60_000)
    );
    assert_eq!(raw(admin, "POST", &upload).status, 501, "a body within the bound is read to its end");
}

#[test]
fn what_is_slow_or_many_is_bounded() {
    let (_proxy, admin) = proxy();
    let mut silent: Vec<Client> =
        (0..tidegate::limits::ADMIN_CONNECTIONS).map(|_| Client::connect(admin)).collect();
    for client in &mut silent {
        client.stream.write_all(b"GET /").unwrap();
    }
    wait_until("one over the bound is refused", || {
        let mut over = Client::connect(admin);
        let _ = over.stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        over.response().status == 503
    });
    drop(silent);
    wait_until("a place that was given back is used", || {
        let mut client = Client::connect(admin);
        let _ = client.stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.response().status == 200
    });
}

#[test]
fn no_route_leads_to_the_admin_api() {
    let proxy = Proxy::start(with_admin(config(&[])));
    let admin = proxy.admin.unwrap();
    proxy.stop();
    // The same address again, and a route to it.
    let mut setup = with_admin(config(&[("localhost", admin)]));
    setup.admin.as_mut().unwrap().addr = admin;
    let backend = Backend::answering(|_| "other".into());
    setup.file_routes.extend(config(&[("other", backend.addr)]).file_routes);
    let proxy = Proxy::start(setup);
    assert_eq!(proxy.admin, Some(admin));
    assert_eq!(proxy.get("other", "/").text(), "other");
    assert_eq!(proxy.get("localhost", "/api/routes").status, 508);
}
