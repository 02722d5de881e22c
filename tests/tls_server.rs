//! HTTPS for clients: handshakes, the choice of a certificate, bodies, ends.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;
mod tls_support;

use common::{Backend, DEADLINE, Proxy, wait_until};
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, ProtocolVersion};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tidegate::access::{AddressRule, BasicAuth, Hash, Rules, User};
use tidegate::util::Cidr;
use tls_support::{Authority, Client, Dir, answer_to, hello, https, start, trusting};

const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

#[test]
fn both_versions_serve_and_are_kept_alive() {
    let (dir, authority) = (Dir::new("versions"), Authority::new());
    let backend = Backend::answering(|request| {
        format!("{} {}", request.line(), request.fields("x-forwarded-proto").join(","))
    });
    let pair = authority.write(&dir, "app", &["app.test"]);
    let proxy = start(&[("app", backend.addr)], vec![pair], None);
    for (version, protocol) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let mut config = trusting(&authority, &[version]);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut client = Client::connect(proxy.https[0], &Arc::new(config), "app.test");
        assert_eq!(client.tls.conn.protocol_version(), Some(protocol));
        assert_eq!(client.tls.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        for path in ["/one", "/two", "/three"] {
            let (head, body) = client.get("app.test", path);
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            assert_eq!(String::from_utf8(body).unwrap(), format!("GET {path} HTTP/1.1 https"));
        }
        client.send("GET /last HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n");
        client.response().unwrap();
        assert!(client.ends_in_order(), "the end is announced");
    }
}

#[test]
fn a_client_of_http_1_0_alone_is_served_and_one_of_another_protocol_refused() {
    let (dir, authority) = (Dir::new("alpn"), Authority::new());
    let backend = Backend::answering(|_| "ok".into());
    let pair = authority.write(&dir, "app", &["app.test"]);
    let proxy = start(&[("app", backend.addr)], vec![pair], None);
    let offering = |protocols: &[&[u8]]| {
        let mut config = trusting(&authority, &[&TLS12, &TLS13]);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Client::try_connect(proxy.https[0], &Arc::new(config), "app.test")
    };
    let mut old = offering(&[b"http/1.0"]).expect("as `curl -0` offers");
    assert_eq!(old.tls.conn.alpn_protocol(), Some(&b"http/1.0"[..]));
    old.send("GET / HTTP/1.0\r\nHost: app.test\r\n\r\n");
    let (head, body) = old.response().unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && body == b"ok", "{head}");
    let both = offering(&[b"http/1.0", b"http/1.1"]).expect("two to choose from");
    assert_eq!(both.tls.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(offering(&[b"imap"]).is_err());
}

#[test]
fn the_certificate_is_chosen_by_name() {
    let (dir, authority) = (Dir::new("sni"), Authority::new());
    let backend = Backend::answering(|_| "ok".into());
    let certs = vec![
        authority.write(&dir, "wild", &["*.example.test"]),
        authority.write(&dir, "exact", &["app.example.test", "app.test"]),
    ];
    let expected = |file: &str| std::fs::read_to_string(dir.0.join(file)).unwrap();
    let proxy = start(&[("app", backend.addr)], certs, Some("app.test"));
    let config = Arc::new(trusting(&authority, &[&TLS13]));
    let served = |name: &str| {
        let client = Client::connect(proxy.https[0], &config, name);
        client.tls.conn.peer_certificates().unwrap()[0].to_vec()
    };
    let of = |file: &str| {
        use rustls::pki_types::pem::PemObject;
        rustls::pki_types::CertificateDer::from_pem_slice(expected(file).as_bytes()).unwrap().to_vec()
    };
    assert_eq!(served("app.example.test"), of("exact.crt"), "exact before wildcard");
    assert_eq!(served("APP.Example.test"), of("exact.crt"), "case says nothing");
    assert_eq!(served("other.example.test"), of("wild.crt"));
    for unknown in ["example.test", "a.b.example.test", "example.org"] {
        let answer = answer_to(proxy.https[0], &hello(&config, unknown));
        assert_eq!(answer, UNRECOGNIZED_NAME, "{unknown}");
    }
    // No name at all, and an address in place of a name: the default.
    let mut nameless = trusting(&authority, &[&TLS13]);
    nameless.enable_sni = false;
    let client = Client::connect(proxy.https[0], &Arc::new(nameless), "app.test");
    assert_eq!(client.tls.conn.peer_certificates().unwrap()[0].to_vec(), of("exact.crt"));
    assert_eq!(first_byte(&proxy, &with_literal(hello(&config, "abc.def.g"))), 22, "a ServerHello");
}

