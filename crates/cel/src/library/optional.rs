//! Values that may be absent.

use std::sync::Arc;

use super::Row;
use crate::cost::Meter;
use crate::error::EvalError;
use crate::value::{Outcome, Value};

pub(super) const FUNCTIONS: &[Row] = &[
    ("optional_of", "optional.of(V) -> optional(V)", of),
    ("optional_ofNonZeroValue", "optional.ofNonZeroValue(V) -> optional(V)", of_non_zero),
    ("optional_none", "optional.none() -> optional(V)", none),
    ("optional_value", "optional(V)::value() -> V", value),
    ("optional_hasValue", "optional(V)::hasValue() -> bool", has_value),
    ("optional_or_optional", "optional(V)::or(optional(V)) -> optional(V)", or),
    ("optional_orValue_value", "optional(V)::orValue(V) -> V", or_value),
    ("optional_unwrap", "optional.unwrap(list(optional(V))) -> list(V)", unwrap),
    ("optional_unwrapOpt", "list(optional(V))::unwrapOpt() -> list(V)", unwrap),
    ("list_first", "list(V)::first() -> optional(V)", first),
    ("list_last", "list(V)::last() -> optional(V)", last),
];

fn of<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    args.first().map(|value| Value::some(value.clone())).ok_or(EvalError::NoSuchOverload)
}

fn of_non_zero<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let zero = match args.first() {
        Some(Value::Null | Value::Bool(false) | Value::Int(0) | Value::Uint(0) | Value::Duration(0)) => true,
        Some(Value::Double(double)) => *double == 0.0,
        Some(value @ (Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_))) => value.size() == 0,
        Some(Value::Optional(inner)) => inner.is_none(),
        _ => false,
    };
    if zero { none(meter, args) } else { of(meter, args) }
}

fn none<'a>(_: &mut Meter<'_>, _: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Optional(None))
}

fn value<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    match args {
        [Value::Optional(Some(value))] => Ok(value.as_ref().clone()),
        [Value::Optional(None)] => Err(EvalError::failed("optional.none() dereference")),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn has_value<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    match args {
        [Value::Optional(inner)] => Ok(Value::Bool(inner.is_some())),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn or<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    match args {
        [Value::Optional(None), other] => Ok(other.clone()),
        [some, _] => Ok(some.clone()),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn or_value<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    match args {
        [Value::Optional(Some(value)), _] => Ok(value.as_ref().clone()),
        [Value::Optional(None), other] => Ok(other.clone()),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn unwrap<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::List(list)] = args else { return Err(EvalError::NoSuchOverload) };
    let mut values = Vec::new();
    for item in list.iter() {
        match item? {
            Value::Optional(inner) => values.extend(inner.as_deref().cloned()),
            _ => return Err(EvalError::NoSuchOverload),
        }
    }
    Ok(Value::list(values))
}

fn at<'a>(args: &[Value<'a>], place: fn(usize) -> Option<usize>) -> Outcome<'a> {
    let [Value::List(list)] = args else { return Err(EvalError::NoSuchOverload) };
    let value = place(list.len()).and_then(|index| list.get(index)).transpose()?;
    Ok(Value::Optional(value.map(Arc::new)))
}

fn first<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    at(args, |length| (length > 0).then_some(0))
}

fn last<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    at(args, |length| length.checked_sub(1))
}
