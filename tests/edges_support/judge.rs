//! What a backend saw, as requests.

use super::case::{Case, Meant};
use super::play::Outcome;
use super::readers::{Reader, Seen};
use super::text::escape;

/// All requests that `reader` sees in what arrived.
///
/// # Errors
/// Bytes that are none, but for those of the request that is cut.
pub fn seen(case: &Case, outcome: &Outcome, reader: &Reader) -> Result<Vec<Meant>, String> {
    let mut seen = Vec::new();
    for bytes in &outcome.backend {
        let (mut requests, left) = reader.read_all(bytes);
        if case.tunnel {
            // What looks like a request after the switch is none.
            requests.truncate(case.meant.len());
        }
        let rest = &bytes[bytes.len() - left..];
        seen.extend(requests.into_iter().map(|Seen { method, target, body, .. }| Meant {
            method,
            target,
            body,
        }));
        let cut = |meant: &Meant| rest.starts_with(format!("{} {} ", meant.method, meant.target).as_bytes());
        match &case.cut {
            _ if left == 0 || case.tunnel => {}
            Some(meant) if cut(meant) => {}
            _ => return Err(format!("{left} bytes that are no request: {:.300}", escape(rest))),
        }
    }
    Ok(seen)
}

/// The request that follows every case.
pub fn probe() -> Meant {
    Meant { method: "GET".into(), target: "/probe".into(), body: Vec::new() }
}
