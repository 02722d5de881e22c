//! The end of the program: what could finish did, the rest is cut when `timeout_shutdown` is over.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod cli_support;
mod common;
mod tls_support;

use cli_support::{Home, Running, serve};
use common::{Backend, BackendConn, Client, DEADLINE, Request, Response, wait_until};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tls_support::{Authority, trusting};

const GET_SLOW: &str = "GET /slow HTTP/1.1\r\nHost: app\r\n\r\n";
const GET_SECOND: &str = "GET /second HTTP/1.1\r\nHost: app\r\n\r\n";
const GET_STREAM: &str = "GET /stream HTTP/1.1\r\nHost: app\r\n\r\n";
const CHUNKS: usize = 30;
const UPLOAD: usize = 300_000;

/// A backend with answers that take their time.
struct Slow {
    backend: Backend,
    /// Requests of `/slow` that have arrived and are not answered.
    held: Arc<AtomicUsize>,
    /// They are answered a while after this is set.
    released: Arc<AtomicBool>,
}

impl Slow {
    fn start() -> Slow {
        let (held, released) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, answer) = (Arc::clone(&held), Arc::clone(&released));
        let backend = Backend::start(move |mut conn| {
            while let Some(request) = conn.request() {
                if request.line().contains("/slow") {
                    count.fetch_add(1, Ordering::SeqCst);
                    wait_until("the test lets it go", || answer.load(Ordering::SeqCst));
                    std::thread::sleep(Duration::from_millis(300));
                }
                answer_to(&mut conn, &request);
            }
        });
        Slow { backend, held, released }
    }

    fn wait_held(&self, count: usize) {
        wait_until("the slow requests are at the backend", || self.held.load(Ordering::SeqCst) == count);
    }
}

fn answer_to(conn: &mut BackendConn, request: &Request) {
    if request.line().contains("/stream") {
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for number in 0..CHUNKS {
            conn.send(format!("8\r\nchunk {number:02}\r\n"));
            std::thread::sleep(Duration::from_millis(100));
        }
        return conn.send("0\r\n\r\n");
    }
    if request.line().contains("/tunnel") {
        conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
        while let Some(bytes) = conn.bytes() {
            conn.send(bytes.to_ascii_uppercase());
        }
        return;
    }
    let body = format!("{} {}", request.line(), request.body.len());
    conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
}

/// A client that has an answer already and keeps its connection.
fn kept(addr: SocketAddr) -> Client {
    let mut client = Client::connect(addr);
    client.send(GET_SECOND);
    assert_eq!(client.response().field("connection"), None);
    client
}

fn tunnel(addr: SocketAddr) -> Client {
    let mut client = Client::connect(addr);
    client.send("GET /tunnel HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 101"));
    assert!(echoes(&mut client));
    client
}

fn echoes(tunnel: &mut Client) -> bool {
    tunnel.send("both ways");
    tunnel.exactly(9) == b"BOTH WAYS"
}

#[track_caller]
fn assert_last(response: &Response) {
    assert_eq!((response.status, response.complete), (200, true), "{response:?}");
    assert_eq!(response.field("connection"), Some("close"), "{response:?}");
}

fn assert_whole_stream(response: &Response) {
    let whole: String = (0..CHUNKS).map(|number| format!("chunk {number:02}")).collect();
    assert_eq!((response.complete, response.text()), (true, whole));
}

fn start(home: &Home, timeout: &str, backend: SocketAddr, tls: bool) -> Running {
    let https = "https_addr: \"127.0.0.1:0\"}\ntls: {cert_path: app.crt, key_path: app.key";
    let more = if tls { format!(", {https}") } else { String::new() };
    let extra = format!(
        "entrypoint: {{http_addr: \"127.0.0.1:0\"{more}}}\nworkers: 2\ntimeout_shutdown: {timeout}\n"
    );
    Running::start(serve(&home.config(&extra, backend)))
}

/// Writes a certificate for `app.test`; what trusts it.
fn certify(home: &Home) -> Arc<rustls::ClientConfig> {
    let authority = Authority::new();
    let (cert, key) = authority.issue(&["app.test"]);
    home.write("app.crt", &cert);
    home.write("app.key", &key);
    Arc::new(trusting(&authority, rustls::ALL_VERSIONS))
}

