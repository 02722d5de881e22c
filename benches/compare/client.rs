//! One connection to a proxy: sends a request, checks every byte of what comes back.

use crate::wire::{self, Exchange, Expect};
use rustix::net::{AddressFamily, SocketType, bind, connect, ipproto, socket, sockopt};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;

/// Header fields of an answer, at most.
const FIELDS: usize = 64;
/// Bytes of an answer's head, at most.
const HEAD: usize = 32 * 1024;

pub enum Socket {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Socket {
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Socket::Plain(stream) => stream,
            Socket::Tls(stream) => &stream.sock,
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Plain(stream) => stream.read(buffer),
            Socket::Tls(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Plain(stream) => stream.write(bytes),
            Socket::Tls(stream) => stream.write(bytes),
        }
    }
}

/// Connects from an address of 127.0.0.0/8, or from any.
pub fn open(from: Option<Ipv4Addr>, to: SocketAddr) -> io::Result<TcpStream> {
    let fd = socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::TCP))?;
    if let Some(from) = from {
        sockopt::set_socket_reuseaddr(&fd, true)?;
        bind(&fd, &SocketAddr::from((from, 0)))?;
    }
    connect(&fd, &to)?;
    let stream = TcpStream::from(fd);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Opens a connection for the load: it never blocks from here on.
pub fn open_for_load(to: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> io::Result<Socket> {
    let stream = open(None, to)?;
    stream.set_nonblocking(true)?;
    let Some(tls) = tls else { return Ok(Socket::Plain(stream)) };
    let name = ServerName::try_from(wire::HOST).map_err(io::Error::other)?;
    let session = ClientConnection::new(tls.clone(), name).map_err(io::Error::other)?;
    Ok(Socket::Tls(Box::new(StreamOwned::new(session, stream))))
}

pub struct Client {
    pub socket: Socket,
    sent: usize,
    /// The part of a head that came so far.
    head: Vec<u8>,
    /// Bytes of the body, or of the expected bytes, that came so far; none before the body.
    got: Option<usize>,
    /// The answer said that the connection ends after it.
    pub ends: bool,
}

/// What became of an event.
pub enum Step {
    /// Wait; with `true` also until it can be written.
    Wait(bool),
    Done,
}

impl Client {
    pub fn new(socket: Socket) -> Client {
        Client { socket, sent: 0, head: Vec::new(), got: None, ends: false }
    }

    pub fn begin(&mut self) {
        self.sent = 0;
        self.head.clear();
        self.got = None;
    }

    /// Something came between requests: false if the connection has ended. TLS has messages of its own.
    pub fn rest(&mut self, buffer: &mut [u8]) -> bool {
        let tls = matches!(self.socket, Socket::Tls(_));
        tls && self.socket.read(buffer).is_err_and(|e| e.kind() == ErrorKind::WouldBlock)
    }

    /// Goes on as far as it can without waiting.
    pub fn step(&mut self, exchange: &Exchange, buffer: &mut [u8], readable: bool) -> io::Result<Step> {
        let mut blocked = false;
        while self.sent < exchange.request.len() {
            match self.socket.write(&exchange.request[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    blocked = match &self.socket {
                        Socket::Plain(_) => true,
                        Socket::Tls(stream) => stream.conn.wants_write(),
                    };
                    break;
                }
                Err(e) => return Err(e),
            }
        }
        let tls = matches!(self.socket, Socket::Tls(_));
        if !readable && !tls {
            return Ok(Step::Wait(blocked));
        }
        loop {
            match self.socket.read(buffer) {
                Ok(0) => {
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, "closed before the answer's end"));
                }
                Ok(n) => {
                    if self.take(&buffer[..n], exchange)? {
                        return Ok(Step::Done);
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
            if !tls {
                break;
            }
        }
        Ok(Step::Wait(blocked))
    }

    /// Checks what came; true at the answer's end.
    fn take(&mut self, bytes: &[u8], exchange: &Exchange) -> io::Result<bool> {
        let expected: &[u8] = match &exchange.expect {
            Expect::Bytes(expected) => {
                self.got.get_or_insert(0);
                expected
            }
            Expect::Body(expected) => expected,
        };
        if self.got.is_some() {
            return self.check(bytes, expected);
        }
        if !self.head.is_empty() {
            self.head.extend_from_slice(bytes);
            let joined = std::mem::take(&mut self.head);
            return self.begin_body(&joined, expected);
        }
        self.begin_body(bytes, expected)
    }

    fn begin_body(&mut self, bytes: &[u8], expected: &[u8]) -> io::Result<bool> {
        let Some((used, ends)) = head(bytes, expected.len())? else {
            if bytes.len() > HEAD {
                return Err(io::Error::new(ErrorKind::InvalidData, "an endless head"));
            }
            self.head = bytes.to_vec();
            return Ok(false);
        };
        self.ends |= ends;
        self.got = Some(0);
        self.check(&bytes[used..], expected)
    }

    fn check(&mut self, bytes: &[u8], expected: &[u8]) -> io::Result<bool> {
        let got = self.got.unwrap_or(0);
        if expected.get(got..got + bytes.len()) != Some(bytes) {
            return Err(io::Error::new(ErrorKind::InvalidData, format!("wrong bytes from {got} on")));
        }
        self.got = Some(got + bytes.len());
        Ok(got + bytes.len() == expected.len())
    }
}

/// An answer's head: its length and whether the connection ends; none if it is not whole. It must be a 200
/// with a Content-Length of `length`.
fn head(bytes: &[u8], length: usize) -> io::Result<Option<(usize, bool)>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let bad = |text: String| io::Error::new(ErrorKind::InvalidData, text);
    let used = match response.parse(bytes) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(e) => return Err(bad(e.to_string())),
    };
    if response.code != Some(200) {
        return Err(bad(format!("status {}", response.code.unwrap_or(0))));
    }
    let (mut ends, mut right) = (false, false);
    for field in response.headers.iter() {
        if field.name.eq_ignore_ascii_case("content-length") {
            right = std::str::from_utf8(field.value).is_ok_and(|v| v.parse() == Ok(length));
        } else if field.name.eq_ignore_ascii_case("connection") {
            ends |= field.value.eq_ignore_ascii_case(b"close");
        }
    }
    if right { Ok(Some((used, ends))) } else { Err(bad(format!("no Content-Length of {length}"))) }
}
