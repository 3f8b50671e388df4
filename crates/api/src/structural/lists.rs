//! That lists of type set hold nothing twice, and lists of type map no key twice.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::place::Place;
use super::schema::{AdditionalProperties, Structural};
use crate::field::{ErrorList, FieldError};
use crate::schema::ListType;

impl Structural {
    /// Judges the lists of an object that have a type.
    #[must_use]
    pub fn validate_lists(&self, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        if object.is_object() {
            node(object, self, &Place::Root(None), &mut errors);
        }
        errors
    }
}

fn node(value: &Value, schema: &Structural, place: &Place<'_>, errors: &mut ErrorList) {
    match value {
        Value::Object(fields) => {
            let additional = schema.additional_properties.as_ref().and_then(AdditionalProperties::schema);
            for (name, value) in fields {
                if let Some(schema) = schema.properties.get(name) {
                    node(value, schema, &place.field(name), errors);
                } else if let Some(schema) = additional {
                    node(value, schema, &place.key(name), errors);
                }
            }
        }
        Value::Array(items) => {
            match schema.extensions.list_type {
                Some(ListType::Set) => {
                    for index in repeated(items.iter().map(scalar_key)) {
                        errors.push(FieldError::duplicate(&place.index(index).path(), items[index].clone()));
                    }
                }
                Some(ListType::Map) => keyed(items, schema, place, errors),
                Some(ListType::Atomic) | None => {}
            }
            if let Some(schema) = &schema.items {
                for (index, item) in items.iter().enumerate() {
                    node(item, schema, &place.index(index), errors);
                }
            }
        }
        _ => {}
    }
}

fn keyed(items: &[Value], schema: &Structural, place: &Place<'_>, errors: &mut ErrorList) {
    let stranger = items.iter().position(|item| !item.is_object() && !item.is_null());
    if let Some(index) = stranger {
        let why = "must be an object for an array of list-type map";
        errors.push(FieldError::invalid(&place.index(index).path(), items[index].clone(), why));
        return;
    }
    let keys_of = |item: &Value| -> Value {
        let keys = schema.extensions.list_map_keys.iter();
        let keys = keys.filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
        Value::Object(keys.collect::<Map<String, Value>>())
    };
    for index in repeated(items.iter().map(|item| keys_of(item).to_string())) {
        errors.push(FieldError::duplicate(&place.index(index).path(), keys_of(&items[index])));
    }
}

fn scalar_key(item: &Value) -> String {
    item.to_string()
}

/// Where something occurs for the second time; the times after that are not counted.
fn repeated(items: impl Iterator<Item = String>) -> Vec<usize> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut found = Vec::new();
    for (index, item) in items.enumerate() {
        let times = seen.entry(item).or_default();
        *times += 1;
        if *times == 2 {
            found.push(index);
        }
    }
    found
}
