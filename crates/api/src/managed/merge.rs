//! An applied configuration merged onto the live document.

use serde_json::{Map, Value};

use super::element::Element;
use super::items::Items;
use super::shape::{Parts, Shape};

/// The live document with everything that the configuration holds.
pub(super) fn merge(live: &Value, applied: &Value, shape: Shape<'_>) -> Value {
    match shape.parts(Some(live), Some(applied)) {
        Parts::Leaf => applied.clone(),
        Parts::Fields => fields(live, applied, shape),
        Parts::Items => items(live, applied, shape),
    }
}

fn fields(live: &Value, applied: &Value, shape: Shape<'_>) -> Value {
    let mut merged = live.as_object().cloned().unwrap_or_else(Map::new);
    for (name, value) in applied.as_object().into_iter().flatten() {
        let value = match merged.get(name) {
            Some(there) => merge(there, value, shape.field(name).0),
            None => value.clone(),
        };
        merged.insert(name.clone(), value);
    }
    Value::Object(merged)
}

/// Items that only one side has keep their places; of those that both have, the configuration says the order.
fn items(live: &Value, applied: &Value, shape: Shape<'_>) -> Value {
    let (live, applied) = (Items::of(Some(live), shape), Items::of(Some(applied), shape));
    let mut merged = Vec::with_capacity(live.order.len() + applied.order.len());
    let mut take = |element: &Element| match (live.get(element), applied.get(element)) {
        (only, []) => merged.extend(only.iter().map(|item| (*item).clone())),
        ([before], [after]) => merged.push(merge(before, after, shape.item())),
        // A configuration that names an item puts one in the place of all that there were.
        (_, after) => merged.extend(after.iter().map(|item| (*item).clone())),
    };
    let mut shared = applied.order.iter().filter(|element| live.contains(element)).peekable();
    let mut left = live.order.iter().peekable();
    for element in &applied.order {
        // What only the live list has goes before the item that it was before, as far as the orders agree.
        while let Some(next) = left.peek() {
            if !applied.contains(next) {
                take(next);
            } else if shared.peek().is_some_and(|wanted| wanted == next) {
                break;
            }
            left.next();
        }
        take(element);
        if shared.peek().is_some_and(|wanted| *wanted == element) {
            shared.next();
            if left.peek().is_some_and(|next| *next == element) {
                left.next();
            }
        }
    }
    left.filter(|element| !applied.contains(element)).for_each(take);
    Value::Array(merged)
}
