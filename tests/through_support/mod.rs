//! What the parts of `tests/through.rs` share: one `tidegate serve` on plain and TLS listeners, a client's
//! wire over either, bytes that say where they belong.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

pub mod browser;
pub mod bulk;
pub mod curl;
pub mod events;
pub mod websocket;

use crate::cli_support::{Home, Running, serve};
use crate::common::{Backend, BackendConn, DEADLINE};
use crate::tls_support::{Authority, Client, trusting};
use rcgen::{KeyPair, PublicKeyData};
use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The host that every route here is asked for under.
pub const HOST: &str = "app.local";

/// How a client reaches Tidegate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Plain,
    Tls,
}

impl Way {
    pub const BOTH: [Way; 2] = [Way::Plain, Way::Tls];
}

/// `tidegate serve` with one route to a backend of the test; killed when dropped.
pub struct Served {
    pub running: Running,
    pub home: Home,
    pub http: SocketAddr,
    pub https: SocketAddr,
    /// Of the certificate's public key: SHA-256 in base64, as browsers pin it.
    pub pin: String,
    tls: Arc<ClientConfig>,
}

impl Served {
    pub fn start(backend: SocketAddr) -> Served {
        let (home, authority) = (Home::new(), Authority::new());
        let (cert, key) = authority.issue(&[HOST]);
        let pair = KeyPair::from_pem(&key).unwrap();
        let digest = ring::digest::digest(&ring::digest::SHA256, &pair.subject_public_key_info());
        home.write("app.crt", &cert);
        home.write("app.key", &key);
        home.write("ca.pem", &authority.pem);
        home.write("routes.yml", &format!("app: {{host: {}, port: {}}}\n", backend.ip(), backend.port()));
        let config = home.write(
            "config.yml",
            "entrypoint: {http_addr: \"127.0.0.1:0\", https_addr: \"127.0.0.1:0\"}\n\
             tls: {cert_path: app.crt, key_path: app.key}\nworkers: 2\n\
             providers: {docker: {}, include: [routes.yml]}\n",
        );
        let running = Running::start(serve(&config));
        let (http, https) = (address(&running, "http"), address(&running, "https"));
        let tls = Arc::new(trusting(&authority, &[&TLS12, &TLS13]));
        Served { running, home, http, https, pin: base64(digest.as_ref()), tls }
    }

    pub fn addr(&self, way: Way) -> SocketAddr {
        match way {
            Way::Plain => self.http,
            Way::Tls => self.https,
        }
    }

    /// `http://app.local:PORT` or `https://…`.
    pub fn origin(&self, way: Way) -> String {
        let scheme = if way == Way::Plain { "http" } else { "https" };
        format!("{scheme}://{HOST}:{}", self.addr(way).port())
    }

    pub fn connect(&self, way: Way) -> Wire {
        let io: Box<dyn Duplex> = match way {
            Way::Plain => {
                let tcp = TcpStream::connect(self.http).expect("connect to tidegate");
                tcp.set_read_timeout(Some(DEADLINE)).unwrap();
                tcp.set_write_timeout(Some(DEADLINE)).unwrap();
                tcp.set_nodelay(true).unwrap();
                Box::new(tcp)
            }
            Way::Tls => Box::new(Client::connect(self.https, &self.tls, HOST).tls),
        };
        Wire { io, buffer: Vec::new() }
    }

    /// Resident memory (`VmRSS`), in KB.
    pub fn rss_kb(&self) -> u64 {
        rss_kb(self.running.child.id())
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }
}

fn address(running: &Running, scheme: &str) -> SocketAddr {
    let start = format!("listening on {scheme}://");
    let line = running.line(&start);
    line.split_once(&start).unwrap().1.trim().parse().unwrap()
}

fn rss_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)).map_or(0, |kb| kb.parse().unwrap())
}

