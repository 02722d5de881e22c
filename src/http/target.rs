//! Request targets (RFC 9112 §3.2).

use crate::http::host::parse_host;
use crate::http::method::Method;
use crate::http::request::Reject;
use crate::limits;

/// A request target. The authority form is `CONNECT`'s alone and refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'b> {
    /// `/path?query`, as sent.
    Origin(&'b [u8]),
    /// `http://authority/path?query`. The path is `/` where it was left out (`*` for `OPTIONS`).
    Absolute { authority: &'b [u8], path_and_query: &'b [u8] },
    /// `*`, of `OPTIONS` alone.
    Asterisk,
}

impl<'b> Target<'b> {
    /// Path and query, or `*`, as sent: for logs. What counts is
    /// [`Request::path_and_query`](super::Request::path_and_query).
    pub fn path_as_sent(&self) -> &'b [u8] {
        match self {
            Target::Origin(path_and_query) | Target::Absolute { path_and_query, .. } => path_and_query,
            Target::Asterisk => b"*",
        }
    }
}

/// Reads a target: visible ASCII only, no fragment.
pub(super) fn parse_target<'b>(target: &'b [u8], method: &Method) -> Result<Target<'b>, Reject> {
    if target.len() > limits::TARGET_BYTES {
        return Err(Reject { status: 414, reason: "request target too long" });
    }
    if !target.iter().all(|b| matches!(*b, b'!'..=b'~')) {
        return Err(Reject::bad("the request target holds a byte that must be percent-encoded"));
    }
    if target.contains(&b'#') {
        return Err(Reject::bad("the request target holds a fragment"));
    }
    match target {
        b"*" if *method == Method::Options => Ok(Target::Asterisk),
        b"*" => Err(Reject::bad("the target * is only for OPTIONS")),
        [b'/', ..] => Ok(Target::Origin(target)),
        _ => parse_absolute(target, method),
    }
}

fn parse_absolute<'b>(target: &'b [u8], method: &Method) -> Result<Target<'b>, Reject> {
    let after_scheme = strip_scheme(target).ok_or(Reject::bad("malformed request target"))?;
    let end = after_scheme.iter().position(|b| matches!(*b, b'/' | b'?')).unwrap_or(after_scheme.len());
    let (authority, rest) = after_scheme.split_at(end);
    if authority.contains(&b'@') {
        return Err(Reject::bad("the request target holds user information"));
    }
    parse_host(authority)?;
    let path_and_query: &[u8] = match rest.first() {
        Some(b'/') => rest,
        None if *method == Method::Options => b"*",
        None => b"/",
        // `http://host?query` would have to be rewritten to `/?query`: nobody sends it
        Some(_) => return Err(Reject::bad("the request target has a query but no path")),
    };
    Ok(Target::Absolute { authority, path_and_query })
}

/// `target` after `http://` or `https://`.
fn strip_scheme(target: &[u8]) -> Option<&[u8]> {
    let schemes: [&[u8]; 2] = [b"http://", b"https://"];
    let has = |scheme: &&[u8]| target.get(..scheme.len()).is_some_and(|t| t.eq_ignore_ascii_case(scheme));
    schemes.into_iter().find(has).map(|scheme| &target[scheme.len()..])
}
