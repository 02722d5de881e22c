//! When a file is rotated, and which of its archives go: decided from sizes, names and the time alone.
//!
//! The current file is renamed to `NAME.20060102T150405.000000000Z`, with `.1` and so on behind it if that is
//! taken. By age, a file is rotated at each whole interval; by size or lines, when it holds an eighth of what is
//! kept. What is kept is always the newest.

use crate::limits::{ACCESS_LOG_INTERVAL, ACCESS_LOG_INTERVAL_MIN, ACCESS_LOG_SIZE_MIN};
use crate::util::timestamp::parse_rfc3339;
use crate::util::wall_clock::WallTime;
use std::cmp::Reverse;
use std::time::Duration;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// All: the file is never renamed, and nothing deleted.
    All,
    /// Archives that are younger than so many days.
    Days(u64),
    /// At least so many of the newest lines.
    Last(u64),
    /// So many of the newest bytes, the current file and its archives taken together.
    Bytes(u64),
}

/// When a file is rotated and what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    pub retention: Retention,
    /// Between two rotations, if what is kept goes by age.
    pub interval: Duration,
}

/// Of what is kept by size or lines the current file holds at most one part, archives the others.
const PARTS: u64 = 8;
/// More than anybody means: ten years, a million lines, a petabyte.
const MOST: [(&str, u64); 3] = [("days", 3_650), ("lines", 1_000_000), ("bytes", 1 << 50)];

impl Default for Rotation {
    /// GoDoxy's.
    fn default() -> Self {
        Rotation { retention: Retention::Days(30), interval: ACCESS_LOG_INTERVAL }
    }
}

impl Retention {
    /// Reads `30 days`, `4 weeks`, `1 month`, `last 1000`, `100 MB` or `off`, without case. Units of size are
    /// bytes, 1024 of each make one of the next.
    ///
    /// # Errors
    /// What is wrong beyond the form, or nothing.
    pub fn parse(text: &str) -> Result<Retention, Option<String>> {
        let lower = text.trim().to_ascii_lowercase();
        if lower == "off" || lower == "false" {
            return Ok(Retention::All);
        }
        let (number, unit) = match lower.strip_prefix("last") {
            Some(number) if number.starts_with([' ', '\t']) => (number.trim(), "last"),
            _ => {
                let digits = lower.bytes().take_while(u8::is_ascii_digit).count();
                (&lower[..digits], lower[digits..].trim())
            }
        };
        let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        let number = number.parse::<u64>().ok().filter(|_| is_number).ok_or(None)?;
        let (per_unit, kind) = match unit {
            "day" | "days" => (1, 0),
            "week" | "weeks" => (7, 0),
            "month" | "months" => (30, 0),
            "last" => (1, 1),
            "kb" => (1 << 10, 2),
            "mb" => (1 << 20, 2),
            "gb" => (1 << 30, 2),
            _ => return Err(None),
        };
        let (name, most) = MOST[kind];
        let amount = number.checked_mul(per_unit).filter(|amount| *amount <= most);
        let amount = amount.ok_or_else(|| Some(format!("at most {most} {name} can be kept")))?;
        match kind {
            _ if amount == 0 => Err(Some("nothing would be kept; without `path` there is no file".into())),
            0 => Ok(Retention::Days(amount)),
            1 => Ok(Retention::Last(amount)),
            _ if amount < ACCESS_LOG_SIZE_MIN => {
                Err(Some(format!("at least {} KB must be kept", ACCESS_LOG_SIZE_MIN >> 10)))
            }
            _ => Ok(Retention::Bytes(amount)),
        }
    }
}

/// The file that is written to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Current {
    pub bytes: u64,
    /// Counted only where [`Rotation::counts_lines`].
    pub lines: u64,
    /// Its last change, in milliseconds since the epoch.
    pub changed: u64,
}

impl Rotation {
    /// Whether there is anything to do.
    pub(super) fn is_off(&self) -> bool {
        self.retention == Retention::All
    }

    pub(super) fn counts_lines(&self) -> bool {
        matches!(self.retention, Retention::Last(_))
    }

