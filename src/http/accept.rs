//! Which of our three kinds of page a client would rather have (RFC 9110 §12.5.1).

use crate::http::head::{list, trim_ows};

/// A kind of page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Json,
    Html,
}

impl Kind {
    /// For `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Kind::Text => "text/plain; charset=utf-8",
            Kind::Json => "application/json",
            Kind::Html => "text/html; charset=utf-8",
        }
    }
}

/// Chooses by the highest quality, then by the most specific range, then by the order in `accept`, then text
/// before JSON before HTML. Text if nothing fits or nothing was said: better a page that wasn't asked for
/// than 406.
pub(super) fn choose(accept: Option<&[u8]>) -> Kind {
    let kinds =
        [(Kind::Text, "text", "plain"), (Kind::Json, "application", "json"), (Kind::Html, "text", "html")];
    let mut best = (Kind::Text, Match::default());
    for (kind, main, sub) in kinds {
        let found = judge(accept.unwrap_or_default(), main.as_bytes(), sub.as_bytes());
        if found.rank() > best.1.rank() {
            best = (kind, found);
        }
    }
    best.0
}

/// The media range that decides about a type: the most specific one.
#[derive(Clone, Copy, Default)]
struct Match {
    /// Thousandths; 0 is "not acceptable".
    quality: u16,
    /// 0 none, 1 `*/*`, 2 `text/*`, 3 `text/html`.
    specificity: u8,
    /// Counted down from the list's beginning.
    earliness: isize,
}

impl Match {
    fn rank(&self) -> Option<(u16, u8, isize)> {
        (self.quality > 0).then_some((self.quality, self.specificity, self.earliness))
    }
}

fn judge(accept: &[u8], main: &[u8], sub: &[u8]) -> Match {
    let mut best = Match::default();
    for (position, element) in list(accept).enumerate() {
        let mut parts = element.split(|b| *b == b';').map(trim_ows);
        let range = parts.next().unwrap_or_default();
        let specificity = specificity(range, main, sub);
        let Some(quality) = quality(parts) else { continue };
        if specificity > best.specificity {
            best = Match { quality, specificity, earliness: -position.cast_signed() };
        }
    }
    best
}

fn specificity(range: &[u8], main: &[u8], sub: &[u8]) -> u8 {
    let Some(slash) = range.iter().position(|b| *b == b'/') else { return 0 };
    let (range_main, range_sub) = (&range[..slash], &range[slash + 1..]);
    match (range_main, range_sub) {
        (b"*", b"*") => 1,
        (m, b"*") if m.eq_ignore_ascii_case(main) => 2,
        (m, s) if m.eq_ignore_ascii_case(main) && s.eq_ignore_ascii_case(sub) => 3,
        _ => 0,
    }
}

/// The `q` among a range's parameters in thousandths: 1000 without one, `None` for one that is malformed.
fn quality<'a>(mut parameters: impl Iterator<Item = &'a [u8]>) -> Option<u16> {
    let q = parameters.find_map(|p| p.strip_prefix(b"q=").or(p.strip_prefix(b"Q=")));
    let Some(q) = q else { return Some(1000) };
    let (whole, fraction) = match q {
        [whole @ (b'0' | b'1')] => (whole, &q[1..]),
        [whole @ (b'0' | b'1'), b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |i: usize| fraction.get(i).map_or(0, |d| u16::from(d - b'0'));
    let thousandths = u16::from(whole - b'0') * 1000 + digit(0) * 100 + digit(1) * 10 + digit(2);
    (thousandths <= 1000).then_some(thousandths)
}
