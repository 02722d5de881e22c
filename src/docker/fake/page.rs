//! What containers serve: the kinds of pages, their requests and responses.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

/// A page of a test's or the demo's own.
pub type Handler = Arc<dyn Fn(&Request) -> Response + Send + Sync>;

/// What a container serves. Every answer carries `X-Container: <name>` and `X-Container-Id: <id>`.
#[derive(Clone)]
pub enum Page {
    /// HTML: the container's name, id and address, and the request as it arrived.
    Whoami,
    /// Plain text `Hello from <name>`.
    Hello,
    /// HTML with the number of visits since the container's start.
    Counter,
    /// As `Hello`, this long after the request.
    Slow(Duration),
    /// Anything.
    Raw(Handler),
}

impl Page {
    /// A page by a closure.
    pub fn raw(handler: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        Page::Raw(Arc::new(handler))
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Page::Whoami => f.write_str("Whoami"),
            Page::Hello => f.write_str("Hello"),
            Page::Counter => f.write_str("Counter"),
            Page::Slow(time) => write!(f, "Slow({time:?})"),
            Page::Raw(_) => f.write_str("Raw"),
        }
    }
}

/// Who serves a page: one run of one container.
#[derive(Clone, Debug)]
pub struct Host {
    pub name: String,
    pub id: String,
    pub ip: Ipv4Addr,
    pub port: u16,
}

/// A request to a page, body read to its end.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    /// In the order and spelling of arrival.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub container: Host,
    /// How many requests other than HEAD this run has got, this one included.
    pub visit: u64,
}

impl Request {
    /// The first field of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The path of the target, without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or("")
    }

    /// A field of an `application/x-www-form-urlencoded` body.
    pub fn form(&self, name: &str) -> Option<String> {
        let body = std::str::from_utf8(&self.body).ok()?;
        super::wire::query_value(body, name)
    }
}

/// How a response's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Content-Length.
    Length,
    /// Chunks of at most this many bytes.
    Chunked(usize),
    /// Until the connection's end.
    Close,
    /// Content-Length of the whole body, then only this many bytes of it and a closed connection.
    Cut(usize),
}

/// A response of a page.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub framing: Framing,
}

impl Response {
    /// Plain text.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Response::new(status, "text/plain; charset=utf-8", body.into().into_bytes())
    }

    /// HTML.
    pub fn html(status: u16, body: impl Into<String>) -> Self {
        Response::new(status, "text/html; charset=utf-8", body.into().into_bytes())
    }

    /// Any body.
    pub fn new(status: u16, content_type: &str, body: Vec<u8>) -> Self {
        let headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
        Response { status, headers, body, framing: Framing::Length }
    }

    /// Adds a header field.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Changes the framing.
    pub fn framed(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }
}