    /// Lines of the current file from which it is rotated.
    pub(super) fn part_of_lines(&self) -> u64 {
        match self.retention {
            Retention::Last(lines) => (lines / PARTS).max(1),
            _ => u64::MAX,
        }
    }

    /// How many bytes of `lines` the current file may take now: whole lines. 0: it must be rotated first.
    pub(super) fn room(&self, current: Current, lines: &[u8], now: u64) -> usize {
        if current.bytes == 0 && matches!(self.retention, Retention::Days(_)) {
            return lines.len();
        }
        match self.retention {
            Retention::All => lines.len(),
            Retention::Days(_) if self.is_due(current, now) => 0,
            Retention::Days(_) => lines.len(),
            Retention::Last(_) => {
                let left = self.part_of_lines().saturating_sub(current.lines);
                let ends = lines.iter().enumerate().filter(|(_, b)| **b == b'\n');
                ends.take(usize::try_from(left).unwrap_or(usize::MAX)).last().map_or(0, |(at, _)| at + 1)
            }
            Retention::Bytes(kept) => {
                let left = (kept / PARTS).saturating_sub(current.bytes);
                let left = lines.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let whole = lines[..left].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
                // A line that is longer than a whole part.
                let first = || lines.iter().position(|b| *b == b'\n').map_or(lines.len(), |at| at + 1);
                if whole == 0 && current.bytes == 0 { first() } else { whole }
            }
        }
    }

    /// Whether the current file, which is not empty, is of an interval that is over.
    pub(super) fn is_due(&self, current: Current, now: u64) -> bool {
        matches!(self.retention, Retention::Days(_))
            && current.bytes > 0
            && self.slot(current.changed) < self.slot(now)
    }

    /// Until the next interval begins, if rotation goes by it.
    pub(super) fn until_next(&self, now: u64) -> Option<Duration> {
        let interval = self.interval_ms();
        matches!(self.retention, Retention::Days(_)).then(|| Duration::from_millis(interval - now % interval))
    }

    /// Which interval since the epoch a time is in.
    pub(super) fn slot(&self, time: u64) -> u64 {
        time / self.interval_ms()
    }

    fn interval_ms(&self) -> u64 {
        self.interval.max(ACCESS_LOG_INTERVAL_MIN).as_millis() as u64
    }

    /// What is to be done about `archives`, in any order.
    pub(super) fn plan(&self, mut archives: Vec<Archive>, now: u64) -> Plan {
        // The newest first.
        archives.sort_by_key(|archive| Reverse(archive.stamp));
        let mut cut = None;
        let kept = match self.retention {
            Retention::All => archives.len(),
            Retention::Days(days) => {
                let oldest = now.saturating_sub(days * 86_400_000);
                archives.iter().take_while(|archive| archive.stamp.0 >= oldest).count()
            }
            Retention::Last(lines) => {
                let mut newer = 0;
                let needed = |archive: &&Archive| {
                    let before = newer;
                    newer += archive.lines;
                    before < lines
                };
                archives.iter().take_while(needed).count()
            }
            Retention::Bytes(bytes) => {
                let room = bytes - bytes / PARTS;
                if let Some(newest) = archives.first().filter(|newest| newest.bytes > room) {
                    cut = Some((newest.name.clone(), room));
                }
                let mut total = 0;
                let fits = |archive: &&Archive| {
                    total += archive.bytes;
                    total <= room
                };
                archives.iter().take_while(fits).count().max(usize::from(cut.is_some()))
            }
        };
        Plan { delete: archives.drain(kept..).map(|archive| archive.name).collect(), cut }
    }
}

/// A file that was rotated away.
#[derive(Clone, Debug)]
pub(super) struct Archive {
    pub name: String,
    pub stamp: Stamp,
    pub bytes: u64,
    /// 0 where lines are not counted.
    pub lines: u64,
}

