//! The defaults of a schema, put into a document.

use serde_json::Value;

use super::schema::{AdditionalProperties, Structural};

impl Structural {
    /// Sets what is not set, or is null where that is no value, to its default.
    pub fn set_defaults(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, schema) in &self.properties {
                    let Some(default) = &schema.default else { continue };
                    match fields.get_mut(name) {
                        Some(there) if !there.is_null() || schema.nullable => {}
                        Some(there) => *there = default.clone(),
                        None => {
                            fields.insert(name.clone(), default.clone());
                        }
                    }
                }
                let additional = self.additional_properties.as_ref().and_then(AdditionalProperties::schema);
                for (name, value) in fields.iter_mut() {
                    if let Some(schema) = self.properties.get(name) {
                        schema.set_defaults(value);
                    } else if let Some(schema) = additional {
                        schema.replace_null(value);
                        schema.set_defaults(value);
                    }
                }
            }
            Value::Array(items) => {
                let Some(schema) = &self.items else { return };
                for item in items {
                    schema.replace_null(item);
                    schema.set_defaults(item);
                }
            }
            _ => {}
        }
    }

    fn replace_null(&self, value: &mut Value) {
        if let Some(default) = self.default.as_ref().filter(|_| value.is_null() && !self.nullable) {
            *value = default.clone();
        }
    }
}
