//! Escapes, so that nothing a client sends can end a line, a quoted field or a field.

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// For a quoted field of a text line: what is not printable ASCII, the quote and the backslash become `\xHH`.
pub(super) fn quoted(out: &mut Vec<u8>, bytes: &[u8]) {
    escape(out, bytes, |b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\');
}

/// For a field without quotes: the space too. `-` stands for nothing.
pub(super) fn bare(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.is_empty() {
        return out.push(b'-');
    }
    escape(out, bytes, |b| matches!(b, b'!'..=b'~') && b != b'"' && b != b'\\');
}

fn escape(out: &mut Vec<u8>, bytes: &[u8], plain: impl Fn(u8) -> bool) {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|b| !plain(*b)) {
        let b = rest[at];
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[b'\\', b'x', HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// A JSON string in ASCII (RFC 8259 §7). What is not UTF-8 becomes U+FFFD.
pub(super) fn json(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
                ' '..='~' => out.push(c as u8),
                _ => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| unicode(out, *unit)),
            }
        }
        if !chunk.invalid().is_empty() {
            unicode(out, 0xFFFD);
        }
    }
    out.push(b'"');
}

fn unicode(out: &mut Vec<u8>, unit: u16) {
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        out.push(HEX[usize::from(unit >> shift & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(f: impl Fn(&mut Vec<u8>, &[u8]), bytes: &[u8]) -> String {
        let mut out = Vec::new();
        f(&mut out, bytes);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_fields_end_only_where_they_end() {
        assert_eq!(of(quoted, b"a b\r\n\"\\\x00\x7f\xc3\xa9"), r"a b\x0D\x0A\x22\x5C\x00\x7F\xC3\xA9");
        assert_eq!(of(bare, b"a b\""), r"a\x20b\x22");
        assert_eq!(of(bare, b""), "-");
    }

    #[test]
    fn json_is_what_any_reader_takes() {
        let text = "a\"\\\r\n\u{7f}é😀</script>";
        assert_eq!(serde_json::from_str::<String>(&of(json, text.as_bytes())).unwrap(), text);
        assert_eq!(of(json, b"x\xff\xc3("), r#""x\uFFFD\uFFFD(""#);
        assert_eq!(of(json, "\u{2028}".as_bytes()), r#""\u2028""#);
    }
}
