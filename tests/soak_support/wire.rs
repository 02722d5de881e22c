//! A client's connection, plain or in TLS, whose ends are values to be judged, not failures.

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Nothing that is right takes longer, on a busy machine too.
pub const PATIENCE: Duration = Duration::from_secs(60);

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order.
    Eof,
    /// By a reset, or in TLS without its notice.
    Broken(ErrorKind),
    /// It goes on, but not as chunks do.
    Framing,
    /// Not at all: nothing came for [`PATIENCE`].
    Silent,
}

pub struct Wire {
    stream: Stream,
    buffer: Vec<u8>,
    /// Bytes read so far.
    pub read: u64,
}

/// An answer whose head was whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// How the connection ended within the body.
    pub cut: Option<End>,
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Whether the connection goes on behind it.
    pub fn keeps(&self) -> bool {
        self.cut.is_none() && self.field("connection") != Some("close")
    }
}

impl Wire {
    pub fn plain(addr: SocketAddr) -> io::Result<Wire> {
        Ok(Wire { stream: Stream::Plain(connect(addr)?), buffer: Vec::new(), read: 0 })
    }

    /// Completes the handshake.
    pub fn tls(addr: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> io::Result<Wire> {
        let mut tcp = connect(addr)?;
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let mut conn = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        while conn.is_handshaking() {
            conn.complete_io(&mut tcp)?;
        }
        let stream = Stream::Tls(Box::new(StreamOwned::new(conn, tcp)));
        Ok(Wire { stream, buffer: Vec::new(), read: 0 })
    }

    /// The side of a backend, which waits as long as it takes.
    pub fn accepted(tcp: TcpStream) -> Wire {
        let _ = tcp.set_nodelay(true);
        Wire { stream: Stream::Plain(tcp), buffer: Vec::new(), read: 0 }
    }

    /// The body of the request with this head.
    pub fn request_body(&mut self, head: &str) -> Result<Vec<u8>, End> {
        let lower = head.to_ascii_lowercase();
        let mut body = Vec::new();
        if let Some((_, rest)) = lower.split_once("\r\ncontent-length:") {
            let length = rest.split('\r').next().and_then(|n| n.trim().parse().ok()).unwrap_or(0);
            self.take(length, &mut body, &mut |_| ())?;
        } else if lower.contains("\r\ntransfer-encoding: chunked") {
            self.chunks(&mut body, &mut |_| ())?;
        }
        Ok(body)
    }

    /// Some bytes, as they come.
    pub fn some(&mut self) -> Result<Vec<u8>, End> {
        if self.buffer.is_empty() {
            self.fill(&mut |_| ())?;
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(tcp) => tcp.write_all(bytes),
            Stream::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
        }
    }

    /// Leaves by a reset, whatever was read.
    pub fn reset(self) {
        let _ = rustix::net::sockopt::set_socket_linger(self.tcp(), Some(Duration::ZERO));
    }

    /// The next final answer; interim ones are skipped. `Err` if the connection ended before its head.
    pub fn answer(&mut self, method: &str) -> Result<Answer, End> {
        self.answer_slowly(method, &mut |_| ())
    }

    /// The same; `pace` is told of each read's length and may take its time.
    pub fn answer_slowly(&mut self, method: &str, pace: &mut dyn FnMut(usize)) -> Result<Answer, End> {
        loop {
            let head = self.head()?;
            let status = head.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or(0);
            if (102..200).contains(&status) || status == 100 {
                continue;
            }
            let mut answer = Answer { status, head, body: Vec::new(), cut: None };
            if method != "HEAD" && status != 101 && status != 204 && status != 304 {
                answer.cut = self.body(&mut answer, pace).err();
            }
            return Ok(answer);
        }
    }

    /// The next head.
    pub fn head(&mut self) -> Result<String, End> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let rest = self.buffer.split_off(end + 4);
                let head = std::mem::replace(&mut self.buffer, rest);
                return Ok(String::from_utf8_lossy(&head).into_owned());
            }
            self.fill(&mut |_| ())?;
        }
    }

    /// The next `length` bytes.
    pub fn exactly(&mut self, length: usize) -> Result<Vec<u8>, End> {
        let mut bytes = Vec::new();
        self.take(length, &mut bytes, &mut |_| ())?;
        Ok(bytes)
    }

    /// Reads to the end; how it came, and what came before.
    pub fn rest(&mut self) -> (End, Vec<u8>) {
        loop {
            if let Err(end) = self.fill(&mut |_| ()) {
                return (end, std::mem::take(&mut self.buffer));
            }
        }
    }

    pub fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => &tls.sock,
        }
    }

    fn body(&mut self, answer: &mut Answer, pace: &mut dyn FnMut(usize)) -> Result<(), End> {
        if let Some(length) = answer.field("content-length") {
            let length = length.parse().unwrap_or(usize::MAX);
            return self.take(length, &mut answer.body, pace);
        }
        if answer.field("transfer-encoding") == Some("chunked") {
            return self.chunks(&mut answer.body, pace);
        }
        loop {
            match self.fill(pace) {
                Ok(()) => {}
                Err(end) => {
                    answer.body.append(&mut self.buffer);
                    return if end == End::Eof { Ok(()) } else { Err(end) };
                }
            }
        }
    }

    fn chunks(&mut self, body: &mut Vec<u8>, pace: &mut dyn FnMut(usize)) -> Result<(), End> {
        loop {
            let line = loop {
                match self.buffer.windows(2).position(|bytes| bytes == b"\r\n") {
                    Some(end) => break String::from_utf8_lossy(&self.buffer[..end]).into_owned(),
                    None => self.fill(pace)?,
                }
            };
            self.buffer.drain(..line.len() + 2);
            let size = usize::from_str_radix(&line, 16).map_err(|_| End::Framing)?;
            self.take(size, body, pace)?;
            let mut end = Vec::new();
            self.take(2, &mut end, pace)?;
            if end != b"\r\n" {
                return Err(End::Framing);
            }
            if size == 0 {
                return Ok(());
            }
        }
    }

    fn take(&mut self, length: usize, into: &mut Vec<u8>, pace: &mut dyn FnMut(usize)) -> Result<(), End> {
        let mut left = length;
        loop {
            let n = left.min(self.buffer.len());
            into.extend(self.buffer.drain(..n));
            left -= n;
            if left == 0 {
                return Ok(());
            }
            self.fill(pace)?;
        }
    }

    /// Reads once.
    fn fill(&mut self, pace: &mut dyn FnMut(usize)) -> Result<(), End> {
        let mut chunk = [0; 16 * 1024];
        let read = match &mut self.stream {
            Stream::Plain(tcp) => tcp.read(&mut chunk),
            Stream::Tls(tls) => tls.read(&mut chunk),
        };
        match read {
            Ok(0) => Err(End::Eof),
            Ok(n) => {
                self.read += n as u64;
                self.buffer.extend_from_slice(&chunk[..n]);
                pace(n);
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(End::Silent)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(End::Broken(error.kind())),
        }
    }
}

fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(addr)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    tcp.set_write_timeout(Some(PATIENCE))?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}
