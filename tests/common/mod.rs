//! What the tests of the proxy share: a Tidegate in this process, scripted backends, a raw client.
#![allow(dead_code)] // each test binary uses its part
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

pub mod fake;

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tidegate::app::{App, End, Observed};
use tidegate::config::{Config, EngineConfig, ListenAddr, OnStaleSocket, TlsConfig};
use tidegate::error::Place;
use tidegate::route::Settings;

/// How long a test waits for anything before it fails.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A configuration without engines that listens on a free port of the loopback.
pub fn config(routes: &[(&str, SocketAddr)]) -> Config {
    let listen =
        ListenAddr { addr: "127.0.0.1:0".parse().unwrap(), dual_stack: false, place: Place::Default };
    let settings = |(alias, addr): &(&str, SocketAddr)| Settings {
        host: Some(addr.ip().to_string()),
        port: Some(addr.port()),
        ..Settings::new(*alias, Place::Default)
    };
    Config {
        http_addr: vec![listen],
        http_addr_is_default: false,
        access_log: None,
        https_addr: Vec::new(),
        tls: TlsConfig::default(),
        redirect_http: false,
        workers: Some(2),
        workers_place: Place::Default,
        match_domains: Vec::new(),
        entrypoint: Default::default(),
        timeout_shutdown: Duration::from_secs(5),
        recreate_wait: Duration::from_secs(10),
        engines: Vec::new(),
        admin: None,
        admin_host: None,
        file_routes: routes.iter().map(settings).collect(),
    }
}

/// The same with one engine, `local`, at `socket`.
pub fn config_with_engine(socket: &Path) -> Config {
    let engine = EngineConfig {
        name: "local".into(),
        explicit_only: false,
        url: format!("unix://{}", socket.display()),
        on_stale_socket: OnStaleSocket::Keep,
        place: Place::Default,
    };
    Config { engines: vec![engine], ..config(&[]) }
}

/// The same with an admin API on a free port of the loopback.
pub fn with_admin(config: Config) -> Config {
    let admin = ListenAddr { addr: "127.0.0.1:0".parse().unwrap(), dual_stack: false, place: Place::Default };
    Config { admin: Some(admin), ..config }
}

/// A Tidegate that serves in this process until it is dropped.
pub struct Proxy {
    pub addr: SocketAddr,
    pub observed: Arc<Observed>,
    /// Where the admin API listens, if the configuration has one.
    pub admin: Option<SocketAddr>,
    /// Where HTTPS is served; empty without certificates.
    pub https: Vec<SocketAddr>,
    ender: crossbeam_channel::Sender<End>,
    thread: Option<JoinHandle<io::Result<End>>>,
}

impl Proxy {
    pub fn start(config: Config) -> Proxy {
        let _ = tidegate::logging::init(4096);
        let app = App::start(config).unwrap_or_else(|error| panic!("tidegate does not start: {error}"));
        let (addr, admin, ender, observed) = (app.addrs()[0], app.admin_addr(), app.ender(), app.observed());
        let https = app.https_addrs().to_vec();
        let thread = Some(std::thread::spawn(move || app.run()));
        Proxy { addr, observed, admin, https, ender, thread }
    }

    /// With one route `app` to `backend`.
    pub fn to(backend: SocketAddr) -> Proxy {
        Proxy::start(config(&[("app", backend)]))
    }

    pub fn client(&self) -> Client {
        Client::connect(self.addr)
    }

    /// One GET on a connection of its own.
    pub fn get(&self, host: &str, path: &str) -> Response {
        let mut client = self.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
        client.response()
    }

    /// Asks until `wanted` says yes, else panics with the last answer.
    pub fn get_until(&self, host: &str, wanted: impl Fn(&Response) -> bool) -> Response {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let response = self.get(host, "/");
            if wanted(&response) {
                return response;
            }
            assert!(Instant::now() < deadline, "still {response:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks it to end and waits until it has.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.ender.try_send(End::Asked);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.expect("the app panicked").expect("the app failed");
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end();
    }
}

/// A response as it came over the wire.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// False if the connection ended before the body did.
    pub complete: bool,
}

