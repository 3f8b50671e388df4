//! Instants and lengths of time, read and written as Go does.

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime};

/// The first and the last second that an instant may lie in: the years 1 to 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
const NANOS: i128 = 1_000_000_000;

/// An instant. Unlike `jiff`'s it can lie on the very last days of the year 9999, which people write for "never".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant {
    seconds: i64,
    nanos: u32,
}

impl Instant {
    /// So many nanoseconds after 1970 began, if expressions know such an instant.
    pub(crate) fn from_nanos(nanos: i128) -> Option<Self> {
        let seconds = i64::try_from(nanos.div_euclid(NANOS)).ok().filter(|seconds| SECONDS.contains(seconds))?;
        Some(Self { seconds, nanos: nanos.rem_euclid(NANOS) as u32 })
    }

    /// So many seconds after 1970 began, if expressions know such an instant.
    pub(crate) fn from_seconds(seconds: i64) -> Option<Self> {
        Self::from_nanos(i128::from(seconds) * NANOS)
    }

    /// Midnight of a day, in UTC.
    pub(crate) fn midnight(date: Date) -> Option<Self> {
        Self::from_nanos(date.to_datetime(jiff::civil::Time::midnight()).duration_since(EPOCH).as_nanos())
    }

    /// Seconds since 1970 began, rounded down.
    pub(crate) fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds since 1970 began.
    pub(crate) fn as_nanos(self) -> i128 {
        i128::from(self.seconds) * NANOS + i128::from(self.nanos)
    }

    /// What calendar and clock show so many seconds ahead of UTC.
    pub(crate) fn civil(self, offset: i64) -> Option<DateTime> {
        EPOCH.checked_add(SignedDuration::new(self.seconds + offset, self.nanos as i32)).ok()
    }
}

/// Reads an instant in RFC 3339, and in no other of the notations of ISO 8601.
pub(crate) fn parse_rfc3339(text: &str) -> Option<Instant> {
    let number = |range: std::ops::Range<usize>| -> Option<i16> {
        let digits = text.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let at = |index: usize, wanted: &[u8]| text.as_bytes().get(index).is_some_and(|byte| wanted.contains(byte));
    let separated = at(4, b"-") && at(7, b"-") && at(10, b"Tt") && at(13, b":") && at(16, b":");
    if !separated {
        return None;
    }
    let (fraction, zone) = match text.get(19..)?.strip_prefix('.') {
        Some(rest) => {
            let end = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0)?;
            rest.split_at(end)
        }
        None => ("0", text.get(19..)?),
    };
    let nanos: i32 = format!("{fraction:0<9}")[..9].parse().ok()?;
    let offset = match zone.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let start = text.len() - 5;
            let (hours, minutes) = (number(start..start + 2)?, number(start + 3..start + 5)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = i64::from(hours) * 3600 + i64::from(minutes) * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    let small = |range: std::ops::Range<usize>| number(range).map(|number| number as i8);
    let civil = DateTime::new(
        number(0..4)?,
        small(5..7)?,
        small(8..10)?,
        small(11..13)?,
        small(14..16)?,
        small(17..19)?,
        nanos,
    );
    let nanos = civil.ok()?.duration_since(EPOCH).as_nanos();
    Instant::from_nanos(nanos - i128::from(offset) * NANOS)
}

/// An instant in RFC 3339, in UTC, with as many digits of a second as it needs.
pub(crate) fn timestamp_text(instant: Instant) -> String {
    instant.civil(0).map(|civil| format!("{civil}Z")).unwrap_or_default()
}

const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a length of time as Go's `time.ParseDuration`: `1h30m`, `-1.5s`.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (number, after) = split_number(rest)?;
        let unit_end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(scaled(number, *scale)?)?;
        if total > i128::from(i64::MAX) + 1 {
            return None;
        }
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let number = &text[..end];
    (number.contains(|c: char| c.is_ascii_digit()) && number.matches('.').count() <= 1)
        .then_some((number, &text[end..]))
}

/// `number * scale`, rounded down.
fn scaled(number: &str, scale: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction = &fraction[..fraction.len().min(18)];
    let part: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    whole.checked_mul(scale)?.checked_add(part * scale / 10_i128.pow(fraction.len() as u32))
}

/// Reads a length of time as strings of the format `duration` may spell it: Go's notation, or a number and a word.
pub(crate) fn parse_schema_duration(text: &str) -> Option<i64> {
    if let Some(nanos) = parse_duration(text) {
        return Some(nanos);
    }
    let (number, unit) = split_number(text.trim())?;
    let day = 24 * UNITS[7].1;
    let scale = match unit.trim() {
        "nanosecond" | "nanoseconds" | "nsec" | "nano" | "nanos" => 1,
        "microsecond" | "microseconds" | "usec" | "micro" | "micros" => 1_000,
        "millisecond" | "milliseconds" | "msec" | "milli" | "millis" | "ms" => 1_000_000,
        "second" | "seconds" | "sec" | "secs" | "s" => UNITS[5].1,
        "minute" | "minutes" | "min" | "mins" | "m" => UNITS[6].1,
        "hour" | "hours" | "hr" | "hrs" | "h" => UNITS[7].1,
        "day" | "days" | "d" => day,
        "week" | "weeks" | "wk" | "w" => 7 * day,
        _ => return None,
    };
    i64::try_from(scaled(number, scale)?).ok()
}

/// A length of time in seconds, as `string(duration)` shows it: `5400s`, `0.25s`.
pub(crate) fn duration_text(nanos: i64) -> String {
    let duration = SignedDuration::from_nanos(nanos);
    let sign = if nanos < 0 { "-" } else { "" };
    let mut text = format!("{sign}{}.{:09}", duration.as_secs().unsigned_abs(), duration.subsec_nanos().unsigned_abs());
    text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    text.push('s');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(parse_duration(text).map(duration_text).as_deref(), expected, "{text}");
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        check("1h30m", Some("5400s"));
        check("-1.5s", Some("-1.5s"));
        check(".5ms", Some("0.0005s"));
        check("0", Some("0s"));
        check("1h1h", Some("7200s"));
        check("", None);
        check("1", None);
        check("1d", None);
        check("9999999h", None);
        check("1.2.3s", None);
    }

    #[test]
    fn instants_are_read_in_one_notation() {
        let read = |text: &str| parse_rfc3339(text).map(timestamp_text);
        assert_eq!(read("9999-12-31T23:59:59Z").as_deref(), Some("9999-12-31T23:59:59Z"));
        assert_eq!(read("0001-01-01T00:00:00z").as_deref(), Some("0001-01-01T00:00:00Z"));
        assert_eq!(read("2024-02-29T12:00:00.50+01:00").as_deref(), Some("2024-02-29T11:00:00.5Z"));
        for wrong in
            ["2024-02-30T12:00:00Z", "2024-02-29", "2024-02-29T12:00Z", "20240229T120000Z", "0000-01-01T00:00:00Z"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn schemas_may_spell_out_the_unit() {
        assert_eq!(parse_schema_duration("3 days").map(duration_text).as_deref(), Some("259200s"));
        assert_eq!(parse_schema_duration("1h").map(duration_text).as_deref(), Some("3600s"));
        assert_eq!(parse_schema_duration("soon"), None);
    }
}
