//! Request heads (RFC 9112 §2, §3, §5, §6).

use std::borrow::Cow;
use std::mem::MaybeUninit;

use crate::http::fields::{Meaning, meaning};
use crate::http::framing::{BadLength, Coding, Connection, content_length, transfer_coding};
use crate::http::head::{Field, HeadScan, Version, find_field, is_token_char, list, scan_head};
use crate::http::host::parse_host;
use crate::http::method::Method;
use crate::http::path::normalise;
use crate::http::target::{Target, parse_target};
use crate::limits;

/// A request head, borrowed from the buffer it was read from.
#[derive(Clone, Debug)]
pub struct Request<'b> {
    pub method: Method<'b>,
    pub target: Target<'b>,
    pub version: Version,
    /// All fields in order, also those that are not forwarded.
    pub fields: Vec<Field<'b>>,
    /// The host that is asked for, as sent: the target's authority if it has one, else `Host`. Valid for
    /// [`parse_host`]; empty only in an HTTP/1.0 request without `Host`.
    pub host: &'b [u8],
    pub body: Body,
    /// The client wants to use the connection again.
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body (never set without a body).
    pub expect_continue: bool,
    /// The protocols the client wants to change to; `h2c` is passed over.
    pub upgrade: Option<&'b [u8]>,
    /// Bytes of the head with its empty line: the body begins there.
    pub head_len: usize,
    /// `Connection` names fields beyond the usual ones.
    pub(super) connection_names: bool,
    /// The target's path and query, normalised.
    path_and_query: Cow<'b, [u8]>,
}

/// How a request's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    None,
    /// So many bytes (0 if the client said so).
    Length(u64),
    /// In chunks: [`ChunkDecoder`](super::ChunkDecoder).
    Chunked,
}

/// Why a request is refused. The connection is closed after the answer: where the next request would begin
/// isn't certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// 400, 413, 414, 417, 431, 501 or 505.
    pub status: u16,
    /// What is wrong, for the client to read.
    pub reason: &'static str,
}

impl Reject {
    pub(super) const fn bad(reason: &'static str) -> Self {
        Reject { status: 400, reason }
    }
}

impl<'b> Request<'b> {
    /// The value of the first field of that name, case ignored.
    pub fn field(&self, name: &str) -> Option<&'b [u8]> {
        find_field(&self.fields, name)
    }

    /// What is asked for, the same for whoever decides about it and for the upstream: path and query, or `*`.
    /// Dot segments are resolved, also those that are written with `%2e`; `//`, `%2F` and the query are as sent.
    pub fn path_and_query(&self) -> &[u8] {
        &self.path_and_query
    }

    /// The protocols that the upstream is asked to change to. None with a body: a server may pass over an
    /// `Upgrade` (RFC 9110 §7.8), and where a body would end after the change nobody says.
    pub fn protocols(&self) -> impl Iterator<Item = &'b [u8]> {
        let offered = self.upgrade.filter(|_| matches!(self.body, Body::None | Body::Length(0)));
        list(offered.unwrap_or_default()).filter(|p| !p.is_empty() && !p.eq_ignore_ascii_case(b"h2c"))
    }
}

/// Fields that a head has room for before the vector grows: most have fewer.
const FIELDS_ROOM: usize = 24;

