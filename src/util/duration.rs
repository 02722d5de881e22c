//! Durations as Go writes them (`1h30m`, `500ms`, `1.5s`); a bare number is seconds.

use std::time::Duration;

/// Parses `text`.
///
/// # Errors
/// A sentence that says what was expected, for an empty text, an unknown unit, a sign or an overflow.
pub fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let expected = || format!("expected a duration such as `1h30m`, `500ms` or `30` (seconds), got `{text}`");
    if text.is_empty() {
        return Err(expected());
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().map(Duration::from_secs).map_err(|_| expected());
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let number_len = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (number, after) = rest.split_at(number_len);
        let unit_len = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(unit_len);
        let seconds_per_unit = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(expected()),
        };
        let value: f64 = number.parse().map_err(|_| expected())?;
        let part = Duration::try_from_secs_f64(value * seconds_per_unit).map_err(|_| expected())?;
        total = total.checked_add(part).ok_or_else(expected)?;
        rest = after;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_go_durations_and_bare_seconds() {
        assert_eq!(parse("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse(" 7 "), Ok(Duration::from_secs(7)));
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for bad in ["", "5d", "-1s", "1h30", "s", "1..5s", "99999999999999999999", "1e9h", "5 s"] {
            assert!(parse(bad).is_err(), "{bad:?} was taken");
        }
    }
}
