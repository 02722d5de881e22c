//! HTTP/1.1 in blocking style for the fake's two servers. Lenient where a test may want to look at what
//! arrived; the product's own reading of HTTP is `crate::http`.

use crate::limits;
use std::io::{self, Read, Write};

/// A request with its whole body.
pub(super) struct Message {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The client keeps the connection.
    pub keep: bool,
}

impl Message {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

/// A connection's reading side: bytes that were read and not yet used stay in `buffer`.
#[derive(Default)]
pub(super) struct Reader {
    buffer: Vec<u8>,
}

impl Reader {
    /// The next request; none if the client closed between two requests.
    pub(super) fn next(&mut self, stream: &mut (impl Read + Write)) -> io::Result<Option<Message>> {
        let (mut message, length) = loop {
            if let Some((message, length)) = parse_head(&self.buffer)? {
                break (message, length);
            }
            if self.buffer.len() > limits::REQUEST_HEAD_BYTES {
                return Err(bad("the head is too long"));
            }
            if !self.fill(stream)? {
                return if self.buffer.is_empty() { Ok(None) } else { Err(bad("cut off within a head")) };
            }
        };
        self.buffer.drain(..length);
        if message.header("expect").is_some_and(|v| v.eq_ignore_ascii_case("100-continue")) {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        message.body = match (message.header("transfer-encoding"), message.header("content-length")) {
            (Some(_), _) => self.chunks(stream)?,
            (None, Some(text)) => {
                let length = text.trim().parse().map_err(|_| bad("Content-Length is no number"))?;
                self.take(stream, length)?
            }
            (None, None) => Vec::new(),
        };
        Ok(Some(message))
    }

    /// Reads once; false at the end.
    fn fill(&mut self, stream: &mut impl Read) -> io::Result<bool> {
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes)?;
        self.buffer.extend_from_slice(&bytes[..read]);
        Ok(read > 0)
    }

    fn take(&mut self, stream: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
        if length > limits::FAKE_BODY_BYTES {
            return Err(bad("the body is too long"));
        }
        while self.buffer.len() < length {
            if !self.fill(stream)? {
                return Err(bad("cut off within a body"));
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn line(&mut self, stream: &mut impl Read) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let line = self.buffer.drain(..end + 2).take(end).collect();
                return String::from_utf8(line).map_err(|_| bad("a line is not UTF-8"));
            }
            if self.buffer.len() > limits::REQUEST_HEAD_BYTES || !self.fill(stream)? {
                return Err(bad("a line has no end"));
            }
        }
    }

    fn chunks(&mut self, stream: &mut impl Read) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line(stream)?;
            let digits = line.split(';').next().unwrap_or("").trim();
            let size = usize::from_str_radix(digits, 16).map_err(|_| bad("a chunk has no size"))?;
            if size == 0 {
                while !self.line(stream)?.is_empty() {}
                return Ok(body);
            }
            if size > limits::FAKE_BODY_BYTES - body.len() {
                return Err(bad("the body is too long"));
            }
            body.append(&mut self.take(stream, size)?);
            if !self.line(stream)?.is_empty() {
                return Err(bad("a chunk has no end"));
            }
        }
    }
}

/// The head at the start of `buffer` and its length, if it is whole.
fn parse_head(buffer: &[u8]) -> io::Result<Option<(Message, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; limits::HEAD_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(e) => return Err(bad(&e.to_string())),
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers: Vec<_> = request.headers.iter().map(|h| (h.name.to_owned(), text(h.value))).collect();
    let connection = header(&headers, "connection").unwrap_or("").to_ascii_lowercase();
    let keep = match request.version {
        Some(1) => !connection.contains("close"),
        _ => connection.contains("keep-alive"),
    };
    let method = request.method.unwrap_or("").to_owned();
    let target = request.path.unwrap_or("").to_owned();
    Ok(Some((Message { method, target, headers, body: Vec::new(), keep }, length)))
}

fn header<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    headers.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
}

fn bad(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.to_owned())
}

/// The reason phrase of a status.
pub(super) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        303 => "See Other",
        304 => "Not Modified",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    }
}

/// Appends one chunk; an empty one would end the body and is left out.
pub(super) fn push_chunk(out: &mut Vec<u8>, bytes: &[u8]) {
    if !bytes.is_empty() {
        out.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
        out.extend_from_slice(bytes);
        out.extend_from_slice(b"\r\n");
    }
}

/// The chunk that ends a body.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The value of `name` in a query string or a form, decoded.
pub(super) fn query_value(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent_decode(key) == name).then(|| percent_decode(value))
    })
}

/// Decodes `%41` and `+`; what is malformed stays as it is.
pub(super) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|h| std::str::from_utf8(h).ok());
        match (bytes[at], hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// Reads from a script, one byte at a time, and forgets what is written.
    struct Script(Cursor<Vec<u8>>);

    impl Read for Script {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.0.read(&mut out[..1])
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn reads_pipelined_requests_with_every_framing() {
        let text = "POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcPOST /b HTTP/1.1\r\n\
                    Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nde\r\n1\r\nf\r\n0\r\nT: v\r\n\r\n\
                    GET /c HTTP/1.0\r\n\r\n";
        let mut script = Script(Cursor::new(text.as_bytes().to_vec()));
        let mut reader = Reader::default();
        let mut seen = Vec::new();
        while let Some(m) = reader.next(&mut script).unwrap() {
            seen.push((m.target, String::from_utf8(m.body).unwrap(), m.keep));
        }
        let expected = [("/a", "abc", true), ("/b", "def", true), ("/c", "", false)];
        assert_eq!(seen, expected.map(|(t, b, k)| (t.to_owned(), b.to_owned(), k)));
    }

    #[test]
    fn refuses_what_is_cut_off_or_too_long() {
        for text in [
            "GET / HT",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab",
            "POST / HTTP/1.1\r\nContent-Length: -3\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        ] {
            let mut script = Script(Cursor::new(text.as_bytes().to_vec()));
            assert!(Reader::default().next(&mut script).is_err(), "{text:?}");
        }
    }

    #[test]
    fn decodes_queries() {
        let query = "a=1&filters=%7B%22type%22%3A1%7D&x=a+b%zz%4";
        assert_eq!(query_value(query, "filters").as_deref(), Some("{\"type\":1}"));
        assert_eq!(query_value(query, "x").as_deref(), Some("a b%zz%4"));
        assert_eq!(query_value(query, "y"), None);
    }
}
