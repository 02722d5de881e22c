//! The fake's clocks and its only way to wait. It runs on std threads of its own, never on a core.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// The monotonic clock.
#[allow(clippy::disallowed_methods)] // std threads of the fake, not a core and not the pure line
pub(super) fn now() -> Instant {
    Instant::now()
}

/// The wall clock in nanoseconds since the Unix epoch.
#[allow(clippy::disallowed_methods)] // an engine stamps its events with the wall clock
pub(super) fn wall_nanos() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}

/// Blocks this std thread.
#[allow(clippy::disallowed_methods)] // std threads of the fake, not a core
pub(super) fn pause(time: Duration) {
    if !time.is_zero() {
        std::thread::sleep(time);
    }
}

/// Waits until `ready`, at most until `deadline`; tells whether it came.
pub(super) fn wait_until(deadline: Instant, mut ready: impl FnMut() -> bool) -> bool {
    loop {
        if ready() {
            return true;
        }
        if now() >= deadline {
            return false;
        }
        pause(Duration::from_millis(1));
    }
}

/// Writes `nanos` as Go's `RFC3339Nano` does: no trailing zeros in the fraction.
pub(super) fn rfc3339(nanos: i64) -> String {
    let (seconds, fraction) = (nanos.div_euclid(NANOS_PER_SECOND), nanos.rem_euclid(NANOS_PER_SECOND));
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if fraction != 0 {
        text.push_str(format!(".{fraction:09}").trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// The Gregorian date of a day counted from 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    // Years start in March, so that the leap day is a year's last.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// A time of the API's query strings, `1700000000` or `1700000000.123456789`, in nanoseconds. RFC 3339 is
/// for docker's command line only.
pub(super) fn parse_query_time(text: &str) -> Option<i64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos: i64 = format!("{fraction:0<9}").parse().ok()?;
    seconds.parse::<i64>().ok()?.checked_mul(NANOS_PER_SECOND)?.checked_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::timestamp::parse_rfc3339;

    #[test]
    fn written_times_are_read_back() {
        for nanos in [0, 1, 951_868_800_500_000_000, 951_782_399_000_000_001, 1_795_644_434_123_456_789] {
            assert_eq!(parse_rfc3339(&rfc3339(nanos)), Some(nanos), "{}", rfc3339(nanos));
        }
        assert_eq!(rfc3339(951_868_800_500_000_000), "2000-03-01T00:00:00.5Z");
    }

    #[test]
    fn query_times_have_up_to_nine_digits() {
        assert_eq!(parse_query_time("12"), Some(12_000_000_000));
        assert_eq!(parse_query_time("12.5"), Some(12_500_000_000));
        assert_eq!(parse_query_time("12.000000001"), Some(12_000_000_001));
        for bad in ["", "x", "1970-01-01T00:00:01Z", "1.x", "1.1234567890", "99999999999999999999"] {
            assert_eq!(parse_query_time(bad), None, "{bad:?}");
        }
    }
}
