//! A client connection: accepted, idle without a stack, in work with one.
//!
//! ```text
//!   accept ─► idle ──a whole head──► in work ──answered, keep-alive──► idle
//!              │ closed, silent too long            │ Connection: close, any fault
//!              ▼                                    ▼
//!            closed ◄───────────────────────────────┘
//! ```
//!
//! When the program ends, an idle connection closes at once, unless a request is on its way.

use super::answer::{self, Own};
use super::core::Core;
use super::exchange::{self, After};
use super::opening;
use super::peer::Peer;
use super::record::{Asked, Record};
use super::{Entrance, Protocol};
use crate::http;
use crate::limits::{HEAD_READ_BYTES, LISTENER_LINGER, REQUEST_HEAD_BYTES};
use crate::metrics::Refusal;
use crate::net::{Listener, Stream, tls};
use crate::route::Opening;
use crate::runtime::{self, Abort, Shutdown, TcpStream, Wake};
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

/// What becomes of an accepted connection.
type Enter = fn(&Rc<Core>, TcpStream, SocketAddr);

/// Accepts until `accepting` is fired or the core stops; the last are taken from the backlog before the
/// listener closes.
pub(super) fn accept_loop(core: &Rc<Core>, entrance: Entrance, accepting: &Abort) {
    let Entrance { listener, protocol } = entrance;
    let enter: Enter = match protocol {
        Protocol::Http => admit_plain,
        Protocol::Https => shake_hands,
    };
    let listener = match listener.listen() {
        Ok(listener) => listener,
        Err(error) => return log::error!("a listener can't be watched: {error}"),
    };
    let ended = accept_until(core, &listener, enter, None, Some(accepting));
    if runtime::is_aborted(&ended) && listener.is_inherited() {
        log::debug!("an inherited listener is left");
    } else if runtime::is_aborted(&ended) {
        // Without the filter a handshake that ends between the last look and the close is lost.
        let end = match listener.refuse_new() {
            Ok(()) => accept_until(core, &listener, enter, Some(runtime::now() + LISTENER_LINGER), None),
            Err(error) => error,
        };
        log::debug!("a listener closes: {end}");
        while let Ok(Some((stream, peer))) = listener.try_accept() {
            enter(core, stream, peer);
        }
    } else if !runtime::is_stopped(&ended) {
        log::error!("accept ended: {ended}");
    }
}

/// Accepts until it can't; says why.
fn accept_until(
    core: &Rc<Core>,
    listener: &Listener,
    enter: Enter,
    deadline: Option<Instant>,
    abort: Option<&Abort>,
) -> io::Error {
    loop {
        match listener.accept_until(deadline, abort) {
            Ok((stream, peer)) => enter(core, stream, peer),
            Err(error) => return error,
        }
    }
}

fn admit_plain(core: &Rc<Core>, tcp: TcpStream, peer: SocketAddr) {
    let ip = peer.ip();
    let (opening, timeout) = core.entrypoint(|e| (e.opening(ip), e.timeouts.header));
    let stream = Stream::Plain(tcp);
    let admitted = match admit(core, peer) {
        Ok(admitted) => admitted,
        Err(refusal) => return refuse(core, stream, refusal.reason()),
    };
    let client = Client::new(core, stream, peer, admitted);
    let deadline = runtime::now() + timeout;
    match opening {
        Opening::Request => silent(client, deadline),
        Opening::MaybeHeader => opening::wait(client, Vec::new(), false, deadline),
        Opening::Header => opening::wait(client, Vec::new(), true, deadline),
        Opening::Refused => log::debug!("{peer} is no trusted proxy: closed"),
    }
}

/// Over the cap a connection is closed before its handshake: an answer would cost more than it is worth.
fn shake_hands(core: &Rc<Core>, tcp: TcpStream, peer: SocketAddr) {
    let ip = peer.ip();
    let (opening, timeout) = core.entrypoint(|e| (e.opening(ip), e.timeouts.header));
    let expected = |required| Some(tls::Header { required, deadline: runtime::now() + timeout });
    let header = match opening {
        Opening::Request => None,
        Opening::MaybeHeader => expected(false),
        Opening::Header => expected(true),
        Opening::Refused => return log::debug!("{peer} is no trusted proxy: closed"),
    };
    let Ok(admitted) = admit(core, peer) else { return };
    let certs = core.shared.certs.current();
    let core = Rc::clone(core);
    tls::accept(tcp, certs, header, move |stream, named| {
        let deadline = runtime::now() + core.entrypoint(|e| e.timeouts.header);
        silent(Client::new(&core, stream, named.unwrap_or(peer), admitted), deadline);
    });
}

