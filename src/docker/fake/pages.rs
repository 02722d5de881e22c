//! The containers' processes: listeners on loopback addresses, all on one epoll thread, and a thread for
//! each connection.

use super::builtin;
use super::clock;
use super::page::{Framing, Host, Page, Request, Response};
use super::wire::{self, Message, Reader};
use crate::limits;
use crate::util::Locked;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A silent connection to a page ends after this; no proxy keeps one that long.
const IDLE: Duration = Duration::from_secs(120);
/// The epoll token of the eventfd.
const WAKE: u64 = 0;

/// One run of one container: its sockets, until it dies.
pub(super) struct Run {
    host: Host,
    page: Page,
    token: u64,
    paused: AtomicBool,
    visits: AtomicU64,
    sockets: Locked<Sockets>,
}

#[derive(Default)]
struct Sockets {
    closed: bool,
    listener: Option<Arc<TcpListener>>,
    connections: HashMap<u64, Arc<TcpStream>>,
    next: u64,
}

impl Run {
    /// Freezes or thaws the process: connections are accepted by the backlog, nothing is answered.
    pub(super) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
    }

    fn is_closed(&self) -> bool {
        self.sockets.with(|s| s.closed)
    }

    /// As a killed process: nothing listens any more, every connection ends.
    fn close(&self) {
        let (listener, connections) = self.sockets.with(|s| {
            s.closed = true;
            (s.listener.take(), std::mem::take(&mut s.connections))
        });
        if let Some(listener) = listener {
            // Others may hold it a moment longer: after this it refuses at once.
            let _ = rustix::net::shutdown(&*listener, rustix::net::Shutdown::Both);
        }
        for connection in connections.into_values() {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

/// All pages of an engine.
pub(super) struct Pages {
    epoll: OwnedFd,
    wake: OwnedFd,
    state: Locked<State>,
    stopping: AtomicBool,
    open: AtomicUsize,
    requests: AtomicU64,
}

#[derive(Default)]
struct State {
    runs: HashMap<u64, Arc<Run>>,
    /// Applications that take their time to listen.
    late: Vec<(Instant, Arc<Run>)>,
    next: u64,
}

impl Pages {
    /// Starts the epoll thread.
    pub(super) fn start() -> io::Result<Arc<Pages>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        let pages = Arc::new(Pages {
            epoll,
            wake,
            state: Locked::default(),
            stopping: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
        });
        let shared = pages.clone();
        thread::Builder::new().name("fake-pages".into()).spawn(move || shared.serve())?;
        Ok(pages)
    }

    /// Starts the process of a container: its page listens `after` from now.
    pub(super) fn open(&self, host: Host, page: Page, after: Duration) -> io::Result<Arc<Run>> {
        let token = self.state.with(|s| {
            s.next += 1;
            s.next
        });
        let run = Arc::new(Run {
            host,
            page,
            token,
            paused: AtomicBool::new(false),
            visits: AtomicU64::new(0),
            sockets: Locked::default(),
        });
        if after.is_zero() {
            self.listen(&run)?;
        } else {
            self.state.with(|s| s.late.push((clock::now() + after, run.clone())));
            self.wake();
        }
        Ok(run)
    }

    /// Kills the process.
    pub(super) fn close(&self, run: &Run) {
        self.state.with(|s| {
            s.runs.remove(&run.token);
            s.late.retain(|(_, other)| other.token != run.token);
        });
        run.close();
    }

    /// Kills every process and ends the epoll thread.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake();
        let runs = self.state.with(|s| {
            s.late.clear();
            std::mem::take(&mut s.runs)
        });
        for run in runs.into_values() {
            run.close();
        }
    }

    /// Open connections, and requests answered so far.
    pub(super) fn counts(&self) -> (usize, u64) {
        (self.open.load(Ordering::Relaxed), self.requests.load(Ordering::Relaxed))
    }

    fn wake(&self) {
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    #[allow(clippy::disallowed_methods)] // the port of a fake container, not one of the proxy's
    fn listen(&self, run: &Arc<Run>) -> io::Result<()> {
        let listener = Arc::new(TcpListener::bind((run.host.ip, run.host.port))?);
        listener.set_nonblocking(true)?;
        let alive = run.sockets.with(|s| {
            s.listener = (!s.closed).then(|| listener.clone());
            !s.closed
        });
        if alive {
            self.state.with(|s| s.runs.insert(run.token, run.clone()));
            epoll::add(&self.epoll, &*listener, epoll::EventData::new_u64(run.token), epoll::EventFlags::IN)?;
            if run.is_closed() {
                self.state.with(|s| s.runs.remove(&run.token)); // killed in between
            }
        }
        Ok(())
    }

    fn serve(self: Arc<Pages>) {
        let mut ready = Vec::with_capacity(64);
        while !self.stopping.load(Ordering::Acquire) {
            ready.clear();
            let timeout = self.open_late_ones();
            let got = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut ready), timeout.as_ref());
            if got.is_err_and(|e| e != rustix::io::Errno::INTR) {
                return;
            }
            for token in ready.iter().map(|event| event.data.u64()) {
                if token == WAKE {
                    let _ = rustix::io::read(&self.wake, &mut [0_u8; 8]);
                } else if let Some(run) = self.state.with(|s| s.runs.get(&token).cloned()) {
                    self.accept(&run);
                }
            }
        }
    }

    /// Opens the listeners that are due; the time until the next.
    fn open_late_ones(&self) -> Option<Timespec> {
        let now = clock::now();
        let (due, next) = self.state.with(|s| {
            let (due, late): (Vec<_>, Vec<_>) = s.late.drain(..).partition(|(at, _)| *at <= now);
            s.late = late;
            (due, s.late.iter().map(|(at, _)| *at).min())
        });
        for (_, run) in due {
            if let Err(e) = self.listen(&run) {
                log::error!(
                    "fake container {}: cannot listen on {}:{}: {e}",
                    run.host.name,
                    run.host.ip,
                    run.host.port
                );
            }
        }
        next.and_then(|at| Timespec::try_from(at.saturating_duration_since(now)).ok())
    }

    fn accept(self: &Arc<Pages>, run: &Arc<Run>) {
        let Some(listener) = run.sockets.with(|s| s.listener.clone()) else { return };
        while self.open.load(Ordering::Relaxed) < limits::FAKE_PAGE_CONNECTIONS {
            match listener.accept() {
                Ok((stream, _)) => self.connected(run, stream),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => break,
            }
        }
        clock::pause(Duration::from_millis(1)); // full, or out of descriptors: the backlog holds the rest
    }

    fn connected(self: &Arc<Pages>, run: &Arc<Run>, stream: TcpStream) {
        let ready = stream
            .set_nonblocking(false)
            .and_then(|()| stream.set_nodelay(true))
            .and_then(|()| stream.set_read_timeout(Some(IDLE)))
            .and_then(|()| stream.set_write_timeout(Some(IDLE)));
        let stream = Arc::new(stream);
        let key = run.sockets.with(|s| {
            if s.closed {
                return None;
            }
            s.next += 1;
            s.connections.insert(s.next, stream.clone());
            Some(s.next)
        });
        let (Ok(()), Some(key)) = (ready, key) else {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        };
        self.open.fetch_add(1, Ordering::Relaxed);
        let (pages, owner) = (self.clone(), run.clone());
        let spawned = thread::Builder::new()
            .name("fake-page".into())
            .stack_size(limits::FAKE_STACK_BYTES)
            .spawn(move || {
                let _ = pages.converse(&owner, &stream);
                owner.sockets.with(|s| s.connections.remove(&key));
                let _ = stream.shutdown(Shutdown::Both);
                pages.open.fetch_sub(1, Ordering::Relaxed);
            });
        if spawned.is_err() {
            run.sockets.with(|s| s.connections.remove(&key));
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn converse(&self, run: &Run, mut stream: &TcpStream) -> io::Result<()> {
        let mut reader = Reader::default();
        while let Some(message) = reader.next(&mut stream)? {
            while run.paused.load(Ordering::Acquire) && !run.is_closed() {
                clock::pause(Duration::from_millis(2));
            }
            let keep = message.keep;
            let head_only = message.method == "HEAD";
            let response = answer(run, message);
            let framing = response.framing;
            if run.is_closed() {
                return Ok(()); // killed while it worked
            }
            stream.write_all(&encode(&run.host, &response, keep, head_only))?;
            self.requests.fetch_add(1, Ordering::Relaxed);
            if !keep || matches!(framing, Framing::Close | Framing::Cut(_)) {
                break;
            }
        }
        Ok(())
    }
}

fn answer(run: &Run, message: Message) -> Response {
    if message.target == "/favicon.ico" && !matches!(run.page, Page::Raw(_)) {
        return Response::text(404, "no icon\n"); // browsers ask for it at every visit: not one of its own
    }
    let counted = u64::from(message.method != "HEAD");
    let visit = run.visits.fetch_add(counted, Ordering::Relaxed) + counted;
    let Message { method, target, headers, body, .. } = message;
    let request = Request { method, target, headers, body, container: run.host.clone(), visit };
    match &run.page {
        Page::Whoami => builtin::whoami(&request),
        Page::Hello => builtin::hello(&request),
        Page::Counter => builtin::counter(&request),
        Page::Slow(time) => {
            clock::pause(*time);
            builtin::hello(&request)
        }
        Page::Raw(handler) => handler(&request),
    }
}

/// The bytes of a response.
fn encode(host: &Host, response: &Response, keep: bool, head_only: bool) -> Vec<u8> {
    let status = response.status;
    let mut out = format!("HTTP/1.1 {status} {}\r\n", wire::reason(status)).into_bytes();
    let mut field = |name: &str, value: &str| {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    };
    field("X-Container", &host.name);
    field("X-Container-Id", &host.id);
    for (name, value) in &response.headers {
        field(name, value);
    }
    let bodiless = status == 204 || status == 304 || status < 200;
    match response.framing {
        _ if bodiless => {}
        Framing::Length | Framing::Cut(_) => field("Content-Length", &response.body.len().to_string()),
        Framing::Chunked(_) => field("Transfer-Encoding", "chunked"),
        Framing::Close => {}
    }
    if !keep || response.framing == Framing::Close {
        field("Connection", "close");
    }
    out.extend_from_slice(b"\r\n");
    if bodiless || head_only {
        return out;
    }
    match response.framing {
        Framing::Length | Framing::Close => out.extend_from_slice(&response.body),
        Framing::Cut(length) => out.extend_from_slice(&response.body[..length.min(response.body.len())]),
        Framing::Chunked(size) => {
            response.body.chunks(size.max(1)).for_each(|chunk| wire::push_chunk(&mut out, chunk));
            out.extend_from_slice(wire::LAST_CHUNK);
        }
    }
    out
}
