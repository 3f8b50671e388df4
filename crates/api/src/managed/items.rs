//! The items of a list that is a set or is keyed, by their elements.

use std::collections::HashMap;

use serde_json::Value;

use super::element::Element;
use super::shape::Shape;

/// The items of a list in order, each element once.
pub(super) struct Items<'a> {
    pub(super) order: Vec<Element>,
    by_element: HashMap<Element, Vec<&'a Value>>,
}

impl<'a> Items<'a> {
    pub(super) fn of(list: Option<&'a Value>, shape: Shape<'_>) -> Self {
        let list = list.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut items = Self { order: Vec::with_capacity(list.len()), by_element: HashMap::new() };
        for (index, item) in list.iter().enumerate() {
            // What has no keys cannot be found by them, and is what it is by its place.
            let element = element_of(item, shape).unwrap_or_else(|_| Element::index(index));
            let same = items.by_element.entry(element.clone()).or_default();
            if same.is_empty() {
                items.order.push(element);
            }
            same.push(item);
        }
        items
    }

    /// The items with this element: more than one where a list that should be unique is not.
    pub(super) fn get(&self, element: &Element) -> &[&'a Value] {
        self.by_element.get(element).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn contains(&self, element: &Element) -> bool {
        self.by_element.contains_key(element)
    }
}

/// The element of an item; the error is the key that it lacks.
pub(super) fn element_of<'a>(item: &Value, shape: Shape<'a>) -> Result<Element, &'a str> {
    let Shape::Keyed(list) = shape else { return Ok(Element::value(item)) };
    let keys = list.keys();
    let mut values = Vec::with_capacity(keys.len());
    for key in keys {
        let value = match item.get(key).filter(|value| !value.is_null()) {
            Some(value) => value.clone(),
            None => list.default_of(key).ok_or(key)?,
        };
        values.push((key, value));
    }
    Ok(Element::keys(values.into_iter()))
}
