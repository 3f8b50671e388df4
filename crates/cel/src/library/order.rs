//! The relations `<`, `<=`, `>` and `>=`.

use std::cmp::Ordering;

use super::Row;
use crate::cost::Meter;
use crate::error::EvalError;
use crate::value::{Outcome, Value, compare};

pub(super) const FUNCTIONS: &[Row] = &[
    ("less_bool", "_<_(bool, bool) -> bool", less),
    ("less_int64", "_<_(int, int) -> bool", less),
    ("less_int64_double", "_<_(int, double) -> bool", less),
    ("less_int64_uint64", "_<_(int, uint) -> bool", less),
    ("less_uint64", "_<_(uint, uint) -> bool", less),
    ("less_uint64_double", "_<_(uint, double) -> bool", less),
    ("less_uint64_int64", "_<_(uint, int) -> bool", less),
    ("less_double", "_<_(double, double) -> bool", less),
    ("less_double_int64", "_<_(double, int) -> bool", less),
    ("less_double_uint64", "_<_(double, uint) -> bool", less),
    ("less_string", "_<_(string, string) -> bool", less),
    ("less_bytes", "_<_(bytes, bytes) -> bool", less),
    ("less_timestamp", "_<_(timestamp, timestamp) -> bool", less),
    ("less_duration", "_<_(duration, duration) -> bool", less),
    ("less_equals_bool", "_<=_(bool, bool) -> bool", less_equals),
    ("less_equals_int64", "_<=_(int, int) -> bool", less_equals),
    ("less_equals_int64_double", "_<=_(int, double) -> bool", less_equals),
    ("less_equals_int64_uint64", "_<=_(int, uint) -> bool", less_equals),
    ("less_equals_uint64", "_<=_(uint, uint) -> bool", less_equals),
    ("less_equals_uint64_double", "_<=_(uint, double) -> bool", less_equals),
    ("less_equals_uint64_int64", "_<=_(uint, int) -> bool", less_equals),
    ("less_equals_double", "_<=_(double, double) -> bool", less_equals),
    ("less_equals_double_int64", "_<=_(double, int) -> bool", less_equals),
    ("less_equals_double_uint64", "_<=_(double, uint) -> bool", less_equals),
    ("less_equals_string", "_<=_(string, string) -> bool", less_equals),
    ("less_equals_bytes", "_<=_(bytes, bytes) -> bool", less_equals),
    ("less_equals_timestamp", "_<=_(timestamp, timestamp) -> bool", less_equals),
    ("less_equals_duration", "_<=_(duration, duration) -> bool", less_equals),
    ("greater_bool", "_>_(bool, bool) -> bool", greater),
    ("greater_int64", "_>_(int, int) -> bool", greater),
    ("greater_int64_double", "_>_(int, double) -> bool", greater),
    ("greater_int64_uint64", "_>_(int, uint) -> bool", greater),
    ("greater_uint64", "_>_(uint, uint) -> bool", greater),
    ("greater_uint64_double", "_>_(uint, double) -> bool", greater),
    ("greater_uint64_int64", "_>_(uint, int) -> bool", greater),
    ("greater_double", "_>_(double, double) -> bool", greater),
    ("greater_double_int64", "_>_(double, int) -> bool", greater),
    ("greater_double_uint64", "_>_(double, uint) -> bool", greater),
    ("greater_string", "_>_(string, string) -> bool", greater),
    ("greater_bytes", "_>_(bytes, bytes) -> bool", greater),
    ("greater_timestamp", "_>_(timestamp, timestamp) -> bool", greater),
    ("greater_duration", "_>_(duration, duration) -> bool", greater),
    ("greater_equals_bool", "_>=_(bool, bool) -> bool", greater_equals),
    ("greater_equals_int64", "_>=_(int, int) -> bool", greater_equals),
    ("greater_equals_int64_double", "_>=_(int, double) -> bool", greater_equals),
    ("greater_equals_int64_uint64", "_>=_(int, uint) -> bool", greater_equals),
    ("greater_equals_uint64", "_>=_(uint, uint) -> bool", greater_equals),
    ("greater_equals_uint64_double", "_>=_(uint, double) -> bool", greater_equals),
    ("greater_equals_uint64_int64", "_>=_(uint, int) -> bool", greater_equals),
    ("greater_equals_double", "_>=_(double, double) -> bool", greater_equals),
    ("greater_equals_double_int64", "_>=_(double, int) -> bool", greater_equals),
    ("greater_equals_double_uint64", "_>=_(double, uint) -> bool", greater_equals),
    ("greater_equals_string", "_>=_(string, string) -> bool", greater_equals),
    ("greater_equals_bytes", "_>=_(bytes, bytes) -> bool", greater_equals),
    ("greater_equals_timestamp", "_>=_(timestamp, timestamp) -> bool", greater_equals),
    ("greater_equals_duration", "_>=_(duration, duration) -> bool", greater_equals),
];

fn relation<'a>(args: &[Value<'a>], holds: fn(Ordering) -> bool) -> Outcome<'a> {
    match args {
        [a, b] => compare(a, b).unwrap_or(Err(EvalError::NoSuchOverload)).map(|order| Value::Bool(holds(order))),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn less<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    relation(args, Ordering::is_lt)
}

fn less_equals<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    relation(args, Ordering::is_le)
}

fn greater<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    relation(args, Ordering::is_gt)
}

fn greater_equals<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    relation(args, Ordering::is_ge)
}
