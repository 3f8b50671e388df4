//! Strings: places, parts, case, replacement. Places are counted in code points.

use super::{Row, format};
use crate::cost::Meter;
use crate::error::EvalError;
use crate::value::{Outcome, Value};

pub(super) const FUNCTIONS: &[Row] = &[
    ("string_char_at_int", "string::charAt(int) -> string", char_at),
    ("string_index_of_string", "string::indexOf(string) -> int", index_of),
    ("string_index_of_string_int", "string::indexOf(string, int) -> int", index_of),
    ("string_last_index_of_string", "string::lastIndexOf(string) -> int", last_index_of),
    ("string_last_index_of_string_int", "string::lastIndexOf(string, int) -> int", last_index_of),
    ("list_join", "list(string)::join() -> string", join),
    ("list_join_string", "list(string)::join(string) -> string", join),
    ("string_lower_ascii", "string::lowerAscii() -> string", lower_ascii),
    ("string_upper_ascii", "string::upperAscii() -> string", upper_ascii),
    ("string_replace_string_string", "string::replace(string, string) -> string", replace),
    ("string_replace_string_string_int", "string::replace(string, string, int) -> string", replace),
    ("string_split_string", "string::split(string) -> list(string)", split),
    ("string_split_string_int", "string::split(string, int) -> list(string)", split),
    ("string_substring_int", "string::substring(int) -> string", substring),
    ("string_substring_int_int", "string::substring(int, int) -> string", substring),
    ("string_trim", "string::trim() -> string", trim),
    ("string_reverse", "string::reverse() -> string", reverse),
    ("string_format", "string::format(list(dyn)) -> string", format::format),
    ("strings_quote", "strings.quote(string) -> string", format::quote),
];

fn out_of_range(index: i64) -> EvalError {
    EvalError::failed(format!("index out of range: {index}"))
}

/// An index that lies within `0..=length`.
fn checked(index: i64, length: usize) -> Result<usize, EvalError> {
    usize::try_from(index).ok().filter(|index| *index <= length).ok_or_else(|| out_of_range(index))
}

fn char_at<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::String(text), Value::Int(index)] = args else { return Err(EvalError::NoSuchOverload) };
    let index = checked(*index, text.chars().count())?;
    Ok(Value::text(text.chars().nth(index).map(String::from).unwrap_or_default()))
}

/// How many code points stand before this byte.
fn place(text: &str, byte: usize) -> i64 {
    text[..byte].chars().count() as i64
}

/// The byte at which the code point `index` begins.
fn byte(text: &str, index: usize) -> usize {
    text.char_indices().nth(index).map_or(text.len(), |(byte, _)| byte)
}

fn index_of<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (text, part, offset) = match args {
        [Value::String(text), Value::String(part)] => (text, part, None),
        [Value::String(text), Value::String(part), Value::Int(offset)] => (text, part, Some(*offset)),
        _ => return Err(EvalError::NoSuchOverload),
    };
    if part.is_empty() {
        return Ok(Value::Int(offset.unwrap_or(0)));
    }
    let start = match offset {
        None => 0,
        Some(offset) => {
            let length = text.chars().count();
            let start = usize::try_from(offset).ok().filter(|start| *start < length);
            byte(text, start.ok_or_else(|| out_of_range(offset))?)
        }
    };
    let found = text[start..].find(&**part);
    Ok(Value::Int(found.map_or(-1, |found| place(text, start + found))))
}

fn last_index_of<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (text, part, offset) = match args {
        [Value::String(text), Value::String(part)] => (text, part, None),
        [Value::String(text), Value::String(part), Value::Int(offset)] => (text, part, Some(*offset)),
        _ => return Err(EvalError::NoSuchOverload),
    };
    let length = text.chars().count();
    if part.is_empty() {
        return Ok(Value::Int(offset.unwrap_or(length as i64)));
    }
    let last = match offset {
        None => length.saturating_sub(1),
        Some(offset) => {
            let last = usize::try_from(offset).ok().filter(|last| *last < length);
            last.ok_or_else(|| out_of_range(offset))?
        }
    };
    let starts: Vec<usize> = text.char_indices().take(last + 1).map(|(start, _)| start).collect();
    let found = starts.iter().rposition(|start| text[*start..].starts_with(&**part)).map(|found| found as i64);
    Ok(Value::Int(found.unwrap_or(-1)))
}

