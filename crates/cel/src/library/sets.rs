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

fn has<'a>(meter: &mut Meter<'_>, list: &List<'a>, wanted: &Value<'a>) -> Result<bool, EvalError> {
    for item in list.iter() {
        if equal(meter, &item?, wanted)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has_all<'a>(meter: &mut Meter<'_>, list: &List<'a>, part: &List<'a>) -> Result<bool, EvalError> {
    for wanted in part.iter() {
        if !has(meter, list, &wanted?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn contains<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::List(list), Value::List(part)] = args else { return Err(EvalError::NoSuchOverload) };
    has_all(meter, list, part).map(Value::Bool)
}

fn equivalent<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::List(a), Value::List(b)] = args else { return Err(EvalError::NoSuchOverload) };
    Ok(Value::Bool(has_all(meter, a, b)? && has_all(meter, b, a)?))
}

fn intersects<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::List(a), Value::List(b)] = args else { return Err(EvalError::NoSuchOverload) };
    for item in a.iter() {
        if has(meter, b, &item?)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}
