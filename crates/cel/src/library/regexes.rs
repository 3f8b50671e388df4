//! Patterns: `matches`, `find`, `findAll`, in the syntax of RE2.

use regex::Regex;

use super::Row;
use crate::cost::Meter;
use crate::error::EvalError;
use crate::value::{Outcome, Value};

pub(super) const FUNCTIONS: &[Row] = &[
    ("matches", "matches(string, string) -> bool", matches),
    ("matches_string", "string::matches(string) -> bool", matches),
    ("string_find_string", "string::find(string) -> string", find),
    ("string_find_all_string", "string::findAll(string) -> list(string)", find_all),
    ("string_find_all_string_int", "string::findAll(string, int) -> list(string)", find_all),
];

/// Compiles a pattern in Go's syntax.
pub(crate) fn compile(pattern: &str) -> Result<Regex, EvalError> {
    api::re2::compile(pattern).map_err(|error| EvalError::failed(error.to_string()))
}

fn matches<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::String(text), Value::String(pattern)] = args else { return Err(EvalError::NoSuchOverload) };
    Ok(Value::Bool(meter.regex(pattern)?.is_match(text)))
}

fn find<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::String(text), Value::String(pattern)] = args else { return Err(EvalError::NoSuchOverload) };
    let regex = meter.regex(pattern)?;
    Ok(Value::text(regex.find(text).map_or("", |found| found.as_str())))
}

fn find_all<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (text, pattern, limit) = match args {
        [Value::String(text), Value::String(pattern)] => (text, pattern, -1),
        [Value::String(text), Value::String(pattern), Value::Int(limit)] => (text, pattern, *limit),
        _ => return Err(EvalError::NoSuchOverload),
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    meter.make(text.len() as u64)?;
    let regex = meter.regex(pattern)?;
    Ok(Value::texts(regex.find_iter(text).take(limit).map(|found| found.as_str().to_owned())))
}
