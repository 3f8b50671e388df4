//! The order of merged lists.

use serde_json::{Map, Value};

use super::{DIRECTIVE, FieldShape, SET_ELEMENT_ORDER, Shape, bad_format, merge_list, same};
use crate::status::Status;

/// Merges every list for which the patch has a `$setElementOrder/x`, and takes both out of the patch.
pub(super) fn apply(
    target: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    shape: Shape,
) -> Result<(), Status> {
    let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(SET_ELEMENT_ORDER)).cloned().collect();
    for directive in directives {
        let name = &directive[SET_ELEMENT_ORDER.len()..];
        let Some(Value::Array(order)) = patch.remove(&directive) else {
            return Err(bad_format("setElementOrder list"));
        };
        let field = shape.field(name);
        let additions = match patch.remove(name) {
            None => None,
            Some(Value::Array(additions)) => Some(additions),
            // Removing the list makes its order pointless.
            Some(Value::Null) => {
                target.remove(name);
                continue;
            }
            Some(_) => return Err(bad_format("setElementOrder list")),
        };
        let live = match target.get(name) {
            None | Some(Value::Null) => None,
            Some(Value::Array(live)) => Some(live.clone()),
            Some(_) => return Err(bad_format("setElementOrder list")),
        };
        if let Some(additions) = &additions {
            agrees(additions, &order, field)?;
        }
        let (merged, live) = match (live, additions) {
            (None, None) => continue,
            (Some(live), None) => (live.clone(), live),
            (live, Some(additions)) => {
                let live = live.unwrap_or_default();
                (merge_list(live.clone(), additions, field)?, live)
            }
        };
        target.insert(name.to_owned(), Value::Array(arrange(merged, &order, &live, field.merge_key)));
    }
    Ok(())
}

/// The elements of the patch must appear in the order list, in the same order.
fn agrees(additions: &[Value], order: &[Value], field: FieldShape) -> Result<(), Status> {
    let mut from = 0;
    for element in additions.iter().filter(|element| element.get(DIRECTIVE).is_none()) {
        let found = order[from..].iter().position(|ordered| identical(ordered, element, field.merge_key));
        match found {
            Some(offset) => from += offset + 1,
            None => {
                let message = "The order in patch list doesn't match $setElementOrder list";
                return Err(Status::unclassified(message));
            }
        }
    }
    Ok(())
}

fn identical(a: &Value, b: &Value, merge_key: Option<&str>) -> bool {
    match merge_key {
        Some(key) => match (a.get(key), b.get(key)) {
            (Some(a), Some(b)) => same(a, b),
            _ => false,
        },
        None => a == b,
    }
}

fn position(list: &[Value], element: &Value, merge_key: Option<&str>) -> Option<usize> {
    list.iter().position(|candidate| identical(candidate, element, merge_key))
}

/// Arranges `merged`: the elements named in `order` stand in that order, the others in the order of `live`, and
/// between the two kinds the order of `live` decides where it knows both; else the ordered element goes first.
pub(super) fn arrange(merged: Vec<Value>, order: &[Value], live: &[Value], merge_key: Option<&str>) -> Vec<Value> {
    let (mut ordered, mut others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|element| position(order, element, merge_key).is_some());
    ordered.sort_by_key(|element| position(order, element, merge_key));
    others.sort_by_key(|element| position(live, element, merge_key));
    let mut arranged = Vec::with_capacity(ordered.len() + others.len());
    let mut others = others.into_iter().peekable();
    for element in ordered {
        let place = position(live, &element, merge_key);
        let before = |other: &Value| match (position(live, other, merge_key), place) {
            (Some(other), Some(place)) => other < place,
            _ => false,
        };
        while let Some(other) = others.next_if(|other| before(other)) {
            arranged.push(other);
        }
        arranged.push(element);
    }
    arranged.extend(others);
    arranged
}