/// Reads the request head at the beginning of `buf`; `None` while it isn't complete
/// ([`head_complete`](super::head_complete) tells when to ask). One CRLF before it is passed over
/// (RFC 9112 §2.2), counted in `head_len`.
///
/// # Errors
/// - 400 for whatever isn't exactly as RFC 9112 writes it, or could be read in two ways: a line that doesn't
///   end in CRLF, a folded line, a control character, a missing, doubled or malformed `Host`, a doubled or
///   malformed `Content-Length` (also doubled with the same value), both lengths, a `Transfer-Encoding` in
///   HTTP/1.0;
/// - 413 for a length beyond 64 bits; 414 and 431 beyond the limits; 417 for an expectation other than `100-continue`; 505 for another
///   version;
/// - 501 for a registered transfer coding before `chunked`, and for `CONNECT` and `TRACE`: no resource here will
///   ever have them (405 would promise others that have, and owe an `Allow` for a route not looked up yet).
pub fn parse_request(buf: &[u8]) -> Result<Option<Request<'_>>, Reject> {
    let start = if buf.starts_with(b"\r\n") { 2 } else { 0 };
    let head_len = match scan_head(&buf[..buf.len().min(limits::REQUEST_HEAD_BYTES)], 0) {
        HeadScan::Complete(len) => len,
        HeadScan::Partial => return partial(buf, start),
        HeadScan::BareLf => return Err(Reject::bad("a line doesn't end in CRLF")),
    };
    let head = &buf[start..head_len];
    if !head.first().is_some_and(|first| is_token_char(*first)) {
        return Err(Reject::bad(NO_METHOD));
    }
    let mut slots = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; limits::HEAD_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, &mut slots) {
        Ok(httparse::Status::Complete(len)) if len == head.len() => {}
        Ok(_) => return Err(Reject::bad("malformed request head")),
        Err(error) => return Err(explain(error, head)),
    }
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Reject::bad("malformed request line"));
    };
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    let method = Method::from_bytes(method.as_bytes());
    let mut facts = Facts::default();
    let mut fields = Vec::with_capacity(FIELDS_ROOM);
    for header in parsed.headers.iter() {
        let field = Field { name: header.name.as_bytes(), value: header.value };
        facts.note(&field)?;
        fields.push(field);
    }
    if matches!(method, Method::Other(b"CONNECT" | b"TRACE")) {
        return Err(Reject { status: 501, reason: "CONNECT and TRACE are not served" });
    }
    let target = parse_target(target.as_bytes(), &method)?;
    facts.conclude(method, target, version, fields, head_len).map(Some)
}

const NO_METHOD: &str = "the request doesn't begin with a method";

/// The verdict on a head without its empty line.
fn partial(buf: &[u8], start: usize) -> Result<Option<Request<'_>>, Reject> {
    let first = buf.get(start).copied();
    let lone_cr = first == Some(b'\r') && buf.get(start + 1).is_some_and(|next| *next != b'\n');
    if lone_cr || first.is_some_and(|b| b != b'\r' && !is_token_char(b)) {
        return Err(Reject::bad(NO_METHOD));
    }
    if buf.len() < limits::REQUEST_HEAD_BYTES {
        return Ok(None);
    }
    let target = buf[start..].split(|b| *b == b' ').nth(1).unwrap_or_default();
    Err(match target.len() > limits::TARGET_BYTES {
        true => Reject { status: 414, reason: "request target too long" },
        false => Reject { status: 431, reason: "request head too long" },
    })
}

/// Says what `httparse` stumbled over.
#[cold]
fn explain(error: httparse::Error, head: &[u8]) -> Reject {
    match error {
        httparse::Error::TooManyHeaders => Reject { status: 431, reason: "too many fields" },
        httparse::Error::Version => version_fault(head),
        httparse::Error::HeaderName => {
            Reject::bad("malformed field name, a space before a colon, or a folded line")
        }
        httparse::Error::HeaderValue => Reject::bad("a field's value holds a control character"),
        httparse::Error::NewLine => newline_fault(head),
        httparse::Error::Status | httparse::Error::Token => target_fault(head),
    }
}

/// A version that is none (400), or one that isn't spoken (505).
fn version_fault(head: &[u8]) -> Reject {
    let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
    let version = line.split(|b| *b == b' ').nth(2).unwrap_or_default();
    match version.strip_prefix(b"HTTP/") {
        Some([b'0'..=b'9']) | Some([b'0'..=b'9', b'.', b'0'..=b'9']) => {
            Reject { status: 505, reason: "only HTTP/1.1 and HTTP/1.0 are spoken here" }
        }
        _ => Reject::bad("malformed protocol version"),
    }
}

/// A version followed by something, or a CR that ends no line.
fn newline_fault(head: &[u8]) -> Reject {
    let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|b| *b == b' ').skip(2);
    match matches!((words.next(), words.next()), (Some(b"HTTP/1.1" | b"HTTP/1.0"), None)) {
        true => Reject::bad("a line doesn't end in CRLF"),
        false => Reject::bad("malformed protocol version"),
    }
}

