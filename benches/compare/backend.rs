//! The backend: one thread, fixed answers, uploads that are checked, WebSocket echo. It costs less than any
//! proxy.

use crate::wire;
use rustix::event::epoll;
use rustix::net::{AddressFamily, SocketType, bind, ipproto, listen, socket, sockopt};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

const LISTENER: u64 = u64::MAX;
const BUFFER: usize = 256 * 1024;
/// Header fields of a request, at most.
const FIELDS: usize = 64;

/// Starts it and says where it listens; it ends with the process.
pub fn start(addr: SocketAddr) -> io::Result<SocketAddr> {
    let listener = socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseaddr(&listener, true)?;
    bind(&listener, &addr)?;
    listen(&listener, 4096)?;
    let listener = TcpListener::from(listener);
    listener.set_nonblocking(true)?;
    let mut backend = Backend {
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        listener,
        connections: HashMap::new(),
        next: 0,
        buffer: vec![0; BUFFER],
        answers: Answers::new(),
    };
    epoll::add(
        &backend.epoll,
        &backend.listener,
        epoll::EventData::new_u64(LISTENER),
        epoll::EventFlags::IN,
    )?;
    let addr = backend.listener.local_addr()?;
    thread::Builder::new().name("backend".into()).spawn(move || backend.run())?;
    Ok(addr)
}

struct Backend {
    epoll: rustix::fd::OwnedFd,
    listener: TcpListener,
    connections: HashMap<u64, Connection>,
    next: u64,
    buffer: Vec<u8>,
    answers: Answers,
}

struct Answers {
    fixed: Vec<(&'static str, Arc<[u8]>)>,
    uploaded: Arc<[u8]>,
    bad: Arc<[u8]>,
    missing: Arc<[u8]>,
    switching: Arc<[u8]>,
    upload: Arc<[u8]>,
}

impl Answers {
    fn new() -> Answers {
        let ok = |length| Arc::from(wire::answer("200 OK", &wire::body(length)));
        Answers {
            fixed: wire::BODIES.iter().map(|(path, length)| (*path, ok(*length))).collect(),
            uploaded: ok(100),
            bad: Arc::from(wire::answer("400 Bad Request", b"")),
            missing: Arc::from(wire::answer("404 Not Found", b"")),
            switching: Arc::from(wire::switching()),
            upload: wire::body(wire::UPLOAD),
        }
    }
}

struct Connection {
    stream: TcpStream,
    /// What was read and is not understood yet.
    input: Vec<u8>,
    output: Vec<(Arc<[u8]>, usize)>,
    state: State,
    close: bool,
}

enum State {
    Head,
    /// An upload: bytes so far, whether all were right, and how it is framed.
    Body {
        got: usize,
        right: bool,
        framing: Framing,
    },
    WebSocket,
}

enum Framing {
    Length(usize),
    /// Bytes left of this chunk with its line end; 0: a size line follows.
    Chunked(usize),
}

impl Backend {
    fn run(&mut self) {
        let mut events = Vec::with_capacity(256);
        loop {
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => panic!("the backend can't wait: {e}"),
            }
            for event in &events {
                let key = event.data.u64();
                if key == LISTENER {
                    self.accept();
                } else if self.serve(key).is_err() {
                    self.connections.remove(&key);
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let (key, data) = (self.next, epoll::EventData::new_u64(self.next));
            self.next += 1;
            let ready = stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true));
            if ready.is_ok() && epoll::add(&self.epoll, &stream, data, epoll::EventFlags::IN).is_ok() {
                let state = State::Head;
                let connection = Connection { stream, input: vec![], output: vec![], state, close: false };
                self.connections.insert(key, connection);
            }
        }
    }

