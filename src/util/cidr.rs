//! Networks in CIDR notation (RFC 4632, RFC 4291 §2.3).

use std::fmt;
use std::net::IpAddr;

/// A network: an address and how many of its bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    bits: u8,
}

impl Cidr {
    /// Reads `10.0.0.0/8`, `fd00::/8`, or an address alone. `None` also for bits beyond the prefix: who writes
    /// `10.0.0.1/8` means either the address or the network.
    pub fn parse(text: &str) -> Option<Cidr> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => {
                let digits = !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit());
                (address, Some(bits).filter(|_| digits)?.parse::<u8>().ok())
            }
            None => (text, None),
        };
        let network: IpAddr = address.parse().ok()?;
        let width = if network.is_ipv4() { 32 } else { 128 };
        let bits = match text.contains('/') {
            true => bits.filter(|bits| *bits <= width)?,
            false => width,
        };
        // An IPv4 network within IPv6 is that IPv4 network: addresses are compared so too.
        let (network, bits) = match network.to_canonical() {
            v4 @ IpAddr::V4(_) if network.is_ipv6() && bits >= MAPPED => (v4, bits - MAPPED),
            _ => (network, bits),
        };
        let cidr = Cidr { network, bits };
        (masked(network, bits) == number(network)).then_some(cidr)
    }

    /// Whether `address` lies in it. An IPv4 address within IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (address, network) = (address.to_canonical(), self.network);
        address.is_ipv4() == network.is_ipv4() && masked(address, self.bits) == number(network)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.bits)
    }
}

/// Bits before the IPv4 address in one within IPv6 (RFC 4291 §2.5.5.2).
const MAPPED: u8 = 96;

/// The address's bits at the top of 128.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn masked(address: IpAddr, bits: u8) -> u128 {
    let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
    number(address) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contains_what_its_prefix_says() {
        for (cidr, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.168.1.0/24", "::ffff:192.168.1.9", "192.168.2.0"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("::ffff:10.0.0.0/104", "10.9.9.9", "11.0.0.0"),
            ("::ffff:10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2"),
            ("::ffff:0.0.0.0/96", "8.8.8.8", "2001:db8::"),
            ("fd00::/8", "fdff::1", "fe00::"),
            ("::1", "::1", "::2"),
            ("0.0.0.0/0", "8.8.8.8", "2001:db8::"),
            ("::/0", "2001:db8::", "8.8.8.8"),
        ] {
            let cidr = Cidr::parse(cidr).unwrap();
            assert!(cidr.contains(inside.parse().unwrap()), "{inside} in {cidr}");
            assert!(!cidr.contains(outside.parse().unwrap()), "{outside} in {cidr}");
        }
    }

    #[test]
    fn refuses_what_is_no_network() {
        for text in [
            "",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "::/129",
            "10.0.0.0/+8",
            "10/8",
            "x",
            "::ffff:10.0.0.1/104",
        ] {
            assert_eq!(Cidr::parse(text), None, "{text}");
        }
    }
}
