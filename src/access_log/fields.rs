//! Which headers, query parameters and cookies a line shows.

use super::escape::json;
use crate::http::Field;
use crate::limits::ACCESS_LOG_COOKIES;
use std::borrow::Cow;

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Keep,
    Drop,
    /// Its name is shown, with [`REDACTED`] for its value.
    Redact,
}

/// What stands for a value that is not shown.
pub const REDACTED: &str = "REDACTED";

/// What becomes of the fields of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Of those that are not named.
    pub default: Mode,
    /// By name.
    pub config: Vec<(String, Mode)>,
}

/// What becomes of all fields; the default is GoDoxy's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// In JSON; names without case. Those that hold credentials are kept only if they are named.
    pub headers: Rules,
    /// In all formats, and in the referer too.
    pub query: Rules,
    /// In JSON.
    pub cookies: Rules,
}

impl Default for Fields {
    fn default() -> Self {
        let all = |default| Rules { default, config: Vec::new() };
        Fields { headers: all(Mode::Drop), query: all(Mode::Keep), cookies: all(Mode::Drop) }
    }
}

impl Rules {
    fn all(&self, mode: Mode) -> bool {
        self.default == mode && self.config.iter().all(|(_, named)| *named == mode)
    }

    fn named(&self, is_it: impl Fn(&[u8]) -> bool) -> Option<Mode> {
        self.config.iter().find(|(name, _)| is_it(name.as_bytes())).map(|(_, mode)| *mode)
    }

    fn mode(&self, name: &[u8]) -> Mode {
        self.named(|known| known == name).unwrap_or(self.default)
    }
}

impl Fields {
    /// `target` with what its query may show: a request's target or a URL.
    pub(super) fn target<'a>(&self, target: &'a [u8]) -> Cow<'a, [u8]> {
        if self.query.all(Mode::Keep) {
            return Cow::Borrowed(target);
        }
        let Some(at) = target.iter().position(|b| *b == b'?') else { return Cow::Borrowed(target) };
        let mut shown = target[..at].to_vec();
        let mut separator = b'?';
        for parameter in target[at + 1..].split(|b| *b == b'&') {
            let equals = parameter.iter().position(|b| *b == b'=');
            let name = &parameter[..equals.unwrap_or(parameter.len())];
            let mode = self.query.mode(&decoded(name));
            if mode == Mode::Drop {
                continue;
            }
            shown.push(separator);
            separator = b'&';
            match (mode, equals) {
                (Mode::Redact, Some(_)) => {
                    shown.extend_from_slice(&[name, b"=", REDACTED.as_bytes()].concat())
                }
                // A parameter without a value may be all secret.
                (Mode::Redact, None) if !name.is_empty() => shown.extend_from_slice(REDACTED.as_bytes()),
                _ => shown.extend_from_slice(parameter),
            }
        }
        Cow::Owned(shown)
    }

    /// Appends `,"headers":{…}` if there is something to show: names as Go spells them, each with the list of
    /// its values.
    pub(super) fn headers(&self, out: &mut Vec<u8>, fields: &[Field<'_>]) {
        if self.headers.all(Mode::Drop) {
            return;
        }
        let mut object = Object::new(out, b"headers");
        for (index, field) in fields.iter().enumerate() {
            let same = |other: &&Field<'_>| other.name.eq_ignore_ascii_case(field.name);
            let mode = self.header_mode(field.name);
            if mode == Mode::Drop || fields[..index].iter().any(|other| same(&other)) {
                continue;
            }
            object.key(&canonical(field.name));
            object.out.push(b'[');
            match mode {
                Mode::Redact => json(object.out, REDACTED.as_bytes()),
                _ => fields[index..].iter().filter(same).enumerate().for_each(|(index, field)| {
                    if index > 0 {
                        object.out.push(b',');
                    }
                    json(object.out, field.value);
                }),
            }
            object.out.push(b']');
        }
        object.end();
    }

    fn header_mode(&self, name: &[u8]) -> Mode {
        // It has a key of its own.
        if name.eq_ignore_ascii_case(b"host") {
            return Mode::Drop;
        }
        let secret: [&[u8]; 3] = [b"authorization", b"proxy-authorization", b"cookie"];
        let named = self.headers.named(|known| known.eq_ignore_ascii_case(name));
        named.unwrap_or(match self.headers.default {
            Mode::Keep if secret.iter().any(|secret| secret.eq_ignore_ascii_case(name)) => Mode::Redact,
            default => default,
        })
    }

    /// Appends `,"cookies":{…}` if there is something to show. Of two with one name the first counts.
    pub(super) fn cookies(&self, out: &mut Vec<u8>, fields: &[Field<'_>]) {
        if self.cookies.all(Mode::Drop) {
            return;
        }
        let lines = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(b"cookie"));
        let cookies = lines.flat_map(|field| field.value.split(|b| *b == b';')).filter_map(|pair| {
            let at = pair.iter().position(|b| *b == b'=')?;
            Some((pair[..at].trim_ascii(), pair[at + 1..].trim_ascii()))
        });
        let mut object = Object::new(out, b"cookies");
        let mut seen: Vec<&[u8]> = Vec::new();
        for (name, value) in cookies {
            let mode = self.cookies.mode(name);
            if mode == Mode::Drop || seen.len() >= ACCESS_LOG_COOKIES || seen.contains(&name) {
                continue;
            }
            seen.push(name);
            object.key(name);
            json(object.out, if mode == Mode::Redact { REDACTED.as_bytes() } else { value });
        }
        object.end();
    }
}

