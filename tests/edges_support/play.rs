//! Plays a case: a client, a Tidegate, a backend, over real sockets.
//!
//! When the client has its answer, a probe follows: on the same connection if that is open, else on another. Its
//! answer proves that both connections still are where the other side thinks, and all before it has arrived.

use super::case::{Act, Case, Script};
use super::readers::Reader;
use super::text::{escape, steady};
use crate::common::{Proxy, config};
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tidegate::config::Config;
use tidegate::route::Entrypoint;
use tidegate::util::Cidr;

/// How long a case waits for anything.
const PATIENCE: Duration = Duration::from_secs(10);
/// So that bytes arrive in pieces; what comes out does not depend on it.
const PAUSE: Duration = Duration::from_millis(15);
const PROBE: &[u8] = b"GET /probe HTTP/1.1\r\nHost: app.local\r\nConnection: close\r\n\r\n";
const PROBE_TARGET: &str = "/probe";
const PROBE_ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nX-Probe: yes\r\nContent-Length: 5\r\nConnection: close\r\n\r\nprobe";
const DEFAULT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";

/// What came of a case.
pub struct Outcome {
    /// The text below the line.
    pub text: String,
    /// The bytes of each of the backend's connections, the probe's too.
    pub backend: Vec<Vec<u8>>,
}

/// Two Tidegates (to one of them the client is a trusted proxy) and their backend.
pub struct Stage {
    plain: Proxy,
    trusted: Proxy,
    play: Arc<Mutex<Arc<Play>>>,
}

/// What the backend does and sees in one case.
#[derive(Default)]
struct Play {
    state: Mutex<Played>,
}

#[derive(Default)]
struct Played {
    scripts: Vec<Script>,
    answered: usize,
    connections: Vec<Connection>,
    /// What the client has received.
    client: Vec<u8>,
}

#[derive(Default)]
struct Connection {
    bytes: Vec<u8>,
    /// Where the probe begins.
    probe: Option<usize>,
    ended: bool,
    /// The backend resets it.
    cut: bool,
    stream: Option<TcpStream>,
}

impl Stage {
    pub fn new() -> Stage {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let play: Arc<Mutex<Arc<Play>>> = Arc::default();
        let current = Arc::clone(&play);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, play) = (stream.unwrap(), Arc::clone(&current.lock().unwrap()));
                let number = play.accepted(&stream);
                std::thread::spawn(move || serve(&play, number, stream));
            }
        });
        let trusting = Entrypoint {
            trusted_proxies: vec![Cidr::parse("127.0.0.0/8").unwrap()],
            ..Entrypoint::default()
        };
        let trusted = Proxy::start(Config { entrypoint: trusting, ..one_core(addr) });
        Stage { plain: Proxy::start(one_core(addr)), trusted, play }
    }

    pub fn run(&self, case: &Case) -> Result<Outcome, String> {
        let play = Arc::new(Play::default());
        play.state.lock().unwrap().scripts.clone_from(&case.backend);
        *self.play.lock().unwrap() = Arc::clone(&play);
        let proxy = if case.trusted { &self.trusted } else { &self.plain };
        let before = counts(proxy);
        let mut client = Client::connect(proxy.addr, &play);
        client.act(&case.client)?;
        client.finish(&first_method(case))?;
        if client.end != End::Open {
            let mut other = Client::connect(proxy.addr, &Arc::default());
            other.probe()?;
            if other.end != End::Open {
                return Err(format!("the probe was not answered: {}", escape(&other.got)));
            }
        }
        let upstream = play.upstream()?;
        let counted = counted(&before, &counts(proxy));
        Ok(outcome(&play, &client, upstream, &counted))
    }
}

/// One pool, and nobody is so young that a refused connect is tried again.
fn one_core(backend: SocketAddr) -> Config {
    Config { workers: Some(1), recreate_wait: Duration::from_millis(1), ..config(&[("app", backend)]) }
}

