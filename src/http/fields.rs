//! Field names that mean something to a proxy.

/// What a field tells the one who reads the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    Expect,
    Upgrade,
    Other,
}

/// The meaning of the field called `name`. Most names are told apart by their length alone.
pub(super) fn meaning(name: &[u8]) -> Meaning {
    let (candidate, meaning): (&[u8], _) = match name.len() {
        4 => (b"host", Meaning::Host),
        6 => (b"expect", Meaning::Expect),
        7 => (b"upgrade", Meaning::Upgrade),
        10 => (b"connection", Meaning::Connection),
        14 => (b"content-length", Meaning::ContentLength),
        17 => (b"transfer-encoding", Meaning::TransferEncoding),
        _ => return Meaning::Other,
    };
    if name.eq_ignore_ascii_case(candidate) { meaning } else { Meaning::Other }
}

/// Whether a request's field of that name ends here: it is about this connection only, or we set it
/// ourselves, or upstreams trust it and a client could forge it. `_` counts as `-`, since CGI-like servers
/// make one variable of both.
pub(super) fn request_field_ends_here(name: &[u8]) -> bool {
    const FORWARDED: &[u8] = b"x-forwarded-";
    if name.len() > FORWARDED.len() && same(&name[..FORWARDED.len()], FORWARDED) {
        return true;
    }
    let candidates: &[&[u8]] = match name.len() {
        2 => &[b"te"],
        4 => &[b"host"],
        // `Proxy` would become HTTP_PROXY (CVE-2016-5385)
        5 => &[b"proxy"],
        6 => &[b"expect"],
        7 => &[b"upgrade", b"trailer"],
        9 => &[b"forwarded", b"x-real-ip"],
        10 => &[b"connection", b"keep-alive"],
        14 => &[b"content-length", b"http2-settings"],
        16 => &[b"proxy-connection"],
        17 => &[b"transfer-encoding"],
        19 => &[b"proxy-authorization"],
        // kept in their own spelling (`write_forward_request` adds to them)
        8 => return same(name, CDN_LOOP) && !name.eq_ignore_ascii_case(CDN_LOOP),
        12 => return same(name, REQUEST_ID) && !name.eq_ignore_ascii_case(REQUEST_ID),
        _ => return false,
    };
    candidates.iter().any(|candidate| same(name, candidate))
}

/// Whether a response's field of that name ends here: it is about the upstream's connection only.
/// `Content-Length` is the writer's to decide.
pub(super) fn response_field_ends_here(name: &[u8]) -> bool {
    let candidates: &[&[u8]] = match name.len() {
        2 => &[b"te"],
        7 => &[b"upgrade", b"trailer"],
        10 => &[b"connection", b"keep-alive"],
        16 => &[b"proxy-connection"],
        17 => &[b"transfer-encoding"],
        18 => &[b"proxy-authenticate"],
        _ => return false,
    };
    candidates.iter().any(|candidate| name.eq_ignore_ascii_case(candidate))
}

/// Whether a trailer field of that name is not passed on (RFC 9110 §6.5.1): a recipient that merges trailers
/// into the head would read the message otherwise than it was checked.
pub(super) fn forbidden_in_trailers(name: &[u8]) -> bool {
    const NAMES: &[&[u8]] = &[
        b"age",
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-range",
        b"content-type",
        b"cookie",
        b"date",
        b"expires",
        b"location",
        b"max-forwards",
        b"pragma",
        b"range",
        b"retry-after",
        b"set-cookie",
        b"vary",
        b"www-authenticate",
        CDN_LOOP,
        REQUEST_ID,
    ];
    request_field_ends_here(name)
        || response_field_ends_here(name)
        || name.get(..3).is_some_and(|start| same(start, b"if-"))
        || NAMES.iter().any(|candidate| same(name, candidate))
}

/// The loop guard's field (RFC 8586), in lower case.
pub(super) const CDN_LOOP: &[u8] = b"cdn-loop";
/// The request id's field, in lower case.
pub(super) const REQUEST_ID: &[u8] = b"x-request-id";

/// Whether `name` is `lower` once case is ignored and `_` is read as `-`.
fn same(name: &[u8], lower: &[u8]) -> bool {
    let fold = |b: u8| if b == b'_' { b'-' } else { b.to_ascii_lowercase() };
    name.len() == lower.len() && name.iter().zip(lower).all(|(a, b)| fold(*a) == *b)
}
