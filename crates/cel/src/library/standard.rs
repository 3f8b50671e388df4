//! Logic, equality, concatenation, indices, sizes and membership.

use super::{Row, arithmetic};
use crate::cost::Meter;
use crate::error::EvalError;
use crate::value::{Key, List, Map, Outcome, Value, equal, to_int, to_string};

pub(super) const FUNCTIONS: &[Row] = &[
    // The planner makes steps of their own of these.
    ("conditional", "_?_:_(bool, A, A) -> A", never),
    ("logical_and", "_&&_(bool, bool) -> bool", never),
    ("logical_or", "_||_(bool, bool) -> bool", never),
    ("not_strictly_false", "@not_strictly_false(bool) -> bool", never),
    ("logical_not", "!_(bool) -> bool", not),
    ("equals", "_==_(A, A) -> bool", equals),
    ("not_equals", "_!=_(A, A) -> bool", not_equals),
    ("add_bytes", "_+_(bytes, bytes) -> bytes", add_bytes),
    ("add_double", "_+_(double, double) -> double", arithmetic::add),
    ("add_duration_duration", "_+_(duration, duration) -> duration", arithmetic::add),
    ("add_duration_timestamp", "_+_(duration, timestamp) -> timestamp", arithmetic::add),
    ("add_timestamp_duration", "_+_(timestamp, duration) -> timestamp", arithmetic::add),
    ("add_int64", "_+_(int, int) -> int", arithmetic::add),
    ("add_list", "_+_(list(A), list(A)) -> list(A)", add_lists),
    ("add_string", "_+_(string, string) -> string", add_strings),
    ("add_uint64", "_+_(uint, uint) -> uint", arithmetic::add),
    ("subtract_double", "_-_(double, double) -> double", arithmetic::subtract),
    ("subtract_duration_duration", "_-_(duration, duration) -> duration", arithmetic::subtract),
    ("subtract_int64", "_-_(int, int) -> int", arithmetic::subtract),
    ("subtract_timestamp_duration", "_-_(timestamp, duration) -> timestamp", arithmetic::subtract),
    ("subtract_timestamp_timestamp", "_-_(timestamp, timestamp) -> duration", arithmetic::subtract),
    ("subtract_uint64", "_-_(uint, uint) -> uint", arithmetic::subtract),
    ("multiply_double", "_*_(double, double) -> double", arithmetic::multiply),
    ("multiply_int64", "_*_(int, int) -> int", arithmetic::multiply),
    ("multiply_uint64", "_*_(uint, uint) -> uint", arithmetic::multiply),
    ("divide_double", "_/_(double, double) -> double", arithmetic::divide),
    ("divide_int64", "_/_(int, int) -> int", arithmetic::divide),
    ("divide_uint64", "_/_(uint, uint) -> uint", arithmetic::divide),
    ("modulo_int64", "_%_(int, int) -> int", arithmetic::modulo),
    ("modulo_uint64", "_%_(uint, uint) -> uint", arithmetic::modulo),
    ("negate_double", "-_(double) -> double", arithmetic::negate),
    ("negate_int64", "-_(int) -> int", arithmetic::negate),
    ("index_list", "_[_](list(A), int) -> A", index_list),
    ("index_map", "_[_](map(A, B), A) -> B", index_map),
    ("optional_list_index_int", "_[_](optional(list(V)), int) -> optional(V)", index_optional),
    ("optional_map_index_value", "_[_](optional(map(K, V)), K) -> optional(V)", index_optional),
    ("list_optindex_optional_int", "_[?_](list(V), int) -> optional(V)", optional_index),
    ("optional_list_optindex_optional_int", "_[?_](optional(list(V)), int) -> optional(V)", optional_index),
    ("map_optindex_optional_value", "_[?_](map(K, V), K) -> optional(V)", optional_index),
    ("optional_map_optindex_optional_value", "_[?_](optional(map(K, V)), K) -> optional(V)", optional_index),
    ("in_list", "@in(A, list(A)) -> bool", in_list),
    ("in_map", "@in(A, map(A, B)) -> bool", in_map),
    ("size_bytes", "size(bytes) -> int", size),
    ("size_list", "size(list(A)) -> int", size),
    ("size_map", "size(map(A, B)) -> int", size),
    ("size_string", "size(string) -> int", size),
    ("bytes_size", "bytes::size() -> int", size),
    ("list_size", "list(A)::size() -> int", size),
    ("map_size", "map(A, B)::size() -> int", size),
    ("string_size", "string::size() -> int", size),
    ("contains_string", "string::contains(string) -> bool", contains),
    ("ends_with_string", "string::endsWith(string) -> bool", ends_with),
    ("starts_with_string", "string::startsWith(string) -> bool", starts_with),
    ("@mapInsert_map_map", "cel.@mapInsert(map(K, V), map(K, V)) -> map(K, V)", insert_map),
    ("@mapInsert_map_key_value", "cel.@mapInsert(map(K, V), K, V) -> map(K, V)", insert_entry),
];

