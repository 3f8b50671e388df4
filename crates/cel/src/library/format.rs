//! `format` and `quote` of strings.

use std::fmt::Write as _;

use crate::cost::Meter;
use crate::error::EvalError;
use crate::value::{List, Map, Outcome, Value, double_text, to_string};

/// The most digits behind the point that a clause may ask for.
const MAX_PRECISION: usize = 100;

/// `strings.quote(text)`: the text with what needs it escaped.
pub(super) fn quote<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::String(text)] = args else { return Err(EvalError::NoSuchOverload) };
    meter.make(2 * text.len() as u64 + 2)?;
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    Ok(Value::text(quoted))
}

/// `text.format(args)`: clauses as `%s`, `%d`, `%.2f` replaced by the arguments.
pub(super) fn format<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::String(text), Value::List(args)] = args else { return Err(EvalError::NoSuchOverload) };
    let mut out = String::new();
    let mut chars = text.chars();
    let mut next = 0;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let Some(mut verb) = chars.next() else { return Err(EvalError::failed("unexpected end of string")) };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let precision = if verb == '.' { Some(precision(&mut chars, &mut verb)?) } else { None };
        let failed = |message: String| EvalError::failed(format!("error during formatting: {message}"));
        let arg = args.get(next).ok_or_else(|| EvalError::failed(format!("index {next} out of range")))??;
        next += 1;
        let clause = match clause(meter, verb, precision.unwrap_or(6), &arg) {
            Err(_) if meter.is_spent() => return Err(EvalError::CostLimitExceeded),
            clause => clause.map_err(failed)?,
        };
        meter.make(clause.len() as u64)?;
        out.push_str(&clause);
    }
    meter.make(out.len() as u64)?;
    Ok(Value::text(out))
}

fn precision(chars: &mut std::str::Chars<'_>, verb: &mut char) -> Result<usize, EvalError> {
    let mut digits = String::new();
    loop {
        match chars.next() {
            Some(c) if c.is_ascii_digit() => digits.push(c),
            Some(c) => {
                *verb = c;
                break;
            }
            None => return Err(EvalError::failed("could not find end of precision specifier")),
        }
    }
    let precision = digits.parse().ok().filter(|precision| *precision <= MAX_PRECISION);
    precision.ok_or_else(|| EvalError::failed(format!("error while converting precision to integer: {digits}")))
}

fn clause(meter: &mut Meter<'_>, verb: char, precision: usize, arg: &Value<'_>) -> Result<String, String> {
    let name = arg.type_of().name().to_owned();
    match verb {
        's' => shown(meter, arg),
        'd' => match arg {
            Value::Int(_) | Value::Uint(_) => shown(meter, arg),
            Value::Double(double) if !double.is_finite() => shown_double(*double),
            _ => Err(format!("decimal clause can only be used on integers, was given {name}")),
        },
        'f' | 'e' => {
            let double = match arg {
                Value::Double(double) => *double,
                Value::Int(int) => *int as f64,
                Value::Uint(uint) => *uint as f64,
                Value::String(text) if matches!(&**text, "NaN" | "Infinity" | "-Infinity") => {
                    return Ok(text.to_string());
                }
                _ if verb == 'f' => {
                    return Err(format!("fixed-point clause can only be used on doubles, was given {name}"));
                }
                _ => return Err(format!("scientific clause can only be used on doubles, was given {name}")),
            };
            if !double.is_finite() {
                return shown_double(double);
            }
            Ok(if verb == 'f' { format!("{double:.precision$}") } else { scientific(double, precision) })
        }
        'b' => match arg {
            Value::Int(int) => Ok(signed(*int, |magnitude| format!("{magnitude:b}"))),
            Value::Uint(uint) => Ok(format!("{uint:b}")),
            Value::Bool(value) => Ok(u8::from(*value).to_string()),
            _ => Err(format!("only integers and bools can be formatted as binary, was given {name}")),
        },
        'o' => match arg {
            Value::Int(int) => Ok(signed(*int, |magnitude| format!("{magnitude:o}"))),
            Value::Uint(uint) => Ok(format!("{uint:o}")),
            _ => Err(format!("octal clause can only be used on integers, was given {name}")),
        },
        'x' | 'X' => {
            let hex = hexadecimal(arg).ok_or_else(|| {
                format!("only integers, byte buffers, and strings can be formatted as hex, was given {name}")
            })?;
            Ok(if verb == 'X' { hex.to_uppercase() } else { hex })
        }
        other => Err(format!("unrecognized formatting clause \"{other}\"")),
    }
}

