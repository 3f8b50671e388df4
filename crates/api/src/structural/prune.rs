//! Fields that a schema does not know, and nulls that it does not allow, taken out of a document.

use serde_json::{Map, Value};

use super::schema::{Structural, is_meta_field};

impl Structural {
    /// Removes the fields of an object that the schema does not know, all but `apiVersion`, `kind` and `metadata`;
    /// answers their paths in order.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        self.prune_value(object, true)
    }

    /// The same for any value; with `is_root` it is a whole object.
    pub(super) fn prune_value(&self, value: &mut Value, is_root: bool) -> Vec<String> {
        let mut pruner = Pruner::default();
        pruner.node(value, self, is_root);
        pruner.sorted()
    }

    /// Removes nulls from objects and maps where the schema has neither `nullable` nor a default for them.
    pub fn drop_nulls(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => fields.retain(|name, value| match self.field(name) {
                Some(schema) if value.is_null() => schema.nullable || schema.default.is_some(),
                Some(schema) => {
                    schema.drop_nulls(value);
                    true
                }
                None => true,
            }),
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    items.iter_mut().for_each(|item| schema.drop_nulls(item));
                }
            }
            _ => {}
        }
    }
}

#[derive(Default)]
struct Pruner {
    path: String,
    unknown: Vec<String>,
}

impl Pruner {
    fn sorted(mut self) -> Vec<String> {
        self.unknown.sort();
        self.unknown
    }

    fn value(&mut self, value: &mut Value, schema: Option<&Structural>) {
        match (schema, value) {
            (Some(schema), value) => self.node(value, schema, false),
            (None, Value::Object(fields)) => {
                for name in fields.keys() {
                    self.unknown.push(joined(&self.path, name));
                }
                fields.clear();
            }
            (None, Value::Array(items)) => self.items(items, |pruner, item| pruner.value(item, None)),
            (None, _) => {}
        }
    }

    fn node(&mut self, value: &mut Value, schema: &Structural, is_root: bool) {
        let is_resource = is_root || schema.extensions.embedded_resource;
        match value {
            Value::Object(fields) => self.fields(fields, schema, is_resource),
            // Lists of what keeps unknown fields keep them too, whatever their items say.
            Value::Array(items) if schema.extensions.preserve_unknown_fields => {
                if let Some(item_schema) = schema.items.as_deref() {
                    self.items(items, |pruner, item| pruner.kept(item, item_schema));
                }
            }
            Value::Array(items) => {
                self.items(items, |pruner, item| pruner.value(item, schema.items.as_deref()));
            }
            _ => {}
        }
    }

    /// What is below something that keeps unknown fields: only what is declared is looked at.
    fn kept(&mut self, value: &mut Value, schema: &Structural) {
        match value {
            Value::Object(fields) => self.declared(fields, schema, schema.extensions.embedded_resource, true),
            Value::Array(items) => {
                if let Some(item_schema) = schema.items.as_deref() {
                    self.items(items, |pruner, item| pruner.kept(item, item_schema));
                }
            }
            _ => {}
        }
    }

    fn fields(&mut self, fields: &mut Map<String, Value>, schema: &Structural, is_resource: bool) {
        self.declared(fields, schema, is_resource, schema.extensions.preserve_unknown_fields);
    }

    fn declared(&mut self, fields: &mut Map<String, Value>, schema: &Structural, is_resource: bool, keeps: bool) {
        fields.retain(|name, value| {
            if is_resource && is_meta_field(name) {
                return true;
            }
            let below = match (schema.properties.get(name), &schema.additional_properties) {
                (Some(schema), _) => Some(schema),
                (None, Some(additional)) => additional.schema(),
                (None, None) => {
                    if !keeps {
                        self.unknown.push(joined(&self.path, name));
                    }
                    return keeps;
                }
            };
            if value.is_object() || value.is_array() {
                let before = self.path.len();
                if before > 0 {
                    self.path.push('.');
                }
                self.path.push_str(name);
                self.value(value, below);
                self.path.truncate(before);
            }
            true
        });
    }

    fn items(&mut self, items: &mut [Value], mut each: impl FnMut(&mut Self, &mut Value)) {
        let before = self.path.len();
        for (index, item) in items.iter_mut().enumerate() {
            if item.is_object() || item.is_array() {
                self.path.push_str(&format!("[{index}]"));
                each(self, item);
                self.path.truncate(before);
            }
        }
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
