//! Request paths in the one form that routing, access rules and upstreams see (RFC 3986 §6.2.2).

use std::borrow::Cow;

/// `sent`, a path with its query, without `.` and `..` segments (RFC 3986 §5.2.4), and with `%2e` in the path
/// written as what it stands for. A `..` that would leave the root stays there. Empty segments, `%2F` and every
/// other byte are kept as sent, for to some servers they mean something; so is the query, and `*`.
///
/// What comes out is never longer, and comes out of itself.
pub(super) fn normalise(sent: &[u8]) -> Cow<'_, [u8]> {
    let end = sent.iter().position(|b| *b == b'?').unwrap_or(sent.len());
    let (path, query) = sent.split_at(end);
    let Some(segments) = path.strip_prefix(b"/").filter(|_| !is_normal(path)) else {
        return Cow::Borrowed(sent);
    };
    let mut out = Vec::with_capacity(sent.len());
    let mut segments = segments.split(|b| *b == b'/').peekable();
    while let Some(segment) = segments.next() {
        let start = out.len();
        out.push(b'/');
        push_decoded(&mut out, segment);
        let up = &out[start..] == b"/..";
        if up || &out[start..] == b"/." {
            out.truncate(start);
            if up {
                out.truncate(out.iter().rposition(|b| *b == b'/').unwrap_or(0));
            }
            if segments.peek().is_none() {
                out.push(b'/');
            }
        }
    }
    out.extend_from_slice(query);
    Cow::Owned(out)
}

fn is_normal(path: &[u8]) -> bool {
    let is_dots = |segment: &[u8]| matches!(segment, b"." | b"..");
    // Most paths hold neither byte.
    let dots = path.contains(&b'.') && path.split(|b| *b == b'/').any(is_dots);
    let escaped = path.contains(&b'%') && path.windows(ESCAPED_DOT.len()).any(is_escaped_dot);
    !dots && !escaped
}

const ESCAPED_DOT: &[u8] = b"%2e";

fn is_escaped_dot(text: &[u8]) -> bool {
    text.eq_ignore_ascii_case(ESCAPED_DOT)
}

/// Appends `segment` with its `%2e` as dots.
fn push_decoded(out: &mut Vec<u8>, segment: &[u8]) {
    let mut rest = segment;
    while let Some((first, after)) = rest.split_first() {
        match rest.get(..ESCAPED_DOT.len()) {
            Some(text) if is_escaped_dot(text) => {
                out.push(b'.');
                rest = &rest[ESCAPED_DOT.len()..];
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::rng::Rng;

    fn normal(sent: &str) -> String {
        String::from_utf8(normalise(sent.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn dot_segments_go_and_the_rest_stays() {
        for (sent, expected) in [
            ("/a/b/c/./../../g", "/a/g"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
            ("/..", "/"),
            ("/.", "/"),
            ("/../../a", "/a"),
            ("/a/b/..", "/a/"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/a/%2e./b", "/b"),
            ("/%2e", "/"),
            ("/a%2ephp", "/a.php"),
            ("/a//../b", "/a/b"),
            ("/.//b", "//b"),
            ("/../b?x=/../%2e", "/b?x=/../%2e"),
        ] {
            assert_eq!(normal(sent), expected, "{sent}");
        }
        for kept in [
            "/",
            "//",
            "/a//b",
            "/a%2Fb",
            "/a/..%2Fb",
            "/.well-known/x",
            "/a/...",
            "/..a/b..",
            "/%252e%252e/",
            "/a;/..;/b",
            "/a?../..",
            "*",
            "/%2",
            "/%%2",
            "/a\\..\\b",
        ] {
            assert!(matches!(normalise(kept.as_bytes()), Cow::Borrowed(_)), "{kept}");
        }
    }

    /// Segment by segment, as RFC 3986 §5.2.4 tells it, after the escapes are gone.
    fn by_the_book(sent: &str) -> String {
        let (path, query) = sent.split_at(sent.find('?').unwrap_or(sent.len()));
        let path = path.replace("%2e", ".").replace("%2E", ".");
        let (mut input, mut output) = (path.as_str(), String::new());
        while !input.is_empty() {
            if input.starts_with("/./") {
                input = &input[2..];
            } else if input == "/." {
                input = "/";
            } else if input.starts_with("/../") || input == "/.." {
                input = if input == "/.." { "/" } else { &input[3..] };
                output.truncate(output.rfind('/').unwrap_or(0));
            } else {
                let end = input[1..].find('/').map_or(input.len(), |at| at + 1);
                output.push_str(&input[..end]);
                input = &input[end..];
            }
        }
        output + query
    }

    #[test]
    fn any_path_comes_out_as_the_book_says_and_stays_so() {
        let mut rng = Rng::new(11);
        let parts = ["/", "/", ".", ".", "%2e", "%2E", "a", "%2F", "?", "%", "2e"];
        for _ in 0..50_000 {
            let len = rng.below(14) as usize;
            let sent: String = (0..len).map(|_| parts[rng.below(parts.len() as u64) as usize]).collect();
            let sent = format!("/{sent}");
            let once = normal(&sent);
            assert_eq!(once, by_the_book(&sent), "{sent}");
            assert_eq!(normal(&once), once, "{sent} twice");
            assert!(once.starts_with('/') && once.len() <= sent.len(), "{sent}");
        }
    }
}
