//! Whom a request is from, behind proxies that are trusted.

use std::net::{IpAddr, SocketAddr};

/// What a request says about the client before a proxy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told<'a> {
    /// `X-Real-IP`
    pub real_ip: Option<&'a [u8]>,
    /// There is a `Forwarded` field.
    pub forwarded: bool,
}

/// The client of a request that came from `peer`: `peer` itself, or if it is trusted, the last address of
/// `forwarded_for` (the values of `X-Forwarded-For` in their order) that is not; without any, `X-Real-IP`.
/// None if a trusted proxy said what can't be read.
pub fn client<'a>(
    peer: IpAddr,
    trusts: impl Fn(IpAddr) -> bool,
    forwarded_for: impl DoubleEndedIterator<Item = &'a [u8]>,
    told: Told<'_>,
) -> Option<IpAddr> {
    let peer = peer.to_canonical();
    if !trusts(peer) {
        return Some(peer);
    }
    let mut nearest = None;
    for hop in forwarded_for.rev().flat_map(|value| value.rsplit(|b| *b == b',')) {
        let hop = hop.trim_ascii();
        if hop.is_empty() {
            continue;
        }
        let address = address(hop)?;
        if !trusts(address) {
            return Some(address);
        }
        nearest = Some(address);
    }
    match (nearest, told.real_ip) {
        (Some(address), _) => Some(address),
        (None, Some(value)) => address(value.trim_ascii()),
        (None, None) if told.forwarded => None,
        (None, None) => Some(peer),
    }
}

/// An address, perhaps with a port: some proxies add it.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse::<SocketAddr>().ok().map(|addr| addr.ip());
    bare.parse::<IpAddr>().ok().or_else(with_port).map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::Cidr;

    fn of(peer: &str, fields: &[&str], real_ip: Option<&str>) -> Option<String> {
        let proxies = ["10.0.0.0/8", "fd00::/8"].map(|text| Cidr::parse(text).unwrap());
        let trusts = |address| proxies.iter().any(|network| network.contains(address));
        let told = Told { real_ip: real_ip.map(str::as_bytes), forwarded: false };
        let client = client(peer.parse().unwrap(), trusts, fields.iter().map(|f| f.as_bytes()), told);
        client.map(|client| client.to_string())
    }

    #[test]
    fn the_client_is_the_last_address_that_is_no_trusted_proxy() {
        for (peer, fields, real_ip, expected) in [
            ("192.0.2.1", &["1.1.1.1"][..], Some("2.2.2.2"), "192.0.2.1"),
            ("10.0.0.1", &["1.1.1.1"], None, "1.1.1.1"),
            ("10.0.0.1", &["9.9.9.9, 1.1.1.1"], None, "1.1.1.1"),
            ("10.0.0.1", &["9.9.9.9, 1.1.1.1, 10.2.2.2", "10.3.3.3"], None, "1.1.1.1"),
            ("10.0.0.1", &["garbage, 1.1.1.1 ,"], None, "1.1.1.1"),
            ("10.0.0.1", &["10.4.4.4, 10.2.2.2"], None, "10.4.4.4"),
            ("10.0.0.1", &["1.1.1.1:4711"], None, "1.1.1.1"),
            ("10.0.0.1", &["[2001:db8::1]:4711"], None, "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]"], None, "2001:db8::1"),
            ("::ffff:10.0.0.1", &["::ffff:1.1.1.1"], None, "1.1.1.1"),
            ("10.0.0.1", &["1.1.1.1"], Some("2.2.2.2"), "1.1.1.1"),
            ("10.0.0.1", &[], Some("2.2.2.2"), "2.2.2.2"),
            ("10.0.0.1", &[], None, "10.0.0.1"),
        ] {
            assert_eq!(of(peer, fields, real_ip).as_deref(), Some(expected), "{peer} {fields:?} {real_ip:?}");
        }
    }

    #[test]
    fn what_a_trusted_proxy_says_and_nobody_can_read_is_nobody() {
        assert_eq!(of("10.0.0.1", &["1.1.1.1, unknown"], None), None);
        assert_eq!(of("10.0.0.1", &["1.1.1.1, \u{fc}"], None), None);
        assert_eq!(of("10.0.0.1", &[], Some("me")), None);
        let told = Told { real_ip: None, forwarded: true };
        assert_eq!(client("10.0.0.1".parse().unwrap(), |_| true, std::iter::empty(), told), None);
    }
}