#[test]
fn without_a_default_who_names_nobody_is_refused() {
    let (dir, authority) = (Dir::new("nodefault"), Authority::new());
    let pair = authority.write(&dir, "app", &["app.test"]);
    let proxy = start(&[], vec![pair], None);
    for version in [&TLS12, &TLS13] {
        let mut config = trusting(&authority, &[version]);
        let literal = with_literal(hello(&Arc::new(config.clone()), "abc.def.g"));
        assert_eq!(answer_to(proxy.https[0], &literal), UNRECOGNIZED_NAME, "an address as the name");
        config.enable_sni = false;
        assert_eq!(answer_to(proxy.https[0], &hello(&Arc::new(config), "app.test")), UNRECOGNIZED_NAME);
    }
    let answer = answer_to(proxy.https[0], b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    assert_eq!(answer.first(), Some(&21), "an alert for what is not TLS: {answer:?}");
}

/// A hello whose name is an address of the same length.
fn with_literal(mut hello: Vec<u8>) -> Vec<u8> {
    let at = hello.windows(9).position(|bytes| bytes == b"abc.def.g").unwrap();
    hello[at..at + 9].copy_from_slice(b"192.0.2.1");
    hello
}

fn first_byte(proxy: &Proxy, hello: &[u8]) -> u8 {
    let mut tcp = TcpStream::connect(proxy.https[0]).unwrap();
    tcp.set_read_timeout(Some(DEADLINE)).unwrap();
    tcp.write_all(hello).unwrap();
    let mut byte = [0];
    tcp.read_exact(&mut byte).unwrap();
    byte[0]
}

#[test]
fn twenty_megabytes_go_up_and_come_down() {
    let (dir, authority) = (Dir::new("bulk"), Authority::new());
    let backend = Backend::start(|mut conn| {
        while let Some(request) = conn.request() {
            conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len()));
            conn.send(request.body);
        }
    });
    let pair = authority.write(&dir, "app", &["app.test"]);
    let proxy = start(&[("app", backend.addr)], vec![pair], None);
    let body: Vec<u8> = (0..20_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for version in [&TLS12, &TLS13] {
        let config = Arc::new(trusting(&authority, &[version]));
        let mut client = Client::connect(proxy.https[0], &config, "app.test");
        client.send(format!("PUT / HTTP/1.1\r\nHost: app.test\r\nContent-Length: {}\r\n\r\n", body.len()));
        client.send(&body);
        assert!(client.response().unwrap().1 == body, "the body by length has changed");
        client.send("PUT / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
        for chunk in body.chunks(70_001) {
            client.send(format!("{:x}\r\n", chunk.len()));
            client.send(chunk);
            client.send("\r\n");
        }
        client.send("0\r\n\r\n");
        assert!(client.response().unwrap().1 == body, "the body in chunks has changed");
    }
}

#[test]
fn pipelined_requests_are_not_forgotten_in_a_record() {
    let (dir, authority) = (Dir::new("pipe"), Authority::new());
    let backend = Backend::answering(|request| request.line().to_owned());
    let pair = authority.write(&dir, "app", &["app.test"]);
    let proxy = start(&[("app", backend.addr)], vec![pair], None);
    let config = Arc::new(trusting(&authority, &[&TLS13]));
    let mut client = Client::connect(proxy.https[0], &config, "app.test");
    let one = |n: usize| format!("GET /{n} HTTP/1.1\r\nHost: app.test\r\n\r\n");
    client.send((0..20).map(one).collect::<String>());
    for n in 0..20 {
        assert_eq!(client.response().unwrap().1, format!("GET /{n} HTTP/1.1").into_bytes());
    }
    // A head in two records, the second late: it is waited for without a stack.
    client.send("GET /split HTTP/1.1\r\nHo");
    client.send("st: app.test\r\n\r\n");
    assert_eq!(client.response().unwrap().1, b"GET /split HTTP/1.1");
}

#[test]
fn chunks_pass_and_a_cut_answer_is_seen_as_cut() {
    let (dir, authority) = (Dir::new("cut"), Authority::new());
    let backend = Backend::start(|mut conn| {
        while let Some(request) = conn.request() {
            conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
            if request.line().contains("/cut") {
                return conn.close();
            }
            conn.send("0\r\n\r\n");
        }
    });
    let pair = authority.write(&dir, "app", &["app.test"]);
    let proxy = start(&[("app", backend.addr)], vec![pair], None);
    let config = Arc::new(trusting(&authority, &[&TLS13]));
    let mut client = Client::connect(proxy.https[0], &config, "app.test");
    assert_eq!(client.get("app.test", "/").1, b"5\r\nhello\r\n0\r\n\r\n");
    client.send("GET /cut HTTP/1.1\r\nHost: app.test\r\n\r\n");
    let error = client.response().expect_err("the body is cut");
    assert!(!error.to_string().contains("orderly"), "no close_notify: {error}");
}

#[test]
fn who_ends_a_tls_connection_reads_no_more_and_frees_the_upstream() {
    let (dir, authority) = (Dir::new("leaves"), Authority::new());
    let (asked, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (asks, ends) = (Arc::clone(&asked), Arc::clone(&ended));
    let backend = Backend::start(move |mut conn| {
        conn.request();
        asks.fetch_add(1, Ordering::SeqCst);
        while conn.bytes().is_some() {}
        ends.fetch_add(1, Ordering::SeqCst);
    });
    let pair = authority.write(&dir, "app", &["app.test"]);
    let proxy = start(&[("app", backend.addr)], vec![pair], None);
    let config = Arc::new(trusting(&authority, &[&TLS13]));
    for n in 1..=3 {
        let mut client = Client::connect(proxy.https[0], &config, "app.test");
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        wait_until("the request to arrive", || asked.load(Ordering::SeqCst) == n);
        let gone = Instant::now();
        client.tls.conn.send_close_notify();
        client.tls.flush().unwrap();
        drop(client);
        wait_until("the upstream to be freed", || ended.load(Ordering::SeqCst) == n);
        assert!(gone.elapsed() < Duration::from_secs(5), "{:?}", gone.elapsed());
    }
}

#[test]
fn an_upload_that_is_cut_never_looks_complete() {
    let (dir, authority) = (Dir::new("upcut"), Authority::new());
    let (started, whole) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (begun, counted) = (Arc::clone(&started), Arc::clone(&whole));
    let ended = Arc::new(AtomicUsize::new(0));
    let over = Arc::clone(&ended);
    let backend = Backend::start(move |mut conn| {
        if conn.request_head().is_some() {
            begun.fetch_add(1, Ordering::SeqCst);
            let mut body = Vec::new();
            while let Some(bytes) = conn.bytes() {
                body.extend_from_slice(&bytes);
                if body.ends_with(b"0\r\n\r\n") {
                    counted.fetch_add(1, Ordering::SeqCst);
                }
            }
            over.fetch_add(1, Ordering::SeqCst);
        }
    });
    let pair = authority.write(&dir, "app", &["app.test"]);
    let proxy = start(&[("app", backend.addr)], vec![pair], None);
    let config = Arc::new(trusting(&authority, &[&TLS13]));
    for orderly in [true, false] {
        let mut client = Client::connect(proxy.https[0], &config, "app.test");
        client.send("PUT / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel");
        let before = started.load(Ordering::SeqCst);
        wait_until("the upload to begin", || started.load(Ordering::SeqCst) > 0);
        assert!(before <= started.load(Ordering::SeqCst));
        if orderly {
            client.tls.conn.send_close_notify();
            client.tls.flush().unwrap();
        }
        client.tls.sock.shutdown(Shutdown::Both).unwrap();
    }
    wait_until("both uploads to end", || ended.load(Ordering::SeqCst) == 2);
    assert_eq!(whole.load(Ordering::SeqCst), 0);
}

#[test]
fn a_thousand_stalled_handshakes_hold_nobody_up() {
    let (dir, authority) = (Dir::new("stall"), Authority::new());
    let _ = tidegate::runtime::raise_nofile();
    let backend = Backend::answering(|_| "ok".into());
    let pair = authority.write(&dir, "app", &["app.test"]);
    let mut setup = https(&[("app", backend.addr)], vec![pair], None);
    setup.entrypoint.max_conns_per_client = 5_000;
    let proxy = Proxy::start(setup);
    let config = Arc::new(trusting(&authority, &[&TLS13]));
    let hello = hello(&config, "app.test");
    let stalled: Vec<TcpStream> = (0..1000)
        .map(|n| {
            let mut tcp = TcpStream::connect(proxy.https[0]).unwrap();
            // Nothing, half a hello, or a whole one without what must follow.
            tcp.write_all(&hello[..[0, hello.len() / 2, hello.len()][n % 3]]).unwrap();
            tcp
        })
        .collect();
    wait_until("all handshakes to be under way", || tidegate::net::tls::handshakes() >= 1000);
    let began = Instant::now();
    for _ in 0..20 {
        let mut client = Client::connect(proxy.https[0], &config, "app.test");
        assert_eq!(client.get("app.test", "/").1, b"ok");
    }
    let took = began.elapsed();
    println!("MEASURED: 20 handshakes and requests beside 1,000 stalled ones: {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    // They end by themselves at their deadline of 10 s.
    let mut first = &stalled[0];
    first.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(first.read(&mut [0; 1]).unwrap_or(0), 0);
    wait_until("the stalled ones to be closed", || tidegate::net::tls::handshakes() < 1000);
}

#[test]
fn sessions_resume_on_any_core() {
    let (dir, authority) = (Dir::new("resume"), Authority::new());
    let backend = Backend::answering(|_| "ok".into());
    let pair = authority.write(&dir, "app", &["app.test"]);
    let mut config = https(&[("app", backend.addr)], vec![pair], None);
    config.workers = Some(2);
    let proxy = Proxy::start(config);
    for version in [&TLS12, &TLS13] {
        let config = Arc::new(trusting(&authority, &[version]));
        let kinds: Vec<_> = (0..16)
            .map(|_| {
                let mut client = Client::connect(proxy.https[0], &config, "app.test");
                client.get("app.test", "/");
                client.tls.conn.handshake_kind().unwrap()
            })
            .collect();
        assert_ne!(kinds[0], HandshakeKind::Resumed);
        // SO_REUSEPORT spreads connections over both cores: 15 in a row on one are 1 in 16,384.
        assert!(kinds[1..].iter().all(|kind| *kind == HandshakeKind::Resumed), "{version:?}: {kinds:?}");
    }
}

#[test]
fn plain_requests_are_sent_to_https_where_the_route_wants_it() {
    let (dir, authority) = (Dir::new("redirect"), Authority::new());
    let backend = Backend::answering(|_| "plain".into());
    let pair = authority.write(&dir, "app", &["app.test"]);
    let mut config = https(&[("app", backend.addr), ("old", backend.addr)], vec![pair], None);
    config.redirect_http = true;
    config.file_routes[1].redirect_http = Some(false);
    let proxy = Proxy::start(config);
    let port = proxy.https[0].port();
    let mut client = proxy.client();
    for request in ["GET /a?b=c", "POST /x/%2e%2e/a?b=c"] {
        client.send(format!("{request} HTTP/1.1\r\nHost: app.test:8080\r\nContent-Length: 2\r\n\r\nhi"));
        let response = client.response();
        assert_eq!(response.status, 308);
        let location = format!("https://app.test:{port}/a?b=c");
        assert_eq!(response.field("location"), Some(location.as_str()));
    }
    client.send("GET / HTTP/1.1\r\nHost: old.test\r\n\r\n");
    assert_eq!(client.response().text(), "plain");
    client.send("GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n");
    assert_eq!(client.response().status, 404);
    let counted = "tidegate_requests_total{route=\"app\",class=\"3xx\"} 2\n";
    wait_until("the redirects to be counted", || proxy.observed.metrics_text().contains(counted));
}

#[test]
fn who_is_kept_out_is_not_sent_to_https_and_no_password_is_asked_for_before_it() {
    let (dir, authority) = (Dir::new("guard"), Authority::new());
    let backend = Backend::answering(|_| "in".into());
    let pair = authority.write(&dir, "app", &["app.test"]);
    let mut config = https(&[("app", backend.addr)], vec![pair], None);
    config.redirect_http = true;
    let hash = Hash::parse("$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW").unwrap();
    let basic_auth = Some(BasicAuth::new(vec![User { name: "alice".into(), hash }], "r", false));
    let networks = vec![Cidr::parse("127.0.0.2").unwrap()];
    let blacklist = Some(AddressRule { networks, status: 403, message: "no".into() });
    config.file_routes[0].access = Some(Arc::new(Rules { blacklist, whitelist: None, basic_auth }));
    let proxy = Proxy::start(config);
    assert_eq!(proxy.get("app.test", "/").status, 308);
    let mut kept_out = common::Client::connect_from("127.0.0.2:0".parse().unwrap(), proxy.addr);
    kept_out.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    assert_eq!(kept_out.response().status, 403);
    let config = Arc::new(trusting(&authority, &[&TLS13]));
    let mut client = Client::connect(proxy.https[0], &config, "app.test");
    assert!(client.get("app.test", "/").0.starts_with("HTTP/1.1 401 "));
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n");
    assert!(client.response().unwrap().0.starts_with("HTTP/1.1 200 "));
}

#[test]
fn both_directions_run_at_once_and_keys_change_meanwhile() {
    let (dir, authority) = (Dir::new("duplex"), Authority::new());
    let backend = Backend::start(|mut conn| {
        if conn.request_head().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            // What comes in chunks goes back as it is, framing and all.
            while let Some(bytes) = conn.bytes() {
                conn.send(&bytes);
                if bytes.ends_with(b"0\r\n\r\n") {
                    return;
                }
            }
        }
    });
    let pair = authority.write(&dir, "app", &["app.test"]);
    let proxy = start(&[("app", backend.addr)], vec![pair], None);
    let config = Arc::new(trusting(&authority, &[&TLS13]));
    let mut client = Client::connect(proxy.https[0], &config, "app.test");
    client.send("PUT / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    for round in 0..100_usize {
        if round % 10 == 5 {
            client.tls.conn.refresh_traffic_keys().unwrap();
        }
        let data = vec![b'a' + (round % 26) as u8; 10_000];
        client.send(format!("{:x}\r\n", data.len()));
        client.send(&data);
        client.send("\r\n");
        if round == 0 {
            client.until(b"\r\n\r\n");
        }
        let mut left = data.len();
        while left > 0 {
            let line = client.until(b"\r\n");
            let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).unwrap();
            let piece = client.exactly(size);
            assert!(piece.iter().all(|byte| *byte == data[0]), "round {round}");
            left -= size;
            client.until(b"\r\n");
        }
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.until(b"\r\n\r\n"), b"0\r\n\r\n");
}

#[test]
fn who_does_not_read_holds_the_backend_back() {
    let (dir, authority) = (Dir::new("pressure"), Authority::new());
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let backend = Backend::start(move |mut conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n");
        let piece = vec![7; 1_000_000];
        for _ in 0..200 {
            conn.send(&piece);
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let pair = authority.write(&dir, "app", &["app.test"]);
    let proxy = start(&[("app", backend.addr)], vec![pair], None);
    let config = Arc::new(trusting(&authority, &[&TLS13]));
    let mut client = Client::connect(proxy.https[0], &config, "app.test");
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    wait_until("the first megabyte", || sent.load(Ordering::SeqCst) > 0);
    let (mut last, mut since) = (0, Instant::now());
    while since.elapsed() < Duration::from_millis(500) {
        std::thread::sleep(Duration::from_millis(10));
        let now = sent.load(Ordering::SeqCst);
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    // What the kernel's four socket buffers hold, no more.
    assert!(last < 60, "{last} MB were taken for a client that reads nothing");
}
