//! A client connection: accepted, idle without a stack, in work with one.
//!
//! ```text
//!   accept ─► idle ──a whole head──► in work ──answered, keep-alive──► idle
//!              │ closed, silent too long            │ Connection: close, any fault
//!              ▼                                    ▼
//!            closed ◄───────────────────────────────┘
//! ```

use super::Admitted;
use super::answer::{self, Own};
use super::core::Core;
use super::exchange::{self, After};
use super::record::{Asked, Record};
use crate::http;
use crate::limits::{HEADER_TIMEOUT, IDLE_TIMEOUT, LISTENER_LINGER, REQUEST_HEAD_BYTES};
use crate::net::{BoundListener, Listener, Stream};
use crate::runtime::{self, Abort, Wake};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

/// Accepts until `accepting` is fired or the core stops; the last are taken from the backlog before the
/// listener closes.
pub(super) fn accept_loop(core: &Rc<Core>, bound: BoundListener, accepting: &Abort) {
    let listener = match bound.listen() {
        Ok(listener) => listener,
        Err(error) => return log::error!("a listener can't be watched: {error}"),
    };
    let ended = accept_until(core, &listener, None, Some(accepting));
    if runtime::is_aborted(&ended) {
        // Without the filter a handshake that ends between the last look and the close is lost.
        let end = match listener.refuse_new() {
            Ok(()) => accept_until(core, &listener, Some(runtime::now() + LISTENER_LINGER), None),
            Err(error) => error,
        };
        log::debug!("a listener closes: {end}");
        while let Ok(Some((stream, peer))) = listener.try_accept() {
            admit(core, Stream::Plain(stream), peer);
        }
    } else if !runtime::is_stopped(&ended) {
        log::error!("accept ended: {ended}");
    }
}

/// Accepts until it can't; says why.
fn accept_until(
    core: &Rc<Core>,
    listener: &Listener,
    deadline: Option<Instant>,
    abort: Option<&Abort>,
) -> io::Error {
    loop {
        match listener.accept_until(deadline, abort) {
            Ok((stream, peer)) => admit(core, Stream::Plain(stream), peer),
            Err(error) => return error,
        }
    }
}

fn admit(core: &Rc<Core>, stream: Stream, peer: SocketAddr) {
    core.metrics.accepted.add(1);
    let Some(admitted) = core.shared.admit() else {
        core.metrics.refused.add(1);
        let refused = core.metrics.refused.get();
        if refused.is_power_of_two() {
            log::warn!("too many connections: this core refused {refused} so far with 503");
        }
        return refuse(core, stream);
    };
    let admitted = Open::new(core, admitted);
    let record = Record::default();
    let client = Client { core: Rc::clone(core), stream: Rc::new(stream), peer, record, admitted };
    idle(client, Vec::new(), runtime::now() + HEADER_TIMEOUT);
}

/// Answers 503 from the core's own stack: the answer fits the socket's buffer or is lost.
fn refuse(core: &Rc<Core>, stream: Stream) {
    let mut out = core.buffer();
    let id = core.request_id();
    answer::overloaded(&mut out, id.as_str());
    stream.try_write(&out).ok();
    core.recycle(out);
    stream.linger_close();
}

/// A client connection in work.
pub(super) struct Client {
    pub core: Rc<Core>,
    /// Shared with the coroutine that uploads the body.
    pub stream: Rc<Stream>,
    pub peer: SocketAddr,
    /// The exchange that it is in.
    pub record: Record,
    admitted: Open,
}

/// A connection that counts as open until it is dropped.
struct Open {
    core: Rc<Core>,
    _admitted: Admitted,
}

impl Open {
    fn new(core: &Rc<Core>, admitted: Admitted) -> Open {
        core.metrics.open.add(1);
        Open { core: Rc::clone(core), _admitted: admitted }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.core.metrics.open.take(1);
    }
}

/// Waits for (the rest of) a head, without a stack.
fn idle(client: Client, partial: Vec<u8>, deadline: Instant) {
    let Client { core, stream, peer, admitted, .. } = client;
    let Ok(stream) = Rc::try_unwrap(stream) else { return };
    stream.when_readable(Some(deadline), move |stream, wake| {
        let client = Client { core, stream: Rc::new(stream), peer, record: Record::default(), admitted };
        match wake {
            Wake::Ready => receive(client, partial, deadline),
            Wake::TimedOut if !partial.is_empty() => work(client, partial, |client, head| {
                answer_and_close(client, &head, &Own::new(408, "the request's head took too long"));
            }),
            Wake::TimedOut | Wake::Stopped => {}
        }
    });
}

/// Takes what has arrived, on the core's own stack.
fn receive(client: Client, mut partial: Vec<u8>, deadline: Instant) {
    let first = partial.is_empty();
    let mut chunk = [0; 4096];
    loop {
        match client.stream.try_read(&mut chunk) {
            Ok(Some(0)) | Err(_) => return,
            Ok(Some(n)) => partial.extend_from_slice(&chunk[..n]),
            Ok(None) => break,
        }
        let mut scanned = 0;
        if http::head_complete(&partial, &mut scanned) || partial.len() > REQUEST_HEAD_BYTES {
            return work(client, partial, serve);
        }
    }
    // The head's time starts with its first byte.
    let deadline = if first { deadline.min(runtime::now() + HEADER_TIMEOUT) } else { deadline };
    idle(client, partial, deadline);
}

/// Gives the connection a coroutine.
fn work(client: Client, head: Vec<u8>, f: impl FnOnce(Client, Vec<u8>) + 'static) {
    let core = Rc::clone(&client.core);
    let guard = core.work();
    let spawned = runtime::spawn(move || {
        let _guard = guard;
        f(client, head);
    });
    if spawned.is_err() {
        // The closure, and with it the connection, is gone: memory or the coroutine limit is exhausted.
        core.metrics.refused.add(1);
        log::warn!("no stack for a connection: it was closed");
    }
}

/// Serves requests as long as whole heads are buffered, then goes idle or ends.
fn serve(client: Client, mut head: Vec<u8>) {
    loop {
        match exchange::run(&client, &mut head) {
            After::KeepAlive if !client.core.draining() => {}
            After::KeepAlive | After::Close => return close(client, head),
            After::Abort => return abort(client),
        }
        let mut scanned = 0;
        if !http::head_complete(&head, &mut scanned) && head.len() <= REQUEST_HEAD_BYTES {
            break;
        }
    }
    let timeout = if head.is_empty() { IDLE_TIMEOUT } else { HEADER_TIMEOUT };
    if head.is_empty() {
        // An idle connection holds no buffer.
        client.core.recycle(std::mem::take(&mut head));
    }
    idle(client, head, runtime::now() + timeout);
}

/// Writes an answer of our own and closes.
fn answer_and_close(client: Client, head: &[u8], own: &Own) {
    let id = client.core.request_id();
    client.record.begin(head.len());
    answer::send(&client, None, own, id.as_str(), false, false).ok();
    client.record.end(&client.core, client.peer.ip(), &Asked::of_refused(head), &id);
    close(client, Vec::new());
}

/// Ends in order: the last answer is not lost in a reset.
fn close(client: Client, buffer: Vec<u8>) {
    client.core.recycle(buffer);
    // Err: the upload's coroutine still has it, and drains it.
    if let Ok(stream) = Rc::try_unwrap(client.stream) {
        stream.linger_close();
    }
}

/// Cuts the connection.
fn abort(client: Client) {
    if let Ok(stream) = Rc::try_unwrap(client.stream) {
        stream.reset();
    }
}