impl Response {
    /// The value of the first field of that name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A client that writes bytes and reads responses, strict enough to see a cut body.
pub struct Client {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub fn connect(addr: SocketAddr) -> Client {
        Client::over(TcpStream::connect(addr).expect("connect to the proxy"))
    }

    /// From another of this machine's addresses.
    pub fn connect_from(own: SocketAddr, addr: SocketAddr) -> Client {
        use rustix::net::{AddressFamily, SocketType};
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &own).unwrap();
        rustix::net::connect(&socket, &addr).expect("connect to the proxy");
        Client::over(socket.into())
    }

    pub fn over(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, buffer: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("send to the proxy");
    }

    /// The next final response to a GET.
    pub fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    /// The next final response to a request with this method; interim ones are skipped.
    pub fn response_to(&mut self, method: &str) -> Response {
        loop {
            let head = self.head();
            let status: u16 = head[9..12].parse().expect("a status");
            if (100..200).contains(&status) {
                continue;
            }
            if method == "HEAD" || status == 204 || status == 304 {
                return Response { status, head, body: Vec::new(), complete: true };
            }
            return self.rest_of(head);
        }
    }

    /// The response of which the head was read already.
    pub fn rest_of(&mut self, head: String) -> Response {
        let status = head[9..12].parse().expect("a status");
        let mut response = Response { status, head, body: Vec::new(), complete: true };
        response.complete = self.body(&mut response).is_some();
        response
    }

    /// The next head, interim ones too.
    pub fn head(&mut self) -> String {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let rest = self.buffer.split_off(end + 4);
                let head = std::mem::replace(&mut self.buffer, rest);
                return String::from_utf8(head).expect("a head in UTF-8");
            }
            let seen = String::from_utf8_lossy(&self.buffer).into_owned();
            self.fill().unwrap_or_else(|| panic!("the connection ended within a head: {seen:?}"));
        }
    }

    /// The next `length` bytes, as they came.
    pub fn exactly(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.take(length, &mut bytes).unwrap_or_else(|| panic!("the connection ended after {bytes:?}"));
        bytes
    }

    /// Whether the proxy closes the connection without another byte.
    pub fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && self.fill().is_none()
    }

    /// Everything until the connection ends.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.fill().is_some() {}
        std::mem::take(&mut self.buffer)
    }

    fn body(&mut self, response: &mut Response) -> Option<()> {
        if let Some(length) = response.field("content-length").map(|l| l.parse::<usize>().expect("a length"))
        {
            return self.take(length, &mut response.body);
        }
        if response.field("transfer-encoding") == Some("chunked") {
            return self.chunks(&mut response.body);
        }
        while self.fill().is_some() {}
        response.body = std::mem::take(&mut self.buffer);
        Some(())
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> Option<()> {
        loop {
            let line_end = loop {
                match find(&self.buffer, b"\r\n") {
                    Some(end) => break end,
                    None => self.fill()?,
                }
            };
            let line = String::from_utf8_lossy(&self.buffer[..line_end]).into_owned();
            let size =
                usize::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("a chunk size, not {line:?}"));
            self.buffer.drain(..line_end + 2);
            self.take(size, body)?;
            let mut end = Vec::new();
            self.take(2, &mut end)?;
            assert_eq!(end, b"\r\n", "the end of a chunk");
            if size == 0 {
                return Some(());
            }
        }
    }

    fn take(&mut self, length: usize, into: &mut Vec<u8>) -> Option<()> {
        while self.buffer.len() < length {
            if self.fill().is_none() {
                into.append(&mut self.buffer);
                return None;
            }
        }
        let rest = self.buffer.split_off(length);
        into.append(&mut self.buffer);
        self.buffer = rest;
        Some(())
    }

    /// Reads once; none at the connection's end, orderly or not.
    fn fill(&mut self) -> Option<()> {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => None,
            Ok(n) => {
                self.buffer.extend_from_slice(&chunk[..n]);
                Some(())
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("nothing within {DEADLINE:?}: {error}"),
        }
    }
}

