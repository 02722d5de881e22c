//! A second reader of heads, which shares nothing with `tidegate::http`: it takes only what nobody could read
//! in another way.

use super::show;

/// A head as it was written.
pub struct Head<'b> {
    /// The request or status line.
    pub start: &'b [u8],
    /// Names and values.
    pub fields: Vec<(&'b [u8], &'b [u8])>,
}

impl<'b> Head<'b> {
    /// Reads `head`, all of it; panics at a bare CR or LF, a control character, or a line that is no field.
    pub fn read(head: &'b [u8]) -> Head<'b> {
        let lines = head.strip_suffix(b"\r\n\r\n").unwrap_or_else(|| panic!("no end: {}", show(head)));
        let mut lines = split_crlf(lines).into_iter();
        let start = lines.next().unwrap_or_default();
        let clean = |b: &u8| *b == b'\t' || (*b >= b' ' && *b != 0x7f);
        let field = |line: &'b [u8]| {
            assert!(line.iter().all(clean), "a control character: {}", show(head));
            let colon = line.iter().position(|b| *b == b':');
            let (name, value) = line.split_at(colon.unwrap_or_else(|| panic!("no field: {}", show(head))));
            let token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
            assert!(!name.is_empty() && name.iter().all(token), "a field's name: {}", show(head));
            (name, value[1..].trim_ascii())
        };
        assert!(start.iter().all(clean), "a control character: {}", show(head));
        Head { start, fields: lines.map(field).collect() }
    }

    /// The values of the fields that a careless reader takes for `name`.
    pub fn all(&self, name: &str) -> Vec<&'b [u8]> {
        self.fields.iter().filter(|(n, _)| fold(n) == name).map(|(_, value)| *value).collect()
    }
}

/// A name as CGI-like servers compare it: case ignored, `_` taken for `-`.
pub fn fold(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_ascii_lowercase().replace('_', "-")
}

/// The options of all `Connection` fields, in lower case.
pub fn named_by_connection(fields: &[(&[u8], &[u8])]) -> Vec<String> {
    let lines = fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"connection"));
    let options = lines.flat_map(|(_, value)| value.split(|b| *b == b','));
    options.map(|option| String::from_utf8_lossy(option.trim_ascii()).to_ascii_lowercase()).collect()
}

fn split_crlf(mut text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    while let Some(at) = text.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&text[..at]);
        text = &text[at + 2..];
    }
    lines.push(text);
    lines
}
