//! Whether a client is on this machine, by all that anybody says of it.
//!
//! Only what narrows is believed of strangers: a proxy on this machine that is not trusted, or that nobody told
//! us of, brings clients from elsewhere over a loopback connection, and its fields say so.

use super::connection::Client;
use crate::http::Request;
use std::net::{IpAddr, SocketAddr};

/// Fields that name the client, as one address or as a list of them.
const NAMES_CLIENT: [&str; 8] = [
    "x-forwarded-for",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
];

/// True if the connection, its PROXY header and every field of the request that names a client name loopback
/// addresses alone. What can't be read is no loopback address, and neither is a proxy's hidden client (`Via`).
pub(super) fn is_local(client: &Client, request: &Request<'_>) -> bool {
    let connected = client.stream.peer_addr().is_ok_and(|peer| is_loopback(peer.ip()));
    if !connected || !is_loopback(client.peer.ip()) {
        return false;
    }
    let mut named = false;
    let mut proxied = false;
    for field in &request.fields {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name.as_bytes());
        let value = String::from_utf8_lossy(field.value);
        let local = if NAMES_CLIENT.iter().any(|name| is(name)) {
            value.split(',').all(is_local_node)
        } else if is("forwarded") {
            value.split(',').all(is_local_element)
        } else {
            proxied |= is("via");
            continue;
        };
        if !local {
            return false;
        }
        named = true;
    }
    named || !proxied
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// One element of `Forwarded` (RFC 7239 §4); one without `for` hides its client. A comma or semicolon within
/// quotes makes parts that are no addresses.
fn is_local_element(element: &str) -> bool {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let mut nodes = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for")).peekable();
    nodes.peek().is_some() && nodes.all(|(_, node)| is_local_node(node))
}

/// An address, maybe with a port, in brackets, in quotes.
fn is_local_node(node: &str) -> bool {
    let node = node.trim().trim_matches('"');
    let bare = node.strip_prefix('[').and_then(|node| node.strip_suffix(']')).unwrap_or(node);
    let ip = bare.parse().or_else(|_| node.parse::<SocketAddr>().map(|addr| addr.ip()));
    ip.is_ok_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_local() {
        for node in
            ["127.0.0.1", " 127.8.8.8:99 ", "::1", "[::1]", "[::1]:80", "\"[::1]:80\"", "::ffff:127.0.0.1"]
        {
            assert!(is_local_node(node), "{node}");
        }
        for node in
            ["", "192.0.2.1", "unknown", "_hidden", "localhost", "[::2]:80", "127.0.0.1.evil", "127.1"]
        {
            assert!(!is_local_node(node), "{node}");
        }
    }

    #[test]
    fn an_element_says_whom_it_is_for() {
        for element in ["for=127.0.0.1", "proto=https; FOR=\"[::1]\";by=192.0.2.1", "for=::1;host=x"] {
            assert!(is_local_element(element), "{element}");
        }
        for element in ["", "proto=https", "for=192.0.2.1", "for=127.0.0.1;for=192.0.2.1"] {
            assert!(!is_local_element(element), "{element}");
        }
    }
}
