//! Plain requests that belong to HTTPS.

use super::connection::Client;
use super::core::RequestId;
use super::exchange::{self, After};
use crate::http::{self, Request, Target};
use crate::limits::BODY_TIMEOUT;
use crate::runtime;

/// Where a plain request is sent, if its route wants HTTPS and HTTPS is served. A host without a route is not
/// redirected: it gets the same 404 either way.
pub(super) fn to_https(client: &Client, request: &Request<'_>) -> Option<Vec<u8>> {
    let port = client.core.shared.https_port().filter(|_| !client.stream.is_tls())?;
    let snapshot = client.core.snapshot();
    let route = snapshot.route(request.host)?;
    client.record.route(&client.core, route);
    if !route.redirect_http.unwrap_or(snapshot.redirect_http) {
        return None;
    }
    // `*` of OPTIONS has no URL.
    if request.target == Target::Asterisk {
        return None;
    }
    let mut location = b"https://".to_vec();
    location.extend_from_slice(http::parse_host(request.host).ok()?.name);
    if port != 443 {
        location.extend_from_slice(format!(":{port}").as_bytes());
    }
    location.extend_from_slice(request.path_and_query());
    Some(location)
}

/// Answers 308, which keeps method and body (RFC 9110 §15.4.9).
pub(super) fn answer(
    client: &Client,
    request: &Request<'_>,
    rest: &[u8],
    location: &[u8],
    id: &RequestId,
) -> (After, Vec<u8>) {
    exchange::early_answer(client, request, rest, |keep_alive| {
        let mut out = client.core.buffer();
        http::write_redirect(&mut out, location, id.as_str(), keep_alive);
        let sent = client.stream.write_all(&out, Some(runtime::now() + BODY_TIMEOUT));
        if sent.is_ok() {
            client.record.own_answer(308, out.len(), 0);
        }
        client.core.recycle(out);
        sent
    })
}
