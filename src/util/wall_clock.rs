//! The wall clock, for what is printed, and for how old a log file is; nothing else is decided by it.

use std::time::SystemTime;

/// A moment in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallTime {
    /// Seconds since the Unix epoch.
    pub seconds: u64,
    /// Milliseconds of the second.
    pub millis: u16,
}

/// A moment by calendar and clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    pub year: u64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
}

/// Now. A clock before 1970 counts as 1970.
#[allow(clippy::disallowed_methods)] // the one place where the wall clock is read to be printed
pub fn now() -> WallTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    WallTime { seconds: since.as_secs(), millis: since.subsec_millis() as u16 }
}

/// A moment as RFC 3339 writes it, in UTC and to the second: `2026-11-26T05:37:07Z`. One before 1970 counts as
/// 1970.
pub fn rfc3339(seconds: i64) -> String {
    let c = WallTime { seconds: u64::try_from(seconds).unwrap_or(0), millis: 0 }.civil();
    format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", c.year, c.month, c.day, c.hour, c.minute, c.second)
}

impl WallTime {
    /// Whole seconds since the Unix epoch.
    pub fn unix(self) -> i64 {
        i64::try_from(self.seconds).unwrap_or(i64::MAX)
    }

    /// The same in the Gregorian calendar.
    pub fn civil(self) -> Civil {
        let (days, time) = (self.seconds / 86_400, self.seconds % 86_400);
        // Years start in March, so that the leap day is a year's last; eras have 400 of them.
        let z = days + 719_468;
        let (era, day_of_era) = (z / 146_097, z % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Civil {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month: month as u8,
            day: (day_of_year - (153 * from_march + 2) / 5 + 1) as u8,
            hour: (time / 3600) as u8,
            minute: (time / 60 % 60) as u8,
            second: (time % 60) as u8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::timestamp::parse_rfc3339;

    #[test]
    fn the_calendar_agrees_with_the_one_that_reads() {
        for seconds in (0..4_200_000_000_u64).step_by(86_399 * 7).chain([951_782_400, 1_709_164_799]) {
            let text = rfc3339(seconds as i64);
            assert_eq!(parse_rfc3339(&text), Some(seconds as i64 * 1_000_000_000), "{text}");
        }
    }
}
