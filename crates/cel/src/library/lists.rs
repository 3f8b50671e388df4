//! Lists: order, sums, extremes, places.

use std::cmp::Ordering;

use super::{Row, arithmetic};
use crate::cost::Meter;
use crate::error::EvalError;
use crate::value::{List, Outcome, Value, compare, equal};

pub(super) const FUNCTIONS: &[Row] = &[
    ("list_int_is_sorted_bool", "list(int)::isSorted() -> bool", is_sorted),
    ("list_uint_is_sorted_bool", "list(uint)::isSorted() -> bool", is_sorted),
    ("list_double_is_sorted_bool", "list(double)::isSorted() -> bool", is_sorted),
    ("list_bool_is_sorted_bool", "list(bool)::isSorted() -> bool", is_sorted),
    ("list_duration_is_sorted_bool", "list(duration)::isSorted() -> bool", is_sorted),
    ("list_timestamp_is_sorted_bool", "list(timestamp)::isSorted() -> bool", is_sorted),
    ("list_string_is_sorted_bool", "list(string)::isSorted() -> bool", is_sorted),
    ("list_bytes_is_sorted_bool", "list(bytes)::isSorted() -> bool", is_sorted),
    ("list_int_sum_int", "list(int)::sum() -> int", sum_ints),
    ("list_uint_sum_uint", "list(uint)::sum() -> uint", sum_uints),
    ("list_double_sum_double", "list(double)::sum() -> double", sum_doubles),
    ("list_duration_sum_duration", "list(duration)::sum() -> duration", sum_durations),
    ("list_int_max_int", "list(int)::max() -> int", max),
    ("list_uint_max_uint", "list(uint)::max() -> uint", max),
    ("list_double_max_double", "list(double)::max() -> double", max),
    ("list_bool_max_bool", "list(bool)::max() -> bool", max),
    ("list_duration_max_duration", "list(duration)::max() -> duration", max),
    ("list_timestamp_max_timestamp", "list(timestamp)::max() -> timestamp", max),
    ("list_string_max_string", "list(string)::max() -> string", max),
    ("list_bytes_max_bytes", "list(bytes)::max() -> bytes", max),
    ("list_int_min_int", "list(int)::min() -> int", min),
    ("list_uint_min_uint", "list(uint)::min() -> uint", min),
    ("list_double_min_double", "list(double)::min() -> double", min),
    ("list_bool_min_bool", "list(bool)::min() -> bool", min),
    ("list_duration_min_duration", "list(duration)::min() -> duration", min),
    ("list_timestamp_min_timestamp", "list(timestamp)::min() -> timestamp", min),
    ("list_string_min_string", "list(string)::min() -> string", min),
    ("list_bytes_min_bytes", "list(bytes)::min() -> bytes", min),
    ("list_a_index_of_int", "list(T)::indexOf(T) -> int", index_of),
    ("list_a_last_index_of_int", "list(T)::lastIndexOf(T) -> int", last_index_of),
];

fn ordering(a: &Value<'_>, b: &Value<'_>) -> Result<Ordering, EvalError> {
    compare(a, b).unwrap_or(Err(EvalError::NoSuchOverload))
}

fn is_sorted<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::List(list)] = args else { return Err(EvalError::NoSuchOverload) };
    let mut before: Option<Value<'a>> = None;
    for item in list.iter() {
        let item = item?;
        if let Some(before) = &before
            && ordering(before, &item)?.is_gt()
        {
            return Ok(Value::Bool(false));
        }
        before = Some(item);
    }
    Ok(Value::Bool(true))
}

fn sum<'a>(meter: &mut Meter<'_>, args: &[Value<'a>], nothing: Value<'a>) -> Outcome<'a> {
    let [Value::List(list)] = args else { return Err(EvalError::NoSuchOverload) };
    let mut total: Option<Value<'a>> = None;
    for item in list.iter() {
        let item = item?;
        total = Some(match total {
            None => item,
            Some(total) => arithmetic::add(meter, &[total, item])?,
        });
    }
    Ok(total.unwrap_or(nothing))
}

fn sum_ints<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    sum(meter, args, Value::Int(0))
}

fn sum_uints<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    sum(meter, args, Value::Uint(0))
}

fn sum_doubles<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    sum(meter, args, Value::Double(0.0))
}

fn sum_durations<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    sum(meter, args, Value::Duration(0))
}

fn extreme<'a>(args: &[Value<'a>], name: &str, wanted: Ordering) -> Outcome<'a> {
    let [Value::List(list)] = args else { return Err(EvalError::NoSuchOverload) };
    let mut best: Option<Value<'a>> = None;
    for item in list.iter() {
        let item = item?;
        best = Some(match best {
            Some(best) if ordering(&item, &best)? != wanted => best,
            _ => item,
        });
    }
    best.ok_or_else(|| EvalError::failed(format!("{name} called on empty list")))
}

fn max<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    extreme(args, "max", Ordering::Greater)
}

fn min<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    extreme(args, "min", Ordering::Less)
}

fn place<'a>(meter: &mut Meter<'_>, list: &List<'a>, wanted: &Value<'a>, last: bool) -> Outcome<'a> {
    let mut found = -1;
    for (index, item) in list.iter().enumerate() {
        if equal(meter, &item?, wanted)? {
            found = index as i64;
            if !last {
                break;
            }
        }
    }
    Ok(Value::Int(found))
}

fn index_of<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::List(list), wanted] = args else { return Err(EvalError::NoSuchOverload) };
    place(meter, list, wanted, false)
}

fn last_index_of<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::List(list), wanted] = args else { return Err(EvalError::NoSuchOverload) };
    place(meter, list, wanted, true)
}
