//! The API's server: one `Life` from an engine process's start to its death.
//!
//! ```text
//!             bind           restored            kill
//!  (nobody) ───────► listens ────────► answers ───────► (nobody; the socket file stays)
//! ```

use super::Shared;
use super::api::{self, Answer, Route, Subscription};
use super::clock;
use super::faults::Verdict;
use super::wire::{self, Message, Reader};
use crate::limits;
use crate::util::Locked;
use crossbeam_channel::RecvTimeoutError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::HashMap;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How often a waiting thread looks whether it may go on.
const LOOK: Duration = Duration::from_millis(2);
/// How often an idle event stream looks whether its client has gone.
const STREAM_LOOK: Duration = Duration::from_millis(20);
/// Go's net/http gives smaller bodies a Content-Length by itself and sends larger ones in chunks.
const LENGTH_BYTES: usize = 2048;
const CHUNK_BYTES: usize = 4096;

/// One life of the engine process.
pub(super) struct Life {
    listener: UnixListener,
    killed: AtomicBool,
    /// The containers are restored: the API answers.
    ready: AtomicBool,
    connections: Locked<Connections>,
}

#[derive(Default)]
struct Connections {
    open: HashMap<u64, Connection>,
    next: u64,
}

struct Connection {
    stream: Arc<UnixStream>,
    events: bool,
}

impl Life {
    /// Replaces the socket file, as dockerd does, and listens.
    pub(super) fn bind(path: &Path, ready: bool) -> io::Result<Arc<Life>> {
        remove_dead_socket(path)?;
        Ok(Arc::new(Life {
            listener: UnixListener::bind(path)?,
            killed: AtomicBool::new(false),
            ready: AtomicBool::new(ready),
            connections: Locked::default(),
        }))
    }

    pub(super) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub(super) fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// As `kill -9`: nobody listens, every connection is cut; the file stays.
    pub(super) fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        let streams = self.connections.with(|c| std::mem::take(&mut c.open));
        for connection in streams.into_values() {
            let _ = connection.stream.shutdown(Shutdown::Both);
        }
    }

    /// Cuts the event streams, without a last chunk.
    pub(super) fn cut_event_streams(&self) {
        let streams: Vec<_> = self
            .connections
            .with(|c| c.open.values().filter(|c| c.events).map(|c| c.stream.clone()).collect());
        for stream in streams {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.with(|c| c.open.len())
    }

    fn register(&self, stream: &Arc<UnixStream>) -> Option<u64> {
        self.connections.with(|c| {
            if self.is_killed() {
                return None; // `kill` has taken what was registered
            }
            c.next += 1;
            c.open.insert(c.next, Connection { stream: stream.clone(), events: false });
            Some(c.next)
        })
    }

    /// Waits while the process is stopped or restores; false if it died.
    fn wait_until_it_answers(&self, shared: &Shared) -> bool {
        while !self.is_killed() {
            if self.is_ready() && !shared.is_frozen() {
                return true;
            }
            clock::pause(LOOK);
        }
        false
    }
}

/// Removes what an earlier engine left, and nothing else: not a file, not a socket with a listener.
#[allow(clippy::disallowed_methods)] // a std thread; a Unix connect doesn't wait for the other side
fn remove_dead_socket(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a file that is no socket is in the way",
            ));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another engine listens on the socket")),
        Err(_) => std::fs::remove_file(path),
    }
}

/// Accepts until the life ends.
pub(super) fn serve(shared: &Arc<Shared>, life: &Arc<Life>) -> io::Result<()> {
    let (shared, life) = (shared.clone(), life.clone());
    thread::Builder::new().name("fake-engine".into()).spawn(move || {
        while !life.is_killed() {
            let full = life.connections() >= limits::FAKE_API_CONNECTIONS;
            if full || shared.is_frozen() {
                clock::pause(LOOK); // the backlog holds them
                continue;
            }
            match life.listener.accept() {
                Ok((stream, _)) => accepted(&shared, &life, stream),
                Err(_) => clock::pause(LOOK), // out of descriptors, or killed
            }
        }
    })?;
    Ok(())
}

fn accepted(shared: &Arc<Shared>, life: &Arc<Life>, stream: UnixStream) {
    let stream = Arc::new(stream);
    shared.faults.with(|f| f.connections_total += 1);
    let Some(key) = life.register(&stream) else { return };
    let (shared, owner) = (shared.clone(), life.clone());
    let spawned = thread::Builder::new()
        .name("fake-engine-call".into())
        .stack_size(limits::FAKE_STACK_BYTES)
        .spawn(move || {
            let _ = Conversation { shared: &shared, life: &owner, key }.run(&stream);
            let _ = stream.shutdown(Shutdown::Both);
            owner.connections.with(|c| c.open.remove(&key));
        });
    if spawned.is_err() {
        life.connections.with(|c| c.open.remove(&key));
    }
}