fn join<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (list, separator) = match args {
        [Value::List(list)] => (list, ""),
        [Value::List(list), Value::String(separator)] => (list, &**separator),
        _ => return Err(EvalError::NoSuchOverload),
    };
    let mut joined = String::new();
    for (index, item) in list.iter().enumerate() {
        let item = item?;
        let Value::String(text) = &item else {
            return Err(EvalError::failed("type conversion error from list to '[]string'"));
        };
        let separator = if index > 0 { separator } else { "" };
        meter.make((separator.len() + text.len()) as u64)?;
        joined.push_str(separator);
        joined.push_str(text);
    }
    Ok(Value::text(joined))
}

fn mapped<'a>(meter: &mut Meter<'_>, args: &[Value<'a>], map: fn(&str) -> String) -> Outcome<'a> {
    let [Value::String(text)] = args else { return Err(EvalError::NoSuchOverload) };
    meter.make(text.len() as u64)?;
    Ok(Value::text(map(text)))
}

fn lower_ascii<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    mapped(meter, args, str::to_ascii_lowercase)
}

fn upper_ascii<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    mapped(meter, args, str::to_ascii_uppercase)
}

fn trim<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    mapped(meter, args, |text| text.trim().to_owned())
}

fn reverse<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    mapped(meter, args, |text| text.chars().rev().collect())
}

fn replace<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (text, old, new, limit) = match args {
        [Value::String(text), Value::String(old), Value::String(new)] => (text, old, new, -1),
        [Value::String(text), Value::String(old), Value::String(new), Value::Int(limit)] => (text, old, new, *limit),
        _ => return Err(EvalError::NoSuchOverload),
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    // An empty text is found before each code point and at the end.
    let found = if old.is_empty() { text.chars().count() + 1 } else { text.matches(&**old).count() };
    let size = (found.min(limit) as u64).saturating_mul(new.len() as u64).saturating_add(text.len() as u64);
    meter.make(size)?;
    Ok(Value::text(text.replacen(&**old, new, limit)))
}

fn split<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (text, separator, limit) = match args {
        [Value::String(text), Value::String(separator)] => (text, separator, -1),
        [Value::String(text), Value::String(separator), Value::Int(limit)] => (text, separator, *limit),
        _ => return Err(EvalError::NoSuchOverload),
    };
    meter.make(text.len() as u64 + 1)?;
    let limit = match limit {
        0 => return Ok(Value::list(Vec::new())),
        limit => usize::try_from(limit).unwrap_or(usize::MAX),
    };
    if !separator.is_empty() {
        return Ok(Value::texts(text.splitn(limit, &**separator).map(str::to_owned)));
    }
    // Nothing separates every code point.
    let mut parts = Vec::new();
    let mut rest = &**text;
    while let Some(first) = rest.chars().next() {
        let width = if parts.len() + 1 == limit { rest.len() } else { first.len_utf8() };
        parts.push(rest[..width].to_owned());
        rest = &rest[width..];
    }
    Ok(Value::texts(parts))
}

fn substring<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (text, start, end) = match args {
        [Value::String(text), Value::Int(start)] => (text, *start, None),
        [Value::String(text), Value::Int(start), Value::Int(end)] => (text, *start, Some(*end)),
        _ => return Err(EvalError::NoSuchOverload),
    };
    if let Some(end) = end.filter(|end| start > *end) {
        return Err(EvalError::failed(format!("invalid substring range. start: {start}, end: {end}")));
    }
    let length = text.chars().count();
    let start = checked(start, length)?;
    let end = end.map_or(Ok(length), |end| checked(end, length))?;
    meter.make((end - start) as u64)?;
    Ok(Value::text(&text[byte(text, start)..byte(text, end)]))
}