    fn serve(&mut self, key: u64) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(&key) else { return Ok(()) };
        let blocked = !connection.output.is_empty();
        if !blocked {
            match connection.stream.read(&mut self.buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => connection.take(&self.buffer[..n], &self.answers)?,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
        connection.flush()?;
        let waits = !connection.output.is_empty();
        if waits != blocked {
            let flags = if waits { epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
            epoll::modify(&self.epoll, &connection.stream, epoll::EventData::new_u64(key), flags)?;
        }
        if connection.close && !waits { Err(ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl Connection {
    fn flush(&mut self) -> io::Result<()> {
        while let Some((bytes, sent)) = self.output.first_mut() {
            match self.stream.write(&bytes[*sent..]) {
                Ok(n) => *sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
            if *sent == bytes.len() {
                self.output.remove(0);
            }
        }
        Ok(())
    }

    /// Understands what came. The part that is not whole yet is kept.
    fn take(&mut self, bytes: &[u8], answers: &Answers) -> io::Result<()> {
        let mut joined = std::mem::take(&mut self.input);
        let mut rest = if joined.is_empty() {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            &joined[..]
        };
        while !rest.is_empty() {
            let used = match &mut self.state {
                State::Head => self.head(rest, answers)?,
                State::WebSocket => self.message(rest)?,
                State::Body { got, right, framing } => {
                    let used = framing.take(rest, |part| {
                        *right &= answers.upload.get(*got..*got + part.len()) == Some(part);
                        *got += part.len();
                    })?;
                    if matches!(framing, Framing::Length(0)) {
                        let answer =
                            if *right && *got == wire::UPLOAD { &answers.uploaded } else { &answers.bad };
                        self.output.push((answer.clone(), 0));
                        self.state = State::Head;
                    }
                    used
                }
            };
            if used == 0 {
                break;
            }
            rest = &rest[used..];
        }
        self.input = rest.to_vec();
        Ok(())
    }

    /// A request's head; 0 if it is not whole.
    fn head(&mut self, bytes: &[u8], answers: &Answers) -> io::Result<usize> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        let used = match request.parse(bytes) {
            Ok(httparse::Status::Complete(used)) => used,
            Ok(httparse::Status::Partial) => return Ok(0),
            Err(e) => return Err(io::Error::new(ErrorKind::InvalidData, e)),
        };
        let field = |name: &str| {
            let found = request.headers.iter().find(|f| f.name.eq_ignore_ascii_case(name));
            found.map(|f| String::from_utf8_lossy(f.value).to_ascii_lowercase())
        };
        let connection = field("connection").unwrap_or_default();
        self.close = connection.contains("close") || request.version == Some(0);
        let path = request.path.unwrap_or_default();
        if path == wire::UPLOAD_PATH {
            let length = field("content-length").and_then(|length| length.parse().ok());
            let chunked = field("transfer-encoding").is_some();
            let framing = if chunked { Framing::Chunked(0) } else { Framing::Length(length.unwrap_or(0)) };
            self.state = State::Body { got: 0, right: true, framing };
        } else if path == wire::WEBSOCKET_PATH {
            self.output.push((answers.switching.clone(), 0));
            self.state = State::WebSocket;
        } else {
            let answer = answers.fixed.iter().find(|(p, _)| *p == path).map(|(_, bytes)| bytes);
            self.output.push((answer.unwrap_or(&answers.missing).clone(), 0));
        }
        Ok(used)
    }

    /// A short masked frame goes back without its mask.
    fn message(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let [_, length, ..] = *bytes else { return Ok(0) };
        let length = usize::from(length & 0x7f);
        let Some(frame) = bytes.get(..6 + length) else { return Ok(0) };
        if length > 125 || frame[1] & 0x80 == 0 {
            return Err(ErrorKind::InvalidData.into());
        }
        let message: Vec<u8> =
            frame[6..].iter().zip(frame[2..6].iter().cycle()).map(|(a, b)| a ^ b).collect();
        self.output.push((Arc::from(wire::echoed(&message)), 0));
        Ok(frame.len())
    }
}

impl Framing {
    /// Hands on what is content; gives how much was used, 0 if a line is not whole. Ends as `Length(0)`.
    fn take(&mut self, bytes: &[u8], mut content: impl FnMut(&[u8])) -> io::Result<usize> {
        match self {
            Framing::Length(left) => {
                let part = bytes.len().min(*left);
                content(&bytes[..part]);
                *left -= part;
                Ok(part)
            }
            Framing::Chunked(0) => match httparse::parse_chunk_size(bytes) {
                // No trailers come: the last chunk's line and an empty one.
                Ok(httparse::Status::Complete((used, 0))) if bytes.len() >= used + 2 => {
                    *self = Framing::Length(0);
                    Ok(used + 2)
                }
                Ok(httparse::Status::Complete((used, size))) if size > 0 => {
                    *self = Framing::Chunked(size as usize + 2);
                    Ok(used)
                }
                Ok(_) => Ok(0),
                Err(_) => Err(ErrorKind::InvalidData.into()),
            },
            Framing::Chunked(left) => {
                let part = bytes.len().min(*left);
                let data = left.saturating_sub(2).min(part);
                content(&bytes[..data]);
                *left -= part;
                Ok(part)
            }
        }
    }
}