/// One connection.
struct Conversation<'a> {
    shared: &'a Shared,
    life: &'a Life,
    key: u64,
}

impl Conversation<'_> {
    fn run(&self, mut stream: &UnixStream) -> io::Result<()> {
        let mut reader = Reader::default();
        while let Some(message) = reader.next(&mut stream)? {
            if !self.life.wait_until_it_answers(self.shared) {
                return Ok(());
            }
            let route = Route::of(&message);
            let verdict = self.shared.faults.with(|f| f.judge(route.call));
            clock::pause(verdict.latency);
            let answer = match verdict.fail {
                Some(status) => api::error(status, "a fault that a test asked for"),
                None => self.shared.answer(&route),
            };
            // The answer was made before a SIGSTOP or a kill, but it didn't get out.
            if !self.life.wait_until_it_answers(self.shared) {
                return Ok(());
            }
            if let Answer::Events(subscription) = answer {
                return self.stream_events(stream, &subscription, verdict);
            }
            let bytes = self.encode(&message, answer);
            if verdict.cut {
                return stream.write_all(&bytes[..bytes.len() * 2 / 3]);
            }
            stream.write_all(&bytes)?;
            if !message.keep {
                break;
            }
        }
        Ok(())
    }

    fn head(&self, status: u16) -> String {
        let options = &self.shared.options;
        let (api, server) = (&options.api_version, &options.server_version);
        format!(
            "HTTP/1.1 {status} {}\r\nApi-Version: {api}\r\nDocker-Experimental: false\r\nOstype: linux\r\n\
             Server: Docker/{server} (linux)\r\n",
            wire::reason(status)
        )
    }

    fn encode(&self, message: &Message, answer: Answer) -> Vec<u8> {
        let (status, kind, body) = match answer {
            Answer::Json(status, value) => (status, "application/json", format!("{value}\n").into_bytes()),
            Answer::Text(status, text) => (status, "text/plain; charset=utf-8", text.into_bytes()),
            Answer::Empty(status) => (status, "", Vec::new()),
            Answer::Events(_) => (500, "", Vec::new()),
        };
        let mut head = self.head(status);
        if !kind.is_empty() {
            head.push_str(&format!("Content-Type: {kind}\r\n"));
        }
        if !message.keep {
            head.push_str("Connection: close\r\n");
        }
        let chunked = body.len() > LENGTH_BYTES;
        if chunked {
            head.push_str("Transfer-Encoding: chunked\r\n");
        } else if status != 204 && status != 304 {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut out = head.into_bytes();
        if message.method == "HEAD" {
            return out;
        }
        if chunked {
            body.chunks(CHUNK_BYTES).for_each(|chunk| wire::push_chunk(&mut out, chunk));
            out.extend_from_slice(wire::LAST_CHUNK);
        } else {
            out.extend_from_slice(&body);
        }
        out
    }

    fn stream_events(
        &self,
        mut stream: &UnixStream,
        query: &Subscription,
        verdict: Verdict,
    ) -> io::Result<()> {
        self.life.connections.with(|c| {
            if let Some(connection) = c.open.get_mut(&self.key) {
                connection.events = true;
            }
        });
        let mut head = self.head(200);
        head.push_str("Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        // As moby: the head is flushed first, so a client that lists now may miss what happens now.
        clock::pause(self.shared.options.subscribe_after);
        let (replay, id, queue) = self.shared.world.with(|w| w.events.subscribe(query.since));
        let until = |at: i64| query.until.is_some_and(|until| at > until);
        let mut lines = replay.into_iter();
        let ended = loop {
            let event = match lines.next() {
                Some(event) => event,
                None => match queue.recv_timeout(STREAM_LOOK) {
                    Ok(event) => event,
                    Err(RecvTimeoutError::Timeout) if until(clock::wall_nanos()) => break Ok(true),
                    Err(RecvTimeoutError::Timeout) if hung_up(stream) => break Ok(false),
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => break Ok(false),
                },
            };
            if until(event.at) {
                break Ok(true);
            }
            if !query.filter.matches(&event) {
                continue;
            }
            if !self.life.wait_until_it_answers(self.shared) {
                break Ok(false);
            }
            let mut bytes = Vec::new();
            wire::push_chunk(&mut bytes, event.line().as_bytes());
            if verdict.cut {
                bytes.truncate(bytes.len() * 2 / 3);
            }
            if let Err(e) = stream.write_all(&bytes) {
                break Err(e);
            }
            if verdict.cut {
                break Ok(false);
            }
        };
        self.shared.world.with(|w| w.events.unsubscribe(id));
        if ended? { stream.write_all(wire::LAST_CHUNK) } else { Ok(()) }
    }
}

/// The client closed, or someone shut the stream down.
fn hung_up(stream: &UnixStream) -> bool {
    let mut fds = [PollFd::new(stream, PollFlags::RDHUP)];
    let ready = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    ready.is_ok_and(|n| n > 0)
}
