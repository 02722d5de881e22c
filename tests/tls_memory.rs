//! What TLS connections cost the process while they do nothing.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;
mod tls_support;

use common::{Backend, DEADLINE, wait_until};
use rustls::version::TLS13;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tls_support::{Authority, Client, Dir, hello, resident, trusting};

const CONNECTIONS: usize = 1000;

/// The binary with a configuration of its own.
struct Tidegate {
    child: Child,
    https: SocketAddr,
}

impl Tidegate {
    fn start(dir: &Dir, backend: SocketAddr) -> Tidegate {
        let config = "entrypoint: {http_addr: \"127.0.0.1:0\", https_addr: \"127.0.0.1:0\",\n  \
                      proxy_protocol: {mode: mixed, trusted_proxies: [127.0.0.1]}}\n\
                      tls: {cert_path: app.crt, key_path: app.key}\nworkers: 1\n\
                      providers: {docker: {}, include: [r.yml]}\n";
        std::fs::write(dir.0.join("c.yml"), config).unwrap();
        let route = format!("app: {{host: 127.0.0.1, port: {}}}\n", backend.port());
        std::fs::write(dir.0.join("r.yml"), route).unwrap();
        let log = std::fs::File::create(dir.0.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["serve", "--config"])
            .arg(dir.0.join("c.yml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let said = || std::fs::read_to_string(dir.0.join("log")).unwrap_or_default();
        let addr = |log: String| {
            let at = log.find("listening on https://")? + "listening on https://".len();
            log.get(at..)?.lines().next()?.trim().parse().ok()
        };
        let mut tidegate = Tidegate { child, https: "127.0.0.1:0".parse().unwrap() };
        wait_until("tidegate listens", || addr(said()).is_some());
        tidegate.https = addr(said()).unwrap();
        tidegate
    }

    /// Resident bytes once they have been the same for a while.
    fn settled(&self) -> i64 {
        let deadline = Instant::now() + DEADLINE;
        let (mut last, mut since) = (resident(self.child.id()), Instant::now());
        while since.elapsed() < Duration::from_millis(2500) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
            let now = resident(self.child.id());
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        last
    }
}

impl Drop for Tidegate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn idle_connections_and_stalled_handshakes_are_small() {
    let (dir, authority) = (Dir::new("memory"), Authority::new());
    let _ = tidegate::runtime::raise_nofile();
    let backend = Backend::answering(|_| "ok".into());
    authority.write(&dir, "app", &["app.test"]);
    let tidegate = Tidegate::start(&dir, backend.addr);
    let config = Arc::new(trusting(&authority, &[&TLS13]));
    let connect = || {
        let mut client = Client::connect(tidegate.https, &config, "app.test");
        assert_eq!(client.get("app.test", "/").1, b"ok");
        client
    };
    // What is needed once.
    drop((0..20).map(|_| connect()).collect::<Vec<_>>());
    let before = tidegate.settled();
    let idle: Vec<Client> = (0..CONNECTIONS).map(|_| connect()).collect();
    let each = (tidegate.settled() - before) / CONNECTIONS as i64;
    println!("MEASURED: an idle TLS connection: {each} bytes (RSS, {CONNECTIONS} of them)");
    assert!(each < 32 * 1024, "{each} bytes an idle connection");
    drop(idle);

    let hello = hello(&config, "app.test");
    // The longest PROXY header but its last byte.
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    header.extend(4_000_u16.to_be_bytes());
    header.resize(16 + 3_999, 0);
    let parts = [
        ("half a hello", &hello[..hello.len() / 2]),
        ("a whole hello", &hello[..]),
        ("a header but its end", &header[..]),
    ];
    for (part, bytes) in parts {
        // A process of its own: what others have freed would hide what these take.
        let tidegate = Tidegate::start(&dir, backend.addr);
        drop(Client::connect(tidegate.https, &config, "app.test"));
        let before = tidegate.settled();
        let stalled: Vec<TcpStream> = (0..CONNECTIONS)
            .map(|_| {
                let mut tcp = TcpStream::connect(tidegate.https).unwrap();
                tcp.write_all(bytes).unwrap();
                tcp
            })
            .collect();
        let each = (tidegate.settled() - before) / CONNECTIONS as i64;
        println!("MEASURED: a handshake stalled after {part}: {each} bytes (RSS, {CONNECTIONS} of them)");
        assert!((1..=12 * 1024).contains(&each), "{each} bytes a stalled handshake");
        drop(stalled);
    }
}

#[test]
fn a_handshake_beyond_the_cap_is_closed_and_the_next_after_them_is_served() {
    let (dir, authority) = (Dir::new("cap"), Authority::new());
    let _ = tidegate::runtime::raise_nofile();
    let backend = Backend::answering(|_| "ok".into());
    authority.write(&dir, "app", &["app.test"]);
    let tidegate = Tidegate::start(&dir, backend.addr);
    let config = Arc::new(trusting(&authority, &[&TLS13]));
    let connect = || TcpStream::connect(tidegate.https).unwrap();
    let stalled: Vec<TcpStream> = (0..tidegate::limits::TLS_HANDSHAKES).map(|_| connect()).collect();
    // One core takes them in their order.
    let mut beyond = connect();
    beyond.set_read_timeout(Some(DEADLINE)).unwrap();
    let ended = beyond.read(&mut [0; 1]);
    assert!(matches!(&ended, Ok(0)) || ended.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset));
    drop(stalled);
    wait_until("room for a handshake", || {
        Client::try_connect(tidegate.https, &config, "app.test").is_ok_and(|mut client| {
            let (_, body) = client.get("app.test", "/");
            body == b"ok"
        })
    });
}