fn never<'a>(_: &mut Meter<'_>, _: &[Value<'a>]) -> Outcome<'a> {
    Err(EvalError::NoSuchOverload)
}

fn not<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    match args {
        [Value::Bool(value)] => Ok(Value::Bool(!value)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn equals<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    match args {
        [a, b] => equal(meter, a, b).map(Value::Bool),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn not_equals<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    match args {
        [a, b] => equal(meter, a, b).map(|equal| Value::Bool(!equal)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn add_strings<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::String(a), Value::String(b)] = args else { return Err(EvalError::NoSuchOverload) };
    meter.make((a.len() + b.len()) as u64)?;
    Ok(Value::text(format!("{a}{b}")))
}

fn add_bytes<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::Bytes(a), Value::Bytes(b)] = args else { return Err(EvalError::NoSuchOverload) };
    meter.make((a.len() + b.len()) as u64)?;
    Ok(Value::Bytes([&**a, &**b].concat().into()))
}

fn add_lists<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::List(a), Value::List(b)] = args else { return Err(EvalError::NoSuchOverload) };
    meter.make((a.len() + b.len()) as u64)?;
    a.concat(b, meter).map(Value::List)
}

/// The element at an index that may be any whole number.
fn element<'a>(list: &List<'a>, index: &Value<'a>) -> Result<Option<Value<'a>>, EvalError> {
    let index = match index {
        Value::Int(index) => *index,
        Value::Uint(index) => i64::try_from(*index).unwrap_or(i64::MAX),
        Value::Double(index) if index.fract() == 0.0 => *index as i64,
        other => return Err(EvalError::failed(format!("unsupported index type '{}' in list", other.type_of().name()))),
    };
    usize::try_from(index).ok().and_then(|index| list.get(index)).transpose()
}

fn index_list<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::List(list), index] = args else { return Err(EvalError::NoSuchOverload) };
    let out_of_bounds = || match to_int(index) {
        Ok(Value::Int(index)) => EvalError::failed(format!("index out of bounds: {index}")),
        _ => EvalError::failed("index out of bounds"),
    };
    element(list, index)?.ok_or_else(out_of_bounds)
}

fn index_map<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::Map(map), key] = args else { return Err(EvalError::NoSuchOverload) };
    map.get(key)?.ok_or_else(|| no_such_key(key))
}

/// The error that tells of a key that is not there.
fn no_such_key(key: &Value<'_>) -> EvalError {
    match to_string(key) {
        Ok(Value::String(text)) => EvalError::NoSuchKey(text.to_string()),
        _ => EvalError::NoSuchKey(key.type_of().name().to_owned()),
    }
}

fn find<'a>(container: &Value<'a>, key: &Value<'a>) -> Result<Option<Value<'a>>, EvalError> {
    match container {
        Value::List(list) => element(list, key),
        Value::Map(map) => map.get(key),
        Value::Optional(None) => Ok(None),
        Value::Optional(Some(inner)) => find(inner, key),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn index_optional<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    optional_index(meter, args)
}

fn optional_index<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [container, key] = args else { return Err(EvalError::NoSuchOverload) };
    Ok(match find(container, key)? {
        // An optional element stays one optional.
        Some(value @ Value::Optional(_)) => value,
        Some(value) => Value::some(value),
        None => Value::Optional(None),
    })
}

fn in_list<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [value, Value::List(list)] = args else { return Err(EvalError::NoSuchOverload) };
    for item in list.iter() {
        if equal(meter, &item?, value)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn in_map<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [key, Value::Map(map)] = args else { return Err(EvalError::NoSuchOverload) };
    Ok(Value::Bool(map.get(key)?.is_some()))
}

fn size<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    match args {
        [value @ (Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_))] => {
            Ok(Value::Int(value.size() as i64))
        }
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn contains<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::String(text), Value::String(part)] = args else { return Err(EvalError::NoSuchOverload) };
    Ok(Value::Bool(text.contains(&**part)))
}

fn ends_with<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::String(text), Value::String(part)] = args else { return Err(EvalError::NoSuchOverload) };
    Ok(Value::Bool(text.ends_with(&**part)))
}

fn starts_with<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::String(text), Value::String(part)] = args else { return Err(EvalError::NoSuchOverload) };
    Ok(Value::Bool(text.starts_with(&**part)))
}

fn insert_map<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [map, Value::Map(more)] = args else { return Err(EvalError::NoSuchOverload) };
    let mut result = map.clone();
    for key in more.keys() {
        let value = more.get(&key)?.unwrap_or(Value::Null);
        result = insert_entry(meter, &[result, key, value])?;
    }
    Ok(result)
}

fn insert_entry<'a>(meter: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::Map(map), key, value] = args else { return Err(EvalError::NoSuchOverload) };
    if map.get(key)?.is_some() {
        let shown = no_such_key(key).to_string().replacen("no such key", "insert failed: key already exists", 1);
        return Err(EvalError::failed(shown.replacen("exists: ", "exists ", 1)));
    }
    meter.make(map.len() as u64 + 1)?;
    let mut entries = match map {
        Map::Owned(entries) => entries.as_ref().clone(),
        Map::Data { .. } => {
            let mut entries = std::collections::BTreeMap::new();
            for key in map.keys() {
                let value = map.get(&key)?.unwrap_or(Value::Null);
                entries.insert(Key::new(&key)?, value);
            }
            entries
        }
    };
    entries.insert(Key::new(key)?, value.clone());
    Ok(Value::Map(Map::owned(entries)))
}
