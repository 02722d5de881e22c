//! A client's handshake, without a stack: each arrival of bytes is one step on the core's own stack.
//!
//! ```text
//!   Header ──a balancer's PROXY header, where one may be──► Hello
//!     │ none, or a bad one: closed without a word
//!   Hello ──ClientHello, a certificate for its name──► Keys ──Finished──► a stream
//!     │ no certificate: alert unrecognized_name         │ a fault: rustls's alert
//!     ▼                                                 ▼
//!   closed ◄── silence beyond the deadline, too many bytes, the client gone
//! ```

use super::super::Stream;
use super::certs::Certs;
use super::stream::TlsStream;
use crate::http::{self, ProxyHeader};
use crate::limits::{DRAIN_ASK, TLS_HANDSHAKE_BYTES, TLS_HANDSHAKE_TIMEOUT, TLS_HANDSHAKES};
use crate::metrics::{TLS_HANDSHAKES_FAILED, TLS_HANDSHAKES_REFUSED};
use crate::runtime::{self, TcpStream, Wake};
use rustls::server::{Accepted, Acceptor};
use rustls::{Connection, ServerConnection};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// A PROXY header before the ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Without one the connection is closed.
    pub required: bool,
    /// When all of it must be here.
    pub deadline: Instant,
}

/// Takes a fresh connection through its handshake and hands it to `done`, with the client that its PROXY header
/// names, if there may be a `header` and it names one. `done` runs on the core's own stack. A handshake that
/// fails ends the connection, and `done` is dropped. So is one beyond `limits::TLS_HANDSHAKES`.
pub fn accept(
    tcp: TcpStream,
    certs: Arc<Certs>,
    header: Option<Header>,
    done: impl FnOnce(Stream, Option<SocketAddr>) + 'static,
) {
    let Some(counted) = InProgress::begin() else {
        let refused = TLS_HANDSHAKES_REFUSED.add();
        if refused.is_power_of_two() {
            log::warn!("too many TLS handshakes at once: {refused} connections closed so far");
        }
        return;
    };
    let phase = match header {
        Some(header) => Phase::Header(header, Vec::new()),
        None => Phase::Hello(Box::default()),
    };
    let handshake = Handshake {
        phase,
        certs,
        named: None,
        left: TLS_HANDSHAKE_BYTES,
        deadline: header.map_or_else(tls_deadline, |header| header.deadline),
        done,
        _counted: counted,
    };
    wait(tcp, Box::new(handshake));
}

fn tls_deadline() -> Instant {
    runtime::now() + TLS_HANDSHAKE_TIMEOUT
}

/// Handshakes in progress, all cores together.
pub fn handshakes() -> usize {
    IN_PROGRESS.load(Ordering::Relaxed)
}

static IN_PROGRESS: AtomicUsize = AtomicUsize::new(0);

/// Counts a handshake until it is dropped.
struct InProgress;

impl InProgress {
    fn begin() -> Option<InProgress> {
        let before = IN_PROGRESS.fetch_add(1, Ordering::Relaxed);
        let counted = InProgress;
        (before < TLS_HANDSHAKES).then_some(counted)
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        IN_PROGRESS.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Handshake<F> {
    phase: Phase,
    certs: Arc<Certs>,
    /// Whom the PROXY header names.
    named: Option<SocketAddr>,
    /// Bytes that the client may still send before it is done.
    left: usize,
    deadline: Instant,
    done: F,
    _counted: InProgress,
}

enum Phase {
    /// With what has come of it: `limits::PROXY_HEADER_BYTES` and one read at most.
    Header(Header, Vec<u8>),
    Hello(Box<Acceptor>),
    Keys(Box<ServerConnection>),
    Over,
}

/// Why a handshake fails, and the last bytes for the client.
struct Refusal {
    alert: Vec<u8>,
    reason: String,
}

impl Refusal {
    fn new(reason: impl Into<String>) -> Refusal {
        Refusal { alert: Vec::new(), reason: reason.into() }
    }
}

/// A fatal alert `unrecognized_name` (RFC 6066 §3, RFC 8446 §6) in a record of its own: rustls would send
/// `access_denied`.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

fn wait<F: FnOnce(Stream, Option<SocketAddr>) + 'static>(tcp: TcpStream, handshake: Box<Handshake<F>>) {
    tcp.when_readable(Some(handshake.deadline), move |tcp, wake| match wake {
        Wake::Ready => step(tcp, handshake),
        Wake::Roused => hurry(tcp, handshake),
        Wake::TimedOut => failed(&tcp, "it took too long"),
        Wake::Stopped => {}
    });
}

/// The program ends: it waits for this no longer than for any client that is about to ask.
fn hurry<F: FnOnce(Stream, Option<SocketAddr>) + 'static>(tcp: TcpStream, mut handshake: Box<Handshake<F>>) {
    handshake.deadline = handshake.deadline.min(runtime::now() + DRAIN_ASK);
    wait(tcp, handshake);
}

