//! PROXY headers, versions 1 and 2: what is read, and whom it counts from.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;

use common::{Backend, Client, Proxy, config};
use std::net::SocketAddr;
use tidegate::config::Config;
use tidegate::http::{ProxyHeader, parse_proxy_header};
use tidegate::route::{ProxyMode, ProxyProtocol};
use tidegate::util::Cidr;
use tidegate::util::rng::Rng;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn version_2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend([command, family]);
    header.extend((addresses.len() as u16).to_be_bytes());
    header.extend(addresses);
    header
}

fn v4() -> Vec<u8> {
    version_2(0x21, 0x11, &[192, 0, 2, 7, 10, 0, 0, 1, 0xDC, 0x04, 0x01, 0xBB])
}

fn v6() -> Vec<u8> {
    let mut addresses = "2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets().to_vec();
    addresses.extend([0; 16]);
    addresses.extend([0xDC, 0x04, 0x01, 0xBB]);
    // An extension behind them.
    addresses.extend([0x04, 0, 1, b'x']);
    version_2(0x21, 0x21, &addresses)
}

fn good() -> Vec<(Vec<u8>, Option<&'static str>)> {
    vec![
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n".to_vec(), Some("192.0.2.7:56324")),
        (b"PROXY TCP6 2001:db8::7 ::1 56324 443\r\n".to_vec(), Some("[2001:db8::7]:56324")),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n".to_vec(), Some("192.0.2.7:1")),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN ffff::1 whatever 1 2\r\n".to_vec(), None),
        (v4(), Some("192.0.2.7:56324")),
        (v6(), Some("[2001:db8::7]:56324")),
        (version_2(0x20, 0, &[]), None),
        (version_2(0x20, 0x11, &[0; 12]), None),
        (version_2(0x21, 0x31, &[0; 216]), None),
        (version_2(0x21, 0, &[]), None),
    ]
}

fn bad() -> Vec<Vec<u8>> {
    let lines: [&[u8]; 14] = [
        b"PROXY \r\n",
        b"PROXY TCP4\r\n",
        b"PROXY UNKNOWNX\r\n",
        b"PROXY TCP5 1.1.1.1 1.1.1.1 1 2\r\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 1 2 3\r\n",
        b"PROXY TCP4 1.1.1.1  1.1.1.1 1 2\r\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 1 65536\r\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 +1 2\r\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 01 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 1.1.1.1 1.1.1.1 1 2\r\n",
        b"PROXY TCP4 1.1.1 1.1.1.1 1 2\r\n",
        b"PROXY TCP4 \xff 1.1.1.1 1 2\r\n",
    ];
    let mut bad: Vec<Vec<u8>> = lines.iter().map(|line| line.to_vec()).collect();
    bad.push([b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 100]].concat());
    bad.push(version_2(0x11, 0x11, &[0; 12]));
    bad.push(version_2(0x22, 0x11, &[0; 12]));
    bad.push(version_2(0x21, 0x11, &[0; 11]));
    bad.push(version_2(0x21, 0x21, &[0; 35]));
    bad.push(version_2(0x21, 0x11, &[0; 5_000]));
    bad
}

#[test]
fn headers_are_read_whole_and_however_they_are_cut() {
    for (header, client) in good() {
        let client: Option<SocketAddr> = client.map(|client| client.parse().unwrap());
        let whole = ProxyHeader::Present { len: header.len(), client };
        let followed = [header.clone(), b"GET / HTTP/1.1\r\n".to_vec()].concat();
        assert_eq!(parse_proxy_header(&followed), Ok(whole), "{header:?}");
        for cut in 0..header.len() {
            assert_eq!(parse_proxy_header(&header[..cut]), Ok(ProxyHeader::Partial), "{header:?} to {cut}");
        }
    }
    for header in bad() {
        assert!(parse_proxy_header(&header).is_err(), "{header:?}");
    }
    for other in ["GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\n", "PROXYX", "\x16\x03\x01", "\r\n\r\n\r\n"] {
        assert_eq!(parse_proxy_header(other.as_bytes()), Ok(ProxyHeader::Absent), "{other:?}");
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let mut rng = Rng::new(7);
    let headers: Vec<Vec<u8>> = good().into_iter().map(|(header, _)| header).chain(bad()).collect();
    for _ in 0..100_000 {
        let mut header = headers[rng.next_u64() as usize % headers.len()].clone();
        for _ in 0..rng.next_u64() % 4 {
            let at = rng.next_u64() as usize % header.len();
            header[at] = rng.next_u64() as u8;
        }
        header.truncate(rng.next_u64() as usize % (header.len() + 1));
        if let Ok(ProxyHeader::Present { len, .. }) = parse_proxy_header(&header) {
            assert!(len <= header.len());
        }
    }
}

fn with(mode: ProxyMode, trusted: &str, backend: &Backend) -> Config {
    let mut config = config(&[("app", backend.addr)]);
    let trusted_proxies = vec![Cidr::parse(trusted).unwrap()];
    config.entrypoint.proxy_protocol = ProxyProtocol { mode, trusted_proxies };
    config
}

/// Whom the backend takes for the client.
fn seen(mut client: Client, header: &[u8]) -> String {
    client.send(header);
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status, 200, "{response:?}");
    response.text()
}

