//! A small HTTP/1.1 client that tells exactly how an answer went wrong.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Time for each step of a request; longer than anything the proxy waits for.
const LIMIT: Duration = Duration::from_secs(30);
/// Bytes of an answer that are taken.
const BYTES: u64 = 64 << 20;

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// Why there is no whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connect failed.
    Refused(ErrorKind),
    /// The connection ended after so many bytes of an answer.
    Cut { bytes: usize },
    /// Nothing came in time.
    Late,
}

impl Response {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Which app answered, if one did.
    pub fn app(&self) -> Option<&str> {
        self.field("x-app")
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// `GET path` for `host`, on a connection of its own.
pub fn get(addr: SocketAddr, host: &str, path: &str) -> Result<Response, Failure> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    exchange(addr, request.as_bytes())
}

/// Sends bytes on a connection of its own and reads one answer to its end.
pub fn exchange(addr: SocketAddr, request: &[u8]) -> Result<Response, Failure> {
    let refused = |e: std::io::Error| Failure::Refused(e.kind());
    let mut stream = TcpStream::connect_timeout(&addr, LIMIT).map_err(refused)?;
    stream.set_read_timeout(Some(LIMIT)).map_err(refused)?;
    stream.set_nodelay(true).map_err(refused)?;
    // The other side may answer and close before all is sent: what it said counts.
    let _ = stream.write_all(request);
    let mut bytes = Vec::new();
    match stream.take(BYTES).read_to_end(&mut bytes) {
        Ok(_) => parse(&bytes).ok_or(Failure::Cut { bytes: bytes.len() }),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Err(Failure::Late),
        Err(_) => parse(&bytes).ok_or(Failure::Cut { bytes: bytes.len() }),
    }
}

/// An answer, if it is whole: framed by its length or by chunks. One that only the end of the connection
/// ends can't be told from a cut one, and is none.
pub fn parse(bytes: &[u8]) -> Option<Response> {
    let head_len = find(bytes, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..head_len]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let fields = lines.filter_map(|line| line.split_once(':'));
    let fields: Vec<_> = fields.map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_string())).collect();
    let mut response = Response { status, fields, body: vec![] };
    let rest = &bytes[head_len + 4..];
    if let Some(length) = response.field("content-length") {
        response.body = rest.get(..length.parse().ok()?)?.to_vec();
    } else if response.field("transfer-encoding").is_some() {
        response.body = unchunk(rest)?;
    } else if !matches!(status, 204 | 304) {
        return None;
    }
    Some(response)
}

/// The body within chunks, if their end is there.
fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = find(rest, b"\r\n")?;
        let size = std::str::from_utf8(&rest[..line]).ok()?.split(';').next()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        rest = &rest[line + 2..];
        if size == 0 {
            return (rest == b"\r\n" || find(rest, b"\r\n\r\n").is_some()).then_some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
