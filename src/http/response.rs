//! Response heads of upstreams (RFC 9112 §4, §6.3), read as strictly as requests.

use std::mem::MaybeUninit;

use crate::http::fields::{Meaning, meaning};
use crate::http::framing::{Coding, Connection, content_length, transfer_coding};
use crate::http::head::{Field, HeadScan, Version, find_field, list, scan_head};
use crate::http::method::Method;
use crate::http::request::Request;
use crate::limits;

/// A response head, borrowed from the buffer it was read from.
#[derive(Clone, Debug)]
pub struct Response<'b> {
    /// 100 to 599 (RFC 9110 §15).
    pub status: u16,
    /// The reason phrase; may be empty.
    pub reason: &'b [u8],
    pub version: Version,
    /// All fields in order, also those that are not forwarded.
    pub fields: Vec<Field<'b>>,
    pub body: ResponseBody,
    /// The upstream's connection can be used again once the body has ended.
    pub keep_alive: bool,
    /// Bytes of the head with its empty line: the body begins there.
    pub head_len: usize,
    /// `Connection` names fields beyond the usual ones.
    pub(super) connection_names: bool,
}

/// How a response's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseBody {
    /// There is none: an answer to `HEAD`, 1xx, 204, 304.
    None,
    /// So many bytes.
    Length(u64),
    /// In chunks: [`ChunkDecoder`](super::ChunkDecoder).
    Chunked,
    /// The end of the connection is the end of the body, so a cut can't be told from it.
    UntilClose,
}

/// What is wrong with an upstream's response: the answer is 502 and the connection is not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadResponse(pub &'static str);

impl<'b> Response<'b> {
    /// A 1xx: the final response follows it on the same connection.
    pub fn is_interim(&self) -> bool {
        self.status < 200
    }

    /// The value of the first field of that name, case ignored.
    pub fn field(&self, name: &str) -> Option<&'b [u8]> {
        find_field(&self.fields, name)
    }
}

/// Fields that a head has room for before the vector grows: most have fewer.
const FIELDS_ROOM: usize = 24;

/// Reads the response head at the beginning of `buf`, the answer to a request with the method `to`; `None`
/// while it isn't complete.
///
/// # Errors
/// A head that isn't exactly as RFC 9112 writes it, is longer than the limits, has two lengths or a transfer
/// coding other than `chunked`; 101, which nobody asked for.
pub fn parse_response<'b>(buf: &'b [u8], to: &Method<'_>) -> Result<Option<Response<'b>>, BadResponse> {
    match parse(buf, to)? {
        Some(response) if response.status == 101 => Err(NOT_ASKED_FOR),
        parsed => Ok(parsed),
    }
}

/// As [`parse_response`] for the answer to `request`: 101 is taken if it changes to a protocol that the
/// request asked for (RFC 9110 §7.8).
///
/// # Errors
/// As [`parse_response`].
pub fn parse_answer<'b>(buf: &'b [u8], request: &Request<'_>) -> Result<Option<Response<'b>>, BadResponse> {
    match parse(buf, &request.method)? {
        Some(response) if response.status == 101 && !is_switch(&response, request) => Err(NOT_ASKED_FOR),
        parsed => Ok(parsed),
    }
}

const NOT_ASKED_FOR: BadResponse = BadResponse("it switches protocols, which wasn't asked for");

/// Whether each protocol that the 101 names was asked for, one is named, and `Connection` says so.
fn is_switch(response: &Response<'_>, request: &Request<'_>) -> bool {
    let upgrades = response.fields.iter().filter(|f| f.name.eq_ignore_ascii_case(b"upgrade"));
    let mut chosen = upgrades.flat_map(|f| list(f.value)).peekable();
    let asked = |protocol: &[u8]| request.protocols().any(|asked| asked.eq_ignore_ascii_case(protocol));
    let options = response.fields.iter().filter(|f| f.name.eq_ignore_ascii_case(b"connection"));
    let said = options.flat_map(|f| list(f.value)).any(|option| option.eq_ignore_ascii_case(b"upgrade"));
    response.version == Version::Http11 && said && chosen.peek().is_some() && chosen.all(asked)
}

