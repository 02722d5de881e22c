//! Whom a connection is from, in as few bytes as it takes: an idle connection keeps it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// An address and a port; an IPv4 address that came over a dual-stack listener is one of IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    ip: [u8; 16],
    port: u16,
}

impl Peer {
    pub fn ip(self) -> IpAddr {
        Ipv6Addr::from(self.ip).to_canonical()
    }

    /// What counts as one client: an IPv4 address, or an IPv6 /64, which is the least that one is given. IPv4
    /// has the place of a prefix that is reserved (RFC 4291 §2.4).
    pub fn network(self) -> u64 {
        match self.ip() {
            IpAddr::V4(v4) => 0xFFFF_0000_0000 | u64::from(v4.to_bits()),
            IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(addr: SocketAddr) -> Peer {
        let ip = match addr.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        Peer { ip: ip.octets(), port: addr.port() }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.ip(), self.port).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> Peer {
        text.parse::<SocketAddr>().unwrap().into()
    }

    #[test]
    fn it_shows_what_it_was_made_of_and_counts_networks() {
        for text in ["10.0.0.9:80", "[2001:db8::7]:65535", "[::1]:1"] {
            assert_eq!(peer(text).to_string(), text);
        }
        assert_eq!(peer("[::ffff:10.0.0.9]:80"), peer("10.0.0.9:80"));
        assert_eq!(peer("[2001:db8::7]:1").network(), peer("[2001:db8::ffff:8]:2").network());
        assert_ne!(peer("[2001:db8::7]:1").network(), peer("[2001:db8:0:1::7]:1").network());
        assert_ne!(peer("10.0.0.9:1").network(), peer("10.0.0.8:1").network());
        assert_ne!(peer("0.0.0.1:1").network(), peer("[::1]:1").network());
    }
}
