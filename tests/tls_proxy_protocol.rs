//! PROXY headers before TLS: who comes in by HTTPS behind a balancer, and as whom.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;
mod tls_support;

use common::{Backend, DEADLINE, Proxy, wait_until};
use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegate::route::{ProxyMode, ProxyProtocol};
use tidegate::util::Cidr;
use tls_support::{Authority, Client, Dir, hello, https, trusting};

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n";
/// 192.0.2.7, and an extension behind the addresses.
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x10\xC0\x00\x02\x07\x0A\x00\x00\x01\xDC\x04\x01\xBB\x04\x00\x01x";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

/// A Tidegate with a route `app` that answers with the client it was told of.
struct Served {
    proxy: Proxy,
    config: Arc<ClientConfig>,
    _dir: Dir,
}

impl Served {
    fn start(name: &str, mode: ProxyMode, trusted: &str) -> Served {
        let (dir, authority) = (Dir::new(name), Authority::new());
        let backend = Backend::answering(|request| request.fields("x-forwarded-for").join("|"));
        let pair = authority.write(&dir, "app", &["app.test"]);
        let mut config = https(&[("app", backend.addr)], vec![pair], None);
        let trusted_proxies = vec![Cidr::parse(trusted).unwrap()];
        config.entrypoint.proxy_protocol = ProxyProtocol { mode, trusted_proxies };
        config.entrypoint.timeouts.header = Duration::from_secs(2);
        let config_of_clients = Arc::new(trusting(&authority, &[&TLS13]));
        Served { proxy: Proxy::start(config), config: config_of_clients, _dir: dir }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.proxy.https[0]).unwrap()
    }

    /// Whom the backend takes for the client that comes over `tcp`.
    fn seen(&self, tcp: TcpStream, first: &[u8]) -> String {
        let mut client = Client::shake(tcp, first, &self.config, "app.test").expect("a handshake");
        // The second request is the same client's.
        client.get("app.test", "/");
        String::from_utf8(client.get("app.test", "/").1).unwrap()
    }
}

fn from(own: &str, to: SocketAddr) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType};
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &own.parse::<SocketAddr>().unwrap()).unwrap();
    rustix::net::connect(&socket, &to).unwrap();
    socket.into()
}