fn signed(int: i64, magnitude: fn(u64) -> String) -> String {
    let sign = if int < 0 { "-" } else { "" };
    format!("{sign}{}", magnitude(int.unsigned_abs()))
}

fn hexadecimal(arg: &Value<'_>) -> Option<String> {
    let bytes = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    };
    match arg {
        Value::Int(int) => Some(signed(*int, |magnitude| format!("{magnitude:x}"))),
        Value::Uint(uint) => Some(format!("{uint:x}")),
        Value::String(text) => Some(bytes(text.as_bytes())),
        Value::Bytes(data) => Some(bytes(data)),
        _ => None,
    }
}

fn scientific(double: f64, precision: usize) -> String {
    let text = format!("{double:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

fn shown_double(double: f64) -> Result<String, String> {
    Ok(if double.is_nan() {
        "NaN".to_owned()
    } else if double.is_infinite() {
        if double > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else {
        double_text(double)
    })
}

/// A value as `%s` shows it.
fn shown(meter: &mut Meter<'_>, value: &Value<'_>) -> Result<String, String> {
    // A value can hold another one many times for nothing.
    let spent = |error: EvalError| error.to_string();
    meter.make(1).map_err(spent)?;
    match value {
        Value::Null => Ok("null".to_owned()),
        Value::Double(double) => shown_double(*double),
        Value::List(list) => shown_list(meter, list),
        Value::Map(map) => shown_map(meter, map),
        other => match to_string(other) {
            Ok(Value::String(text)) => Ok(text.to_string()),
            _ => Err(format!(
                "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps, was given {}",
                other.type_of().name()
            )),
        },
    }
}

/// A value as it is shown inside of a list or map: as the literal that it is.
fn nested(meter: &mut Meter<'_>, value: &Value<'_>) -> Result<String, String> {
    let quoted = |text: &str| api::field::quote(text);
    Ok(match value {
        Value::String(text) => quoted(text),
        Value::Bytes(bytes) => format!("b{}", quoted(&String::from_utf8_lossy(bytes))),
        Value::Double(double) if !double.is_finite() => quoted(&shown_double(*double)?),
        Value::Double(double) => format!("{double:.6}"),
        Value::Timestamp(_) => format!("timestamp({})", quoted(&shown(meter, value)?)),
        Value::Duration(_) => format!("duration({})", quoted(&shown(meter, value)?)),
        Value::Extension(_) | Value::Optional(_) | Value::Message(_) => {
            return Err(format!("no formatting function for {}", value.type_of().name()));
        }
        other => shown(meter, other)?,
    })
}

fn shown_list(meter: &mut Meter<'_>, list: &List<'_>) -> Result<String, String> {
    let spent = |error: EvalError| error.to_string();
    let mut items = Vec::new();
    for item in list.iter() {
        let item = nested(meter, &item.map_err(spent)?)?;
        meter.make(item.len() as u64).map_err(spent)?;
        items.push(item);
    }
    Ok(format!("[{}]", items.join(", ")))
}

fn shown_map(meter: &mut Meter<'_>, map: &Map<'_>) -> Result<String, String> {
    let mut entries = Vec::new();
    for key in map.keys() {
        let value = map.get(&key).map_err(|error| error.to_string())?.unwrap_or(Value::Null);
        let (key, value) = (nested(meter, &key)?, nested(meter, &value)?);
        meter.make((key.len() + value.len()) as u64).map_err(|error| error.to_string())?;
        entries.push((key, value));
    }
    entries.sort();
    let entries: Vec<String> = entries.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
    Ok(format!("{{{}}}", entries.join(", ")))
}
