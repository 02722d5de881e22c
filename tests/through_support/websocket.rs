//! WebSocket (RFC 6455), both ends written by hand: a strict client and a server that echoes.

use super::{HOST, Peer, Served, Way, base64, block, field};
use crate::common::BackendConn;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A message of which the server asks the client whether it is there, before it echoes.
const ASK_ME: &[u8] = b"ask me";
/// A message that the server closes on.
const CLOSE_ME: &[u8] = b"close me";
/// What it says then: 4001, and a reason.
const CLOSED_BY_SERVER: &[u8] = b"\x0f\xa1the server's wish";

#[derive(Clone, Debug, PartialEq, Eq)]
struct Frame {
    last: bool,
    opcode: u8,
    payload: Vec<u8>,
}

impl Frame {
    fn whole(opcode: u8, payload: &[u8]) -> Frame {
        Frame { last: true, opcode, payload: payload.to_vec() }
    }

    /// RFC 6455 §5.2; a client masks.
    fn send(&self, peer: &mut impl Peer, mask: Option<[u8; 4]>) {
        let masked = if mask.is_some() { 0x80 } else { 0 };
        let mut bytes = vec![u8::from(self.last) << 7 | self.opcode];
        match self.payload.len() {
            length @ ..=125 => bytes.push(masked | length as u8),
            length @ ..=0xFFFF => {
                bytes.push(masked | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            length => {
                bytes.push(masked | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend(mask.iter().flatten());
        let start = bytes.len();
        bytes.extend_from_slice(&self.payload);
        mask.iter().for_each(|mask| turn(&mut bytes[start..], *mask));
        peer.send(&bytes);
    }

    /// The next frame, which must be masked or must not; none if the connection ends before it.
    fn receive(peer: &mut impl Peer, masked: bool) -> Option<Frame> {
        let head = peer.exactly(2)?;
        assert_eq!(head[0] & 0x70, 0, "reserved bits");
        assert_eq!(head[1] & 0x80 != 0, masked, "the mask bit");
        let length = match head[1] & 0x7F {
            126 => u64::from(u16::from_be_bytes(peer.exactly(2)?.try_into().unwrap())),
            127 => u64::from_be_bytes(peer.exactly(8)?.try_into().unwrap()),
            length => u64::from(length),
        };
        let mask: [u8; 4] = if masked { peer.exactly(4)?.try_into().unwrap() } else { [0; 4] };
        let mut payload = peer.exactly(usize::try_from(length).unwrap())?;
        turn(&mut payload, mask);
        Some(Frame { last: head[0] & 0x80 != 0, opcode: head[0] & 0x0F, payload })
    }
}

/// Masks and unmasks.
fn turn(bytes: &mut [u8], mask: [u8; 4]) {
    if mask != [0; 4] {
        for chunk in bytes.chunks_mut(4) {
            chunk.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        }
    }
}

/// What a server must say to a client's key (RFC 6455 §4.2.2).
fn accept(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64(ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()).as_ref())
}

/// The server: a frame for a frame, until a close from either side. The connection ends with it.
pub fn serve(conn: &mut BackendConn, head: &str) -> bool {
    assert_eq!(field(head, "upgrade").map(str::to_ascii_lowercase).as_deref(), Some("websocket"), "{head}");
    assert_eq!(field(head, "sec-websocket-version"), Some("13"), "{head}");
    let accept = accept(field(head, "sec-websocket-key").expect("a key"));
    conn.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    ));
    while let Some(frame) = Frame::receive(conn, true) {
        match (frame.opcode, &frame.payload[..]) {
            (PING, _) => Frame { opcode: PONG, ..frame }.send(conn, None),
            (CLOSE, _) => {
                frame.send(conn, None);
                break;
            }
            (TEXT, ASK_ME) => {
                Frame::whole(PING, b"are you there?").send(conn, None);
                assert_eq!(Frame::receive(conn, true), Some(Frame::whole(PONG, b"are you there?")));
                frame.send(conn, None);
            }
            (TEXT, CLOSE_ME) => {
                Frame::whole(CLOSE, CLOSED_BY_SERVER).send(conn, None);
                assert_eq!(Frame::receive(conn, true), Some(Frame::whole(CLOSE, CLOSED_BY_SERVER)));
                break;
            }
            _ => frame.send(conn, None),
        }
    }
    false
}

/// The client.
struct Socket {
    wire: super::Wire,
    /// Frames sent so far: each has a mask of its own.
    sent: u32,
}

impl Socket {
    fn open(served: &Served, way: Way, nonce: u8) -> Socket {
        let mut wire = served.connect(way);
        let key = base64(&[nonce; 16]);
        let ask = format!(
            "GET /ws HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        );
        wire.send(ask.as_bytes());
        let head = wire.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert_eq!(field(&head, "sec-websocket-accept"), Some(&accept(&key)[..]), "{head}");
        assert_eq!(field(&head, "upgrade"), Some("websocket"), "{head}");
        Socket { wire, sent: 0 }
    }

    fn send(&mut self, frame: &Frame) {
        self.sent += 1;
        let mask = self.sent.wrapping_mul(0x9E37_79B9).to_be_bytes();
        frame.send(&mut self.wire, Some(mask));
    }

    #[track_caller]
    fn expect(&mut self, frame: &Frame) {
        let got = Frame::receive(&mut self.wire, false).expect("a frame");
        assert_eq!((got.opcode, got.last), (frame.opcode, frame.last));
        assert!(got.payload == frame.payload, "{} bytes are others", frame.payload.len());
    }

    #[track_caller]
    fn echoes(&mut self, frame: &Frame) {
        self.send(frame);
        self.expect(frame);
    }

    /// After the closing handshake the server ends the connection.
    fn ends(mut self) {
        assert_eq!(Frame::receive(&mut self.wire, false), None);
    }
}

/// All of it: text, a megabyte, fragments, ping and pong of either side, close by either side.
pub fn pass(served: &Served, way: Way) {
    let mut socket = Socket::open(served, way, 1);
    socket.echoes(&Frame::whole(TEXT, "grüße, 世界".as_bytes()));
    for length in [0, 125, 126, 65_535, 65_536, 1024 * 1024] {
        socket.echoes(&Frame::whole(BINARY, &block(length)));
    }
    // A message in three fragments, a ping between them.
    socket.echoes(&Frame { last: false, opcode: TEXT, payload: b"one ".to_vec() });
    socket.echoes(&Frame { last: false, opcode: CONTINUATION, payload: block(100_000) });
    socket.send(&Frame::whole(PING, b"now"));
    socket.expect(&Frame::whole(PONG, b"now"));
    socket.echoes(&Frame { last: true, opcode: CONTINUATION, payload: b" three".to_vec() });
    socket.send(&Frame::whole(TEXT, ASK_ME));
    socket.expect(&Frame::whole(PING, b"are you there?"));
    socket.send(&Frame::whole(PONG, b"are you there?"));
    socket.expect(&Frame::whole(TEXT, ASK_ME));
    // 1000 is a normal end.
    socket.echoes(&Frame::whole(CLOSE, b"\x03\xe8done"));
    socket.ends();

    let mut socket = Socket::open(served, way, 2);
    socket.send(&Frame::whole(TEXT, CLOSE_ME));
    socket.expect(&Frame::whole(CLOSE, CLOSED_BY_SERVER));
    socket.send(&Frame::whole(CLOSE, CLOSED_BY_SERVER));
    socket.ends();
}
