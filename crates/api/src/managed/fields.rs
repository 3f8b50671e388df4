//! From a document to the set of its fields.

use serde_json::Value;

use super::element::Element;
use super::items::Items;
use super::set::Set;
use super::shape::{Parts, Shape};

/// The fields that an applied configuration sets: leaves, list items and map keys, but not what only holds them.
pub(super) fn set_of(value: &Value, shape: Shape<'_>) -> Set {
    let mut set = Set::default();
    collect(value, shape, &mut set);
    set
}

fn collect(value: &Value, shape: Shape<'_>, set: &mut Set) {
    match shape.parts(Some(value), None) {
        Parts::Leaf => {
            // An empty list that merges by item sets nothing.
            let sets_nothing = value.is_array() && matches!(shape, Shape::Set | Shape::Keyed(..));
            if !sets_nothing {
                set.mark();
            }
        }
        Parts::Fields => {
            for (name, value) in value.as_object().into_iter().flatten() {
                let (inner, is_declared) = shape.field(name);
                let mut below = Set::default();
                collect(value, inner, &mut below);
                if !is_declared {
                    below.mark();
                }
                set.put(Element::field(name), below);
            }
        }
        Parts::Items => {
            let items = Items::of(Some(value), shape);
            for element in &items.order {
                let mut below = Set::default();
                if let [item] = items.get(element) {
                    collect(item, shape.item(), &mut below);
                }
                below.mark();
                set.put(element.clone(), below);
            }
        }
    }
}