fn showing_the_client() -> Backend {
    Backend::answering(|request| request.fields("x-forwarded-for").join("|"))
}

#[test]
fn a_trusted_balancer_names_the_client() {
    let backend = showing_the_client();
    for mode in [ProxyMode::Required, ProxyMode::Mixed] {
        let proxy = Proxy::start(with(mode, "127.0.0.0/8", &backend));
        for (header, client) in good() {
            let expected = client
                .map_or("127.0.0.1".into(), |client| client.parse::<SocketAddr>().unwrap().ip().to_string());
            assert_eq!(seen(proxy.client(), &header), expected);
            // Byte by byte, then two requests on the same connection.
            let mut client = proxy.client();
            for byte in &header {
                client.send([*byte]);
            }
            for _ in 0..2 {
                client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
                assert_eq!(client.response().text(), expected);
            }
        }
        for header in bad() {
            let mut client = proxy.client();
            client.send(&header);
            assert!(client.is_closed(), "{header:?} is answered");
        }
    }
}

#[test]
fn who_sends_no_header_is_served_or_closed_by_the_mode() {
    let backend = showing_the_client();
    let proxy = Proxy::start(with(ProxyMode::Mixed, "127.0.0.0/8", &backend));
    assert_eq!(seen(proxy.client(), b""), "127.0.0.1");
    let proxy = Proxy::start(with(ProxyMode::Required, "127.0.0.0/8", &backend));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    assert!(client.is_closed());
}

#[test]
fn a_header_counts_only_from_a_trusted_address() {
    let backend = showing_the_client();
    let header = b"PROXY TCP4 6.6.6.6 10.0.0.1 1 2\r\n";
    let proxy = Proxy::start(with(ProxyMode::Mixed, "127.0.0.2", &backend));
    assert_eq!(seen(Client::connect_from("127.0.0.2:0".parse().unwrap(), proxy.addr), header), "6.6.6.6");
    let mut client = proxy.client();
    client.send([header.as_slice(), b"GET / HTTP/1.1\r\nHost: app\r\n\r\n"].concat());
    assert_eq!(client.response().status, 400, "from another it is no request");
    assert_eq!(seen(proxy.client(), b""), "127.0.0.1", "but others are served");
    let proxy = Proxy::start(with(ProxyMode::Required, "127.0.0.2", &backend));
    assert!(proxy.client().is_closed(), "required: others are not");
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    client.send([header.as_slice(), b"GET / HTTP/1.1\r\nHost: app\r\n\r\n"].concat());
    assert_eq!(client.response().status, 400, "disabled is the default");
}

#[test]
fn forwarded_fields_count_only_from_a_trusted_proxy() {
    let backend = Backend::answering(|request| request.head.clone());
    let ask = |trusted: &str| {
        let mut config = config(&[("app", backend.addr)]);
        config.entrypoint.trusted_proxies = vec![Cidr::parse(trusted).unwrap()];
        let proxy = Proxy::start(config);
        let mut client = proxy.client();
        client.send(
            "GET / HTTP/1.1\r\nHost: app\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-For: 10.0.0.9\r\n\
             X-Forwarded-Proto: https\r\nX-Forwarded-Host: app.example.com\r\nX-Real-IP: 192.0.2.7\r\n\
             Forwarded: for=192.0.2.7;proto=https\r\nX_Forwarded_For: 6.6.6.6\r\n\r\n",
        );
        common::Request { head: client.response().text(), body: Vec::new() }
    };
    let seen = ask("127.0.0.1");
    for (field, value) in [
        ("x-forwarded-for", "192.0.2.7, 10.0.0.9, 127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "app.example.com"),
        ("x-forwarded-port", "443"),
        ("x-real-ip", "192.0.2.7"),
        ("forwarded", "for=192.0.2.7;proto=https, for=127.0.0.1"),
    ] {
        assert_eq!(seen.fields(field), [value], "{field}");
    }
    assert!(seen.fields("x_forwarded_for").is_empty());
    let seen = ask("127.0.0.2");
    for (field, value) in [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "app"),
        ("x-forwarded-port", "80"),
        ("x-real-ip", "127.0.0.1"),
    ] {
        assert_eq!(seen.fields(field), [value], "{field}");
    }
    assert!(seen.fields("forwarded").is_empty());
}

#[test]
fn a_proxys_connections_are_not_one_clients() {
    let backend = showing_the_client();
    let mut config = with(ProxyMode::Required, "127.0.0.1", &backend);
    config.entrypoint.max_conns_per_client = 1;
    let proxy = Proxy::start(config);
    let _kept: Vec<Client> = (0..5).map(|_| proxy.client()).collect();
    assert_eq!(seen(proxy.client(), b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n"), "192.0.2.7");
}
