//! The parts of instants and durations. Months, days of the month and of the year count from 0 where the name says no
//! better; the time zone is UTC unless another is asked for.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::Row;
use crate::cost::Meter;
use crate::error::EvalError;
use crate::value::{Instant, Outcome, Value};

pub(super) const FUNCTIONS: &[Row] = &[
    ("timestamp_to_year", "timestamp::getFullYear() -> int", year),
    ("timestamp_to_year_with_tz", "timestamp::getFullYear(string) -> int", year),
    ("timestamp_to_month", "timestamp::getMonth() -> int", month),
    ("timestamp_to_month_with_tz", "timestamp::getMonth(string) -> int", month),
    ("timestamp_to_day_of_year", "timestamp::getDayOfYear() -> int", day_of_year),
    ("timestamp_to_day_of_year_with_tz", "timestamp::getDayOfYear(string) -> int", day_of_year),
    ("timestamp_to_day_of_month", "timestamp::getDayOfMonth() -> int", day_of_month),
    ("timestamp_to_day_of_month_with_tz", "timestamp::getDayOfMonth(string) -> int", day_of_month),
    ("timestamp_to_day_of_month_1_based", "timestamp::getDate() -> int", date),
    ("timestamp_to_day_of_month_1_based_with_tz", "timestamp::getDate(string) -> int", date),
    ("timestamp_to_day_of_week", "timestamp::getDayOfWeek() -> int", day_of_week),
    ("timestamp_to_day_of_week_with_tz", "timestamp::getDayOfWeek(string) -> int", day_of_week),
    ("timestamp_to_hours", "timestamp::getHours() -> int", hours),
    ("timestamp_to_hours_with_tz", "timestamp::getHours(string) -> int", hours),
    ("duration_to_hours", "duration::getHours() -> int", hours),
    ("timestamp_to_minutes", "timestamp::getMinutes() -> int", minutes),
    ("timestamp_to_minutes_with_tz", "timestamp::getMinutes(string) -> int", minutes),
    ("duration_to_minutes", "duration::getMinutes() -> int", minutes),
    ("timestamp_to_seconds", "timestamp::getSeconds() -> int", seconds),
    ("timestamp_to_seconds_tz", "timestamp::getSeconds(string) -> int", seconds),
    ("duration_to_seconds", "duration::getSeconds() -> int", seconds),
    ("timestamp_to_milliseconds", "timestamp::getMilliseconds() -> int", milliseconds),
    ("timestamp_to_milliseconds_with_tz", "timestamp::getMilliseconds(string) -> int", milliseconds),
    ("duration_to_milliseconds", "duration::getMilliseconds() -> int", milliseconds),
];

/// A part of an instant where a zone says what the clock shows.
fn part<'a>(args: &[Value<'a>], of: fn(&DateTime) -> i64) -> Outcome<'a> {
    let (instant, offset) = match args {
        [Value::Timestamp(instant)] => (*instant, 0),
        [Value::Timestamp(instant), Value::String(name)] => (*instant, offset(name, *instant)?),
        _ => return Err(EvalError::NoSuchOverload),
    };
    let civil = instant.civil(offset).ok_or_else(|| EvalError::failed("timestamp overflow"))?;
    Ok(Value::Int(of(&civil)))
}

/// How many seconds ahead of UTC clocks are in a zone: `Europe/Berlin`, or an offset: `+02:00`, `-8:00`.
fn offset(name: &str, instant: Instant) -> Result<i64, EvalError> {
    let Some((hours, minutes)) = name.split_once(':') else {
        if name.is_empty() || name == "UTC" {
            return Ok(0);
        }
        let zone = TimeZone::get(name).map_err(|_| EvalError::failed(format!("unknown time zone {name}")))?;
        let limits = Timestamp::MIN.as_second()..=Timestamp::MAX.as_second();
        let seconds = instant.seconds().clamp(*limits.start(), *limits.end());
        let timestamp = Timestamp::from_second(seconds).map_err(|error| EvalError::failed(error.to_string()))?;
        return Ok(i64::from(zone.to_offset(timestamp).seconds()));
    };
    let invalid = || EvalError::failed(format!("invalid time zone offset: {name}"));
    let (sign, digits) = match hours.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, hours.strip_prefix('+').unwrap_or(hours)),
    };
    let hours: i64 = digits.parse().ok().filter(|hours| (0..=24).contains(hours)).ok_or_else(invalid)?;
    let minutes: i64 = minutes.parse().ok().filter(|minutes| (0..60).contains(minutes)).ok_or_else(invalid)?;
    Ok(sign * (hours * 3600 + minutes * 60))
}

fn year<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, |civil| i64::from(civil.year()))
}

fn month<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, |civil| i64::from(civil.month()) - 1)
}

fn day_of_year<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, |civil| i64::from(civil.day_of_year()) - 1)
}

fn day_of_month<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, |civil| i64::from(civil.day()) - 1)
}

fn date<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, |civil| i64::from(civil.day()))
}

fn day_of_week<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, |civil| i64::from(civil.weekday().to_sunday_zero_offset()))
}

/// The whole of a duration in units of so many nanoseconds.
fn whole<'a>(args: &[Value<'a>], unit: i64) -> Option<Outcome<'a>> {
    match args {
        [Value::Duration(nanos)] => Some(Ok(Value::Int(nanos / unit))),
        _ => None,
    }
}

fn hours<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    whole(args, 3_600_000_000_000).unwrap_or_else(|| part(args, |civil| i64::from(civil.hour())))
}

fn minutes<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    whole(args, 60_000_000_000).unwrap_or_else(|| part(args, |civil| i64::from(civil.minute())))
}

fn seconds<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    whole(args, 1_000_000_000).unwrap_or_else(|| part(args, |civil| i64::from(civil.second())))
}

fn milliseconds<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    whole(args, 1_000_000).unwrap_or_else(|| part(args, |civil| i64::from(civil.subsec_nanosecond() / 1_000_000)))
}