/// Looks at a process's resident memory every few milliseconds and keeps the most that it saw.
pub struct Peak {
    kb: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Peak {
    pub fn watch(served: &Served) -> Peak {
        let peak = Peak { kb: Arc::default(), stop: Arc::default() };
        let (kb, stop, pid) = (Arc::clone(&peak.kb), Arc::clone(&peak.stop), served.running.child.id());
        std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                kb.fetch_max(rss_kb(pid), Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        peak
    }

    /// The most since the last call.
    pub fn take(&self) -> u64 {
        self.kb.swap(0, Ordering::SeqCst)
    }
}

impl Drop for Peak {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

pub trait Duplex: Read + Write {}
impl<T: Read + Write> Duplex for T {}

/// A client's connection, plain or TLS.
pub struct Wire {
    io: Box<dyn Duplex>,
    buffer: Vec<u8>,
}

impl Wire {
    /// The next bytes, some at least; none at an orderly end.
    pub fn bytes(&mut self) -> Option<Vec<u8>> {
        if self.buffer.is_empty() {
            self.fill()?;
        }
        Some(std::mem::take(&mut self.buffer))
    }

    pub fn head(&mut self) -> String {
        let end = loop {
            match self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => self.fill().expect("a head"),
            }
        };
        let rest = self.buffer.split_off(end);
        String::from_utf8(std::mem::replace(&mut self.buffer, rest)).unwrap()
    }

    fn fill(&mut self) -> Option<()> {
        let mut chunk = vec![0; 64 * 1024];
        let n = self.io.read(&mut chunk).expect("bytes in time, and an orderly end");
        self.buffer.extend_from_slice(&chunk[..n]);
        (n > 0).then_some(())
    }
}

/// Either end of a connection.
pub trait Peer {
    fn send(&mut self, bytes: &[u8]);
    /// The next `length` bytes; none if the connection ends before.
    fn exactly(&mut self, length: usize) -> Option<Vec<u8>>;
}

impl Peer for Wire {
    fn send(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).and_then(|()| self.io.flush()).expect("send to tidegate");
    }

    fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < length {
            self.fill()?;
        }
        let rest = self.buffer.split_off(length);
        Some(std::mem::replace(&mut self.buffer, rest))
    }
}

impl Peer for BackendConn {
    fn send(&mut self, bytes: &[u8]) {
        BackendConn::send(self, bytes);
    }

    fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        BackendConn::exactly(self, length)
    }
}

/// The backend of all parts: each connection's requests go to the part that their path names.
pub fn backend(events: &Arc<events::Source>, results: &browser::Results) -> Backend {
    let (events, results) = (Arc::clone(events), results.clone());
    Backend::start(move |mut conn| {
        while conn.idles() {
            let Some(head) = conn.request_head() else { return };
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let part = path.split('/').nth(1).unwrap_or_default();
            let goes_on = match part {
                "bulk" => bulk::serve(&mut conn, &head, &path),
                "curl" => curl::serve(&mut conn, &head, &path),
                "ws" => websocket::serve(&mut conn, &head),
                "events" | "ack" => events.serve(&mut conn, &head, &path),
                "page" | "result" => browser::serve(&mut conn, &head, &path, &results),
                _ => answer(&mut conn, "404 Not Found", "", b""),
            };
            if !goes_on {
                return;
            }
        }
    })
}

/// Sends a whole answer; `fields` are lines with their ends. True: the connection goes on.
pub fn answer(conn: &mut BackendConn, status: &str, fields: &str, body: &[u8]) -> bool {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{fields}\r\n", body.len());
    conn.send([head.as_bytes(), body].concat());
    true
}

/// The value of the first field of that name.
pub fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Bytes without an order that a fault could hide in: a block of a length that no buffer has.
pub fn block(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Base64 with padding (RFC 4648 §4).
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let all =
            group.iter().fold(0_u32, |all, byte| all << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for at in 0..4 {
            let letter = LETTERS[(all >> (18 - 6 * at)) as usize & 63];
            text.push(if at <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// Says a line past the test runner's capture, so that it is seen when the test passes.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// True if `program` is there; else says that its part of `test` is skipped, a failure where everything is required.
pub fn has(program: &str, test: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    if !found {
        say(&format!("SKIPPED: {test}: needs {program} for a part of it"));
        let required = std::env::var("TIDEGATE_REQUIRE_ALL").is_ok_and(|value| value == "1");
        assert!(!required, "{test} was skipped, and TIDEGATE_REQUIRE_ALL=1: needs {program}");
    }
    found
}
