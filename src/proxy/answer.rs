//! Tidegate's own answers on a client's connection.

use super::connection::Client;
use crate::http::{self, Answer};
use crate::limits::BODY_TIMEOUT;
use crate::metrics::UpstreamError;
use crate::runtime;
use std::borrow::Cow;
use std::io;

/// An answer of our own: status, reason, and when to come back.
#[derive(Debug)]
pub(super) struct Own {
    pub status: u16,
    pub reason: Cow<'static, str>,
    pub retry_after: Option<u32>,
    /// How the upstream failed, if that is why.
    pub upstream_error: Option<UpstreamError>,
}

impl Own {
    pub fn new(status: u16, reason: impl Into<Cow<'static, str>>) -> Self {
        let retry_after = (status == 503).then_some(5);
        Own { status, reason: reason.into(), retry_after, upstream_error: None }
    }

    /// Because the upstream failed.
    pub fn failed(kind: UpstreamError, status: u16, reason: impl Into<Cow<'static, str>>) -> Self {
        Own { upstream_error: Some(kind), ..Own::new(status, reason) }
    }
}

/// Sends `own` as the format the client accepts.
pub(super) fn send(
    client: &Client,
    accept: Option<&[u8]>,
    own: &Own,
    request_id: &str,
    head_only: bool,
    keep_alive: bool,
) -> io::Result<()> {
    if let Some(kind) = own.upstream_error {
        client.record.upstream_failed(&client.core, kind);
    }
    let mut out = client.core.buffer();
    let answer = Answer {
        status: own.status,
        reason: &own.reason,
        request_id,
        retry_after: own.retry_after,
        keep_alive,
        head_only,
    };
    http::write_answer(&mut out, accept, &answer);
    let sent = client.stream.write_all(&out, Some(runtime::now() + BODY_TIMEOUT));
    if sent.is_ok() {
        let head = out.windows(4).position(|end| end == b"\r\n\r\n").map_or(out.len(), |at| at + 4);
        client.record.own_answer(own.status, out.len(), out.len() - head);
    }
    client.core.recycle(out);
    sent
}

/// The answer to a connection over the cap.
pub(super) fn overloaded(out: &mut Vec<u8>, request_id: &str) {
    let answer = Answer {
        status: 503,
        reason: "too many connections",
        request_id,
        retry_after: Some(1),
        keep_alive: false,
        head_only: false,
    };
    http::write_answer(out, None, &answer);
}
