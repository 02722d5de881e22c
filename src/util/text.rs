//! Numbers and addresses as ASCII, without the machinery of `fmt`: for what is written per request.

use std::io::Write as _;
use std::net::IpAddr;

/// Appends `value` in decimal digits.
pub fn decimal(out: &mut Vec<u8>, value: u64) {
    if value < 10 {
        return out.push(b'0' + value as u8);
    }
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = value;
    while rest > 0 {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends an address; an IPv4 address that came over a dual-stack listener as IPv4.
pub fn address(out: &mut Vec<u8>, ip: IpAddr) {
    let v4 = match ip.to_canonical() {
        IpAddr::V4(v4) => v4,
        IpAddr::V6(v6) => {
            let written = write!(out, "{v6}");
            return debug_assert!(written.is_ok(), "a Vec takes every write");
        }
    };
    let mut text = [b'.'; 16];
    let mut at = 0;
    for octet in v4.octets() {
        if octet >= 100 {
            text[at] = b'0' + octet / 100;
            at += 1;
        }
        if octet >= 10 {
            text[at] = b'0' + octet / 10 % 10;
            at += 1;
        }
        text[at] = b'0' + octet % 10;
        // The dot stands there already.
        at += 2;
    }
    out.extend_from_slice(&text[..at - 1]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_write_what_fmt_writes() {
        for value in [0, 9, 10, 99, 100, 12_345, u64::from(u32::MAX), u64::MAX] {
            let mut out = b"x".to_vec();
            decimal(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), format!("x{value}"));
        }
        for ip in ["0.0.0.0", "1.20.255.100", "255.255.255.255", "::1", "2001:db8::7", "::ffff:10.0.0.9"] {
            let ip: IpAddr = ip.parse().unwrap();
            let mut out = Vec::new();
            address(&mut out, ip);
            assert_eq!(String::from_utf8(out).unwrap(), ip.to_canonical().to_string());
        }
    }
}
