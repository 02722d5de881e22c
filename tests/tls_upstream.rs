//! Upstreams of scheme https: who is believed, and what a client is told if nobody is.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;
mod tls_support;

use common::fake::engine;
use common::{Backend, DEADLINE, Proxy, config, config_with_engine};
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tidegate::docker::fake::{Page, Spec};
use tidegate::limits::TLS_HANDSHAKE_TIMEOUT;
use tidegate::route::{Scheme, ServerName, UpstreamTls};
use tls_support::{Authority, Dir, TlsBackend, self_signed};

/// A route `app` to `addr` under the name `host`, by TLS.
fn proxy(addr: SocketAddr, host: &str, tls: UpstreamTls) -> Proxy {
    let mut config = config(&[("app", addr)]);
    config.file_routes[0].scheme = Some(Scheme::Https);
    config.file_routes[0].host = Some(host.to_owned());
    config.file_routes[0].tls = tls;
    Proxy::start(config)
}

fn trusted(dir: &Dir, name: &str, pem: &str) -> Option<PathBuf> {
    let path = dir.0.join(name);
    std::fs::write(&path, pem).unwrap();
    Some(path)
}

#[test]
fn a_verified_upstream_serves_and_is_pooled() {
    let (dir, authority) = (Dir::new("upgood"), Authority::new());
    let backend = TlsBackend::start(&authority.issue(&["localhost"]));
    let tls = UpstreamTls { trusted: trusted(&dir, "ca.crt", &authority.pem), ..UpstreamTls::default() };
    let mut settings = config(&[("app", backend.addr)]);
    settings.workers = Some(1);
    settings.file_routes[0].scheme = Some(Scheme::Https);
    settings.file_routes[0].host = Some("localhost".to_owned());
    settings.file_routes[0].tls = tls;
    let proxy = Proxy::start(settings);
    for n in 0..20 {
        let response = proxy.get("app.test", &format!("/{n}"));
        assert_eq!((response.status, response.text()), (200, format!("GET /{n} HTTP/1.1 sni=localhost")));
    }
    // Tickets that come after an answer don't spoil the connection.
    let connections = backend.connections.load(Ordering::SeqCst);
    assert!(connections <= 2, "{connections} connections for 20 requests");
    let mut client = proxy.client();
    client.send("GET /cut HTTP/1.1\r\nHost: app.test\r\n\r\n");
    assert!(!client.response().complete, "an end without close_notify is a cut");
}

#[test]
fn who_is_not_believed_is_a_502_that_says_why() {
    let (dir, authority) = (Dir::new("upbad"), Authority::new());
    let ours = trusted(&dir, "ca.crt", &authority.pem);
    let default = UpstreamTls::default;
    let self_made = self_signed(&["localhost"]);
    let own = trusted(&dir, "own.crt", &self_made.0);
    let selfish = TlsBackend::start(&self_made);
    let issued = TlsBackend::start(&authority.issue(&["localhost"]));
    let elsewhere = TlsBackend::start(&authority.issue(&["nas.test"]));
    let old = TlsBackend::start(&authority.issue_until(&["localhost"], 2021));
    let plain = Backend::start(|mut conn| {
        conn.bytes();
        conn.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    let nas = ServerName::Name("nas.test".into());
    let cases: Vec<(&str, SocketAddr, UpstreamTls, Result<&str, &str>)> = vec![
        ("self-signed", selfish.addr, default(), Err("its certificate")),
        ("unknown authority", issued.addr, default(), Err("vouched for by nobody who is trusted")),
        ("no_tls_verify", selfish.addr, UpstreamTls { no_verify: true, ..default() }, Ok("sni=localhost")),
        (
            "self-signed, trusted",
            selfish.addr,
            UpstreamTls { trusted: own, ..default() },
            Ok("sni=localhost"),
        ),
        ("trusted", issued.addr, UpstreamTls { trusted: ours.clone(), ..default() }, Ok("sni=localhost")),
        (
            "another name",
            elsewhere.addr,
            UpstreamTls { trusted: ours.clone(), ..default() },
            Err("its certificate is not for `localhost`"),
        ),
        (
            "the name set",
            elsewhere.addr,
            UpstreamTls { trusted: ours.clone(), server_name: nas, ..default() },
            Ok("sni=nas.test"),
        ),
        (
            "no name asked for",
            issued.addr,
            UpstreamTls { trusted: ours.clone(), server_name: ServerName::Off, ..default() },
            Ok("sni=-"),
        ),
        (
            "expired",
            old.addr,
            UpstreamTls { trusted: ours.clone(), ..default() },
            Err("its certificate has expired"),
        ),
        ("plain http there", plain.addr, default(), Err("does not speak TLS")),
        (
            "no such authority",
            issued.addr,
            UpstreamTls { trusted: Some(dir.0.join("none.crt")), ..default() },
            Err("none.crt can't be read"),
        ),
    ];
    for (case, addr, tls, expected) in cases {
        hold(case, addr, tls, expected);
    }
}

fn hold(case: &str, addr: SocketAddr, tls: UpstreamTls, expected: Result<&str, &str>) {
    let response = proxy(addr, "localhost", tls).get("app.test", "/");
    let text = response.text();
    match expected {
        Ok(expected) => assert!(response.status == 200 && text.contains(expected), "{case}: {response:?}"),
        Err(expected) => assert!(response.status == 502 && text.contains(expected), "{case}: {text}"),
    }
}

#[test]
fn a_handshake_with_a_container_that_dies_ends_with_it() {
    // Takes the ClientHello, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let engine = engine();
    let spec = Spec::new("app").page(Page::Hello).label("proxy.aliases", "app");
    let spec = spec.label("proxy.app.scheme", "https").label("proxy.app.no_tls_verify", "true");
    engine.run(spec.label("proxy.app.host", "127.0.0.1").label("proxy.app.port", port)).unwrap();
    let mut settings = config_with_engine(engine.socket());
    settings.recreate_wait = Duration::from_millis(300);
    let proxy = Proxy::start(settings);
    proxy.get_until("nobody", |response| response.status == 404);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    let (mut upstream, _) = silent.accept().unwrap();
    upstream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut record = [0; 5];
    upstream.read_exact(&mut record).unwrap();
    assert_eq!(record[0], 22, "a handshake");
    let died = Instant::now();
    engine.kill("app").unwrap();
    // Err: reset.
    upstream.read_to_end(&mut Vec::new()).ok();
    let took = died.elapsed();
    println!("MEASURED: a handshake ended {took:?} after its container");
    assert!(took < TLS_HANDSHAKE_TIMEOUT / 2, "{took:?}");
    assert_eq!(client.response().status, 503);
}
