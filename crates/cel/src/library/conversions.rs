//! Conversions between types, named after the type that they yield.

use std::sync::Arc;

use super::Row;
use crate::cost::Meter;
use crate::error::EvalError;
use crate::types::Type;
use crate::value::{
    Outcome, Value, parse_duration, to_bool, to_bytes, to_double, to_int, to_string, to_timestamp, to_uint,
};

pub(super) const FUNCTIONS: &[Row] = &[
    ("bool_to_bool", "bool(bool) -> bool", bool),
    ("string_to_bool", "bool(string) -> bool", bool),
    ("bytes_to_bytes", "bytes(bytes) -> bytes", bytes),
    ("string_to_bytes", "bytes(string) -> bytes", bytes),
    ("double_to_double", "double(double) -> double", double),
    ("int64_to_double", "double(int) -> double", double),
    ("string_to_double", "double(string) -> double", double),
    ("uint64_to_double", "double(uint) -> double", double),
    ("duration_to_duration", "duration(duration) -> duration", duration),
    ("int64_to_duration", "duration(int) -> duration", duration),
    ("string_to_duration", "duration(string) -> duration", duration),
    ("to_dyn", "dyn(A) -> dyn", dynamic),
    ("int64_to_int64", "int(int) -> int", int),
    ("double_to_int64", "int(double) -> int", int),
    ("duration_to_int64", "int(duration) -> int", int),
    ("string_to_int64", "int(string) -> int", int),
    ("timestamp_to_int64", "int(timestamp) -> int", int),
    ("uint64_to_int64", "int(uint) -> int", int),
    ("string_to_string", "string(string) -> string", string),
    ("bool_to_string", "string(bool) -> string", string),
    ("bytes_to_string", "string(bytes) -> string", string),
    ("double_to_string", "string(double) -> string", string),
    ("duration_to_string", "string(duration) -> string", string),
    ("int64_to_string", "string(int) -> string", string),
    ("timestamp_to_string", "string(timestamp) -> string", string),
    ("uint64_to_string", "string(uint) -> string", string),
    ("timestamp_to_timestamp", "timestamp(timestamp) -> timestamp", timestamp),
    ("int64_to_timestamp", "timestamp(int) -> timestamp", timestamp),
    ("string_to_timestamp", "timestamp(string) -> timestamp", timestamp),
    ("type", "type(A) -> type(A)", type_of),
    ("uint64_to_uint64", "uint(uint) -> uint", uint),
    ("double_to_uint64", "uint(double) -> uint", uint),
    ("int64_to_uint64", "uint(int) -> uint", uint),
    ("string_to_uint64", "uint(string) -> uint", uint),
];

macro_rules! conversions {
    ($($name:ident = $convert:expr;)*) => {
        $(pub(super) fn $name<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
            args.first().map_or(Err(EvalError::NoSuchOverload), $convert)
        })*
    };
}

conversions! {
    bool = to_bool;
    bytes = to_bytes;
    double = to_double;
    int = to_int;
    string = to_string;
    timestamp = to_timestamp;
    uint = to_uint;
    duration = to_duration;
    dynamic = |value| Ok(value.clone());
    type_of = |value| Ok(Value::Type(Arc::new(value.type_of())));
}

fn to_duration<'a>(value: &Value<'a>) -> Outcome<'a> {
    match value {
        Value::Duration(_) => Ok(value.clone()),
        Value::Int(nanos) => Ok(Value::Duration(*nanos)),
        Value::String(text) => {
            let nanos = parse_duration(text).ok_or_else(|| EvalError::conversion("string", &Type::Duration))?;
            Ok(Value::Duration(nanos))
        }
        _ => Err(EvalError::NoSuchOverload),
    }
}