/// A request line that is malformed (400), or whose target is too long to be looked at (414).
fn target_fault(head: &[u8]) -> Reject {
    let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
    match line.split(|b| *b == b' ').nth(1) {
        Some(target) if target.len() > limits::TARGET_BYTES => {
            Reject { status: 414, reason: "request target too long" }
        }
        _ => Reject::bad("malformed request line"),
    }
}

/// What the fields say, while they are read.
#[derive(Default)]
struct Facts<'b> {
    host: Option<&'b [u8]>,
    length: Option<u64>,
    coding: Option<Coding>,
    connection: Connection,
    expects: bool,
    upgrade: Option<&'b [u8]>,
}

impl<'b> Facts<'b> {
    fn note(&mut self, field: &Field<'b>) -> Result<(), Reject> {
        match meaning(field.name) {
            Meaning::Host => {
                parse_host(field.value)?;
                if self.host.replace(field.value).is_some() {
                    return Err(Reject::bad("more than one Host"));
                }
            }
            Meaning::ContentLength => {
                let length = content_length(field.value).map_err(|fault| match fault {
                    BadLength::Malformed => Reject::bad("malformed Content-Length"),
                    BadLength::TooLarge => Reject { status: 413, reason: "Content-Length beyond 64 bits" },
                })?;
                if self.length.replace(length).is_some() {
                    return Err(Reject::bad("more than one Content-Length"));
                }
            }
            Meaning::TransferEncoding => {
                let coding = transfer_coding(field.value);
                if coding == Coding::Malformed {
                    return Err(Reject::bad("malformed Transfer-Encoding"));
                }
                if self.coding.replace(coding).is_some() {
                    return Err(Reject::bad("more than one Transfer-Encoding"));
                }
            }
            Meaning::Connection => self.connection.add(field.value).map_err(Reject::bad)?,
            Meaning::Expect => {
                if !field.value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Reject { status: 417, reason: "only 100-continue can be expected" });
                }
                self.expects = true;
            }
            Meaning::Upgrade => {
                let wanted = list(field.value).any(|p| !p.is_empty() && !p.eq_ignore_ascii_case(b"h2c"));
                if wanted && self.upgrade.is_none() {
                    self.upgrade = Some(field.value);
                }
            }
            Meaning::Other => {}
        }
        Ok(())
    }

    fn conclude(
        self,
        method: Method<'b>,
        target: Target<'b>,
        version: Version,
        fields: Vec<Field<'b>>,
        head_len: usize,
    ) -> Result<Request<'b>, Reject> {
        let is_11 = version == Version::Http11;
        let host = match (self.host, target) {
            (None, _) if is_11 => return Err(Reject::bad("no Host")),
            (_, Target::Absolute { authority, .. }) => authority,
            (host, _) => host.unwrap_or_default(),
        };
        let body = self.body(version)?;
        Ok(Request {
            method,
            target,
            version,
            fields,
            host,
            body,
            keep_alive: !self.connection.close && (is_11 || self.connection.keep_alive),
            // an HTTP/1.0 client's expectation is ignored (RFC 9110 §10.1.1)
            expect_continue: self.expects && is_11 && !matches!(body, Body::None | Body::Length(0)),
            upgrade: self.upgrade.filter(|_| is_11 && self.connection.upgrade),
            head_len,
            connection_names: self.connection.names,
            path_and_query: normalise(target.path_as_sent()),
        })
    }

    fn body(&self, version: Version) -> Result<Body, Reject> {
        match (self.length, self.coding) {
            (None, None) => Ok(Body::None),
            (Some(length), None) => Ok(Body::Length(length)),
            (Some(_), Some(_)) => Err(Reject::bad("both Content-Length and Transfer-Encoding")),
            (None, Some(_)) if version == Version::Http10 => {
                Err(Reject::bad("Transfer-Encoding in HTTP/1.0"))
            }
            (None, Some(Coding::Chunked)) => Ok(Body::Chunked),
            (None, Some(_)) => Err(Reject { status: 501, reason: "unknown transfer coding" }),
        }
    }
}
