//! When a log file is put aside, how much still goes into it, and what the backups are called. Pure.

use std::cmp::Ordering;

use crate::output::{Unit, Zone};
use crate::sys::clock::{self, Civil};

/// How seconds since 1970 and what people call them belong together.
pub(super) trait Calendar {
    /// The moment as people write it.
    fn civil(&self, seconds: i64) -> Civil;
    /// When the next day begins.
    fn midnight_after(&self, seconds: i64) -> i64;
}

impl Calendar for Zone {
    fn civil(&self, seconds: i64) -> Civil {
        Civil::at(seconds, *self)
    }

    fn midnight_after(&self, seconds: i64) -> i64 {
        clock::midnight_after(seconds, *self)
    }
}

/// The time of one file, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) begin: i64,
    /// Not part of it.
    pub(super) end: i64,
}

impl Period {
    /// The one of `every` units that begins at this moment.
    pub(super) fn beginning(begin: i64, every: u32, unit: Unit, calendar: &impl Calendar) -> Period {
        let seconds = match unit {
            Unit::Second => 1,
            Unit::Minute => 60,
            Unit::Hour => 3600,
            Unit::Day => 86_400,
            Unit::Midnight => return Period { begin, end: calendar.midnight_after(begin) },
        };
        Period { begin, end: begin + i64::from(every) * seconds }
    }

    /// The one for what is written at `now`, when this one is over: the next, or where that is over too, one that begins
    /// now.
    pub(super) fn next(self, now: i64, every: u32, unit: Unit, calendar: &impl Calendar) -> Period {
        let next = Period::beginning(self.end, every, unit, calendar);
        if now < next.end { next } else { Period::beginning(now, every, unit, calendar) }
    }
}

/// What stands behind the name of a file whose time began at `begin`: as much of that moment as the unit needs.
pub(super) fn stamp(begin: i64, unit: Unit, calendar: &impl Calendar) -> String {
    let Civil { year, month, day, hour, minute, second } = calendar.civil(begin);
    let full = format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}");
    full.get(..length(unit)).unwrap_or(&full).to_owned()
}

/// How many digits a stamp has.
fn length(unit: Unit) -> usize {
    match unit {
        Unit::Day | Unit::Midnight => 8,
        Unit::Hour => 10,
        Unit::Minute => 12,
        Unit::Second => 14,
    }
}

/// Which of these names are backups of a file, rotated by this unit of time: `BASE.STAMP` or, where two have the same
/// stamp, `BASE.STAMP.NUMBER`. The latest first.
pub(super) fn backups<'a>(base: &str, unit: Unit, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut found: Vec<(&str, u32, &str)> = names
        .into_iter()
        .filter_map(|name| {
            let rest = name.strip_prefix(base)?.strip_prefix('.')?;
            let (stamp, number) = match rest.split_once('.') {
                Some((stamp, number)) => (stamp, number.parse().ok().filter(|number| *number > 0)?),
                None => (rest, 0),
            };
            (stamp.len() == length(unit) && is_moment(stamp)).then_some((stamp, number, name))
        })
        .collect();
    found.sort_by(|one, other| match other.0.cmp(one.0) {
        Ordering::Equal => other.1.cmp(&one.1),
        order => order,
    });
    found.into_iter().map(|(_, _, name)| name).collect()
}

/// Whether these digits can be a moment: others may have files with numbers behind their name, too.
fn is_moment(stamp: &str) -> bool {
    let part = |from: usize, to: usize, least: u32, most: u32| {
        let Some(digits) = stamp.get(from..to) else { return from >= stamp.len() };
        digits.bytes().all(|byte| byte.is_ascii_digit())
            && digits.parse().is_ok_and(|number| (least..=most).contains(&number))
    };
    part(0, 4, 1970, 9999)
        && part(4, 6, 1, 12)
        && part(6, 8, 1, 31)
        && part(8, 10, 0, 23)
        && part(10, 12, 0, 59)
        && part(12, 14, 0, 60)
}