/// Whether it is closed without a byte, not even an alert.
fn is_closed(mut tcp: TcpStream, first: &[u8]) -> bool {
    tcp.set_read_timeout(Some(DEADLINE)).unwrap();
    // Err: it is closed already.
    tcp.write_all(first).ok();
    let mut byte = [0];
    match tcp.read(&mut byte) {
        Ok(n) => n == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_trusted_balancer_names_the_client_before_the_handshake() {
    for mode in [ProxyMode::Required, ProxyMode::Mixed] {
        let served = Served::start(&format!("named-{mode:?}"), mode, "127.0.0.0/8");
        for (header, client) in [(V1, "192.0.2.7"), (V2, "192.0.2.7"), (LOCAL, "127.0.0.1")] {
            // In one segment with the hello.
            assert_eq!(served.seen(served.connect(), header), client);
            // Byte by byte, and the hello after it.
            let mut tcp = served.connect();
            tcp.set_nodelay(true).unwrap();
            for byte in header {
                tcp.write_all(&[*byte]).unwrap();
            }
            assert_eq!(served.seen(tcp, b""), client);
            // The hello is cut in two behind it.
            let mut tcp = served.connect();
            let hello = hello(&served.config, "app.test");
            tcp.write_all(&[header, &hello[..100]].concat()).unwrap();
            tcp.write_all(&hello[100..]).unwrap();
            tcp.set_read_timeout(Some(DEADLINE)).unwrap();
            let mut record = [0];
            tcp.read_exact(&mut record).unwrap();
            assert_eq!(record, [22], "no ServerHello");
        }
    }
}

#[test]
fn both_versions_of_tls_follow_a_header() {
    let (dir, authority) = (Dir::new("header-versions"), Authority::new());
    let backend = Backend::answering(|request| request.fields("x-real-ip").join("|"));
    let pair = authority.write(&dir, "app", &["app.test"]);
    let mut config = https(&[("app", backend.addr)], vec![pair], None);
    let trusted_proxies = vec![Cidr::parse("127.0.0.1").unwrap()];
    config.entrypoint.proxy_protocol = ProxyProtocol { mode: ProxyMode::Required, trusted_proxies };
    // A balancer's connections are not one client's.
    config.entrypoint.max_conns_per_client = 1;
    let proxy = Proxy::start(config);
    let mut kept = Vec::new();
    for version in [&TLS12, &TLS13] {
        let config = Arc::new(trusting(&authority, &[version]));
        let tcp = TcpStream::connect(proxy.https[0]).unwrap();
        let mut client = Client::shake(tcp, V2, &config, "app.test").expect("a handshake");
        assert_eq!(client.get("app.test", "/").1, b"192.0.2.7");
        kept.push(client);
    }
}

#[test]
fn who_sends_no_header_or_a_bad_one_is_served_or_closed_by_the_mode() {
    let served = Served::start("mixed", ProxyMode::Mixed, "127.0.0.0/8");
    assert_eq!(served.seen(served.connect(), b""), "127.0.0.1", "mixed: none is needed");
    let required = Served::start("required", ProxyMode::Required, "127.0.0.0/8");
    assert!(is_closed(required.connect(), &hello(&required.config, "app.test")), "required");
    for served in [served, required] {
        for bad in [&b"PROXY TCP4 1.1.1.1\r\n"[..], &[V1, V1].concat(), b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0"] {
            let hello = hello(&served.config, "app.test");
            let mut tcp = served.connect();
            tcp.write_all(&[bad, &hello].concat()).unwrap();
            let mut answer = Vec::new();
            tcp.set_read_timeout(Some(DEADLINE)).unwrap();
            // Err: reset.
            tcp.read_to_end(&mut answer).ok();
            assert_ne!(answer.first(), Some(&22), "{bad:?}: a handshake");
        }
    }
}

#[test]
fn a_header_counts_only_from_a_trusted_address() {
    let served = Served::start("untrusted", ProxyMode::Mixed, "127.0.0.2");
    let balancer = from("127.0.0.2:0", served.proxy.https[0]);
    assert_eq!(served.seen(balancer, V1), "192.0.2.7");
    assert_eq!(served.seen(served.connect(), b""), "127.0.0.1");
    assert!(Client::shake(served.connect(), V1, &served.config, "app.test").is_err(), "it is no TLS");
    let served = Served::start("closed", ProxyMode::Required, "127.0.0.2");
    assert!(is_closed(served.connect(), &hello(&served.config, "app.test")));
    assert_eq!(served.seen(from("127.0.0.2:0", served.proxy.https[0]), V1), "192.0.2.7");
}

#[test]
fn a_header_that_does_not_come_counts_as_a_handshake_and_ends_at_its_deadline() {
    let served = Served::start("stalled", ProxyMode::Required, "127.0.0.0/8");
    let before = tidegate::net::tls::handshakes();
    let began = Instant::now();
    let stalled: Vec<TcpStream> = (0..200)
        .map(|n| {
            let mut tcp = served.connect();
            tcp.write_all(&V2[..n % V2.len()]).unwrap();
            tcp
        })
        .collect();
    wait_until("all of them to be counted", || tidegate::net::tls::handshakes() >= before + 150);
    for tcp in stalled {
        assert!(is_closed(tcp, b""));
    }
    let took = began.elapsed();
    assert!(took > Duration::from_millis(1_500), "closed before the deadline of 2 s: {took:?}");
    // Nothing is left of them, and who comes is served.
    assert_eq!(served.seen(served.connect(), V1), "192.0.2.7");
}