#[test]
fn everything_that_could_finish_did() {
    let (slow, home) = (Slow::start(), Home::new());
    let trusting = certify(&home);
    let mut running = start(&home, "1h", slow.backend.addr, true);
    let (addr, https) = (running.addr(), running.https_addr());
    let tls_client = || tls_support::Client::connect(https, &trusting, "app.test");

    let mut idle: Vec<Client> = (0..3).map(|_| kept(addr)).collect();
    let mut idle_tls = tls_client();
    idle_tls.get("app.test", "/second");
    let mut open = tunnel(addr);
    let mut in_flight: Vec<Client> = (0..4).map(|_| Client::connect(addr)).collect();
    in_flight.iter_mut().for_each(|client| client.send(GET_SLOW));
    let mut in_flight_tls = tls_client();
    in_flight_tls.send("GET /slow HTTP/1.1\r\nHost: app.test\r\n\r\n");
    let mut pipelined = Client::connect(addr);
    pipelined.send(format!("{GET_SLOW}{GET_SECOND}"));
    slow.wait_held(6);
    let mut upload = Client::connect(addr);
    upload.send(format!("PUT /upload HTTP/1.1\r\nHost: app\r\nContent-Length: {UPLOAD}\r\n\r\n"));
    upload.send(vec![0; UPLOAD / 10]);
    let mut streams: Vec<Client> = (0..2).map(|_| Client::connect(addr)).collect();
    streams.iter_mut().for_each(|client| client.send(GET_STREAM));
    let heads: Vec<String> = streams.iter_mut().map(Client::head).collect();
    assert!(heads.iter().all(|head| head.starts_with("HTTP/1.1 200")), "{heads:?}");

    running.signal("TERM");
    running.line("ending: SIGTERM");
    assert!(idle.iter_mut().all(Client::is_closed), "idle ones are closed at once");
    assert!(idle_tls.ends_in_order());
    // It was told that it may ask again.
    streams[1].send(GET_SECOND);
    // What is below is still in flight, for as long as the test wants.
    wait_until("new connections are refused", || TcpStream::connect(addr).is_err());
    wait_until("new connections are refused", || TcpStream::connect(https).is_err());
    assert!(echoes(&mut open));
    for _ in 1..10 {
        upload.send(vec![0; UPLOAD / 10]);
        std::thread::sleep(Duration::from_millis(50));
    }
    let response = upload.response();
    assert_eq!(response.text(), format!("PUT /upload HTTP/1.1 {UPLOAD}"));
    assert_last(&response);
    assert!(running.child.try_wait().unwrap().is_none(), "it drains");

    slow.released.store(true, Ordering::SeqCst);
    for client in in_flight.iter_mut().chain([&mut pipelined]) {
        let response = client.response();
        assert_eq!(response.text(), "GET /slow HTTP/1.1 0");
        assert_last(&response);
        assert!(client.is_closed(), "the answer said so");
    }
    let (head, body) = in_flight_tls.response().unwrap();
    assert!(head.contains("Connection: close\r\n") && body == b"GET /slow HTTP/1.1 0", "{head}");
    for (client, head) in streams.iter_mut().zip(heads) {
        let response = client.rest_of(head);
        assert_whole_stream(&response);
    }
    assert_last(&streams[1].response());
    assert!(streams.iter_mut().all(Client::is_closed));
    assert!(echoes(&mut open) && running.child.try_wait().unwrap().is_none(), "the tunnel is the last");
    drop(open);
    assert_eq!(running.exit_code(), Some(0));
}

#[test]
fn what_does_not_finish_is_cut_when_the_time_is_over() {
    let (slow, home) = (Slow::start(), Home::new());
    let mut running = start(&home, "3s", slow.backend.addr, false);
    let addr = running.addr();
    let (mut open, mut never, mut idle) = (tunnel(addr), Client::connect(addr), kept(addr));
    never.send(GET_SLOW);
    slow.wait_held(1);
    let begin = Instant::now();
    running.signal("TERM");
    running.line("ending: SIGTERM");
    assert!(idle.is_closed());
    assert!(echoes(&mut open), "it passes bytes while others drain");
    running.line("timeout_shutdown (3s) is over");
    assert!(begin.elapsed() >= Duration::from_secs(3));
    assert!(open.is_closed());
    assert!(never.is_closed(), "no answer is made up");
    assert_eq!(running.exit_code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(3) + DEADLINE / 2, "{:?}", begin.elapsed());
}

#[test]
fn who_is_silent_holds_nobody_up() {
    let (slow, home) = (Slow::start(), Home::new());
    let mut running = start(&home, "1h", slow.backend.addr, false);
    let addr = running.addr();
    // A browser that has connected in advance, and a head that never comes whole.
    let (mut silent, mut partial) = (Client::connect(addr), kept(addr));
    partial.send(&GET_SECOND[..30]);
    let mut known = Client::connect(addr);
    known.send(GET_SECOND);
    assert_eq!(known.response().status, 200);
    running.signal("TERM");
    running.line("ending: SIGTERM");
    assert!(known.is_closed() && silent.is_closed());
    assert_eq!(partial.response().status, 408);
    assert_eq!(running.exit_code(), Some(0));
}

#[test]
fn who_was_about_to_ask_is_answered() {
    let (slow, home) = (Slow::start(), Home::new());
    let trusting = certify(&home);
    let mut running = start(&home, "1h", slow.backend.addr, true);
    let (addr, https) = (running.addr(), running.https_addr());
    let mut shaken = tls_support::Client::connect(https, &trusting, "app.test");
    let (mut head, mut fresh) = (kept(addr), Client::connect(addr));
    head.send(&GET_SECOND[..30]);
    let handshake = TcpStream::connect(https).unwrap();
    // These wait in the kernel, with their requests.
    running.signal("STOP");
    let mut waiting: Vec<Client> = (0..40).map(|_| Client::connect(addr)).collect();
    waiting.iter_mut().for_each(|client| client.send(GET_SECOND));
    running.signal("TERM");
    running.signal("CONT");
    running.line("ending: SIGTERM");
    head.send(&GET_SECOND[30..]);
    fresh.send(GET_SECOND);
    let mut handshake = tls_support::Client::over(handshake, &trusting, "app.test").unwrap();
    for client in [&mut shaken, &mut handshake] {
        assert_eq!(client.get("app.test", "/second").1, b"GET /second HTTP/1.1 0");
        assert!(client.ends_in_order());
    }
    for client in waiting.iter_mut().chain([&mut fresh, &mut head]) {
        assert_eq!(client.response().text(), "GET /second HTTP/1.1 0");
        assert!(client.is_closed());
    }
    assert_eq!(running.exit_code(), Some(0));
}