/// How many of `bytes` still go into a file of `size` bytes that is to be no longer than `max`. A line is not cut in two
/// unless it is too long for any file, or has begun in this one already. 0 says that it is time for another file.
pub(super) fn fitting(size: u64, max: u64, mid_line: bool, bytes: &[u8]) -> usize {
    let room = usize::try_from(max.saturating_sub(size)).unwrap_or(usize::MAX);
    if bytes.len() <= room {
        return bytes.len();
    }
    match bytes[..room].iter().rposition(|&byte| byte == b'\n') {
        Some(end) => end + 1,
        None if size == 0 || mid_line => room,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A place that is two hours ahead in summer, from `summer` on, and one hour before.
    struct Place {
        summer: i64,
    }

    impl Place {
        fn ahead(&self, seconds: i64) -> i64 {
            if seconds >= self.summer { 7200 } else { 3600 }
        }
    }

    impl Calendar for Place {
        fn civil(&self, seconds: i64) -> Civil {
            Civil::at(seconds + self.ahead(seconds), Zone::Utc)
        }

        fn midnight_after(&self, seconds: i64) -> i64 {
            let local = clock::midnight_after(seconds + self.ahead(seconds), Zone::Utc);
            local - self.ahead(local - 7200)
        }
    }

    /// 2026-03-29 01:00 UTC, when summer begins in Europe.
    const PLACE: Place = Place { summer: 1_774_746_000 };

    /// The periods of a file that is written each `step` seconds, and the stamp of each.
    fn periods(begin: i64, step: i64, every: u32, unit: Unit) -> Vec<(String, i64)> {
        let mut period = Period::beginning(begin, every, unit, &PLACE);
        let mut now = begin;
        let mut found = Vec::new();
        while found.len() < 3 {
            now += step;
            if now >= period.end {
                found.push((stamp(period.begin, unit, &PLACE), period.end - period.begin));
                period = period.next(now, every, unit, &PLACE);
                assert!(period.begin <= now && now < period.end);
            }
        }
        found
    }

    #[test]
    fn a_period_follows_the_one_before() {
        let told = |name: &str, length: i64| (name.to_owned(), length);
        // 2026-03-01 10:00:00 there.
        let begin = 1_772_355_600;
        assert_eq!(
            periods(begin, 7, 20, Unit::Second),
            [told("20260301100000", 20), told("20260301100020", 20), told("20260301100040", 20)]
        );
        assert_eq!(
            periods(begin, 60, 2, Unit::Minute),
            [told("202603011000", 120), told("202603011002", 120), told("202603011004", 120)]
        );
        assert_eq!(
            periods(begin, 600, 1, Unit::Hour),
            [told("2026030110", 3600), told("2026030111", 3600), told("2026030112", 3600)]
        );
        assert_eq!(
            periods(begin, 3600, 1, Unit::Day),
            [told("20260301", 86_400), told("20260302", 86_400), told("20260303", 86_400)]
        );
    }

    #[test]
    fn days_end_at_midnight_and_have_23_hours_when_summer_begins() {
        // 2026-03-28 12:00 there.
        let days = periods(1_774_695_600, 1800, 7, Unit::Midnight);
        let told: Vec<(&str, i64)> =
            days.iter().map(|(name, length)| (name.as_str(), *length / 3600)).collect();
        assert_eq!(told, [("20260328", 12), ("20260329", 23), ("20260330", 24)]);
    }

    #[test]
    fn where_nothing_was_written_for_long_a_period_begins_with_the_next_byte() {
        let first = Period::beginning(1000, 10, Unit::Second, &Zone::Utc);
        assert_eq!(first, Period { begin: 1000, end: 1010 });
        assert_eq!(first.next(1010, 10, Unit::Second, &Zone::Utc), Period { begin: 1010, end: 1020 });
        assert_eq!(first.next(1019, 10, Unit::Second, &Zone::Utc), Period { begin: 1010, end: 1020 });
        assert_eq!(first.next(1020, 10, Unit::Second, &Zone::Utc), Period { begin: 1020, end: 1030 });
        assert_eq!(first.next(5555, 10, Unit::Second, &Zone::Utc), Period { begin: 5555, end: 5565 });
    }

    #[test]
    fn only_what_is_named_as_a_backup_is_one() {
        let names = [
            "web.log",
            "web.log.20261120",
            "web.log.20261121",
            "web.log.20261121.2",
            "web.log.20261121.10",
            "web.log.20261121.0",
            "web.log.20261121.x",
            "web.log.20261121.gz",
            "web.log.2026112",
            "web.log.2026112110",
            "web.log.20261321",
            "web.log.20261132",
            "web.log.notes",
            "web.log.12345678",
            "web.log.1",
            "web.log-20261121",
            "web.logs.20261121",
            "api.log.20261121",
        ];
        assert_eq!(
            backups("web.log", Unit::Midnight, names),
            ["web.log.20261121.10", "web.log.20261121.2", "web.log.20261121", "web.log.20261120"]
        );
        assert_eq!(backups("web.log", Unit::Hour, names), ["web.log.2026112110"]);
        assert!(backups("web.log", Unit::Second, names).is_empty());
    }

    #[test]
    fn a_file_is_full_at_the_end_of_a_line() {
        // Size, whether a line has begun, bytes; how many go in where 10 is the most.
        for (size, mid_line, bytes, fits) in [
            (0, false, "one\n", 4),
            (6, false, "one\n", 4),
            (7, false, "one\n", 0),
            (7, true, "one\n", 3),
            (0, false, "one\ntwo\nthree\n", 8),
            (2, false, "one\ntwo\nthree\n", 8),
            (3, false, "one\ntwo\nthree\n", 4),
            (0, false, "a line that is long\n", 10),
            (4, false, "a line that is long\n", 0),
            (4, true, "a line that is long\n", 6),
            (10, true, "x", 0),
            (11, false, "x", 0),
            (0, false, "", 0),
        ] {
            assert_eq!(fitting(size, 10, mid_line, bytes.as_bytes()), fits, "{size} {bytes:?}");
        }
    }
}
