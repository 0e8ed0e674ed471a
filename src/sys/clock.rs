//! The clocks: clock_gettime(2). Decisions are made by the monotonic one; the wall clock is for people who read logs.

use std::fmt;

use libc::{CLOCK_MONOTONIC, CLOCK_REALTIME, clockid_t, timespec};

/// Milliseconds of CLOCK_MONOTONIC: never goes back, stands still while the machine is suspended.
pub fn now_ms() -> u64 {
    let now = read(CLOCK_MONOTONIC);
    // The clock counts from the start of the machine: never negative.
    u64::try_from(milliseconds(&now)).unwrap_or(0)
}

/// The time of day as RFC 3339 writes it, in UTC with milliseconds: `2026-03-01T23:59:59.999Z`.
pub fn wall() -> String {
    rfc3339(milliseconds(&read(CLOCK_REALTIME)))
}

/// A moment as people of this place write it: the time zone is that of TZ, else of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// Of the Gregorian calendar.
    pub year: i32,
    /// From 1.
    pub month: i32,
    /// Of the month, from 1.
    pub day: i32,
    /// From 0.
    pub hour: i32,
    /// From 0.
    pub minute: i32,
    /// From 0; 60 in a leap second.
    pub second: i32,
}

impl Local {
    /// The present moment: localtime_r(3). UTC where the system cannot tell.
    pub fn now() -> Local {
        let seconds = read(CLOCK_REALTIME).tv_sec;
        // SAFETY: a structure of numbers and a pointer that nobody follows; zero is a value of each.
        let mut local: libc::tm = unsafe { std::mem::zeroed() };
        // SAFETY: both are valid for the call. It reads TZ, which nobody changes: there is one thread.
        if unsafe { libc::localtime_r(&raw const seconds, &raw mut local) }.is_null() {
            // SAFETY: as above.
            unsafe { libc::gmtime_r(&raw const seconds, &raw mut local) };
        }
        Local {
            year: local.tm_year + 1900,
            month: local.tm_mon + 1,
            day: local.tm_mday,
            hour: local.tm_hour,
            minute: local.tm_min,
            second: local.tm_sec,
        }
    }
}

impl fmt::Display for Local {
    /// `2026/11/21 07:11:50`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Local { year, month, day, hour, minute, second } = self;
        write!(f, "{year:04}/{month:02}/{day:02} {hour:02}:{minute:02}:{second:02}")
    }
}

fn read(clock: clockid_t) -> timespec {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is valid for writing. Both clocks exist on every Linux, so the call cannot fail.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    now
}

/// `tv_sec` has 32 bits on some machines, hence the conversions.
#[allow(clippy::useless_conversion)]
fn milliseconds(time: &timespec) -> i64 {
    i64::from(time.tv_sec) * 1000 + i64::from(time.tv_nsec) / 1_000_000
}

/// A moment, in milliseconds since 1970.
fn rfc3339(moment: i64) -> String {
    const DAY: i64 = 86_400_000;
    let (year, month, day) = civil(moment.div_euclid(DAY));
    let within = moment.rem_euclid(DAY);
    let (hour, minute) = (within / 3_600_000, within / 60_000 % 60);
    let (second, milli) = (within / 1000 % 60, within % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
///
/// Years are taken to begin in March: the leap day is then the last of its year, and the months before any day of the
/// year follow from a line through 31, 30, 31, 30, 31 (153 days in five months).
fn civil(days: i64) -> (i64, i64, i64) {
    const FROM_YEAR_0: i64 = 719_468; // days from 0000-03-01 to 1970-01-01
    const ERA: i64 = 146_097; // days in 400 years
    let days = days + FROM_YEAR_0;
    let day_of_era = days.rem_euclid(ERA);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_from_march + 2) / 5 + 1;
    let month = if months_from_march < 10 { months_from_march + 3 } else { months_from_march - 9 };
    let year = days.div_euclid(ERA) * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_are_written_right() {
        for (moment, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_000_000_000_123, "2001-09-09T01:46:40.123Z"),
        ] {
            assert_eq!(rfc3339(moment), text);
        }
    }

    #[test]
    fn each_day_of_a_thousand_years_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1600, 1, 1);
        let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        for days in -135_140..230_103 {
            assert_eq!(civil(days), (year, month, day));
            let length = match month {
                2 => 28 + i64::from(leap(year)),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        assert_eq!((year, month, day), (2600, 1, 1));
    }

    #[test]
    fn the_monotonic_clock_does_not_go_back() {
        let first = now_ms();
        assert!(first > 0);
        assert!(now_ms() >= first);
    }

    #[test]
    fn local_time_is_near_the_wall_clock() {
        let local = Local::now();
        assert!(local.year >= 2024 && (1..=12).contains(&local.month) && (1..=31).contains(&local.day));
        let shape: String =
            local.to_string().chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000/00/00 00:00:00");
    }

    #[test]
    fn the_wall_clock_has_the_shape_of_rfc_3339() {
        let shape: String = wall().chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000Z");
    }
}
