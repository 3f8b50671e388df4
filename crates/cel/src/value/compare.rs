//! Equality and order of values, and what concatenation of lists means.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::sync::Arc;

use super::{Key, List, Map, Message, Str, Value};
use crate::cost::{COMPARISON, Meter};
use crate::error::EvalError;
use crate::schema::{DeclKind, ListKind, escape};

/// Whether two values are equal. Values of different types are not, but numbers are whatever their types.
pub(crate) fn equal<'a>(meter: &mut Meter<'_>, a: &Value<'a>, b: &Value<'a>) -> Result<bool, EvalError> {
    // A value can hold another one many times for nothing.
    meter.make(COMPARISON)?;
    Ok(match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::String(a), Value::String(b)) => **a == **b,
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
        (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::Type(a), Value::Type(b)) => a.name() == b.name(),
        (Value::Optional(None), Value::Optional(None)) => true,
        (Value::Optional(Some(a)), Value::Optional(Some(b))) => equal(meter, a, b)?,
        (Value::Extension(a), Value::Extension(b)) => a.equal(b),
        (Value::List(a), Value::List(b)) => equal_lists(meter, a, b)?,
        (Value::Map(a), Value::Map(b)) => equal_maps(meter, a, b)?,
        (Value::Message(a), Value::Message(b)) => equal_messages(meter, a, b)?,
        (a, b) => equal_numbers(a, b),
    })
}

/// Whether two numbers are equal; false for what is no number.
fn equal_numbers(a: &Value<'_>, b: &Value<'_>) -> bool {
    order_numbers(a, b) == Some(Ordering::Equal)
}

