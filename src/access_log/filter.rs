//! Which exchanges have a line.

use super::Entry;
use crate::http::{HostParts, parse_host};
use crate::util::Cidr;

/// One condition: an exchange passes if one of the values matches it; with `negative`, if none does. Without
/// values it passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter<T> {
    pub negative: bool,
    pub values: Vec<T>,
}

impl<T> Default for Filter<T> {
    fn default() -> Self {
        Filter { negative: false, values: Vec::new() }
    }
}

impl<T> Filter<T> {
    fn passes(&self, matches: impl FnMut(&T) -> bool) -> bool {
        self.values.is_empty() || self.values.iter().any(matches) != self.negative
    }
}

/// All conditions: an exchange that passes each of them has a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    pub status_codes: Filter<Statuses>,
    /// Methods, compared without case.
    pub method: Filter<String>,
    pub host: Filter<HostMatch>,
    pub headers: Filter<HeaderMatch>,
    pub cidr: Filter<Cidr>,
}

impl Filters {
    pub(super) fn pass(&self, entry: &Entry<'_>) -> bool {
        self.status_codes.passes(|range| range.first <= entry.status && entry.status <= range.last)
            && self.method.passes(|method| method.as_bytes().eq_ignore_ascii_case(entry.method))
            && self.host.passes(|host| host.matches(entry.host))
            && self.headers.passes(|header| header.matches(entry))
            && self.cidr.passes(|network| network.contains(entry.client))
    }
}

/// Statuses from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses {
    first: u16,
    last: u16,
}

impl Statuses {
    /// Reads `404` or `500-599`.
    pub fn parse(text: &str) -> Option<Statuses> {
        let status = |text: &str| {
            let three = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
            text.parse().ok().filter(|status| three && (100..=599).contains(status))
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (status(first.trim())?, status(last.trim())?);
        (first <= last).then_some(Statuses { first, last })
    }
}

/// A host that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostMatch {
    name: String,
    port: Option<u16>,
}

impl HostMatch {
    /// Reads `app.example.com` (on any port) or `app.example.com:8080`.
    pub fn parse(text: &str) -> Option<HostMatch> {
        let HostParts { name, port } = parse_host(text.as_bytes()).ok()?;
        Some(HostMatch { name: String::from_utf8_lossy(bare(name)).into_owned(), port })
    }

    fn matches(&self, host: &[u8]) -> bool {
        parse_host(host).is_ok_and(|asked| {
            bare(asked.name).eq_ignore_ascii_case(self.name.as_bytes())
                && (self.port.is_none() || self.port == asked.port)
        })
    }
}

/// A name without its root's dot.
fn bare(name: &[u8]) -> &[u8] {
    name.strip_suffix(b".").unwrap_or(name)
}

/// A field of a request's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    name: String,
    value: Option<String>,
}

impl HeaderMatch {
    /// Reads `Name` (it is there) or `Name=value` (it is this, in any case).
    pub fn parse(text: &str) -> Option<HeaderMatch> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.trim()).filter(|value| !value.is_empty())),
            None => (text, None),
        };
        let name = name.trim();
        is_token(name).then(|| HeaderMatch { name: name.to_owned(), value: value.map(str::to_owned) })
    }

    fn matches(&self, entry: &Entry<'_>) -> bool {
        entry.headers.iter().any(|field| {
            field.name.eq_ignore_ascii_case(self.name.as_bytes())
                && self.value.as_ref().is_none_or(|value| same_text(field.value, value))
        })
    }
}

fn same_text(bytes: &[u8], text: &str) -> bool {
    bytes.eq_ignore_ascii_case(text.as_bytes())
}

/// Whether `text` is a token (RFC 9110 §5.6.2): a method, or a field's name.
pub fn is_token(text: &str) -> bool {
    let special = |b: u8| b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || special(b))
}

#[cfg(test)]
mod tests {
    use super::super::line::tests::PLAIN;
    use super::*;
    use crate::http::Field;

    fn filter<T>(negative: bool, values: Vec<T>) -> Filter<T> {
        Filter { negative, values }
    }

    #[test]
    fn a_filter_without_values_passes_all_negative_or_not() {
        for negative in [false, true] {
            let filters = Filters {
                status_codes: filter(negative, vec![]),
                method: filter(negative, vec![]),
                host: filter(negative, vec![]),
                headers: filter(negative, vec![]),
                cidr: filter(negative, vec![]),
            };
            assert!(filters.pass(&PLAIN));
        }
    }

    #[test]
    fn each_filter_tells_what_matches_from_what_does_not() {
        let headers = [Field { name: b"x-Kind", value: b"Probe" }];
        let entry = Entry { headers: &headers, host: b"App.local.:8080", ..PLAIN };
        let statuses =
            |text| Filters { status_codes: text_filter(text, Statuses::parse), ..Default::default() };
        let method = |text: &str| Filters { method: filter(false, vec![text.into()]), ..Default::default() };
        let host = |text| Filters { host: text_filter(text, HostMatch::parse), ..Default::default() };
        let header = |text| Filters { headers: text_filter(text, HeaderMatch::parse), ..Default::default() };
        let cidr = |text| Filters { cidr: text_filter(text, Cidr::parse), ..Default::default() };
        for (index, (passing, failing)) in [
            (statuses("200"), statuses("201")),
            (statuses("100-200"), statuses("201-599")),
            (method("get"), method("POST")),
            (host("app.LOCAL"), host("app")),
            (host("app.local:8080"), host("app.local:80")),
            (header("X-Kind"), header("X-Kin")),
            (header("X-KIND = probe"), header("X-Kind=prob")),
            (cidr("192.0.2.0/24"), cidr("192.0.3.0/24")),
        ]
        .into_iter()
        .enumerate()
        {
            assert!(passing.pass(&entry), "{index}");
            assert!(!failing.pass(&entry), "{index}");
            assert!(!negated(passing).pass(&entry), "{index}");
            assert!(negated(failing).pass(&entry), "{index}");
        }
    }

    fn text_filter<T>(text: &str, parse: impl Fn(&str) -> Option<T>) -> Filter<T> {
        filter(false, vec![parse(text).unwrap()])
    }

    /// The same, each filter with the opposite sense: those without values still pass.
    fn negated(mut filters: Filters) -> Filters {
        filters.status_codes.negative = true;
        filters.method.negative = true;
        filters.host.negative = true;
        filters.headers.negative = true;
        filters.cidr.negative = true;
        filters
    }

    #[test]
    fn all_filters_must_pass() {
        let both = Filters {
            method: filter(false, vec!["GET".into()]),
            status_codes: text_filter("404", Statuses::parse),
            ..Default::default()
        };
        assert!(!both.pass(&PLAIN));
        assert!(both.pass(&Entry { status: 404, ..PLAIN }));
    }

    #[test]
    fn what_is_no_value_is_none() {
        assert!(
            ["", "20", "2000", "600", "099", "300-200", "200-", "2xx", "-200", "+20"]
                .iter()
                .all(|text| Statuses::parse(text).is_none())
        );
        assert!(["", "=x", "a b", "a:b=c"].iter().all(|text| HeaderMatch::parse(text).is_none()));
        assert!(["", "a b", "a:x", "*.a"].iter().all(|text| HostMatch::parse(text).is_none()));
    }
}
