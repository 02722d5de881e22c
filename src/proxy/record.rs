//! What becomes known of an exchange on its way, and what is counted and logged at its end.
//!
//! Each step notes what it knows in the connection's [`Record`]; [`Record::end`] is the one place where an
//! exchange is counted and its line is made.

use super::core::{Core, CountedRoute, RequestId};
use crate::access_log;
use crate::http::{Field, Request, Version};
use crate::limits::ACCESS_LOG_TYPE_BYTES;
use crate::metrics::UpstreamError;
use crate::runtime;
use crate::snapshot::Route;
use crate::util::wall_clock;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The exchange that a connection is in.
#[derive(Default)]
pub(super) struct Record {
    begun: Cell<Option<Instant>>,
    status: Cell<u16>,
    own: Cell<bool>,
    scheme: Cell<&'static str>,
    upstream_error: Cell<Option<UpstreamError>>,
    /// Bytes of the head, and of the body with its framing, that came from the client.
    head_received: Cell<u64>,
    body_received: Cell<u64>,
    /// Bytes that came through a tunnel.
    tunnel_received: Cell<u64>,
    /// It is in the counts already: its tunnel is open.
    counted: Cell<bool>,
    /// Its route wants no line.
    silent: Cell<bool>,
    /// Bytes sent to the client, heads and framing included.
    sent: Cell<u64>,
    /// Bytes of the answer's body that were sent.
    body_sent: Cell<u64>,
    route: RefCell<Option<Rc<CountedRoute>>>,
    user: RefCell<Option<Arc<str>>>,
    content_type: RefCell<Vec<u8>>,
}

/// What a line shows of the request.
pub(super) struct Asked<'a> {
    method: &'a [u8],
    target: &'a [u8],
    host: &'a [u8],
    protocol: &'a [u8],
    referer: &'a [u8],
    user_agent: &'a [u8],
    headers: &'a [Field<'a>],
}

impl<'a> Asked<'a> {
    /// Of a request that was understood.
    pub fn of(request: &'a Request<'a>) -> Self {
        Asked {
            method: request.method.as_bytes(),
            target: request.target.path_as_sent(),
            host: request.host,
            protocol: match request.version {
                Version::Http10 => b"HTTP/1.0",
                Version::Http11 => b"HTTP/1.1",
            },
            referer: request.field("referer").unwrap_or_default(),
            user_agent: request.field("user-agent").unwrap_or_default(),
            headers: &request.fields,
        }
    }

    /// Of a head that was not: its first line alone.
    pub fn of_refused(head: &'a [u8]) -> Self {
        let head = head.strip_prefix(b"\r\n").unwrap_or(head);
        let end = head.iter().position(|b| matches!(b, b'\r' | b'\n')).unwrap_or(head.len());
        Asked {
            method: b"",
            target: &head[..end],
            host: b"",
            protocol: b"",
            referer: b"",
            user_agent: b"",
            headers: &[],
        }
    }
}

impl Record {
    /// An exchange begins whose head had so many bytes.
    pub fn begin(&self, head: usize, tls: bool) {
        self.scheme.set(if tls { "https" } else { "http" });
        self.begun.set(Some(runtime::now()));
        self.status.set(0);
        self.own.set(false);
        self.upstream_error.set(None);
        self.head_received.set(head as u64);
        self.body_received.set(0);
        self.tunnel_received.set(0);
        self.counted.set(false);
        self.silent.set(false);
        self.sent.set(0);
        self.body_sent.set(0);
        self.route.take();
        self.user.take();
        self.content_type.borrow_mut().clear();
    }

    /// Its host is that of this route.
    pub fn route(&self, core: &Core, route: &Route) {
        self.silent.set(!route.access_log);
        let mut counted = self.route.borrow_mut();
        if counted.as_ref().is_none_or(|known| known.alias != route.alias) {
            *counted = Some(core.counted_route(&route.alias));
        }
    }

    /// It is from this user.
    pub fn user(&self, name: Arc<str>) {
        *self.user.borrow_mut() = Some(name);
    }

    /// The upstream failed. A request may fail at more than one.
    pub fn upstream_failed(&self, core: &Core, kind: UpstreamError) {
        core.metrics.upstream_error(kind);
        self.upstream_error.set(Some(kind));
    }

    /// An answer is passed on.
    pub fn answered(&self, core: &Core, status: u16, content_type: Option<&[u8]>) {
        self.status.set(status);
        if core.with_access_log(|log| log.format().shows_content_type()) == Some(true) {
            let value = content_type.unwrap_or_default();
            let mut kept = self.content_type.borrow_mut();
            kept.clear();
            kept.extend_from_slice(&value[..value.len().min(ACCESS_LOG_TYPE_BYTES)]);
        }
    }

    /// An answer of our own was written: so many bytes, so many of them its body's.
    pub fn own_answer(&self, status: u16, bytes: usize, body: usize) {
        self.status.set(status);
        self.own.set(true);
        self.sent(bytes, body);
    }

    /// Bytes went to the client, some of them a body's.
    pub fn sent(&self, bytes: usize, body: usize) {
        self.sent.set(self.sent.get() + bytes as u64);
        self.body_sent.set(self.body_sent.get() + body as u64);
    }

    /// So many bytes of the body came from the client until now.
    pub fn body_received(&self, bytes: u64) {
        self.body_received.set(bytes);
    }

    /// The client's request is answered by a tunnel. It counts now, and as quick as this: it may last for days.
    pub fn switched(&self, core: &Core) {
        if let Some(begun) = self.begun.get() {
            self.count(core, runtime::now().saturating_duration_since(begun));
        }
    }

    /// The tunnel is over. Its bytes are in the counts already.
    pub fn tunnelled(&self, received: u64, sent: u64) {
        self.tunnel_received.set(received);
        self.body_sent.set(sent);
    }

    fn count(&self, core: &Core, took: Duration) {
        if self.counted.replace(true) {
            return;
        }
        core.metrics.received.add(self.head_received.get() + self.body_received.get());
        core.metrics.sent.add(self.sent.get());
        match &*self.route.borrow() {
            Some(route) => route.tally.count(self.status.get(), took),
            None => core.metrics.unrouted.count(self.status.get(), took),
        }
    }

    /// The exchange is over: it is counted, and its line queued unless its route wants none.
    pub fn end(&self, core: &Core, peer: IpAddr, asked: &Asked<'_>, id: &RequestId) {
        let Some(begun) = self.begun.take() else { return };
        let duration = runtime::now().saturating_duration_since(begun);
        self.count(core, duration);
        if self.silent.get() {
            return;
        }
        let received = self.head_received.get() + self.body_received.get() + self.tunnel_received.get();
        let route = self.route.borrow();
        let content_type = self.content_type.borrow();
        let user = self.user.borrow();
        let entry = || access_log::Entry {
            time: wall_clock::now(),
            duration,
            client: peer.to_canonical(),
            user: user.as_deref().unwrap_or_default().as_bytes(),
            scheme: self.scheme.get(),
            method: asked.method,
            target: asked.target,
            host: asked.host,
            protocol: asked.protocol,
            route: route.as_ref().map_or("", |route| &*route.alias),
            status: self.status.get(),
            size: self.body_sent.get(),
            received,
            content_type: &content_type,
            referer: asked.referer,
            user_agent: asked.user_agent,
            headers: asked.headers,
            request_id: id.as_str(),
            upstream_error: self.upstream_error.get().map(UpstreamError::name),
            own: self.own.get(),
        };
        let queued = core.with_access_log(|log| log.push(&entry()));
        if queued == Some(false) {
            core.metrics.access_lines_dropped.add(1);
        }
    }
}
