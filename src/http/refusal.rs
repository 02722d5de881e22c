//! The answer of an access rule.

use super::head::is_token;
use super::status::status_text;
use super::write;

/// What a client is told that an access rule keeps out.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    pub status: u16,
    /// The body, as it is.
    pub message: &'a str,
    /// The value of `WWW-Authenticate` (RFC 9110 §11.6.1), with a 401.
    pub challenge: Option<&'a str>,
    /// Names the request in the log.
    pub request_id: &'a str,
    /// Whether the connection goes on after this answer.
    pub keep_alive: bool,
    /// The request was `HEAD`: the head alone is written.
    pub head_only: bool,
}

/// Appends `refusal` as a whole response of plain text. Never stored by caches.
pub fn write_refusal(out: &mut Vec<u8>, refusal: &Refusal<'_>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    write::decimal(out, u64::from(refusal.status));
    out.push(b' ');
    out.extend_from_slice(status_text(refusal.status).as_bytes());
    out.extend_from_slice(b"\r\n");
    if let Some(challenge) = refusal.challenge {
        write::field(out, b"WWW-Authenticate", challenge.as_bytes());
    }
    write::field(out, b"Content-Type", b"text/plain; charset=utf-8");
    write::content_length(out, refusal.message.len() as u64 + 1);
    out.extend_from_slice(b"Cache-Control: no-store\r\n");
    out.extend_from_slice(b"X-Content-Type-Options: nosniff\r\n");
    if is_token(refusal.request_id.as_bytes()) {
        write::field(out, b"X-Request-Id", refusal.request_id.as_bytes());
    }
    let connection: &[u8] = if refusal.keep_alive { b"keep-alive" } else { b"close" };
    write::field(out, b"Connection", connection);
    out.extend_from_slice(b"\r\n");
    if !refusal.head_only {
        out.extend_from_slice(refusal.message.as_bytes());
        out.push(b'\n');
    }
}
