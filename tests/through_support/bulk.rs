//! Bodies of a gigabyte: each end sends and compares a stream of bytes that depend on their place.

use super::{Peer, Served, Way, Wire, answer, block, field};
use crate::common::{BackendConn, DEADLINE};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Repeated, it is the stream.
static BLOCK: LazyLock<Vec<u8>> = LazyLock::new(|| block(1024 * 1024 + 7));
/// Bytes of the body under way that its sender has handed to its socket.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// How a body's end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length,
    Chunked,
}

impl Framing {
    fn of(head: &str) -> Framing {
        match field(head, "transfer-encoding") {
            Some(coding) => {
                assert_eq!(coding, "chunked", "{head}");
                Framing::Chunked
            }
            None => Framing::Length,
        }
    }
}

/// Sends the stream's first `total` bytes.
fn send_stream(peer: &mut impl Peer, total: u64, framing: Framing) {
    WRITTEN.store(0, Ordering::SeqCst);
    let (mut at, mut place, mut turn) = (0, 0, 0_usize);
    while at < total {
        // Pieces of many sizes, small ones among them.
        turn += 1;
        let wanted = if turn.is_multiple_of(16) { turn / 16 % 97 + 1 } else { 192 * 1024 + turn % 1024 };
        let length = wanted.min(BLOCK.len() - place).min(usize::try_from(total - at).unwrap());
        let piece = &BLOCK[place..place + length];
        match framing {
            Framing::Length => peer.send(piece),
            Framing::Chunked => {
                let head = format!("{length:x}\r\n");
                peer.send(&[head.as_bytes(), piece, b"\r\n"].concat());
            }
        }
        at += length as u64;
        place = (place + length) % BLOCK.len();
        WRITTEN.fetch_add(length as u64, Ordering::SeqCst);
    }
    if framing == Framing::Chunked {
        peer.send(b"0\r\n\r\n");
    }
}

/// Compares a body with the stream while it comes.
struct Reader {
    framing: Framing,
    /// Bytes of data that are equal.
    equal: u64,
    place: usize,
    /// Bytes of data until the next chunk's head, or the body's end.
    left: u64,
    /// What is read of a chunk's head.
    line: Vec<u8>,
    done: bool,
}

impl Reader {
    fn new(head: &str) -> Reader {
        let framing = Framing::of(head);
        let length = field(head, "content-length").map(|length| length.parse().unwrap());
        assert_eq!(length.is_some(), framing == Framing::Length, "{head}");
        let left = length.unwrap_or(0);
        Reader { framing, equal: 0, place: 0, left, line: Vec::new(), done: false }
    }

    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            assert!(!self.done, "{} bytes after the body's end", bytes.len());
            if self.left > 0 {
                let length =
                    usize::try_from(self.left).unwrap().min(bytes.len()).min(BLOCK.len() - self.place);
                let wanted = &BLOCK[self.place..self.place + length];
                if bytes[..length] != *wanted {
                    let off = bytes.iter().zip(wanted).position(|(is, should)| is != should);
                    panic!("byte {} is another", self.equal + off.unwrap() as u64);
                }
                self.equal += length as u64;
                self.left -= length as u64;
                self.place = (self.place + length) % BLOCK.len();
                bytes = &bytes[length..];
                self.done = self.left == 0 && self.framing == Framing::Length;
            } else {
                self.line.push(bytes[0]);
                bytes = &bytes[1..];
                self.chunk_head();
            }
        }
    }

    /// The end of the chunk before, if there is one, and the next one's size.
    fn chunk_head(&mut self) {
        let end: &[u8] = if self.equal == 0 { b"" } else { b"\r\n" };
        let Some(line) = self.line.strip_prefix(end) else {
            assert!(end.starts_with(&self.line), "a chunk's end: {:?}", self.line);
            return;
        };
        // The last chunk's head ends with that of the (empty) trailers.
        let end: &[u8] = if line.starts_with(b"0") { b"\r\n\r\n" } else { b"\r\n" };
        if let Some(size) = line.strip_suffix(end) {
            let size = std::str::from_utf8(size).unwrap();
            self.left = u64::from_str_radix(size, 16).unwrap_or_else(|_| panic!("a chunk's size: {size:?}"));
            self.done = self.left == 0;
            self.line.clear();
        }
    }
}