/// A JSON object within another; it is not there if it is empty.
struct Object<'o> {
    out: &'o mut Vec<u8>,
    begin: usize,
    entries: usize,
}

impl<'o> Object<'o> {
    fn new(out: &'o mut Vec<u8>, name: &[u8]) -> Self {
        let begin = out.len();
        out.extend_from_slice(&[b",\"", name, b"\":{"].concat());
        Object { out, begin, entries: 0 }
    }

    fn key(&mut self, name: &[u8]) {
        if self.entries > 0 {
            self.out.push(b',');
        }
        self.entries += 1;
        json(self.out, name);
        self.out.push(b':');
    }

    fn end(self) {
        match self.entries {
            0 => self.out.truncate(self.begin),
            _ => self.out.push(b'}'),
        }
    }
}

/// `x-forwarded-for` as `X-Forwarded-For`.
fn canonical(name: &[u8]) -> Vec<u8> {
    let mut begins = true;
    let letter = |b: &u8| {
        let written = if begins { b.to_ascii_uppercase() } else { b.to_ascii_lowercase() };
        begins = *b == b'-';
        written
    };
    name.iter().map(letter).collect()
}

/// A parameter's name as its reader decodes it (application/x-www-form-urlencoded): `%74oken` is `token`.
fn decoded(name: &[u8]) -> Cow<'_, [u8]> {
    if !name.iter().any(|b| matches!(b, b'%' | b'+')) {
        return Cow::Borrowed(name);
    }
    let digit = |b: Option<&u8>| b.and_then(|b| (*b as char).to_digit(16));
    let mut out = Vec::with_capacity(name.len());
    let mut at = 0;
    while let Some(b) = name.get(at) {
        at += 1;
        match (b, digit(name.get(at)), digit(name.get(at + 1))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) => out.push(b' '),
            _ => out.push(*b),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(default: Mode, config: &[(&str, Mode)]) -> Rules {
        Rules { default, config: config.iter().map(|(name, mode)| ((*name).to_owned(), *mode)).collect() }
    }

    fn target(query: Rules, target: &str) -> String {
        let fields = Fields { query, ..Fields::default() };
        String::from_utf8(fields.target(target.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn a_query_shows_what_it_may() {
        let written = "/a?b=1&token=se%20cret&c&%74oken=x&&d=";
        assert_eq!(target(rules(Mode::Keep, &[]), written), written);
        assert_eq!(target(rules(Mode::Drop, &[]), written), "/a");
        let token = [("token", Mode::Redact)];
        let redacted = "/a?b=1&token=REDACTED&c&%74oken=REDACTED&&d=";
        assert_eq!(target(rules(Mode::Keep, &token), written), redacted);
        assert_eq!(
            target(rules(Mode::Drop, &[("b", Mode::Keep), ("d", Mode::Redact)]), written),
            "/a?b=1&d=REDACTED"
        );
        assert_eq!(target(rules(Mode::Redact, &[("b", Mode::Drop)]), "/a?b=1&secret"), "/a?REDACTED");
        assert_eq!(target(rules(Mode::Keep, &[("x y", Mode::Drop)]), "/?x+y=1&x%20y=2&%=3&%4"), "/?%=3&%4");
        assert_eq!(target(rules(Mode::Drop, &[]), "/a"), "/a");
    }

    const HEADERS: [Field<'static>; 7] = [
        Field { name: b"Host", value: b"h" },
        Field { name: b"x-a", value: b"1" },
        Field { name: b"cookie", value: b"s=secret; t=\"2\"; s=other" },
        Field { name: b"X-A", value: b"2\"" },
        Field { name: b"Authorization", value: b"Basic secret" },
        Field { name: b"X-Key", value: b"secret" },
        Field { name: b"cookie", value: b"u=3; nothing" },
    ];

    fn shown(fields: &Fields) -> serde_json::Value {
        let mut out = b"{\"a\":1".to_vec();
        fields.headers(&mut out, &HEADERS);
        fields.cookies(&mut out, &HEADERS);
        out.push(b'}');
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn headers_and_cookies_show_what_they_may() {
        assert_eq!(shown(&Fields::default()), serde_json::json!({"a": 1}));
        let headers = rules(Mode::Keep, &[("x-key", Mode::Redact)]);
        let cookies = rules(Mode::Keep, &[("s", Mode::Redact)]);
        assert_eq!(
            shown(&Fields { headers, cookies, ..Fields::default() }),
            serde_json::json!({
                "a": 1,
                "headers": {"X-A": ["1", "2\""], "Cookie": ["REDACTED"], "Authorization": ["REDACTED"],
                            "X-Key": ["REDACTED"]},
                "cookies": {"s": "REDACTED", "t": "\"2\"", "u": "3"},
            })
        );
        let headers = rules(Mode::Drop, &[("authorization", Mode::Keep), ("x-none", Mode::Keep)]);
        let cookies = rules(Mode::Redact, &[("s", Mode::Drop), ("t", Mode::Drop), ("u", Mode::Drop)]);
        assert_eq!(
            shown(&Fields { headers, cookies, ..Fields::default() }),
            serde_json::json!({"a": 1, "headers": {"Authorization": ["Basic secret"]}})
        );
    }
}