/// Takes what has arrived.
fn step<F: FnOnce(Stream, Option<SocketAddr>) + 'static>(tcp: TcpStream, mut handshake: Box<Handshake<F>>) {
    let mut chunk = [0; 4096];
    loop {
        let n = match tcp.try_read(&mut chunk) {
            Ok(Some(0)) | Err(_) => return failed(&tcp, "the client closed the connection"),
            Ok(Some(n)) => n,
            Ok(None) => return wait(tcp, handshake),
        };
        let mut rest = &chunk[..n];
        match handshake.feed(&tcp, &mut rest) {
            Ok(None) => {}
            Ok(Some(conn)) => {
                let Handshake { done, named, _counted, .. } = *handshake;
                drop(_counted);
                return done(Stream::Tls(TlsStream::new(tcp, Connection::Server(conn), rest)), named);
            }
            Err(Refusal { alert, reason }) => {
                failed(&tcp, &reason);
                tcp.try_write(&alert).ok();
                return tcp.linger_close();
            }
        }
    }
}

fn failed(tcp: &TcpStream, reason: &str) {
    TLS_HANDSHAKES_FAILED.add();
    if log::log_enabled!(log::Level::Debug) {
        let peer = tcp.peer_addr().map_or_else(|_| "a client".to_owned(), |peer| peer.to_string());
        log::debug!("TLS handshake with {peer} failed: {reason}");
    }
}

impl<F> Handshake<F> {
    /// Takes `bytes`; the connection when it is ready, with what it has not taken left in `bytes`.
    fn feed(&mut self, tcp: &TcpStream, bytes: &mut &[u8]) -> Result<Option<ServerConnection>, Refusal> {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Header(header, mut received) => {
                received.extend_from_slice(bytes);
                match self.header(header, &received)? {
                    // The ClientHello may have come with it.
                    Some(len) => self.shake(tcp, &mut &received[len..]),
                    None => {
                        self.phase = Phase::Header(header, received);
                        Ok(None)
                    }
                }
            }
            phase => {
                self.phase = phase;
                self.shake(tcp, bytes)
            }
        }
    }

    /// The length of the PROXY header at the beginning of `received`, once it is decided.
    fn header(&mut self, header: Header, received: &[u8]) -> Result<Option<usize>, Refusal> {
        let len = match http::parse_proxy_header(received) {
            Ok(ProxyHeader::Partial) => return Ok(None),
            Ok(ProxyHeader::Absent) if header.required => return Err(Refusal::new("no PROXY header")),
            Ok(ProxyHeader::Absent) => 0,
            Ok(ProxyHeader::Present { len, client }) => {
                self.named = client;
                len
            }
            Err(error) => return Err(Refusal::new(error.0)),
        };
        self.phase = Phase::Hello(Box::default());
        self.deadline = tls_deadline();
        Ok(Some(len))
    }

    /// Gives rustls `bytes`.
    fn shake(&mut self, tcp: &TcpStream, bytes: &mut &[u8]) -> Result<Option<ServerConnection>, Refusal> {
        self.left = match self.left.checked_sub(bytes.len()) {
            Some(left) => left,
            None => return Err(Refusal::new("the client sent too many bytes")),
        };
        while !bytes.is_empty() {
            match std::mem::replace(&mut self.phase, Phase::Over) {
                Phase::Hello(mut acceptor) => {
                    acceptor.read_tls(bytes).map_err(|error| Refusal::new(error.to_string()))?;
                    self.phase = match acceptor.accept() {
                        Ok(None) => Phase::Hello(acceptor),
                        Ok(Some(accepted)) => {
                            let mut conn = Box::new(choose(accepted, &self.certs)?);
                            process(tcp, &mut conn)?;
                            Phase::Keys(conn)
                        }
                        Err((error, alert)) => return Err(with_alert(&error, alert)),
                    };
                }
                Phase::Keys(mut conn) => {
                    conn.read_tls(bytes).map_err(|error| Refusal::new(error.to_string()))?;
                    process(tcp, &mut conn)?;
                    if !conn.is_handshaking() {
                        return Ok(Some(*conn));
                    }
                    self.phase = Phase::Keys(conn);
                }
                Phase::Header(..) | Phase::Over => return Err(Refusal::new("it is over")),
            }
        }
        Ok(None)
    }
}

fn choose(accepted: Accepted, certs: &Certs) -> Result<ServerConnection, Refusal> {
    let name = accepted.client_hello().server_name().map(str::to_owned);
    if !certs.has(name.as_deref()) {
        let reason = match name {
            Some(name) => format!("no certificate for {name}"),
            None => "the client named nobody, and there is no default certificate".to_owned(),
        };
        return Err(Refusal { alert: UNRECOGNIZED_NAME.to_vec(), reason });
    }
    accepted.into_connection(certs.config()).map_err(|(error, alert)| with_alert(&error, alert))
}

fn with_alert(error: &rustls::Error, mut alert: rustls::server::AcceptedAlert) -> Refusal {
    let mut bytes = Vec::new();
    // A Vec takes everything.
    let _ = alert.write_all(&mut bytes);
    Refusal { alert: bytes, reason: error.to_string() }
}

/// Lets rustls work, and sends what it says. The server's flight fits a fresh socket's buffer, or the
/// handshake fails.
fn process(tcp: &TcpStream, conn: &mut ServerConnection) -> Result<(), Refusal> {
    let processed = conn.process_new_packets();
    let mut out = Vec::new();
    // A Vec takes everything.
    let _ = conn.write_tls(&mut out);
    if let Err(error) = processed {
        return Err(Refusal { alert: out, reason: error.to_string() });
    }
    match tcp.try_write(&out) {
        _ if out.is_empty() => Ok(()),
        Ok(Some(n)) if n == out.len() => Ok(()),
        Ok(_) => Err(Refusal::new("the socket's buffer is full")),
        Err(error) => Err(Refusal::new(error.to_string())),
    }
}