/// Counts a connection in, or says why not. One that is refused has no line in the access log: it has asked for
/// nothing, and whoever opens connections in a loop would push the lines of requests out of the queue.
fn admit(core: &Rc<Core>, peer: SocketAddr) -> Result<Open, Refusal> {
    core.metrics.accepted.add(1);
    let most = core.entrypoint(|e| e.most_connections(peer.ip()));
    let network = Peer::from(peer).network();
    match core.shared.admit(network, most) {
        Ok(()) => Ok(Open::new(core, network)),
        Err(refusal) => {
            core.refused(refusal, peer.ip());
            Err(refusal)
        }
    }
}

/// Answers 503 from the core's own stack: the answer fits the socket's buffer or is lost.
fn refuse(core: &Rc<Core>, stream: Stream, reason: &str) {
    let mut out = core.buffer();
    let id = core.request_id();
    answer::overloaded(&mut out, id.as_str(), reason);
    stream.try_write(&out).ok();
    core.recycle(out);
    stream.linger_close();
}

/// A client connection in work.
pub(super) struct Client {
    pub core: Rc<Core>,
    /// Shared with the coroutine that uploads the body.
    pub stream: Rc<Stream>,
    /// Who asks: the other side of the connection, or whom its PROXY header names.
    pub peer: Peer,
    /// The exchange that it is in.
    pub record: Record,
    /// Of the own side; asked for once.
    local_port: Cell<Option<u16>>,
    admitted: Open,
}

/// A connection that counts as open until it is dropped.
struct Open {
    core: Rc<Core>,
    /// A request is on its way: it is fresh, or has sent a part of a head.
    asking: Cell<bool>,
    /// As which it was admitted.
    network: u64,
}

impl Open {
    fn new(core: &Rc<Core>, network: u64) -> Open {
        core.metrics.open.add(1);
        core.asking(true);
        Open { core: Rc::clone(core), asking: Cell::new(true), network }
    }

    fn asks(&self, asking: bool) {
        if self.asking.replace(asking) != asking {
            self.core.asking(asking);
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.core.metrics.open.take(1);
        self.core.shared.dismiss(self.network);
        self.asks(false);
    }
}

/// Waits for the first byte of a head, without a stack and with nothing but itself.
fn silent(client: Client, deadline: Instant) {
    if client.core.draining() && !client.admitted.asking.get() && client.stream.is_usable_idle() {
        return close(client, Vec::new());
    }
    client.when_readable(deadline, |client, wake| match wake {
        Wake::Ready => receive(client, Vec::new(), None),
        Wake::Roused => {
            let timeout = client.core.entrypoint(|entrypoint| entrypoint.timeouts.idle);
            silent(client, runtime::now() + timeout);
        }
        Wake::TimedOut | Wake::Stopped => {}
    });
}

/// Waits for the rest of a head, without a stack.
fn half_sent(client: Client, partial: Vec<u8>, deadline: Instant) {
    client.admitted.asks(true);
    let held = Box::new((partial, deadline));
    client.when_readable(deadline, move |client, wake| {
        let (partial, deadline) = *held;
        match wake {
            Wake::Ready => receive(client, partial, Some(deadline)),
            Wake::Roused => half_sent(client, partial, deadline),
            Wake::TimedOut => work(client, partial, |client, head| {
                answer_and_close(client, &head, &Own::new(408, "the request's head took too long"));
            }),
            Wake::Stopped => {}
        }
    });
}

impl Client {
    fn new(core: &Rc<Core>, stream: Stream, peer: SocketAddr, admitted: Open) -> Client {
        let (core, stream) = (Rc::clone(core), Rc::new(stream));
        let peer = peer.into();
        Client { core, stream, peer, record: Record::default(), local_port: Cell::default(), admitted }
    }

    /// The port that the client has connected to.
    pub fn local_port(&self) -> u16 {
        let ask = || self.stream.local_addr().map_or(0, |addr| addr.port());
        let port = self.local_port.get().unwrap_or_else(ask);
        self.local_port.set(Some(port));
        port
    }