fn parse<'b>(buf: &'b [u8], to: &Method<'_>) -> Result<Option<Response<'b>>, BadResponse> {
    let prefix_len = buf.len().min(PREFIX.len());
    if buf[..prefix_len] != PREFIX[..prefix_len] {
        return Err(BadResponse("no HTTP/1 response"));
    }
    let head_len = match scan_head(&buf[..buf.len().min(limits::RESPONSE_HEAD_BYTES)], 0) {
        HeadScan::Complete(len) => len,
        HeadScan::Partial if buf.len() < limits::RESPONSE_HEAD_BYTES => return Ok(None),
        HeadScan::Partial => return Err(BadResponse("response head too long")),
        HeadScan::BareLf => return Err(BadResponse("a line doesn't end in CRLF")),
    };
    let head = &buf[..head_len];
    let mut slots = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; limits::HEAD_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let strict = httparse::ParserConfig::default();
    match strict.parse_response_with_uninit_headers(&mut parsed, head, &mut slots) {
        Ok(httparse::Status::Complete(len)) if len == head.len() => {}
        Ok(_) => return Err(BadResponse("malformed response head")),
        Err(error) => return Err(explain(error)),
    }
    let (Some(status), Some(minor)) = (parsed.code, parsed.version) else {
        return Err(BadResponse("malformed status line"));
    };
    if !(100..=599).contains(&status) {
        return Err(BadResponse("invalid status code"));
    }
    let mut facts = Facts::default();
    let mut fields = Vec::with_capacity(FIELDS_ROOM);
    for header in parsed.headers.iter() {
        let field = Field { name: header.name.as_bytes(), value: header.value };
        facts.note(&field)?;
        fields.push(field);
    }
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    let body = facts.body(status, version, to)?;
    Ok(Some(Response {
        status,
        reason: parsed.reason.unwrap_or_default().as_bytes(),
        version,
        fields,
        body,
        keep_alive: facts.keep_alive(status, version, body),
        head_len,
        connection_names: facts.connection.names,
    }))
}

/// What every response that is understood begins with.
const PREFIX: &[u8] = b"HTTP/1.";

/// Says what `httparse` stumbled over.
#[cold]
fn explain(error: httparse::Error) -> BadResponse {
    BadResponse(match error {
        httparse::Error::TooManyHeaders => "too many fields",
        httparse::Error::Version => "unknown protocol version",
        httparse::Error::HeaderName => "malformed field name, a space before a colon, or a folded line",
        httparse::Error::HeaderValue => "a field's value holds a control character",
        httparse::Error::NewLine => "a line doesn't end in CRLF",
        httparse::Error::Status | httparse::Error::Token => "malformed status line",
    })
}

/// What the fields say, while they are read.
#[derive(Default)]
struct Facts {
    length: Option<u64>,
    coding: Option<Coding>,
    connection: Connection,
}

impl Facts {
    fn note(&mut self, field: &Field<'_>) -> Result<(), BadResponse> {
        match meaning(field.name) {
            Meaning::ContentLength => {
                let length =
                    content_length(field.value).map_err(|_| BadResponse("malformed Content-Length"))?;
                if self.length.replace(length).is_some() {
                    return Err(BadResponse("more than one Content-Length"));
                }
            }
            Meaning::TransferEncoding => {
                if self.coding.replace(transfer_coding(field.value)).is_some() {
                    return Err(BadResponse("more than one Transfer-Encoding"));
                }
            }
            Meaning::Connection => self.connection.add(field.value).map_err(BadResponse)?,
            Meaning::Host | Meaning::Expect | Meaning::Upgrade | Meaning::Other => {}
        }
        Ok(())
    }

    fn body(&self, status: u16, version: Version, to: &Method<'_>) -> Result<ResponseBody, BadResponse> {
        let framed = match (self.length, self.coding) {
            (Some(_), Some(_)) => return Err(BadResponse("both Content-Length and Transfer-Encoding")),
            (None, Some(_)) if version == Version::Http10 => {
                return Err(BadResponse("Transfer-Encoding in HTTP/1.0"));
            }
            (None, Some(Coding::Chunked)) => ResponseBody::Chunked,
            (None, Some(_)) => return Err(BadResponse("unknown transfer coding")),
            (Some(length), None) => ResponseBody::Length(length),
            (None, None) => ResponseBody::UntilClose,
        };
        Ok(if to.is_head() || is_bodiless(status) { ResponseBody::None } else { framed })
    }

    fn keep_alive(&self, status: u16, version: Version, body: ResponseBody) -> bool {
        let asked = !self.connection.close && (version == Version::Http11 || self.connection.keep_alive);
        // a 1xx or 204 may not announce a body (RFC 9110 §8.6): one that does may send it, too
        let announces = self.coding.is_some() || self.length.is_some_and(|length| length > 0);
        let stray = announces && (status < 200 || status == 204);
        asked && !stray && body != ResponseBody::UntilClose
    }
}

/// Whether responses of that status never have a body (RFC 9112 §6.3).
pub(super) fn is_bodiless(status: u16) -> bool {
    matches!(status, 100..=199 | 204 | 304)
}
