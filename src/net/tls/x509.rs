//! The little that is read from a certificate here: whose it is and how long it is valid (RFC 5280 §4.1).

use crate::limits::{CERT_NAME_PARTS as NAME_PARTS, CERT_NAMES};

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Whose it is, and who says so: the names' parts as `CN=…, O=…`; empty if there are none.
    pub subject: String,
    pub issuer: String,
    /// Its DNS names (subjectAltName), in lower case; wildcards as `*.example.com`.
    pub names: Vec<String>,
    /// Seconds since the Unix epoch: the first and the last moment of its validity.
    pub not_before: i64,
    pub not_after: i64,
}

/// Reads a certificate in DER; `None` if it isn't one.
pub(super) fn facts(der: &[u8]) -> Option<Facts> {
    let (_, certificate, _) = element(der)?;
    let (_, mut tbs, _) = element(certificate)?;
    if tbs.first() == Some(&0xA0) {
        tbs = element(tbs)?.2;
    }
    // serialNumber, signature
    for _ in 0..2 {
        tbs = element(tbs)?.2;
    }
    let (_, issuer, tbs) = element(tbs)?;
    let (_, validity, tbs) = element(tbs)?;
    let (from_kind, from, rest) = element(validity)?;
    let (to_kind, to, _) = element(rest)?;
    let (_, subject, tbs) = element(tbs)?;
    // subjectPublicKeyInfo
    let mut tbs = element(tbs)?.2;
    let mut names = Vec::new();
    while let Some((tag, value, rest)) = element(tbs) {
        if tag == 0xA3 {
            names = alternative_names(value);
        }
        tbs = rest;
    }
    let (not_before, not_after) = (seconds(from_kind, from)?, seconds(to_kind, to)?);
    Some(Facts { subject: parts(subject), issuer: parts(issuer), names, not_before, not_after })
}

/// The first element of `der`: tag, contents, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, mut rest) = rest.split_first()?;
    let mut length = usize::from(*first);
    if length > 0x80 {
        let count = length - 0x80;
        if count > 4 {
            return None;
        }
        let (digits, after) = rest.split_at_checked(count)?;
        length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
        rest = after;
    }
    let (value, rest) = rest.split_at_checked(length)?;
    Some((*tag, value, rest))
}

/// Parts of a name that people look at, under id-at (2.5.4).
const PARTS: [(u8, &str); 3] = [(3, "CN"), (10, "O"), (11, "OU")];

/// A distinguished name in words: a sequence of sets of pairs (RFC 5280 §4.1.2.4).
fn parts(mut name: &[u8]) -> String {
    let mut said: Vec<String> = Vec::new();
    while let Some((_, mut set, rest)) = element(name) {
        name = rest;
        while let Some((_, pair, rest)) = element(set) {
            set = rest;
            let Some((_, &[0x55, 0x04, kind], value)) = element(pair) else { continue };
            let part = PARTS.iter().find(|(known, _)| *known == kind);
            if let Some(((_, part), (_, text, _))) =
                part.zip(element(value)).filter(|_| said.len() < NAME_PARTS)
            {
                said.push(format!("{part}={}", String::from_utf8_lossy(text)));
            }
        }
    }
    said.join(", ")
}

const SUBJECT_ALT_NAME: [u8; 3] = [0x55, 0x1D, 0x11];
const DNS_NAME: u8 = 0x82;
const OCTET_STRING: u8 = 4;

fn alternative_names(extensions: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let Some((_, mut list, _)) = element(extensions) else { return names };
    while let Some((_, extension, rest)) = element(list) {
        list = rest;
        let Some((_, id, mut rest)) = element(extension) else { continue };
        if id != SUBJECT_ALT_NAME {
            continue;
        }
        // `critical` may stand before the value.
        while let Some((tag, value, after)) = element(rest) {
            rest = after;
            let Some((_, mut general, _)) = element(value).filter(|_| tag == OCTET_STRING) else { continue };
            while let Some((tag, name, after)) = element(general) {
                general = after;
                let name = std::str::from_utf8(name).ok().filter(|_| tag == DNS_NAME);
                if let Some(name) = name.filter(|_| names.len() < CERT_NAMES) {
                    names.push(name.to_ascii_lowercase());
                }
            }
        }
    }
    names
}

const UTC_TIME: u8 = 0x17;

/// A moment as UTCTime (`YYMMDDHHMMSSZ`) or GeneralizedTime (`YYYYMMDDHHMMSSZ`).
fn seconds(kind: u8, text: &[u8]) -> Option<i64> {
    let digits: Vec<i64> =
        text.iter().map_while(|b| b.is_ascii_digit().then(|| i64::from(b - b'0'))).collect();
    let (year, rest) = match (kind, digits.as_slice()) {
        (UTC_TIME, [a, b, rest @ ..]) => {
            let short = a * 10 + b;
            (if short < 50 { 2000 + short } else { 1900 + short }, rest)
        }
        (_, [a, b, c, d, rest @ ..]) => (a * 1000 + b * 100 + c * 10 + d, rest),
        _ => return None,
    };
    let pair = |at: usize| Some(rest.get(at)? * 10 + rest.get(at + 1)?);
    let (month, day) = (pair(0)?, pair(2)?);
    let clock = pair(4)? * 3600 + pair(6)? * 60 + pair(8).unwrap_or(0);
    Some(days(year, month, day) * 86_400 + clock)
}

/// Days since 1970-01-01 (Howard Hinnant's days_from_civil).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(seconds(UTC_TIME, b"700101000000Z"), Some(0));
        assert_eq!(seconds(UTC_TIME, b"491231235959Z"), Some(2_524_607_999));
        assert_eq!(seconds(0x18, b"20500101000000Z"), Some(2_524_608_000));
        assert_eq!(seconds(0x18, b"2050"), None);
    }

    #[test]
    fn garbage_is_no_certificate() {
        for garbage in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x03\x30\x01\xa0", &[0x30; 64]]
        {
            assert_eq!(facts(garbage), None);
        }
    }
}
