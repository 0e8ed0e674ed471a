//! The clocks: clock_gettime(2). Decisions are made by the monotonic one; the wall clock is for people who read logs.

use std::fmt;

use libc::{CLOCK_MONOTONIC, CLOCK_REALTIME, clockid_t, timespec};

use crate::output::Zone;

/// Milliseconds of CLOCK_MONOTONIC: never goes back, stands still while the machine is suspended.
pub fn now_ms() -> u64 {
    let now = read(CLOCK_MONOTONIC);
    // The clock counts from the start of the machine: never negative.
    u64::try_from(milliseconds(&now)).unwrap_or(0)
}

/// The same in microseconds, for those who compare with a clock of that grain.
pub fn now_us() -> u64 {
    let now = read(CLOCK_MONOTONIC);
    // As above; nanoseconds are less than a second.
    let (seconds, nanoseconds) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or(0) * 1_000_000 + nanoseconds.unwrap_or(0) / 1000
}

/// Milliseconds of the time of day since 1970. It goes wherever people set it.
pub fn wall_ms() -> i64 {
    milliseconds(&read(CLOCK_REALTIME))
}

/// When [`now_ms`] was 0, in milliseconds since 1970, by the present time of day.
pub fn epoch_ms() -> u64 {
    u64::try_from(milliseconds(&read(CLOCK_REALTIME))).unwrap_or(0).saturating_sub(now_ms())
}

/// The time of day as RFC 3339 writes it, in UTC with milliseconds: `2026-03-01T23:59:59.999Z`.
pub fn wall() -> String {
    rfc3339(wall_ms())
}

/// A moment as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
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

impl Civil {
    /// The present moment, here.
    pub fn now() -> Civil {
        Civil::at(wall_ms().div_euclid(1000), Zone::Local)
    }

    /// A moment in seconds since 1970: localtime_r(3), gmtime_r(3). UTC where the system cannot tell.
    pub fn at(seconds: i64, zone: Zone) -> Civil {
        let time = broken_down(seconds, zone);
        Civil {
            year: time.tm_year + 1900,
            month: time.tm_mon + 1,
            day: time.tm_mday,
            hour: time.tm_hour,
            minute: time.tm_min,
            second: time.tm_sec,
        }
    }
}

/// The first midnight after a moment, both in seconds since 1970: mktime(3). Where the clocks skip it, the moment at which
/// the day begins.
pub fn midnight_after(seconds: i64, zone: Zone) -> i64 {
    const DAY: i64 = 86_400;
    let midnight = match zone {
        Zone::Utc => (seconds.div_euclid(DAY) + 1) * DAY,
        Zone::Local => {
            let mut time = broken_down(seconds, zone);
            time.tm_mday += 1;
            (time.tm_hour, time.tm_min, time.tm_sec) = (0, 0, 0);
            // Whether that day has summer time is not known yet.
            time.tm_isdst = -1;
            // SAFETY: valid for the call. It reads TZ, which nobody changes: there is one thread.
            wide(unsafe { libc::mktime(&raw mut time) })
        }
    };
    // No answer is -1.
    if midnight > seconds { midnight } else { seconds + DAY }
}

fn broken_down(seconds: i64, zone: Zone) -> libc::tm {
    let seconds = narrow(seconds);
    // SAFETY: a structure of numbers and a pointer that nobody follows; zero is a value of each.
    let mut time: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both are valid for the call. It reads TZ, which nobody changes: there is one thread.
    let mut unknown = || unsafe { libc::localtime_r(&raw const seconds, &raw mut time) }.is_null();
    if zone == Zone::Utc || unknown() {
        // SAFETY: as above.
        unsafe { libc::gmtime_r(&raw const seconds, &raw mut time) };
    }
    time
}

/// `time_t` has 32 bits on some machines.
#[allow(clippy::useless_conversion)]
fn wide(seconds: libc::time_t) -> i64 {
    i64::from(seconds)
}

#[allow(clippy::useless_conversion, clippy::unnecessary_fallible_conversions)]
fn narrow(seconds: i64) -> libc::time_t {
    libc::time_t::try_from(seconds).unwrap_or(libc::time_t::MAX)
}

impl fmt::Display for Civil {
    /// `2026/11/21 07:11:50`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day, hour, minute, second } = self;
        write!(f, "{year:04}/{month:02}/{day:02} {hour:02}:{minute:02}:{second:02}")
    }
}

fn read(clock: clockid_t) -> timespec {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is valid for writing. Both clocks exist on every Linux, so the call cannot fail.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    now
}

/// `tv_nsec` has 32 bits on some machines, hence the conversion.
#[allow(clippy::useless_conversion)]
fn milliseconds(time: &timespec) -> i64 {
    wide(time.tv_sec) * 1000 + i64::from(time.tv_nsec) / 1_000_000
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
        let local = Civil::now();
        assert!(local.year >= 2024 && (1..=12).contains(&local.month) && (1..=31).contains(&local.day));
        let shape: String =
            local.to_string().chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000/00/00 00:00:00");
    }

    #[test]
    fn the_next_midnight_begins_another_day() {
        for zone in [Zone::Utc, Zone::Local] {
            for seconds in (0..4_000_000_000).step_by(12_345_678) {
                let midnight = midnight_after(seconds, zone);
                let [before, at, now] = [midnight - 1, midnight, seconds].map(|at| Civil::at(at, zone).day);
                assert!(before == now && at != now, "{seconds}: {midnight}");
            }
        }
        assert_eq!(midnight_after(86_399, Zone::Utc), 86_400);
        assert_eq!(midnight_after(86_400, Zone::Utc), 172_800);
        assert_eq!(Civil::at(1_000_000_000, Zone::Utc).to_string(), "2001/09/09 01:46:40");
    }

    #[test]
    fn the_wall_clock_has_the_shape_of_rfc_3339() {
        let shape: String = wall().chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000Z");
    }
}
