//! What becomes known of an exchange on its way, and what is counted and logged at its end.
//!
//! Each step notes what it knows in the connection's [`Record`]; [`Record::end`] is the one place where an
//! exchange is counted and its line is made.

use super::core::{Core, RequestId};
use crate::access_log;
use crate::http::{Request, Version};
use crate::limits::ACCESS_LOG_TYPE_BYTES;
use crate::metrics::{RouteTally, UpstreamError};
use crate::runtime;
use crate::util::wall_clock;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// The exchange that a connection is in.
#[derive(Default)]
pub(super) struct Record {
    begun: Cell<Option<Instant>>,
    status: Cell<u16>,
    own: Cell<bool>,
    upstream_error: Cell<Option<UpstreamError>>,
    /// Bytes received from the client, and sent to it, framing and heads included.
    received: Cell<u64>,
    sent: Cell<u64>,
    /// Bytes of the answer's body that were sent.
    body_sent: Cell<u64>,
    route: RefCell<Option<(Arc<str>, Arc<RouteTally>)>>,
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
}

impl<'a> Asked<'a> {
    /// Of a request that was understood.
    pub fn of(request: &Request<'a>) -> Self {
        Asked {
            method: request.method.as_bytes(),
            target: request.target.path_and_query(),
            host: request.host,
            protocol: match request.version {
                Version::Http10 => b"HTTP/1.0",
                Version::Http11 => b"HTTP/1.1",
            },
            referer: request.field("referer").unwrap_or_default(),
            user_agent: request.field("user-agent").unwrap_or_default(),
        }
    }

    /// Of a head that was not: its first line alone.
    pub fn of_refused(head: &'a [u8]) -> Self {
        let head = head.strip_prefix(b"\r\n").unwrap_or(head);
        let end = head.iter().position(|b| matches!(b, b'\r' | b'\n')).unwrap_or(head.len());
        Asked { method: b"", target: &head[..end], host: b"", protocol: b"", referer: b"", user_agent: b"" }
    }
}

impl Record {
    /// An exchange begins whose head had so many bytes.
    pub fn begin(&self, head: usize) {
        self.begun.set(Some(runtime::now()));
        self.status.set(0);
        self.own.set(false);
        self.upstream_error.set(None);
        self.received.set(head as u64);
        self.sent.set(0);
        self.body_sent.set(0);
        self.route.take();
        self.content_type.borrow_mut().clear();
    }

    /// Its host is that of this route.
    pub fn route(&self, core: &Core, alias: &Arc<str>) {
        let mut route = self.route.borrow_mut();
        if route.as_ref().is_none_or(|(known, _)| known != alias) {
            *route = Some((Arc::clone(alias), core.route_tally(alias)));
        }
    }

    /// The upstream failed. A request may fail at more than one.
    pub fn upstream_failed(&self, core: &Core, kind: UpstreamError) {
        core.metrics.upstream_error(kind);
        self.upstream_error.set(Some(kind));
    }

    /// An answer is passed on.
    pub fn answered(&self, core: &Core, status: u16, content_type: Option<&[u8]>) {
        self.status.set(status);
        if core.access_log.as_ref().is_some_and(|log| log.format().shows_content_type()) {
            let value = content_type.unwrap_or_default();
            let mut kept = self.content_type.borrow_mut();
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

    /// Bytes of the body came from the client.
    pub fn received(&self, bytes: u64) {
        self.received.set(self.received.get() + bytes);
    }

    /// The exchange is over: it is counted, and its line queued.
    pub fn end(&self, core: &Core, peer: IpAddr, asked: &Asked<'_>, id: &RequestId) {
        let Some(begun) = self.begun.take() else { return };
        let duration = runtime::now().saturating_duration_since(begun);
        let (received, sent, status) = (self.received.get(), self.sent.get(), self.status.get());
        core.metrics.received.add(received);
        core.metrics.sent.add(sent);
        let route = self.route.borrow();
        match &*route {
            Some((_, tally)) => tally.count(status, duration),
            None => core.metrics.unrouted.count(status, duration),
        }
        let Some(log) = &core.access_log else { return };
        let queued = log.push(&access_log::Entry {
            time: wall_clock::now(),
            duration,
            client: peer.to_canonical(),
            scheme: "http",
            method: asked.method,
            target: asked.target,
            host: asked.host,
            protocol: asked.protocol,
            route: route.as_ref().map_or("", |(alias, _)| alias),
            status,
            size: self.body_sent.get(),
            received,
            content_type: &self.content_type.borrow(),
            referer: asked.referer,
            user_agent: asked.user_agent,
            request_id: id.as_str(),
            upstream_error: self.upstream_error.get().map(UpstreamError::name),
            own: self.own.get(),
        });
        if !queued {
            core.metrics.access_lines_dropped.add(1);
        }
    }
}
