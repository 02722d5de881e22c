//! What load and backend agree on: bodies, requests, one WebSocket message.

use std::sync::Arc;

/// The host of the first route.
pub const HOST: &str = "app.local";
/// Paths with a body of fixed length.
pub const BODIES: [(&str, usize); 3] = [("/100", 100), ("/10k", 10 * 1024), ("/1m", 1024 * 1024)];
/// Where uploads go: answered with 100 bytes if what came is `body(UPLOAD)`, else with 400.
pub const UPLOAD_PATH: &str = "/upload";
pub const UPLOAD: usize = 1024 * 1024;
/// Where a WebSocket begins.
pub const WEBSOCKET_PATH: &str = "/echo";
/// A message's bytes; they fit the short form of a frame.
pub const MESSAGE: usize = 100;
/// RFC 6455, section 1.3: its example of a handshake.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A body in which each place can be told from its neighbours.
pub fn body(length: usize) -> Arc<[u8]> {
    (0..length).map(|i| b'!' + ((i * 7 + i / 251) % 90) as u8).collect()
}

/// A request and what must come back.
pub struct Exchange {
    pub request: Vec<u8>,
    pub expect: Expect,
}

pub enum Expect {
    /// 200 with this body.
    Body(Arc<[u8]>),
    /// These bytes.
    Bytes(Vec<u8>),
}

/// What a browser sends, in short; the header names are those that an access log shows.
fn head(method: &str, host: &str, path: &str, more: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
         Accept: */*\r\n{more}\r\n"
    )
    .into_bytes()
}

pub fn get(host: &str, path: &str, close: bool) -> Exchange {
    let length = BODIES.iter().find(|(p, _)| *p == path).map_or(0, |(_, length)| *length);
    let more = if close { "Connection: close\r\n" } else { "" };
    Exchange { request: head("GET", host, path, more), expect: Expect::Body(body(length)) }
}

pub fn upload(host: &str) -> Exchange {
    let mut request = head("POST", host, UPLOAD_PATH, &format!("Content-Length: {UPLOAD}\r\n"));
    request.extend_from_slice(&body(UPLOAD));
    Exchange { request, expect: Expect::Body(body(100)) }
}

/// The request that asks for a WebSocket, and one message: a text frame with a mask of zeroes.
pub fn websocket(host: &str) -> (Vec<u8>, Exchange) {
    let more = format!(
        "Connection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
    );
    let mut request = vec![0x81, 0x80 | MESSAGE as u8, 0, 0, 0, 0];
    request.extend_from_slice(&body(MESSAGE));
    let exchange = Exchange { request, expect: Expect::Bytes(echoed(&body(MESSAGE))) };
    (head("GET", host, WEBSOCKET_PATH, &more), exchange)
}

/// A message on its way back: no mask.
pub fn echoed(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81, message.len() as u8];
    frame.extend_from_slice(message);
    frame
}

pub fn switching() -> Vec<u8> {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    )
    .into_bytes()
}

pub fn answer(status: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nServer: backend\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}
