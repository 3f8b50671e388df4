//! What the steps find.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value;

use super::{Filter, FindError, Node, Operator, Slice};

type Found<'a> = Vec<Cow<'a, Value>>;

pub(super) fn list<'a>(input: Found<'a>, nodes: &'a [Node]) -> Result<Found<'a>, FindError> {
    nodes.iter().try_fold(input, step)
}

fn step<'a>(input: Found<'a>, node: &'a Node) -> Result<Found<'a>, FindError> {
    let mut found = Vec::new();
    match node {
        Node::Literal(value @ Value::String(_)) => found.push(Cow::Borrowed(value)),
        Node::Literal(value) => found.extend(input.iter().map(|_| Cow::Borrowed(value))),
        Node::Field(name) => found.extend(input.into_iter().filter_map(|value| member(value, name))),
        Node::Wildcard => found.extend(input.into_iter().flat_map(parts)),
        Node::Recursive => input.into_iter().for_each(|value| descend(value, &mut found)),
        Node::Union(branches) => {
            for branch in branches {
                found.extend(list(input.clone(), branch)?);
            }
        }
        Node::Slice(slice) => {
            for value in input.into_iter().filter(|value| !value.is_null()) {
                sliced(value, *slice, &mut found)?;
            }
        }
        Node::Filter(filter) => {
            for value in input {
                if !value.is_array() {
                    return Err(FindError::NoList(kind(&value)));
                }
                for item in parts(value) {
                    if passes(&item, filter)? {
                        found.push(item);
                    }
                }
            }
        }
    }
    Ok(found)
}

fn member<'a>(value: Cow<'a, Value>, name: &str) -> Option<Cow<'a, Value>> {
    match value {
        Cow::Borrowed(value) => value.as_object()?.get(name).map(Cow::Borrowed),
        Cow::Owned(mut value) => value.as_object_mut()?.remove(name).map(Cow::Owned),
    }
}

/// The values of an object, or the items of a list.
fn parts(value: Cow<'_, Value>) -> Found<'_> {
    match value {
        Cow::Borrowed(Value::Object(fields)) => fields.values().map(Cow::Borrowed).collect(),
        Cow::Borrowed(Value::Array(items)) => items.iter().map(Cow::Borrowed).collect(),
        Cow::Owned(Value::Object(fields)) => fields.into_iter().map(|(_, value)| Cow::Owned(value)).collect(),
        Cow::Owned(Value::Array(items)) => items.into_iter().map(Cow::Owned).collect(),
        _ => Vec::new(),
    }
}

/// Everything that holds something, from the outside in.
fn descend<'a>(value: Cow<'a, Value>, found: &mut Found<'a>) {
    let inner = parts(value.clone());
    if !inner.is_empty() {
        found.push(value);
        inner.into_iter().for_each(|value| descend(value, found));
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "map",
    }
}

fn sliced<'a>(value: Cow<'a, Value>, slice: Slice, found: &mut Found<'a>) -> Result<(), FindError> {
    if !value.is_array() {
        return Err(FindError::NoList(kind(&value)));
    }
    let items = parts(value);
    let length = items.len();
    let whole = i64::try_from(length).unwrap_or(i64::MAX);
    let from_end = |index: i64| if index < 0 { index + whole } else { index };
    let start = from_end(slice.start.unwrap_or(0));
    let end = match slice.end {
        _ if slice.is_index => start + 1,
        Some(end) => from_end(end),
        None => whole,
    };
    if start != end {
        if start < 0 || start >= whole {
            return Err(FindError::OutOfBounds { index: start, length });
        }
        if end < 0 || end > whole {
            return Err(FindError::OutOfBounds { index: end - 1, length });
        }
        if start > end {
            return Err(FindError::Backwards { start, end });
        }
    }
    let step = slice.step.map_or(Some(1), |step| usize::try_from(step).ok().filter(|step| *step > 0));
    let step = step.ok_or(FindError::Step)?;
    let (skip, take) = (usize::try_from(start).unwrap_or(0), usize::try_from(end - start).unwrap_or(0));
    found.extend(items.into_iter().skip(skip).take(take).step_by(step));
    Ok(())
}

fn passes(item: &Value, filter: &Filter) -> Result<bool, FindError> {
    let find = |nodes| list(vec![Cow::Borrowed(item)], nodes);
    let Some((operator, right)) = &filter.right else {
        // What cannot be looked into has nothing to show.
        return Ok(find(&filter.left).is_ok_and(|found| !found.is_empty()));
    };
    match (find(&filter.left)?.as_slice(), find(right)?.as_slice()) {
        ([], _) | (_, []) => Ok(false),
        ([left], [right]) => compare(left, right, *operator),
        _ => Err(FindError::Several),
    }
}

fn compare(left: &Value, right: &Value, operator: Operator) -> Result<bool, FindError> {
    let ordering = match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) if left.is_f64() == right.is_f64() => {
            match (left.as_i64(), right.as_i64()) {
                (Some(left), Some(right)) => Some(left.cmp(&right)),
                _ => left.as_f64().and_then(|left| left.partial_cmp(&right.as_f64()?)),
            }
        }
        (Value::Bool(left), Value::Bool(right)) if matches!(operator, Operator::Equal | Operator::NotEqual) => {
            Some(left.cmp(right))
        }
        _ => None,
    };
    let ordering = ordering.ok_or(FindError::Incomparable)?;
    Ok(match operator {
        Operator::Less => ordering == Ordering::Less,
        Operator::LessOrEqual => ordering != Ordering::Greater,
        Operator::Equal => ordering == Ordering::Equal,
        Operator::NotEqual => ordering != Ordering::Equal,
        Operator::GreaterOrEqual => ordering != Ordering::Less,
        Operator::Greater => ordering == Ordering::Greater,
    })
}
