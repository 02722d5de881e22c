//! The fields that decide where a message ends and what becomes of its connection.

use crate::http::head::{is_token, list, trim_ows};
use crate::limits;

/// Reads a `Content-Length`: digits only. A list, a sign and white space are malformed.
pub(super) fn content_length(value: &[u8]) -> Result<u64, BadLength> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(BadLength::Malformed);
    }
    let add = |sum: u64, digit: &u8| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    value.iter().try_fold(0, add).ok_or(BadLength::TooLarge)
}

/// Why a `Content-Length` is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadLength {
    Malformed,
    /// A number, but beyond 64 bits.
    TooLarge,
}

/// What a `Transfer-Encoding` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// Exactly `chunked`.
    Chunked,
    /// A registered coding that isn't understood, then `chunked`.
    Unknown,
    /// Anything else: no list of codings, none of them, or one whose message has no certain end.
    Malformed,
}

/// Reads a `Transfer-Encoding` (RFC 9112 §6.1).
pub(super) fn transfer_coding(value: &[u8]) -> Coding {
    let (mut codings, mut chunked, mut last_is_chunked, mut registered) = (0, 0, false, true);
    for element in list(value) {
        let name = element.split(|b| *b == b';').next().map_or(element, trim_ows);
        last_is_chunked = name.eq_ignore_ascii_case(b"chunked");
        if !is_token(name) || (last_is_chunked && name.len() != element.len()) {
            return Coding::Malformed;
        }
        codings += 1;
        chunked += usize::from(last_is_chunked);
        registered &= last_is_chunked || REGISTERED.iter().any(|known| name.eq_ignore_ascii_case(known));
    }
    match (codings, chunked) {
        (1, 1) => Coding::Chunked,
        (_, 1) if last_is_chunked && registered => Coding::Unknown,
        _ => Coding::Malformed,
    }
}

/// The other codings of IANA's registry. Who sends one of another name means to hide `chunked` from somebody.
const REGISTERED: [&[u8]; 5] = [b"compress", b"deflate", b"gzip", b"x-compress", b"x-gzip"];

/// What the `Connection` fields of a head say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Connection {
    pub close: bool,
    pub keep_alive: bool,
    pub upgrade: bool,
    /// A field is named that isn't removed anyway.
    pub names: bool,
    options: usize,
}

impl Connection {
    /// Adds one `Connection` field. An option that is no token names nothing and is passed over.
    ///
    /// # Errors
    /// More options than `limits::CONNECTION_OPTIONS` in all.
    pub fn add(&mut self, value: &[u8]) -> Result<(), &'static str> {
        for option in list(value).filter(|option| !option.is_empty()) {
            self.options += 1;
            if self.options > limits::CONNECTION_OPTIONS {
                return Err("too many options in Connection");
            }
            match () {
                () if option.eq_ignore_ascii_case(b"close") => self.close = true,
                () if option.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                () if option.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
                () => self.names |= is_token(option),
            }
        }
        Ok(())
    }
}
