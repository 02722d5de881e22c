//! Small writers: no allocation beyond the buffer's growth.

pub(super) use crate::util::text::{address, decimal};

/// Appends one field line.
pub(super) fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends `Content-Length: n`.
pub(super) fn content_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"Content-Length: ");
    decimal(out, length);
    out.extend_from_slice(b"\r\n");
}

/// `Transfer-Encoding: chunked`.
pub(super) const CHUNKED: &[u8] = b"Transfer-Encoding: chunked\r\n";
