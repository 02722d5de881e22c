//! Heads that go on: requests to an upstream, responses to a client (RFC 9110 §7.6).

use std::net::IpAddr;

use crate::http::fields::{CDN_LOOP, REQUEST_ID, request_field_ends_here, response_field_ends_here};
use crate::http::head::{Field, Version, is_token, list, trim_ows};
use crate::http::host::{HostParts, parse_host};
use crate::http::request::{Body, Request};
use crate::http::response::{Response, ResponseBody, is_bodiless};
use crate::http::status::status_text;
use crate::http::write;

/// What we know of a request beyond its head, and tell the upstream.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'a> {
    /// The address that the request came from, as the connection or its PROXY header has it.
    pub client: IpAddr,
    /// That address is a trusted proxy's: what its `X-Forwarded-*`, `X-Real-IP` and `Forwarded` say goes on.
    pub trusted: bool,
    /// `http` or `https`: how the client came.
    pub scheme: &'static str,
    /// The port of our listener. Told only if the client named no host, for behind a mapped port it isn't the
    /// one that the client knows.
    pub local_port: u16,
    /// Goes on as `X-Request-Id` if the client sent none; not written if empty.
    pub request_id: &'a str,
    /// A token that names this running proxy, such as `tidegate-4f1c09`: see [`is_loop`].
    pub instance: &'a str,
}

/// Whether `req` went through the proxy `instance` before: forwarding it would send it round once more, so
/// the answer is 508.
///
/// The guard is `CDN-Loop` (RFC 8586), which every intermediary has to keep. `Via` (RFC 9110 §7.6.3) would
/// do the same, but servers answer differently when they see it: nginx stops compressing.
pub fn is_loop(req: &Request<'_>, instance: &str) -> bool {
    let lines = req.fields.iter().filter(|f| f.name.eq_ignore_ascii_case(CDN_LOOP));
    // quoted parameters are split too: that may see a loop where there is none, but never miss one
    lines.flat_map(|f| list(f.value)).any(|element| {
        let id = element.split(|b| *b == b';').next().map_or(element, trim_ows);
        id.eq_ignore_ascii_case(instance.as_bytes())
    })
}

