//! Lists taken as sets.

use super::Row;
use crate::cost::Meter;
use crate::error::EvalError;
use crate::value::{List, Outcome, Value, equal};

pub(super) const FUNCTIONS: &[Row] = &[
    ("list_sets_contains_list", "sets.contains(list(T), list(T)) -> bool", contains),
    ("list_sets_equivalent_list", "sets.equivalent(list(T), list(T)) -> bool", equivalent),
    ("list_sets_intersects_list", "sets.intersects(list(T), list(T)) -> bool", intersects),
];

fn has<'a>(list: &List<'a>, wanted: &Value<'a>) -> Result<bool, EvalError> {
    for item in list.iter() {
        if equal(&item?, wanted)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has_all<'a>(list: &List<'a>, part: &List<'a>) -> Result<bool, EvalError> {
    for wanted in part.iter() {
        if !has(list, &wanted?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn contains<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::List(list), Value::List(part)] = args else { return Err(EvalError::NoSuchOverload) };
    has_all(list, part).map(Value::Bool)
}

fn equivalent<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::List(a), Value::List(b)] = args else { return Err(EvalError::NoSuchOverload) };
    Ok(Value::Bool(has_all(a, b)? && has_all(b, a)?))
}

fn intersects<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::List(a), Value::List(b)] = args else { return Err(EvalError::NoSuchOverload) };
    for item in a.iter() {
        if has(b, &item?)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}
