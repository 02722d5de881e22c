//! From a request's Host to its route.
//!
//! Without `match_domains` a host is looked up as
//! 1. the alias that equals the whole host (`app.example.com`),
//! 2. the alias that equals its first label (`app`),
//! 3. the wildcard of its parent (`*.example.com`; one label, not more).
//!
//! With `match_domains`, so that a stranger's domain finds nothing, as
//! 1. for each domain in turn, what is left of the host before it (`app`, may have dots),
//! 2. the alias that equals the whole host,
//! 3. the wildcard of its parent.
//!
//! Case, a port and a trailing dot don't matter (RFC 9110 §4.2.3; GoDoxy does regard case). A host that is
//! an address (its last label is a number, or it is in brackets) has no labels: only the whole counts.

use super::alias::{canonical, is_host_byte};
use crate::limits::HOST_BYTES;
use crate::util::hash::BuildFold;
use std::collections::HashMap;

/// The routes of one configuration generation, found by Host. Immutable, shared by the cores in an `Arc`.
///
/// A look-up does not allocate and takes the same time among ten routes and among ten thousand; it is
/// linear only in the number of `match_domains`.
#[derive(Debug)]
pub struct Table<R> {
    /// By canonical alias.
    exact: Slots<R>,
    /// By canonical alias without its `*.`.
    wildcards: Slots<R>,
    /// `match_domains` in order, lower case, with a leading dot; none: any domain.
    suffixes: Option<Vec<Box<[u8]>>>,
}

type Slots<R> = HashMap<Box<[u8]>, R, BuildFold>;

impl<R> Table<R> {
    /// Builds the table. Of two aliases with the same [`canonical`] form the first is kept: the caller
    /// decides conflicts and says them. `match_domains` may have a leading dot or not.
    pub fn build(match_domains: &[String], routes: impl IntoIterator<Item = (String, R)>) -> Table<R> {
        let mut table =
            Table { exact: Slots::default(), wildcards: Slots::default(), suffixes: suffixes(match_domains) };
        for (alias, route) in routes {
            let alias = canonical(&alias);
            let (slots, key) = match alias.strip_prefix("*.") {
                Some(parent) => (&mut table.wildcards, parent),
                None => (&mut table.exact, alias.as_str()),
            };
            slots.entry(key.as_bytes().into()).or_insert(route);
        }
        table
    }

    /// The route of `host`: a Host field's value as it came, or a name from a TLS hello. What is no host
    /// name finds nothing.
    pub fn find(&self, host: &[u8]) -> Option<&R> {
        let mut buffer = [0; HOST_BYTES];
        let host = normalise(host, &mut buffer)?;
        if ends_in_number(host) {
            return self.exact.get(host);
        }
        let first_dot = host.iter().position(|byte| *byte == b'.');
        let found = match &self.suffixes {
            None => self.exact.get(host).or_else(|| self.exact.get(&host[..first_dot?])),
            Some(suffixes) => self.find_below(suffixes, host).or_else(|| self.exact.get(host)),
        };
        found.or_else(|| match self.wildcards.is_empty() {
            true => None,
            false => self.wildcards.get(&host[first_dot? + 1..]),
        })
    }

    /// The number of routes.
    pub fn len(&self) -> usize {
        self.exact.len() + self.wildcards.len()
    }

    /// True without any route.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn find_below(&self, suffixes: &[Box<[u8]>], host: &[u8]) -> Option<&R> {
        suffixes.iter().find_map(|suffix| self.exact.get(host.strip_suffix(&**suffix)?))
    }
}

/// `match_domains` as suffixes. An entry that says nothing is left out, but still there is a list then:
/// it must not open the table to any domain.
fn suffixes(match_domains: &[String]) -> Option<Vec<Box<[u8]>>> {
    if match_domains.is_empty() {
        return None;
    }
    let mut suffixes: Vec<Box<[u8]>> = Vec::with_capacity(match_domains.len());
    for domain in match_domains {
        let name = canonical(domain);
        let name = name.trim_start_matches('.');
        let suffix = format!(".{name}").into_bytes().into_boxed_slice();
        if !name.is_empty() && !suffixes.contains(&suffix) {
            suffixes.push(suffix);
        }
    }
    Some(suffixes)
}

/// `host` in lower case, without port and trailing dot; none if it is no host name or too long.
fn normalise<'b>(host: &[u8], buffer: &'b mut [u8; HOST_BYTES]) -> Option<&'b [u8]> {
    let name_len = match host.iter().position(|byte| *byte == b':') {
        None => host.len(),
        Some(colon) if host[colon + 1..].iter().all(u8::is_ascii_digit) => colon,
        Some(_) => return None,
    };
    let name = &host[..name_len];
    let name = name.strip_suffix(b".").unwrap_or(name);
    let lower = buffer.get_mut(..name.len())?;
    let mut previous = b'.';
    for (to, byte) in lower.iter_mut().zip(name) {
        if !is_host_byte(*byte) || (*byte == b'.' && previous == b'.') {
            return None;
        }
        previous = *byte;
        *to = byte.to_ascii_lowercase();
    }
    // an empty name, and a second trailing dot
    (previous != b'.').then_some(lower)
}

/// The last label is a number: an IPv4 address, not a name (WHATWG URL, "ends in a number").
fn ends_in_number(host: &[u8]) -> bool {
    let label = host.rsplit(|byte| *byte == b'.').next().unwrap_or(host);
    label.len() < host.len() && label.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(match_domains: &[&str], aliases: &[&str]) -> Table<String> {
        let domains: Vec<String> = match_domains.iter().map(|d| (*d).to_owned()).collect();
        Table::build(&domains, aliases.iter().map(|a| ((*a).to_owned(), (*a).to_owned())))
    }

    #[test]
    fn the_first_of_two_aliases_in_one_slot_is_kept() {
        let table = table(&[], &["*.example.com", "*.Example.com.", "app", "APP"]);
        assert_eq!(table.len(), 2);
        assert_eq!(table.find(b"x.example.com").map(String::as_str), Some("*.example.com"));
        assert_eq!(table.find(b"app").map(String::as_str), Some("app"));
    }

    #[test]
    fn a_list_of_empty_domains_opens_nothing() {
        let table = table(&["", "."], &["app"]);
        assert_eq!(table.find(b"app.example.com"), None);
        assert_eq!(table.find(b"app").map(String::as_str), Some("app"));
    }

    #[test]
    fn a_host_longer_than_the_buffer_finds_nothing() {
        let table = table(&[], &["app"]);
        let longest = format!("app.{}", "a".repeat(HOST_BYTES - 4));
        assert!(table.find(longest.as_bytes()).is_some());
        assert!(table.find(format!("{longest}.:8080").as_bytes()).is_some());
        assert!(table.find(format!("{longest}a").as_bytes()).is_none());
    }

    #[test]
    fn any_bytes_are_taken_without_a_panic() {
        let table = table(&[".x"], &["app", "*.x", "10.0.0.1"]);
        let mut rng = crate::util::rng::Rng::new(7);
        let alphabet = b"aA.:*[]-_x0\x00\xff";
        for _ in 0..100_000 {
            let len = rng.below(12) as usize;
            let host: Vec<u8> = (0..len).map(|_| alphabet[rng.below(13) as usize]).collect();
            let _ = table.find(&host);
        }
    }
}
