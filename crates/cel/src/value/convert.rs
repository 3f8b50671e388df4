//! Conversions between types: `int(x)`, `string(x)` and so on.

use std::sync::Arc;

use super::{Extension, Instant, Outcome, Value, duration_text, parse_rfc3339, timestamp_text};
use crate::error::EvalError;
use crate::types::Type;

fn failed(value: &Value<'_>, to: &Type) -> EvalError {
    EvalError::conversion(value.type_of().name(), to)
}

/// `bool(x)`.
pub(crate) fn to_bool<'a>(value: &Value<'a>) -> Outcome<'a> {
    match value {
        Value::Bool(_) => Ok(value.clone()),
        Value::String(text) => match &**text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => Err(failed(value, &Type::Bool)),
        },
        _ => Err(EvalError::NoSuchOverload),
    }
}

/// `int(x)`.
pub(crate) fn to_int<'a>(value: &Value<'a>) -> Outcome<'a> {
    let int = match value {
        Value::Int(int) => *int,
        Value::Uint(uint) => i64::try_from(*uint).map_err(|_| EvalError::int_overflow())?,
        // 2^63 is the first double that is too large; -2^63 itself is refused by cel-go as well.
        Value::Double(double) if double.abs() < 9_223_372_036_854_775_808.0 => *double as i64,
        Value::Double(_) => return Err(EvalError::int_overflow()),
        Value::String(text) => text.parse().map_err(|_| failed(value, &Type::Int))?,
        Value::Timestamp(instant) => instant.seconds(),
        Value::Duration(nanos) => *nanos,
        _ => return Err(EvalError::NoSuchOverload),
    };
    Ok(Value::Int(int))
}

/// `uint(x)`.
pub(crate) fn to_uint<'a>(value: &Value<'a>) -> Outcome<'a> {
    let uint = match value {
        Value::Uint(uint) => *uint,
        Value::Int(int) => u64::try_from(*int).map_err(|_| EvalError::uint_overflow())?,
        Value::Double(double) if *double >= 0.0 && *double < 18_446_744_073_709_551_616.0 => *double as u64,
        Value::Double(_) => return Err(EvalError::uint_overflow()),
        Value::String(text) => text.parse().map_err(|_| failed(value, &Type::Uint))?,
        _ => return Err(EvalError::NoSuchOverload),
    };
    Ok(Value::Uint(uint))
}

/// `double(x)`.
pub(crate) fn to_double<'a>(value: &Value<'a>) -> Outcome<'a> {
    let double = match value {
        Value::Double(double) => *double,
        Value::Int(int) => *int as f64,
        Value::Uint(uint) => *uint as f64,
        Value::String(text) => text.parse().map_err(|_| failed(value, &Type::Double))?,
        _ => return Err(EvalError::NoSuchOverload),
    };
    Ok(Value::Double(double))
}

/// `bytes(x)`.
pub(crate) fn to_bytes<'a>(value: &Value<'a>) -> Outcome<'a> {
    match value {
        Value::Bytes(_) => Ok(value.clone()),
        Value::String(text) => Ok(Value::Bytes(Arc::from(text.as_bytes()))),
        _ => Err(EvalError::NoSuchOverload),
    }
}

/// `string(x)`.
pub(crate) fn to_string<'a>(value: &Value<'a>) -> Outcome<'a> {
    Ok(Value::text(match value {
        Value::String(_) => return Ok(value.clone()),
        Value::Bool(value) => value.to_string(),
        Value::Int(int) => int.to_string(),
        Value::Uint(uint) => uint.to_string(),
        Value::Double(double) => double_text(*double),
        Value::Bytes(bytes) => String::from_utf8(bytes.to_vec())
            .map_err(|_| EvalError::failed("invalid UTF-8 in bytes, cannot convert to string"))?,
        Value::Timestamp(timestamp) => timestamp_text(*timestamp),
        Value::Duration(nanos) => duration_text(*nanos),
        Value::Type(value) => value.name().to_owned(),
        Value::Extension(extension) => match &**extension {
            Extension::Ip(address) => address.to_string(),
            Extension::Cidr { address, prefix } => format!("{address}/{prefix}"),
            _ => return Err(EvalError::NoSuchOverload),
        },
        _ => return Err(EvalError::NoSuchOverload),
    }))
}

/// `timestamp(x)`.
pub(crate) fn to_timestamp<'a>(value: &Value<'a>) -> Outcome<'a> {
    let timestamp = match value {
        Value::Timestamp(timestamp) => *timestamp,
        Value::String(text) => parse_rfc3339(text).ok_or_else(|| failed(value, &Type::Timestamp))?,
        Value::Int(seconds) => {
            Instant::from_seconds(*seconds).ok_or_else(|| EvalError::failed("timestamp overflow"))?
        }
        _ => return Err(EvalError::NoSuchOverload),
    };
    Ok(Value::Timestamp(timestamp))
}

/// A number in its shortest form, as Go's `strconv.FormatFloat(x, 'g', -1, 64)` writes it.
pub(crate) fn double_text(double: f64) -> String {
    if double.is_nan() {
        return "NaN".to_owned();
    }
    if double.is_infinite() {
        return if double > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{double:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{double}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_look_as_in_go() {
        for (double, text) in [
            (1.0, "1"),
            (0.5, "0.5"),
            (-0.0, "-0"),
            (100_000.0, "100000"),
            (1_000_000.0, "1e+06"),
            (0.00001, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(double_text(double), text);
        }
    }
}