/// `/bulk/up/BYTES` compares what comes; `/bulk/down/BYTES/FRAMING` sends.
pub fn serve(conn: &mut BackendConn, head: &str, path: &str) -> bool {
    if let Some(wanted) = path.strip_prefix("/bulk/down/") {
        let (total, framing) = wanted.split_once('/').unwrap();
        let total: u64 = total.parse().unwrap();
        let (framing, said) = match framing {
            "Chunked" => (Framing::Chunked, "Transfer-Encoding: chunked".to_owned()),
            _ => (Framing::Length, format!("Content-Length: {total}")),
        };
        conn.send(format!("HTTP/1.1 200 OK\r\n{said}\r\n\r\n"));
        send_stream(conn, total, framing);
        return true;
    }
    let total = path.strip_prefix("/bulk/up/").unwrap().parse().unwrap();
    let Some(reader) = compare(head, total, || conn.bytes()) else { return false };
    let said = format!("{} bytes are equal, {:?}", reader.equal, reader.framing);
    answer(conn, "200 OK", "", said.as_bytes())
}

/// Uploads `total` bytes; the backend has compared each one.
pub fn upload(served: &Served, way: Way, total: u64, framing: Framing) {
    let mut wire = served.connect(way);
    let said = match framing {
        Framing::Length => format!("Content-Length: {total}"),
        Framing::Chunked => "Transfer-Encoding: chunked".into(),
    };
    wire.send(
        format!("POST /bulk/up/{total} HTTP/1.1\r\nHost: {}\r\n{said}\r\n\r\n", super::HOST).as_bytes(),
    );
    send_stream(&mut wire, total, framing);
    let head = wire.head();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let length = field(&head, "content-length").unwrap().parse().unwrap();
    let body = String::from_utf8(wire.exactly(length).expect("the backend's words")).unwrap();
    assert_eq!(body, format!("{total} bytes are equal, {framing:?}"));
}

/// Downloads `total` bytes and compares each.
pub fn download(served: &Served, way: Way, total: u64, framing: Framing) {
    let mut wire = served.connect(way);
    let ask = format!("GET /bulk/down/{total}/{framing:?} HTTP/1.1\r\nHost: {}\r\n\r\n", super::HOST);
    wire.send(ask.as_bytes());
    let head = wire.head();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(Framing::of(&head), framing, "{head}");
    let reader = compare(&head, total, || wire.bytes()).expect("the whole body");
    assert_eq!(reader.equal, total);
    answers_still(&mut wire);
}

/// Compares the body that `bytes` gives; none if it ends too early. After a quarter nothing is read until the
/// sender can't send on: what Tidegate keeps then is seen in its memory.
fn compare(head: &str, total: u64, mut bytes: impl FnMut() -> Option<Vec<u8>>) -> Option<Reader> {
    let mut reader = Reader::new(head);
    let mut paused = false;
    while !reader.done {
        reader.feed(&bytes()?);
        if !paused && reader.equal > total / 4 {
            stuck(total, reader.equal);
            paused = true;
        }
    }
    Some(reader)
}

/// The connection is in order after all: it serves another request.
fn answers_still(wire: &mut Wire) {
    wire.send(format!("GET /nothing HTTP/1.1\r\nHost: {}\r\n\r\n", super::HOST).as_bytes());
    let head = wire.head();
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
}

/// Waits until the sender's bytes have stayed the same for a while.
fn stuck(total: u64, read: u64) {
    let deadline = Instant::now() + DEADLINE;
    let (mut last, mut since) = (0, Instant::now());
    while since.elapsed() < Duration::from_millis(300) {
        assert!(Instant::now() < deadline, "it still sends");
        let now = WRITTEN.load(Ordering::SeqCst);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // What the kernel's buffers of three sockets hold, at most.
    assert!(last == total || last < read + 64 * 1024 * 1024, "{} bytes on their way", last - read);
}