fn first_method(case: &Case) -> String {
    let bytes = case.client_bytes();
    String::from_utf8_lossy(bytes.split(|b| *b == b' ').next().unwrap_or_default()).into_owned()
}

fn outcome(play: &Play, client: &Client, upstream: &str, counted: &str) -> Outcome {
    let mut played = play.state.lock().unwrap();
    let mut text = String::new();
    for (i, connection) in played.connections.iter().enumerate() {
        let seen = &connection.bytes[..connection.probe.unwrap_or(connection.bytes.len())];
        match i {
            _ if seen.is_empty() => {}
            0 => write!(text, "backend saw:\n{}", escape(&steady(seen))).unwrap(),
            i => write!(text, "backend saw, connection {}:\n{}", i + 1, escape(&steady(seen))).unwrap(),
        }
    }
    if text.is_empty() {
        text += "backend saw nothing\n";
    }
    match client.got.is_empty() {
        true => text += "client got nothing\n",
        false => write!(text, "client got:\n{}", escape(&steady(&client.got))).unwrap(),
    }
    let end = match client.end {
        End::Open => "open",
        End::Closed => "closed",
        End::Reset => "reset",
    };
    write!(text, "client's connection: {end}\nupstream: {upstream}\ncounted: {counted}\n").unwrap();
    let mut backend = Vec::new();
    for connection in &mut played.connections {
        backend.push(std::mem::take(&mut connection.bytes));
        // The next case finds no connection to use.
        if let Some(stream) = connection.stream.take() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
    Outcome { text, backend }
}

impl Play {
    /// Here, not in the connection's thread, so that they are numbered as they came.
    fn accepted(&self, stream: &TcpStream) -> usize {
        let mut played = self.state.lock().unwrap();
        played.connections.push(Connection { stream: stream.try_clone().ok(), ..Connection::default() });
        played.connections.len() - 1
    }

    /// What became of the connection that the case's last request used.
    fn upstream(&self) -> Result<&'static str, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let played = self.state.lock().unwrap();
            let others = played.connections.iter().filter(|c| c.probe.is_none());
            let waiting = others.clone().any(|c| !c.ended);
            let used = played.connections.iter().rposition(|c| c.probe != Some(0));
            if !waiting {
                return Ok(match used {
                    None => "none",
                    Some(at) if played.connections[at].probe.is_some() => "kept",
                    Some(_) => "closed",
                });
            }
            drop(played);
            if Instant::now() > deadline {
                return Err("an upstream connection was neither used again nor closed".into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn wait(&self, what: &[u8], of: fn(&Played) -> Vec<u8>) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let bytes = of(&self.state.lock().unwrap());
            if holds(&bytes, what) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("waited for {} in vain, saw {}", escape(what), escape(&bytes)));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn wait_client(&self, what: &[u8]) -> Result<(), String> {
        self.wait(what, |played| played.client.clone())
    }

    fn wait_backend(&self, what: &[u8]) -> Result<(), String> {
        self.wait(what, |played| played.connections.iter().flat_map(|c| c.bytes.clone()).collect())
    }
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

// --- the backend ----------------------------------------------------------------------------------------

/// Serves one connection of the backend as a strict server would read it.
fn serve(play: &Play, number: usize, mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut at = 0;
    while let Some(next) = answer_one(play, number, &mut stream, at) {
        at = next;
    }
    // Until the proxy ends it: what comes is recorded.
    let cut = play.state.lock().unwrap().connections[number].cut;
    while !cut && receive(play, number, &mut stream) {}
    drop(stream);
    play.state.lock().unwrap().connections[number].ended = true;
}

/// Reads the request at `at` and answers; where the next begins.
fn answer_one(play: &Play, number: usize, stream: &mut TcpStream, at: usize) -> Option<usize> {
    let reader = Reader::default();
    // Nothing, once the case is over and its bytes are taken.
    let bytes = |play: &Play| {
        let played = play.state.lock().unwrap();
        played.connections[number].bytes.get(at..).unwrap_or_default().to_vec()
    };
    let head = loop {
        match reader.head(&bytes(play)) {
            Some(len) => break bytes(play)[..len].to_vec(),
            None if !receive(play, number, stream) => return None,
            None => {}
        }
    };
    let is_probe = head.starts_with(format!("GET {PROBE_TARGET} ").as_bytes());
    let script = (!is_probe).then(|| {
        let mut played = play.state.lock().unwrap();
        played.answered += 1;
        played.scripts.get(played.answered - 1).cloned()
    });
    if is_probe {
        play.state.lock().unwrap().connections[number].probe = Some(at);
        stream.write_all(b"HTTP/1.1 200 OK\r\nX-Probe: yes\r\nContent-Length: 5\r\n\r\nprobe").ok()?;
        return Some(at + head.len());
    }
    let script = script.flatten();
    if script.as_ref().is_some_and(|script| script.early) {
        act(play, number, stream, &script?.acts)?;
        return None;
    }
    let len = loop {
        match reader.read(&bytes(play)) {
            Some(request) => break request.len,
            None if !receive(play, number, stream) => return None,
            None => {}
        }
    };
    match script {
        Some(script) => act(play, number, stream, &script.acts)?,
        None => {
            let body: &[u8] = if head.starts_with(b"HEAD ") { b"" } else { b"ok" };
            stream.write_all(&[DEFAULT, body].concat()).ok()?;
        }
    }
    Some(at + len)
}

/// Reads once; false at the connection's end.
fn receive(play: &Play, number: usize, stream: &mut TcpStream) -> bool {
    let mut chunk = [0; 16 * 1024];
    let n = stream.read(&mut chunk).unwrap_or(0);
    play.state.lock().unwrap().connections[number].bytes.extend_from_slice(&chunk[..n]);
    n > 0
}

/// None if that was the connection's end.
fn act(play: &Play, number: usize, stream: &mut TcpStream, acts: &[Act]) -> Option<()> {
    for act in acts {
        match act {
            // The proxy may have closed the connection already.
            Act::Send(bytes) => stream.write_all(bytes).ok()?,
            Act::Pause => std::thread::sleep(PAUSE),
            Act::Shut => stream.shutdown(Shutdown::Write).ok()?,
            Act::Close => {
                let _ = stream.shutdown(Shutdown::Both);
                return None;
            }
            Act::Reset => {
                rustix::net::sockopt::set_socket_linger(&*stream, Some(Duration::ZERO)).unwrap();
                let mut played = play.state.lock().unwrap();
                // With the last descriptor goes an RST.
                (played.connections[number].stream, played.connections[number].cut) = (None, true);
                return None;
            }
            Act::WaitClient(text) => play.wait_client(text).ok()?,
            Act::WaitBackend(text) => {
                while !holds(&play.state.lock().unwrap().connections[number].bytes, text) {
                    receive(play, number, stream).then_some(())?;
                }
            }
        }
    }
    Some(())
}

// --- the client -----------------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Closed,
    Reset,
}

struct Client {
    stream: TcpStream,
    play: Arc<Play>,
    got: Vec<u8>,
    end: End,
}

impl Client {
    fn connect(addr: SocketAddr, play: &Arc<Play>) -> Client {
        let stream = TcpStream::connect(addr).expect("connect to the proxy");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { stream, play: Arc::clone(play), got: Vec::new(), end: End::Open }
    }

    fn act(&mut self, acts: &[Act]) -> Result<(), String> {
        for act in acts {
            match act {
                // The proxy may have answered and closed.
                Act::Send(bytes) => drop(self.stream.write_all(bytes)),
                Act::Pause => std::thread::sleep(PAUSE),
                Act::Shut => drop(self.stream.shutdown(Shutdown::Write)),
                Act::Close | Act::Reset => return Err("a client only shuts".into()),
                Act::WaitClient(text) => {
                    while !holds(&self.got, text) && self.end == End::Open {
                        self.fill()?;
                    }
                }
                Act::WaitBackend(text) => self.play.wait_backend(text)?,
            }
        }
        Ok(())
    }

    /// Reads the first final answer, and probes unless the connection ends.
    fn finish(&mut self, method: &str) -> Result<(), String> {
        let last = loop {
            match first_answer(&self.got, method) {
                Some(head) => break head,
                None if self.end != End::Open => return Ok(()),
                None => self.fill()?,
            }
        };
        match last.to_ascii_lowercase().contains("\r\nconnection: close\r\n") {
            true => self.read_on(),
            false => self.probe(),
        }
    }

    fn probe(&mut self) -> Result<(), String> {
        drop(self.stream.write_all(PROBE));
        self.read_on()?;
        if self.got.ends_with(PROBE_ANSWER) {
            self.got.truncate(self.got.len() - PROBE_ANSWER.len());
            self.end = End::Open;
        }
        Ok(())
    }

    fn read_on(&mut self) -> Result<(), String> {
        while self.end == End::Open {
            self.fill()?;
        }
        Ok(())
    }

    fn fill(&mut self) -> Result<(), String> {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.end = End::Closed,
            Ok(n) => {
                self.got.extend_from_slice(&chunk[..n]);
                self.play.state.lock().unwrap().client.clone_from(&self.got);
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => self.end = End::Reset,
            Err(error) => return Err(format!("{error} after {}", escape(&self.got))),
        }
        Ok(())
    }
}

/// The head of the first final answer, once that is complete as far as its head tells.
fn first_answer(got: &[u8], method: &str) -> Option<String> {
    let mut at = 0;
    loop {
        let len = Reader::default().head(&got[at..])?;
        let head = String::from_utf8_lossy(&got[at..at + len]).into_owned();
        at += len;
        let status = head.get(9..12).unwrap_or_default();
        if status.starts_with('1') {
            continue;
        }
        let lower = head.to_ascii_lowercase();
        if method == "HEAD" || ["204", "304"].contains(&status) || lower.contains("\r\nconnection: close\r\n")
        {
            return Some(head);
        }
        // As a request it is framed in the same way.
        let framed = Reader::default().read(&got[at - len..])?;
        return (framed.len > 0).then_some(head);
    }
}

// --- the counts -----------------------------------------------------------------------------------------

fn counts(proxy: &Proxy) -> Vec<(String, u64)> {
    let text = proxy.observed.metrics_text();
    let wanted = |line: &&str| {
        line.starts_with("tidegate_requests_total{") || line.starts_with("tidegate_upstream_errors_total{")
    };
    let lines = text.lines().filter(wanted).filter_map(|line| line.rsplit_once(' '));
    lines.map(|(name, count)| (name.to_owned(), count.parse().expect("a count"))).collect()
}

/// What has been counted in between without the probe: `app 2xx, upstream bad_answer`.
fn counted(before: &[(String, u64)], after: &[(String, u64)]) -> String {
    let mut out = Vec::new();
    for (name, count) in after {
        let old = before.iter().find(|(n, _)| n == name).map_or(0, |(_, count)| *count);
        let label = |label: &str| name.split(label).nth(1).and_then(|rest| rest.split('"').next());
        let (route, class) = (label("route=\""), label("class=\""));
        let probe = u64::from(route == Some("app") && class == Some("2xx"));
        let what = match (route, class, label("kind=\"")) {
            (Some(""), Some(class), _) => format!("no route {class}"),
            (Some(route), Some(class), _) => format!("{route} {class}"),
            (_, _, kind) => format!("upstream {}", kind.unwrap_or("?")),
        };
        match (count - old).checked_sub(probe).expect("the probe was counted") {
            0 => {}
            1 => out.push(what),
            n => out.push(format!("{what} ×{n}")),
        }
    }
    if out.is_empty() { "nothing".into() } else { out.join(", ") }
}
