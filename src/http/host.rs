//! Host names as `Host` and authorities hold them (RFC 9110 §7.2, RFC 3986 §3.2).

use std::net::Ipv6Addr;

use crate::http::request::Reject;
use crate::limits;

/// A host name taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostParts<'b> {
    /// The name as sent: any case, maybe with a trailing dot; an IPv6 address keeps its brackets.
    pub name: &'b [u8],
    /// The port; an empty one (`host:`) counts as none.
    pub port: Option<u16>,
}

/// Checks and splits `host[:port]`.
///
/// Names are letters, digits, `-`, `.`, `_` and `~`; the rest of RFC 3986's reg-name (`%41`, `*`, `,` …)
/// names no host that could be reached and is refused, since routes, logs and `X-Forwarded-Host` read it.
///
/// # Errors
/// 400 for an empty name, any other character, user information, a bad address or port, or more than
/// `limits::HOST_BYTES`.
pub fn parse_host(host: &[u8]) -> Result<HostParts<'_>, Reject> {
    if host.len() > limits::HOST_BYTES {
        return Err(Reject::bad("host name too long"));
    }
    let (name, after) = match host.first() {
        None => return Err(Reject::bad("empty host name")),
        Some(b'[') => split_ipv6(host)?,
        Some(_) => {
            let end = host.iter().position(|b| *b == b':').unwrap_or(host.len());
            host.split_at(end)
        }
    };
    if name.is_empty() {
        return Err(Reject::bad("empty host name"));
    }
    if name[0] != b'[' && !name.iter().all(|b| is_name_char(*b)) {
        return Err(Reject::bad("malformed host name"));
    }
    Ok(HostParts { name, port: parse_port(after)? })
}

/// Splits `[address]rest`.
fn split_ipv6(host: &[u8]) -> Result<(&[u8], &[u8]), Reject> {
    let bad = Reject::bad("malformed IPv6 address in the host name");
    let end = host.iter().position(|b| *b == b']').ok_or(bad)?;
    let address = std::str::from_utf8(&host[1..end]).map_err(|_| bad)?;
    address.parse::<Ipv6Addr>().map_err(|_| bad)?;
    Ok(host.split_at(end + 1))
}

/// Reads what follows the name: nothing, `:` or `:port`.
fn parse_port(after: &[u8]) -> Result<Option<u16>, Reject> {
    let bad = Reject::bad("malformed port in the host name");
    let digits = match after.split_first() {
        None => return Ok(None),
        Some((b':', digits)) => digits,
        Some(_) => return Err(bad),
    };
    if digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(bad);
    }
    let port = digits.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    let port = u16::try_from(port).map_err(|_| bad)?;
    Ok((!digits.is_empty()).then_some(port))
}

fn is_name_char(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(host: &str) -> Option<(&str, Option<u16>)> {
        let parts = parse_host(host.as_bytes()).ok()?;
        Some((std::str::from_utf8(parts.name).ok()?, parts.port))
    }

    #[test]
    fn splits_name_and_port() {
        assert_eq!(parts("App.local"), Some(("App.local", None)));
        assert_eq!(parts("app.local.:8080"), Some(("app.local.", Some(8080))));
        assert_eq!(parts("app.local:"), Some(("app.local", None)));
        assert_eq!(parts("app.local:0"), Some(("app.local", Some(0))));
        assert_eq!(parts("192.0.2.1:65535"), Some(("192.0.2.1", Some(65535))));
        assert_eq!(parts("[::1]"), Some(("[::1]", None)));
        assert_eq!(parts("[2001:DB8::1]:80"), Some(("[2001:DB8::1]", Some(80))));
    }

    #[test]
    fn refuses_what_names_no_host() {
        for bad in
            ["", ":80", "a:65536", "a:000080", "a:8o", "a b", "a/b", "a@b", "*.a", "a,b", "[::1", "::1"]
        {
            assert_eq!(parts(bad), None, "{bad:?}");
        }
    }
}
