//! Bytes as readable text and back.
//!
//! Line ends of the file itself don't count. `\r`, `\n`, `\t`, `\s` (space), `\0`, `\\` and `\xHH` are escapes,
//! `\{300*ab}` is 300 times `ab`.

use std::fmt::Write as _;

/// The bytes of one line.
pub fn unescape(line: &str) -> Result<Vec<u8>, String> {
    let (mut out, mut rest) = (Vec::new(), line.as_bytes());
    while let Some((&b, after)) = rest.split_first() {
        rest = after;
        if b != b'\\' {
            out.push(b);
            continue;
        }
        let (&escape, after) = rest.split_first().ok_or("a lonely backslash")?;
        rest = after;
        match escape {
            b'r' => out.push(b'\r'),
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b's' => out.push(b' '),
            b'0' => out.push(0),
            b'\\' => out.push(b'\\'),
            b'x' => {
                let digits = rest.get(..2).and_then(|two| std::str::from_utf8(two).ok()).unwrap_or("");
                out.push(u8::from_str_radix(digits, 16).map_err(|_| format!("no byte: \\x{digits}"))?);
                rest = &rest[2..];
            }
            b'{' => {
                let end = rest.iter().position(|b| *b == b'}').ok_or("no closing brace")?;
                let inner = std::str::from_utf8(&rest[..end]).map_err(|error| error.to_string())?;
                let (count, what) = inner.split_once('*').ok_or("no count*text in braces")?;
                let count = count.parse().map_err(|_| format!("no count: {count}"))?;
                out.extend(unescape(what)?.repeat(count));
                rest = &rest[end + 1..];
            }
            other => return Err(format!("unknown escape \\{}", char::from(other))),
        }
    }
    Ok(out)
}

/// The inverse, with a line end after each LF and at the end; long runs of one byte are shortened.
pub fn escape(bytes: &[u8]) -> String {
    let mut out = String::new();
    let mut rest = bytes;
    while let Some(&b) = rest.first() {
        let run = rest.iter().take_while(|other| **other == b).count();
        let one = match b {
            b'\r' => "\\r".to_owned(),
            b'\n' => "\\n".to_owned(),
            b'\t' => "\\t".to_owned(),
            b'\\' => "\\\\".to_owned(),
            b'@' if out.is_empty() || out.ends_with('\n') => "\\x40".to_owned(),
            0 => "\\0".to_owned(),
            b' '..=b'~' => char::from(b).to_string(),
            _ => format!("\\x{b:02x}"),
        };
        let taken = if run > 40 && !matches!(b, b'}' | b'*' | b'\n') { run } else { 1 };
        match taken {
            1 => out.push_str(&one),
            n => write!(out, "\\{{{n}*{one}}}").expect("a String takes it"),
        }
        rest = &rest[taken..];
        if b == b'\n' {
            out.push('\n');
        }
    }
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

/// `bytes` with what differs from run to run replaced: request ids and this Tidegate's name in `CDN-Loop`.
pub fn steady(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(&b) = rest.first() {
        let known: [(&[u8], &[u8]); 3] =
            [(b"X-Request-Id: ", b"<id>"), (b"\nrequest ", b"<id>"), (b"CDN-Loop: tidegate-", b"<name>")];
        let hit = known.iter().find(|(before, _)| rest.starts_with(before));
        let Some((before, instead)) = hit else {
            out.push(b);
            rest = &rest[1..];
            continue;
        };
        out.extend_from_slice(before);
        rest = &rest[before.len()..];
        let hex = rest.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        if hex >= 6 && matches!(rest.get(hex), Some(b'\r' | b'\n')) {
            out.extend_from_slice(instead);
            rest = &rest[hex..];
        }
    }
    out
}
