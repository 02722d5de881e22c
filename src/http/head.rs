//! What request and response heads share: lines, fields, versions.

use crate::limits;

/// One field line of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'b> {
    /// A token, in the sender's spelling.
    pub name: &'b [u8],
    /// Without white space around it; no control characters but tabs. May hold bytes above 0x7F.
    pub value: &'b [u8],
}

/// The protocol versions that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
}

/// Whether `buf` holds enough of a head for [`parse_request`](super::parse_request) or
/// [`parse_response`](super::parse_response) to give its verdict: the empty line that ends it, a line that
/// doesn't end in CRLF, a first byte that begins no head (a TLS handshake on a plain port), or as many bytes
/// as a head may have.
///
/// `scanned` is 0 for a new head and is kept by the caller while more bytes are appended to the same `buf`,
/// so that a head which trickles in byte by byte is read once.
pub fn head_complete(buf: &[u8], scanned: &mut usize) -> bool {
    if *scanned == 0 && buf.first().is_some_and(|first| !is_token_char(*first) && *first != b'\r') {
        return true;
    }
    let found = scan_head(buf, *scanned);
    *scanned = buf.len();
    found != HeadScan::Partial || buf.len() >= limits::REQUEST_HEAD_BYTES.max(limits::RESPONSE_HEAD_BYTES)
}

/// What a look at a buffer's line ends finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadScan {
    /// The head with its empty line is this long.
    Complete(usize),
    /// No empty line yet.
    Partial,
    /// A line feed without a carriage return before it.
    BareLf,
}

/// Looks for the first empty line, line by line, from byte `from` on (what lies before was looked at).
pub(super) fn scan_head(buf: &[u8], from: usize) -> HeadScan {
    let mut from = from;
    while let Some(lf) = find_lf(buf, from) {
        if lf == 0 || buf[lf - 1] != b'\r' {
            return HeadScan::BareLf;
        }
        if lf >= 3 && buf[lf - 2] == b'\n' {
            return HeadScan::Complete(lf + 1);
        }
        from = lf + 1;
    }
    HeadScan::Partial
}

/// The place of the first line feed at or after `from`.
pub(super) fn find_lf(buf: &[u8], from: usize) -> Option<usize> {
    memchr::memchr(b'\n', buf.get(from..)?).map(|at| from + at)
}

/// The value of the first field of that name (compared without case).
pub(super) fn find_field<'b>(fields: &[Field<'b>], name: &str) -> Option<&'b [u8]> {
    fields.iter().find(|f| f.name.eq_ignore_ascii_case(name.as_bytes())).map(|f| f.value)
}

/// Whether `b` may stand in a token (RFC 9110 §5.6.2).
pub(super) fn is_token_char(b: u8) -> bool {
    TOKEN_CHARS[usize::from(b)]
}

/// `tchar` by byte.
static TOKEN_CHARS: [bool; 256] = {
    let mut chars = [false; 256];
    let marks = b"!#$%&'*+-.^_`|~";
    let mut b = 0;
    while b < 256 {
        chars[b] = (b as u8).is_ascii_alphanumeric();
        b += 1;
    }
    let mut i = 0;
    while i < marks.len() {
        chars[marks[i] as usize] = true;
        i += 1;
    }
    chars
};

/// Whether `text` is a token.
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|b| is_token_char(*b))
}

/// `value` without spaces and tabs around it.
pub(super) fn trim_ows(value: &[u8]) -> &[u8] {
    let is_ows = |b: &u8| matches!(*b, b' ' | b'\t');
    let start = value.iter().position(|b| !is_ows(b)).unwrap_or(value.len());
    let end = value.iter().rposition(|b| !is_ows(b)).map_or(start, |last| last + 1);
    &value[start..end]
}

/// The elements of a comma-separated list (RFC 9110 §5.6.1), trimmed; empty ones too.
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(trim_ows)
}