/// Cuts a connection with RST.
pub fn reset(client: Client) {
    rustix::net::sockopt::set_socket_linger(&client.stream, Some(Duration::ZERO)).unwrap();
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// A backend of which each connection is served by `script`, in a thread of its own.
pub struct Backend {
    pub addr: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Backend {
    /// The listener's thread ends with the process.
    pub fn start(script: impl Fn(BackendConn) + Send + Sync + 'static) -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, script) = (Arc::clone(&connections), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let script = Arc::clone(&script);
                let stream = stream.unwrap();
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                stream.set_nodelay(true).unwrap();
                std::thread::spawn(move || {
                    script(BackendConn { client: Client { stream, buffer: Vec::new() }, number })
                });
            }
        });
        Backend { addr, connections }
    }

    /// Answers each request with 200 and what `answer` makes of it, kept alive.
    pub fn answering(answer: impl Fn(&Request) -> String + Send + Sync + 'static) -> Backend {
        Backend::start(move |mut conn| {
            while let Some(request) = conn.request() {
                let body = answer(&request);
                conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
            }
        })
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A request as the backend saw it.
#[derive(Clone, Debug)]
pub struct Request {
    pub head: String,
    pub body: Vec<u8>,
}

impl Request {
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// All values of the fields of that name.
    pub fn fields(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }
}

/// The backend's side of one connection.
pub struct BackendConn {
    client: Client,
    /// Counts from 0.
    pub number: usize,
}

impl BackendConn {
    /// The next request with its body; none at the connection's end.
    pub fn request(&mut self) -> Option<Request> {
        let head = self.request_head()?;
        let mut request = Request { head, body: Vec::new() };
        request.body = self.body(&request)?;
        Some(request)
    }

    /// The body of a request whose head was read.
    pub fn body(&mut self, request: &Request) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        if let Some(length) = request.fields("content-length").first().map(|l| l.parse().unwrap()) {
            self.client.take(length, &mut body)?;
        } else if request.fields("transfer-encoding") == ["chunked"] {
            self.client.chunks(&mut body)?;
        }
        Some(body)
    }

    /// The next request's head alone.
    pub fn request_head(&mut self) -> Option<String> {
        while find(&self.client.buffer, b"\r\n\r\n").is_none() {
            self.client.fill()?;
        }
        Some(self.client.head())
    }

    /// Waits for the next request's first bytes, however long; false at the connection's end.
    pub fn idles(&mut self) -> bool {
        self.client.stream.set_read_timeout(None).unwrap();
        let more = !self.client.buffer.is_empty() || self.client.fill().is_some();
        self.client.stream.set_read_timeout(Some(DEADLINE)).unwrap();
        more
    }

    /// Reads bytes of a body, as they come; none at the connection's end.
    pub fn bytes(&mut self) -> Option<Vec<u8>> {
        if self.client.buffer.is_empty() {
            self.client.fill()?;
        }
        Some(std::mem::take(&mut self.client.buffer))
    }

    /// The next `length` bytes, as they came; none if the connection ends before.
    pub fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.client.take(length, &mut bytes)?;
        Some(bytes)
    }

    /// Sends; a connection that the proxy has closed already is not the script's fault.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.client.stream.write_all(bytes.as_ref());
    }

    /// Sends; false if the proxy has closed.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.client.stream.write_all(bytes.as_ref()).is_ok()
    }

    pub fn close(self) {
        let _ = self.client.stream.shutdown(Shutdown::Both);
    }

    /// Ends the sending side.
    pub fn half_close(&mut self) {
        self.client.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Cuts the connection.
    pub fn reset(self) {
        reset(self.client);
    }

    /// Waits, without reading, until the proxy has closed its side; false if it doesn't within [`DEADLINE`].
    pub fn peer_closes(&mut self) -> bool {
        let fd = std::os::fd::AsFd::as_fd(&self.client.stream);
        let wanted = rustix::event::PollFlags::RDHUP;
        let mut fds = [rustix::event::PollFd::from_borrowed_fd(fd, wanted)];
        let timeout = rustix::event::Timespec { tv_sec: DEADLINE.as_secs() as i64 / 2, tv_nsec: 0 };
        rustix::event::poll(&mut fds, Some(&timeout)).is_ok_and(|ready| ready > 0)
    }
}

/// Waits until `done`, else panics with `what`.
pub fn wait_until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < deadline, "waited {DEADLINE:?} for: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
