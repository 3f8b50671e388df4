//! Lengths of time as Go reads and prints them: `1h30m`, `1.5s`, `100ms`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Units, the longest first, in nanoseconds.
const UNITS: [(&str, i64); 8] = [
    ("h", 3_600_000_000_000),
    ("ms", 1_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ns", 1),
];

/// A length of time that may be negative, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(i64);

/// The text is no length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid duration {0:?}")]
pub struct InvalidDuration(String);

impl GoDuration {
    /// None.
    pub const ZERO: Self = Self(0);

    /// So many seconds.
    pub const fn seconds(seconds: i64) -> Self {
        Self(seconds * 1_000_000_000)
    }

    /// So many milliseconds.
    pub const fn millis(millis: i64) -> Self {
        Self(millis * 1_000_000)
    }

    /// What a clock takes: nothing where it is negative.
    pub fn get(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }
}

impl From<Duration> for GoDuration {
    fn from(duration: Duration) -> Self {
        Self(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl FromStr for GoDuration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidDuration(text.to_owned());
        let (is_negative, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if rest == "0" {
            return Ok(Self::ZERO);
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total = 0_i64;
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
            let (number, after) = rest.split_at(end);
            let (unit, nanos) = UNITS.iter().find(|(unit, _)| after.starts_with(unit)).ok_or_else(invalid)?;
            let part = scaled(number, *nanos).ok_or_else(invalid)?;
            total = total.checked_add(part).ok_or_else(invalid)?;
            rest = &after[unit.len()..];
        }
        Ok(Self(if is_negative { -total } else { total }))
    }
}

/// A decimal number of units in nanoseconds; what is below a nanosecond is cut off.
fn scaled(number: &str, unit: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<i64>().ok()? };
    let mut nanos = whole.checked_mul(unit)?;
    let mut worth = unit;
    for digit in fraction.bytes() {
        worth /= 10;
        nanos = nanos.checked_add(i64::from(digit - b'0') * worth)?;
    }
    Some(nanos)
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let nanos = self.0.unsigned_abs();
        let decimal = |unit: u64| {
            let digits = unit.ilog10() as usize;
            let text = format!("{}.{:0digits$}", nanos % 60_000_000_000 / unit, nanos % unit);
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        match nanos {
            0..1_000 => write!(f, "{nanos}ns"),
            1_000..1_000_000 => write!(f, "{}µs", decimal(1_000)),
            1_000_000..1_000_000_000 => write!(f, "{}ms", decimal(1_000_000)),
            _ => {
                let (minutes, seconds) = (nanos / 60_000_000_000, decimal(1_000_000_000));
                match (minutes / 60, minutes % 60) {
                    (0, 0) => write!(f, "{seconds}s"),
                    (0, minutes) => write!(f, "{minutes}m{seconds}s"),
                    (hours, minutes) => write!(f, "{hours}h{minutes}m{seconds}s"),
                }
            }
        }
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, printed: &str) {
        let read: GoDuration = text.parse().expect("a duration");
        assert_eq!(read.to_string(), printed);
        assert_eq!(printed.parse::<GoDuration>(), Ok(read));
    }

    #[test]
    fn durations_are_read_and_printed_as_go_does() {
        for (text, printed) in [
            ("0", "0s"),
            ("5m", "5m0s"),
            ("4h", "4h0m0s"),
            ("1.5h", "1h30m0s"),
            ("100ms", "100ms"),
            ("1500ms", "1.5s"),
            ("62500ms", "1m2.5s"),
            ("1h0m3s", "1h0m3s"),
            ("-2m", "-2m0s"),
            ("1.5us", "1.5µs"),
            ("7ns", "7ns"),
        ] {
            check(text, printed);
        }
        assert_eq!(GoDuration::seconds(-3).get(), Duration::ZERO);
        assert_eq!(GoDuration::from(Duration::from_millis(2)), GoDuration::millis(2));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "5", "m", ".s", "1.2.3s", "1d", "PT5M", "99999999999h", "5 m"] {
            assert!(text.parse::<GoDuration>().is_err(), "{text:?}");
        }
    }
}