/// When a file was rotated away, in milliseconds since the epoch, what its name says beyond them, and its number
/// among those of the same name.
pub(super) type Stamp = (u64, u32, u32);

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub delete: Vec<String>,
    /// An archive that is too large alone, and how many of its last bytes may stay.
    pub cut: Option<(String, u64)>,
}

/// The ending of an archive's name; `number` tells those of one moment apart.
pub(super) fn ending(time: WallTime, number: u32) -> String {
    let c = time.civil();
    let name = format!(
        ".{:04}{:02}{:02}T{:02}{:02}{:02}.{:09}Z",
        c.year,
        c.month,
        c.day,
        c.hour,
        c.minute,
        c.second,
        u32::from(time.millis) * 1_000_000
    );
    if number == 0 { name } else { format!("{name}.{number}") }
}

/// Reads the ending of an archive's name; none if it is not exactly one that [`ending`] makes.
pub(super) fn parse_ending(ending: &str) -> Option<Stamp> {
    let (stamp, number) = match ending.split_once('Z')? {
        (stamp, "") => (stamp, 0),
        (stamp, rest) => {
            let digits =
                rest.strip_prefix('.').filter(|digits| !digits.starts_with('0') && is_digits(digits))?;
            (stamp, digits.parse().ok()?)
        }
    };
    let stamp = stamp.strip_prefix('.')?;
    let (date, time) = stamp.split_once('T')?;
    let (time, nanos) = time.split_once('.')?;
    let lengths = [(date, 8), (time, 6), (nanos, 9)];
    if !lengths.iter().all(|(part, length)| part.len() == *length && is_digits(part)) {
        return None;
    }
    let text = format!(
        "{}-{}-{}T{}:{}:{}.{nanos}Z",
        &date[..4],
        &date[4..6],
        &date[6..],
        &time[..2],
        &time[2..4],
        &time[4..]
    );
    let nanos = u64::try_from(parse_rfc3339(&text)?).ok()?;
    Some((nanos / 1_000_000, (nanos % 1_000_000) as u32, number))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;

    fn rotation(text: &str) -> Rotation {
        Rotation { retention: Retention::parse(text).unwrap(), interval: Duration::from_secs(3600) }
    }

    fn archive(stamp: u64, bytes: u64, lines: u64) -> Archive {
        Archive { name: format!("{stamp}"), stamp: (stamp, 0, 0), bytes, lines }
    }

    #[test]
    fn retentions_are_read_without_case_and_as_bytes() {
        for (text, expected) in [
            ("30 days", Retention::Days(30)),
            ("1 Day", Retention::Days(1)),
            ("2 weeks", Retention::Days(14)),
            ("3 months", Retention::Days(90)),
            ("last 1000", Retention::Last(1000)),
            ("64 kb", Retention::Bytes(65_536)),
            ("10MB", Retention::Bytes(10 << 20)),
            ("2 Gb", Retention::Bytes(2 << 30)),
            ("off", Retention::All),
        ] {
            assert_eq!(Retention::parse(text), Ok(expected), "{text}");
        }
        for text in
            ["", "30", "days", "last", "last x", "last1", "-1 days", "1 year", "+1 days", "1.5 GB", "5 MiB"]
        {
            assert_eq!(Retention::parse(text), Err(None), "{text}");
        }
        for text in ["0 days", "last 0", "63 KB", "4000 days", "99999999999 GB", "last 1000001"] {
            assert!(matches!(Retention::parse(text), Err(Some(_))), "{text}");
        }
    }

    #[test]
    fn names_are_read_exactly_as_they_are_written() {
        let time = WallTime { seconds: 1_136_214_245, millis: 7 };
        assert_eq!(ending(time, 0), ".20060102T150405.007000000Z");
        for number in [0, 1, 12] {
            assert_eq!(parse_ending(&ending(time, number)), Some((1_136_214_245_007, 0, number)));
        }
        assert_eq!(parse_ending(".20060102T150405.000000001Z"), Some((1_136_214_245_000, 1, 0)));
        for text in [
            "",
            ".1",
            ".gz",
            ".20060102T150405.007000000Z.gz",
            ".20060102T150405.007000000Z.0",
            ".20060102T150405.007000000Z.01",
            ".20060102T150405.007000000Z.",
            ".20060102T150405.007000000Z.+1",
            ".20060102T150405.007000000",
            ".20060102T150405.00700000Z",
            ".20061302T150405.007000000Z",
            ".2006010aT150405.007000000Z",
            "20060102T150405.007000000Z",
            ".20060102-150405.007000000Z",
            ".old.20060102T150405.007000000Z",
        ] {
            assert_eq!(parse_ending(text), None, "{text}");
        }
    }

    #[test]
    fn by_age_a_file_is_rotated_at_whole_intervals() {
        let rotation = rotation("30 days");
        let at = |changed| Current { bytes: 1, lines: 1, changed };
        assert!(!rotation.is_due(at(3_600_000), 7_199_999));
        assert!(rotation.is_due(at(3_600_000), 7_200_000));
        assert_eq!(rotation.room(at(3_600_000), b"x\n", 7_200_000), 0);
        assert_eq!(rotation.room(at(7_200_000), b"x\n", 7_200_000), 2);
        // The clock went back, or the file is empty.
        assert!(!rotation.is_due(at(7_200_000), 3_600_000));
        assert!(!rotation.is_due(Current { bytes: 0, ..at(0) }, 7_200_000));
        assert_eq!(rotation.until_next(3_600_001), Some(Duration::from_millis(3_599_999)));
        assert_eq!(super::Rotation { retention: Retention::Last(1), ..rotation }.until_next(1), None);
    }

    #[test]
    fn by_age_the_old_ones_go() {
        let now = 100 * DAY;
        let archives = vec![archive(69 * DAY, 1, 0), archive(90 * DAY, 1, 0), archive(70 * DAY, 1, 0)];
        let plan = rotation("30 days").plan(archives, now);
        assert_eq!(plan, Plan { delete: vec![(69 * DAY).to_string()], cut: None });
        assert_eq!(rotation("off").plan(vec![archive(1, 1, 1)], now), Plan::default());
    }

    #[test]
    fn by_lines_a_file_takes_an_eighth_and_as_many_stay_as_are_needed() {
        let rotation = rotation("last 80");
        let at = |lines| Current { bytes: 1, lines, changed: 0 };
        assert_eq!(rotation.room(at(8), b"1\n2\n3\n4\n", 0), 4);
        assert_eq!(rotation.room(at(10), b"1\n2\n", 0), 0);
        assert_eq!(rotation.room(at(0), b"1\n2\n", 0), 4);
        let archives = (1..=10).map(|n| archive(n, 1, 10)).collect();
        assert_eq!(rotation.plan(archives, 0).delete, ["2", "1"]);
        let archives = vec![archive(1, 1, 9), archive(2, 1, 79), archive(3, 1, 1), archive(4, 1, 0)];
        assert_eq!(rotation.plan(archives, 0).delete, ["1"]);
    }

    #[test]
    fn by_size_all_together_stay_below_it_and_the_newest_are_kept() {
        let rotation = rotation("64 KB");
        let at = |bytes| Current { bytes, lines: 0, changed: 0 };
        assert_eq!(rotation.room(at(8190), b"a\nb\n", 0), 2);
        assert_eq!(rotation.room(at(8191), b"a\nb\n", 0), 0);
        let long = [vec![b'x'; 9000], b"\ny\n".to_vec()].concat();
        assert_eq!(rotation.room(at(0), &long, 0), 9001, "a line longer than a part has a file of its own");
        assert_eq!(rotation.room(at(1), &long, 0), 0);
        let archives = (1..=9).map(|n| archive(n, 8192, 0)).collect();
        assert_eq!(rotation.plan(archives, 0), Plan { delete: vec!["2".into(), "1".into()], cut: None });
        // What was there before is too large alone: its newest bytes stay.
        let plan = rotation.plan(vec![archive(1, 10, 0), archive(2, 1 << 20, 0)], 0);
        assert_eq!(plan, Plan { delete: vec!["1".into()], cut: Some(("2".into(), 57_344)) });
    }
}
