//! The PROXY protocol, versions 1 and 2 (haproxy.org, doc/proxy-protocol.txt): what a balancer says about the
//! client before the connection's first byte.

use crate::limits::PROXY_HEADER_BYTES;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What the beginning of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// Perhaps the beginning of a header: more bytes decide.
    Partial,
    /// None: the client's own first bytes.
    Absent,
    /// A header of `len` bytes. No client: the balancer speaks for itself (a health check), or for a client
    /// that has no TCP address.
    Present { len: usize, client: Option<SocketAddr> },
}

/// Why a header is refused; the connection ends without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadProxyHeader(pub &'static str);

/// Reads the header at the beginning of `buf`.
///
/// # Errors
/// Something that begins as a header and isn't exactly one, or is longer than
/// `limits::PROXY_HEADER_BYTES`.
pub fn parse_proxy_header(buf: &[u8]) -> Result<ProxyHeader, BadProxyHeader> {
    if begins(buf, SIGNATURE) {
        return version_2(buf);
    }
    match begins(buf, WORD) {
        true => version_1(buf),
        false => Ok(ProxyHeader::Absent),
    }
}

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const WORD: &[u8] = b"PROXY ";
/// Bytes of the longest line of version 1, its CRLF included (§2.1).
const LINE_BYTES: usize = 107;

/// Whether `buf` begins with `with`, as far as it goes.
fn begins(buf: &[u8], with: &[u8]) -> bool {
    let len = buf.len().min(with.len());
    buf[..len] == with[..len]
}

/// `PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\r\n`, or `PROXY UNKNOWN` and anything.
fn version_1(buf: &[u8]) -> Result<ProxyHeader, BadProxyHeader> {
    let malformed = BadProxyHeader("malformed PROXY line");
    let line = &buf[..buf.len().min(LINE_BYTES)];
    let Some(end) = line.windows(2).position(|two| two == b"\r\n") else {
        return if buf.len() < LINE_BYTES { Ok(ProxyHeader::Partial) } else { Err(malformed) };
    };
    let text = std::str::from_utf8(&line[WORD.len()..end]).map_err(|_| malformed)?;
    let len = end + 2;
    if text == "UNKNOWN" || text.starts_with("UNKNOWN ") {
        return Ok(ProxyHeader::Present { len, client: None });
    }
    let mut words = text.split(' ');
    let mut next = || words.next().ok_or(malformed);
    let (family, source, target, source_port, target_port) = (next()?, next()?, next()?, next()?, next()?);
    if words.next().is_some() {
        return Err(malformed);
    }
    let read = |address: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => address.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => address.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (source, _) = read(source).zip(read(target)).ok_or(malformed)?;
    let (source_port, _) = port(source_port).zip(port(target_port)).ok_or(malformed)?;
    Ok(ProxyHeader::Present { len, client: Some(SocketAddr::new(source.to_canonical(), source_port)) })
}

/// Decimal without a sign or leading zeros.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// Signature, version and command, family and transport, length, addresses, anything more.
fn version_2(buf: &[u8]) -> Result<ProxyHeader, BadProxyHeader> {
    let Some((head, rest)) = buf.split_first_chunk::<16>() else { return Ok(ProxyHeader::Partial) };
    let [.., command, family, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if command >> 4 != 2 || command & 0xF > 1 {
        return Err(BadProxyHeader("unknown version or command of the PROXY header"));
    }
    if length > PROXY_HEADER_BYTES {
        return Err(BadProxyHeader("PROXY header too long"));
    }
    let Some(addresses) = rest.get(..length) else { return Ok(ProxyHeader::Partial) };
    let len = head.len() + length;
    if command & 0xF == 0 {
        return Ok(ProxyHeader::Present { len, client: None });
    }
    let short = BadProxyHeader("PROXY header too short for its addresses");
    let client = match family {
        0x11 => {
            let ([a, b, c, d, _, _, _, _, high, low, ..], _) =
                addresses.split_first_chunk::<12>().ok_or(short)?;
            Some(SocketAddr::new(Ipv4Addr::new(*a, *b, *c, *d).into(), u16::from_be_bytes([*high, *low])))
        }
        0x21 => {
            let (fields, _) = addresses.split_first_chunk::<36>().ok_or(short)?;
            let (source, _) = fields.split_first_chunk::<16>().ok_or(short)?;
            let ip = Ipv6Addr::from(*source).to_canonical();
            Some(SocketAddr::new(ip, u16::from_be_bytes([fields[32], fields[33]])))
        }
        // unspecified, a datagram or a Unix socket: no TCP address
        _ => None,
    };
    Ok(ProxyHeader::Present { len, client })
}
