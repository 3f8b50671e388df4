//! A document without the fields of a set.

use serde_json::Value;

use super::element::Element;
use super::items::element_of;
use super::set::Set;
use super::shape::{Parts, Shape};

/// The document without the fields; what held nothing else is gone too.
pub(super) fn remove(value: &Value, gone: &Set, shape: Shape<'_>) -> Value {
    without(value, gone, shape).unwrap_or_else(|| Value::Object(serde_json::Map::new()))
}

fn without(value: &Value, gone: &Set, shape: Shape<'_>) -> Option<Value> {
    let rest = |element: &Element, value: &Value, inner: Shape<'_>| match gone.child(element) {
        None => Some(value.clone()),
        Some(gone) if gone.is_member() => None,
        Some(gone) => without(value, gone, inner),
    };
    match (shape.parts(Some(value), None), value) {
        (Parts::Fields, Value::Object(fields)) => {
            let kept = fields.iter().filter_map(|(name, value)| {
                let kept = rest(&Element::field(name), value, shape.field(name).0)?;
                Some((name.clone(), kept))
            });
            let kept: serde_json::Map<String, Value> = kept.collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        (Parts::Items, Value::Array(items)) => {
            let kept = items.iter().enumerate().filter_map(|(index, item)| {
                let element = element_of(item, shape).unwrap_or_else(|_| Element::index(index));
                rest(&element, item, shape.item())
            });
            let kept: Vec<Value> = kept.collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        _ => Some(value.clone()),
    }
}
