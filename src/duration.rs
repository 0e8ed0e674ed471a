//! Lengths of time as users write them (`500ms`, `10s`, `1.5`) and as the log tells them (`2 m 5 s`). Pure.

use std::fmt;
use std::time::Duration;

use crate::error::{Error, Result};

/// The longest duration that is understood: far beyond any use, and safe to add to any clock.
pub const MAX: Duration = Duration::from_secs(1000 * 24 * 60 * 60);

/// What a duration looks like, for error messages.
pub const FORMS: &str = "500ms, 10s, 1.5s, 2m, 1h; a bare number is seconds";

/// Units in milliseconds. `ms` stands before the units that it ends like.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60 * 1000), ("h", 60 * 60 * 1000)];

/// Digits after the point that are read; no unit needs more to tell a millisecond.
const FRACTION_DIGITS: usize = 9;

/// Reads `500ms`, `10s`, `1.5s`, `2m`, `1h` or a bare number of seconds: whole milliseconds, from 0 to [`MAX`].
///
/// # Errors
/// A sentence that says what is wrong with `text` and what would be right.
pub fn parse(text: &str) -> Result<Duration> {
    let unreadable = || Error::usage(format!("'{text}' is not a duration ({FORMS})"));
    let (number, unit) = UNITS
        .into_iter()
        .find_map(|(unit, length)| Some((text.strip_suffix(unit)?, length)))
        .unwrap_or((text, 1000));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > FRACTION_DIGITS {
        return Err(unreadable());
    }
    let too_long = || Error::usage(format!("'{text}' is too long (at most {})", Human(MAX)));
    let whole: u64 = whole.parse().map_err(|_| too_long())?;
    let scale = 10_u64.pow(fraction.len() as u32);
    let fraction: u64 = fraction.parse().map_err(|_| unreadable())?;
    // At most 10^9 times the milliseconds of an hour, which fits.
    let rest = fraction * unit;
    if !rest.is_multiple_of(scale) {
        return Err(Error::usage(format!("'{text}' is finer than a millisecond")));
    }
    let milliseconds =
        whole.checked_mul(unit).and_then(|m| m.checked_add(rest / scale)).ok_or_else(too_long)?;
    let duration = Duration::from_millis(milliseconds);
    if duration > MAX { Err(too_long()) } else { Ok(duration) }
}

/// Why a text is no number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// No number, or a negative one, or none at all as `nan`.
    NoSeconds,
    /// More than [`MAX`].
    TooLong,
}

/// Reads a number of seconds as Ruby and others write it, perhaps with a fraction or an exponent, from 0 to [`MAX`]. What
/// comes of it can be multiplied and added to a clock without a look at how large it is.
///
/// # Errors
/// Which of the two is wrong with it.
pub fn seconds(text: &str) -> std::result::Result<Duration, Unfit> {
    let number: f64 = text.parse().map_err(|_| Unfit::NoSeconds)?;
    if number.is_nan() || number < 0.0 {
        return Err(Unfit::NoSeconds);
    }
    let span = Duration::try_from_secs_f64(number).map_err(|_| Unfit::TooLong)?;
    if span > MAX { Err(Unfit::TooLong) } else { Ok(span) }
}

/// Says that a number of seconds is above [`MAX`]: `seconds: 1.5e19 is more than 86400000`.
pub fn too_long(name: &str, text: &str) -> String {
    format!("{name}: {text} is more than {}", MAX.as_secs())
}

/// A duration for people, in at most two units: `250 ms`, `1.003 s`, `2 m 5 s`, `3 h`, `2 d 4 h`. Rounded down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Human(pub Duration);

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let milliseconds = self.0.subsec_millis();
        let two = |f: &mut fmt::Formatter<'_>, big: u64, unit: &str, small: u64, subunit: &str| match small {
            0 => write!(f, "{big} {unit}"),
            small => write!(f, "{big} {unit} {small} {subunit}"),
        };
        match seconds {
            0 => write!(f, "{milliseconds} ms"),
            1..60 if milliseconds == 0 => write!(f, "{seconds} s"),
            1..60 => write!(f, "{} s", format!("{seconds}.{milliseconds:03}").trim_end_matches('0')),
            60..3600 => two(f, seconds / 60, "m", seconds % 60, "s"),
            3600..86400 => two(f, seconds / 3600, "h", seconds / 60 % 60, "m"),
            _ => two(f, seconds / 86400, "d", seconds / 3600 % 24, "h"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_unit() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("1.5s", 1500),
            ("10", 10_000),
            ("0", 0),
            ("0.25", 250),
            ("0.5m", 30_000),
            ("0.001s", 1),
            ("1.000000s", 1000),
            ("24000h", 86_400_000_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in
            ["", "s", "ms", "-1s", "+1s", "1 s", "1d", "1.s", ".5", "1e3", "1.5.2", "0x10", "ten", "1S", "٣s"]
        {
            let message = parse(text).unwrap_err().message;
            assert!(message.contains("is not a duration (500ms, "), "{text}: {message}");
        }
        assert_eq!(parse("1.5ms").unwrap_err().message, "'1.5ms' is finer than a millisecond");
        for text in ["24001h", "99999999999999999999", "18446744073709551615h"] {
            assert_eq!(parse(text).unwrap_err().message, format!("'{text}' is too long (at most 1000 d)"));
        }
    }

    #[test]
    fn seconds_are_within_bounds_or_refused() {
        for (text, milliseconds) in
            [("0", 0), ("-0.0", 0), ("1.5", 1500), ("2e3", 2_000_000), ("86400000", 86_400_000_000)]
        {
            assert_eq!(seconds(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "x", "-1", "-1e-3", "nan", "-inf", "-1e400"] {
            assert_eq!(seconds(text), Err(Unfit::NoSeconds), "{text}");
        }
        for text in
            ["86400001", "1.5e19", "18446744073709551615", "1.8446744073709552e19", "1e308", "1e400", "inf"]
        {
            assert_eq!(seconds(text), Err(Unfit::TooLong), "{text}");
        }
        assert_eq!(too_long("seconds", "1.5e19"), "seconds: 1.5e19 is more than 86400000");
    }

    #[test]
    fn tells_durations_in_at_most_two_units() {
        for (milliseconds, told) in [
            (0, "0 ms"),
            (250, "250 ms"),
            (1000, "1 s"),
            (1003, "1.003 s"),
            (1500, "1.5 s"),
            (10_000, "10 s"),
            (59_999, "59.999 s"),
            (60_000, "1 m"),
            (125_400, "2 m 5 s"),
            (3_600_000, "1 h"),
            (3_661_000, "1 h 1 m"),
            (86_400_000, "1 d"),
            (187_200_000, "2 d 4 h"),
        ] {
            assert_eq!(Human(Duration::from_millis(milliseconds)).to_string(), told);
        }
    }
}