/// Appends the head that asks an upstream for the same: method, target in origin form, `Host` as the client
/// sent it, the client's end-to-end fields in their order, the body's framing, and what we say about the
/// client.
///
/// Left out: what `Connection` names and the other hop-by-hop fields but our own wish for another protocol or
/// for trailers, `Expect`, every `X-Forwarded-*`, `Forwarded` and `X-Real-IP` of a client that isn't trusted. The head asks for a kept connection.
pub fn write_forward_request(out: &mut Vec<u8>, req: &Request<'_>, fwd: &Forward<'_>) {
    out.extend_from_slice(req.method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(req.path_and_query());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write::field(out, b"Host", req.host);
    let mut has_request_id = false;
    for field in &req.fields {
        if request_field_ends_here(field.name) || is_named(req.connection_names, &req.fields, field.name) {
            continue;
        }
        has_request_id |= field.name.eq_ignore_ascii_case(REQUEST_ID);
        write::field(out, field.name, field.value);
    }
    match req.body {
        Body::None => {}
        Body::Length(length) => write::content_length(out, length),
        Body::Chunked => out.extend_from_slice(write::CHUNKED),
    }
    write_hop(out, req);
    if !has_request_id && is_token(fwd.request_id.as_bytes()) {
        write::field(out, b"X-Request-Id", fwd.request_id.as_bytes());
    }
    write_client(out, req, fwd);
    out.extend_from_slice(b"\r\n");
}

/// What the client wants of this hop, as our own wish on the next: another protocol (RFC 9110 §7.8),
/// trailers (§10.1.4), and which trailers it will send itself (§6.6.2).
fn write_hop(out: &mut Vec<u8>, req: &Request<'_>) {
    if req.body == Body::Chunked {
        write_announced(out, &req.fields);
    }
    let te = req.fields.iter().filter(|f| f.name.eq_ignore_ascii_case(b"te"));
    let trailers = te.flat_map(|f| list(f.value)).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
    for (i, protocol) in req.protocols().enumerate() {
        out.extend_from_slice(if i == 0 { b"Upgrade: " } else { b", " });
        out.extend_from_slice(protocol);
    }
    let upgrade = req.protocols().next().is_some();
    if upgrade {
        out.extend_from_slice(b"\r\n");
    }
    if trailers {
        write::field(out, b"TE", b"trailers");
    }
    match (trailers, upgrade) {
        (true, true) => write::field(out, b"Connection", b"TE, Upgrade"),
        (true, false) => write::field(out, b"Connection", b"TE"),
        (false, true) => write::field(out, b"Connection", b"Upgrade"),
        (false, false) => {}
    }
}

/// The announcement of the trailers that follow a chunked body.
fn write_announced(out: &mut Vec<u8>, fields: &[Field<'_>]) {
    for field in fields.iter().filter(|f| f.name.eq_ignore_ascii_case(b"trailer")) {
        write::field(out, b"Trailer", field.value);
    }
}

/// What we say about the client and its request, after what a trusted proxy said.
fn write_client(out: &mut Vec<u8>, req: &Request<'_>, fwd: &Forward<'_>) {
    let told = |name: &'static str| if fwd.trusted { req.field(name) } else { None };
    write_hops(out, req, fwd);
    match told("x-real-ip") {
        Some(ip) => write::field(out, b"X-Real-IP", ip),
        None => {
            out.extend_from_slice(b"X-Real-IP: ");
            write::address(out, fwd.client);
            out.extend_from_slice(b"\r\n");
        }
    }
    let scheme = told("x-forwarded-proto").unwrap_or(fwd.scheme.as_bytes());
    let host = told("x-forwarded-host").unwrap_or(req.host);
    write::field(out, b"X-Forwarded-Proto", scheme);
    if !host.is_empty() {
        write::field(out, b"X-Forwarded-Host", host);
    }
    match told("x-forwarded-port") {
        Some(port) => write::field(out, b"X-Forwarded-Port", port),
        None => {
            out.extend_from_slice(b"X-Forwarded-Port: ");
            write::decimal(out, u64::from(client_side_port(host, scheme, fwd.local_port)));
            out.extend_from_slice(b"\r\n");
        }
    }
    write::field(out, b"X-Forwarded-Method", req.method.as_bytes());
    write::field(out, b"X-Forwarded-Uri", req.path_and_query());
    if is_token(fwd.instance.as_bytes()) {
        write::field(out, b"CDN-Loop", fwd.instance.as_bytes());
    }
}

/// The way so far, and the client as its last hop. `Forwarded` (RFC 7239) only goes on if it came.
fn write_hops(out: &mut Vec<u8>, req: &Request<'_>, fwd: &Forward<'_>) {
    let all = |name: &'static str| {
        let lines = req.fields.iter().filter(move |f| f.name.eq_ignore_ascii_case(name.as_bytes()));
        lines.map(|f| f.value).filter(|value| !value.is_empty() && fwd.trusted)
    };
    out.extend_from_slice(b"X-Forwarded-For: ");
    for value in all("x-forwarded-for") {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
    write::address(out, fwd.client);
    out.extend_from_slice(b"\r\n");
    if all("forwarded").next().is_none() {
        return;
    }
    out.extend_from_slice(b"Forwarded: ");
    for value in all("forwarded") {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
    let v6 = fwd.client.to_canonical().is_ipv6();
    out.extend_from_slice(if v6 { b"for=\"[" } else { b"for=" });
    write::address(out, fwd.client);
    out.extend_from_slice(if v6 { b"]\"\r\n" } else { b"\r\n" });
}

/// The port of the URL that the client asked for.
fn client_side_port(host: &[u8], scheme: &[u8], local_port: u16) -> u16 {
    match parse_host(host) {
        Ok(HostParts { port: Some(port), .. }) => port,
        Ok(_) if scheme.eq_ignore_ascii_case(b"https") => 443,
        Ok(_) => 80,
        Err(_) => local_port,
    }
}

/// The interim response that lets a client send the body it holds back. No 1xx may go to an HTTP/1.0 client
/// (RFC 9110 §15.2).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// How the end of a response's body is told to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFraming {
    /// In chunks.
    ChunkedOut,
    /// By `Content-Length`.
    Length(u64),
    /// There is no body. An answer to `HEAD` and a 304 keep the upstream's `Content-Length`.
    None,
    /// By the end of the connection.
    Close,
}

impl ResponseFraming {
    /// The framing that tells the client where `body` ends: as the upstream did, but a body whose end isn't
    /// known is chunked, and ends with the connection only for an HTTP/1.0 client.
    pub fn of(body: ResponseBody, client_version: Version) -> Self {
        match (body, client_version) {
            (ResponseBody::None, _) => ResponseFraming::None,
            (ResponseBody::Length(length), _) => ResponseFraming::Length(length),
            (ResponseBody::Chunked | ResponseBody::UntilClose, Version::Http11) => {
                ResponseFraming::ChunkedOut
            }
            (ResponseBody::Chunked | ResponseBody::UntilClose, Version::Http10) => ResponseFraming::Close,
        }
    }
}

/// Appends the head that hands an upstream's response to the client: status and reason, the end-to-end
/// fields in their order, the framing `how`, and what becomes of the client's connection (`keep_alive`;
/// [`ResponseFraming::Close`] always closes).
pub fn write_forward_response(
    out: &mut Vec<u8>,
    resp: &Response<'_>,
    how: ResponseFraming,
    keep_alive: bool,
    client_version: Version,
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    write::decimal(out, u64::from(resp.status));
    out.push(b' ');
    match resp.reason {
        b"" => out.extend_from_slice(status_text(resp.status).as_bytes()),
        reason => out.extend_from_slice(reason),
    }
    out.extend_from_slice(b"\r\n");
    // what HEAD and 304 say is the length of a body that isn't sent; 1xx and 204 may say nothing
    let keeps_length = how == ResponseFraming::None && (resp.status == 304 || !is_bodiless(resp.status));
    for field in &resp.fields {
        let is_length = field.name.eq_ignore_ascii_case(b"content-length");
        let ends_here = match is_length {
            true => !keeps_length,
            false => {
                response_field_ends_here(field.name)
                    || is_named(resp.connection_names, &resp.fields, field.name)
            }
        };
        if !ends_here {
            write::field(out, field.name, field.value);
        }
    }
    match how {
        ResponseFraming::ChunkedOut => {
            if resp.body == ResponseBody::Chunked {
                write_announced(out, &resp.fields);
            }
            out.extend_from_slice(write::CHUNKED);
        }
        ResponseFraming::Length(length) => write::content_length(out, length),
        ResponseFraming::None | ResponseFraming::Close => {}
    }
    if resp.status == 101 {
        for field in resp.fields.iter().filter(|f| f.name.eq_ignore_ascii_case(b"upgrade")) {
            write::field(out, b"Upgrade", field.value);
        }
        out.extend_from_slice(b"Connection: Upgrade\r\n");
    }
    if !resp.is_interim() {
        match (keep_alive && how != ResponseFraming::Close, client_version) {
            (false, _) => out.extend_from_slice(b"Connection: close\r\n"),
            (true, Version::Http10) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            (true, Version::Http11) => {}
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether a `Connection` field names `name`. Never so for the loop guard (RFC 8586 §2).
fn is_named(any_names: bool, fields: &[Field<'_>], name: &[u8]) -> bool {
    if !any_names || name.eq_ignore_ascii_case(CDN_LOOP) {
        return false;
    }
    let connections = fields.iter().filter(|f| f.name.eq_ignore_ascii_case(b"connection"));
    connections.flat_map(|f| list(f.value)).any(|option| option.eq_ignore_ascii_case(name))
}