    /// Waits for bytes without a stack.
    pub fn when_readable(self, deadline: Instant, f: impl FnOnce(Client, Wake) + 'static) {
        let Client { stream, peer, local_port, admitted, .. } = self;
        let Ok(stream) = Rc::try_unwrap(stream) else { return };
        let deadline = admitted.core.may_ask_until(deadline);
        stream.when_readable(Some(deadline), move |stream, wake| {
            let core = Rc::clone(&admitted.core);
            let (stream, record) = (Rc::new(stream), Record::default());
            f(Client { core, stream, peer, record, local_port, admitted }, wake);
        });
    }
}

/// Goes on with what lay behind a PROXY header.
pub(super) fn opened(client: Client, received: Vec<u8>, deadline: Instant) {
    let mut scanned = 0;
    match http::head_complete(&received, &mut scanned) {
        _ if received.is_empty() => silent(client, deadline),
        true => work(client, received, serve),
        false => half_sent(client, received, deadline),
    }
}

/// Takes what has arrived, on the core's own stack. A head's time, `deadline`, starts with its first byte.
fn receive(client: Client, mut partial: Vec<u8>, deadline: Option<Instant>) {
    if partial.is_empty() {
        partial = client.core.buffer();
    }
    loop {
        match client.stream.try_read_append(&mut partial, HEAD_READ_BYTES) {
            Ok(Some(0)) | Err(_) => return client.core.recycle(partial),
            Ok(Some(_)) => {}
            Ok(None) if partial.is_empty() => {
                client.core.recycle(partial);
                let timeout = client.core.entrypoint(|entrypoint| entrypoint.timeouts.idle);
                return silent(client, runtime::now() + timeout);
            }
            Ok(None) => break,
        }
        let mut scanned = 0;
        if http::head_complete(&partial, &mut scanned) || partial.len() > REQUEST_HEAD_BYTES {
            return work(client, partial, serve);
        }
    }
    // What waits keeps its bytes alone, no buffer.
    let held = partial.as_slice().into();
    client.core.recycle(partial);
    let timeout = client.core.entrypoint(|entrypoint| entrypoint.timeouts.header);
    half_sent(client, held, deadline.unwrap_or_else(|| runtime::now() + timeout));
}

/// Gives the connection a coroutine.
fn work(client: Client, head: Vec<u8>, f: impl FnOnce(Client, Vec<u8>) + 'static) {
    let core = Rc::clone(&client.core);
    let (guard, peer) = (core.work(), client.peer.ip());
    client.admitted.asks(false);
    let spawned = runtime::spawn(move || {
        let _guard = guard;
        f(client, head);
    });
    if spawned.is_err() {
        // The closure, and with it the connection, is gone: memory or the coroutine limit is exhausted.
        core.refused(Refusal::NoStack, peer);
    }
}

/// Serves requests as long as whole heads are buffered, then goes idle or ends.
fn serve(client: Client, mut head: Vec<u8>) {
    loop {
        match exchange::run(&client, &mut head) {
            After::KeepAlive => {}
            After::Close => return close(client, head),
            After::Abort => return abort(client),
        }
        let mut scanned = 0;
        if !http::head_complete(&head, &mut scanned) && head.len() <= REQUEST_HEAD_BYTES {
            break;
        }
    }
    let timeouts = client.core.entrypoint(|entrypoint| entrypoint.timeouts);
    if !head.is_empty() {
        return half_sent(client, head, runtime::now() + timeouts.header);
    }
    // An idle connection holds no buffer.
    client.core.recycle(head);
    silent(client, runtime::now() + timeouts.idle);
}

/// Writes an answer of our own and closes.
fn answer_and_close(client: Client, head: &[u8], own: &Own) {
    let id = client.core.request_id();
    client.record.begin(head.len(), client.stream.is_tls());
    answer::send(&client, None, own, id.as_str(), false, false).ok();
    client.record.end(&client.core, client.peer.ip(), &Asked::of_refused(head), &id);
    close(client, Vec::new());
}

/// Ends in order: the last answer is not lost in a reset.
fn close(client: Client, buffer: Vec<u8>) {
    client.core.recycle(buffer);
    match Rc::try_unwrap(client.stream) {
        Ok(stream) => stream.linger_close(),
        // The upload's coroutine still has it, and drains it; the client sees the end at once. Err: it has gone.
        Err(stream) => drop(stream.shutdown(Shutdown::Write)),
    }
}

/// Cuts the connection.
fn abort(client: Client) {
    match Rc::try_unwrap(client.stream) {
        Ok(stream) => stream.reset(),
        // The upload's coroutine still has it.
        Err(stream) => stream.cut(),
    }
}