fn equal_lists<'a>(meter: &mut Meter<'_>, a: &List<'a>, b: &List<'a>) -> Result<bool, EvalError> {
    if a.len() != b.len() {
        return Ok(false);
    }
    match a.kind() {
        ListKind::Atomic => {
            for (left, right) in a.iter().zip(b.iter()) {
                if !equal(meter, &left?, &right?)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        ListKind::Set => {
            let known = a.iter().map(|item| identity(meter, &item?)).collect::<Result<BTreeSet<_>, EvalError>>()?;
            for item in b.iter() {
                if !known.contains(&identity(meter, &item?)?) {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        ListKind::Map(keys) => {
            let mut known = BTreeMap::new();
            for item in a.iter() {
                let item = item?;
                known.insert(entry_identity(meter, &item, keys)?, item);
            }
            for item in b.iter() {
                let item = item?;
                match known.get(&entry_identity(meter, &item, keys)?) {
                    Some(other) if equal(meter, other, &item)? => {}
                    _ => return Ok(false),
                }
            }
            Ok(true)
        }
    }
}

/// What a value is in a set.
fn identity<'a>(meter: &mut Meter<'_>, value: &Value<'a>) -> Result<Key<'a>, EvalError> {
    // No text of a document looks like those that begin with a zero.
    let text = |text: String| Key::String(Str::Shared(text.into()));
    Ok(match value {
        Value::Double(number) if number.fract() != 0.0 => text(format!("\u{0}{}", number.to_bits())),
        Value::Double(number) => Key::Int(*number as i64),
        Value::Null => Key::String(Str::Borrowed("\u{0}null")),
        value => match Key::new(value) {
            Ok(key) => key,
            Err(_) => {
                let mut shown = Shown { text: "\u{0}".to_owned(), meter };
                write!(shown, "{value:?}").map_err(|_| EvalError::CostLimitExceeded)?;
                text(shown.text)
            }
        },
    })
}

/// A text that grows while it may.
struct Shown<'m, 'r> {
    text: String,
    meter: &'m mut Meter<'r>,
}

impl fmt::Write for Shown<'_, '_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.meter.make(part.len() as u64 + 1).map_err(|_| fmt::Error)?;
        self.text.push_str(part);
        Ok(())
    }
}

/// What an entry of an associative list is: the values of its keys.
fn entry_identity<'a>(meter: &mut Meter<'_>, entry: &Value<'a>, keys: &[String]) -> Result<Vec<Key<'a>>, EvalError> {
    let Value::Map(map) = entry else {
        return Err(EvalError::failed("unexpected data format for element of array with x-kubernetes-list-type=map"));
    };
    let value = |key: &String| {
        let name = escape(key).unwrap_or_else(|| key.clone());
        identity(meter, &map.field(&name)?.unwrap_or(Value::Null))
    };
    keys.iter().map(value).collect()
}

fn equal_messages<'a>(meter: &mut Meter<'_>, a: &Message<'a>, b: &Message<'a>) -> Result<bool, EvalError> {
    if a.name != b.name || !a.fields.keys().eq(b.fields.keys()) {
        return Ok(false);
    }
    for (left, right) in a.fields.values().zip(b.fields.values()) {
        if !equal(meter, left, right)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn equal_maps<'a>(meter: &mut Meter<'_>, a: &Map<'a>, b: &Map<'a>) -> Result<bool, EvalError> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for key in a.keys() {
        match (a.get(&key)?, b.get(&key)?) {
            (Some(left), Some(right)) if equal(meter, &left, &right)? => {}
            (None, None) => {}
            _ => return Ok(false),
        }
    }
    // What the schema does not know is part of an object all the same.
    if let (Map::Data { fields: left, decl: a }, Map::Data { fields: right, decl: b }) = (a, b)
        && let (DeclKind::Object { fields: declared, .. }, DeclKind::Object { .. }) = (&a.kind, &b.kind)
    {
        return Ok(left
            .iter()
            .all(|(name, value)| declared.contains_key(name) || right.get(name).is_none_or(|other| value == other)));
    }
    Ok(true)
}

/// Which of two values is smaller. Nothing where their types have no order; an error where the values have none.
pub(crate) fn compare(a: &Value<'_>, b: &Value<'_>) -> Option<Result<Ordering, EvalError>> {
    Some(Ok(match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::String(a), Value::String(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        (Value::Duration(a), Value::Duration(b)) => a.cmp(b),
        (a, b) if is_number(a) && is_number(b) => {
            return Some(order_numbers(a, b).ok_or_else(|| EvalError::failed("NaN values cannot be ordered")));
        }
        _ => return None,
    }))
}

fn is_number(value: &Value<'_>) -> bool {
    matches!(value, Value::Int(_) | Value::Uint(_) | Value::Double(_))
}

fn order_numbers(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    let whole = |value: &Value<'_>| match value {
        Value::Int(value) => Some(i128::from(*value)),
        Value::Uint(value) => Some(i128::from(*value)),
        _ => None,
    };
    match (a, b) {
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Double(a), b) => order_double(*a, whole(b)?),
        (a, Value::Double(b)) => order_double(*b, whole(a)?).map(Ordering::reverse),
        (a, b) => Some(whole(a)?.cmp(&whole(b)?)),
    }
}

/// How a floating-point number compares with a whole one, without rounding the whole one.
fn order_double(double: f64, whole: i128) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    if double.abs() > 1.0e30 {
        return Some(if double > 0.0 { Ordering::Greater } else { Ordering::Less });
    }
    let floor = double.floor();
    Some((floor as i128).cmp(&whole).then(if double > floor { Ordering::Greater } else { Ordering::Equal }))
}

impl<'a> List<'a> {
    /// This list and then `other`. In sets and associative lists what `other` brings anew is appended; entries with
    /// the same keys are replaced in place.
    pub(crate) fn concat(&self, other: &Self, meter: &mut Meter<'_>) -> Result<Self, EvalError> {
        let mut items = self.values()?;
        match self.kind() {
            ListKind::Atomic => items.extend(other.values()?),
            ListKind::Set => {
                let mut known = BTreeSet::new();
                for item in &items {
                    known.insert(identity(meter, item)?);
                }
                for item in other.iter() {
                    let item = item?;
                    if known.insert(identity(meter, &item)?) {
                        items.push(item);
                    }
                }
            }
            ListKind::Map(keys) => {
                let mut places = BTreeMap::new();
                for (place, item) in items.iter().enumerate() {
                    places.insert(entry_identity(meter, item, keys)?, place);
                }
                for item in other.iter() {
                    let item = item?;
                    match places.get(&entry_identity(meter, &item, keys)?) {
                        Some(place) => items[*place] = item,
                        None => items.push(item),
                    }
                }
            }
        }
        Ok(Self::Owned { items: Arc::new(items), kind: self.kind() })
    }
}
