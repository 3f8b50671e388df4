//! Metadata of embedded resources, and of the object itself: brought into form, and judged.

use serde_json::{Map, Value};

use super::place::Place;
use super::schema::{AdditionalProperties, Structural};
use crate::decode;
use crate::field::{ErrorList, FieldError, Path};
use crate::validation::{embedded_metadata, names};

/// What happens to fields of metadata that are not of their type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// They are an error; so it is for what clients send.
    Refuse,
    /// They are left out; so it is for what has been stored.
    Drop,
}

impl Structural {
    /// Brings `apiVersion`, `kind` and `metadata` of embedded resources into form, and of the value itself with
    /// `is_root`; answers the paths of fields that metadata do not have, which are dropped.
    pub fn coerce_metadata(
        &self,
        object: &mut Value,
        is_root: bool,
        malformed: Malformed,
    ) -> Result<Vec<String>, FieldError> {
        self.coerce_at(object, is_root, malformed, &Place::Root(None))
    }

    pub(super) fn coerce_at(
        &self,
        value: &mut Value,
        is_root: bool,
        malformed: Malformed,
        place: &Place<'_>,
    ) -> Result<Vec<String>, FieldError> {
        let mut coercer = Coercer { malformed, unknown: Vec::new() };
        coercer.node(value, self, is_root, place)?;
        coercer.unknown.sort();
        Ok(coercer.unknown)
    }

    /// Judges `apiVersion`, `kind` and `metadata` of embedded resources.
    #[must_use]
    pub fn validate_embedded(&self, object: &Value) -> ErrorList {
        self.validate_embedded_at(object, false, &Place::Root(None))
    }

    pub(super) fn validate_embedded_at(&self, value: &Value, is_root: bool, place: &Place<'_>) -> ErrorList {
        let mut errors = Vec::new();
        judge(value, self, is_root, place, &mut errors);
        errors
    }
}

/// The same for an object alone, without what is embedded in it.
pub(super) fn coerce_own_metadata(object: &mut Value, malformed: Malformed) -> Result<Vec<String>, FieldError> {
    let mut coercer = Coercer { malformed, unknown: Vec::new() };
    if let Value::Object(fields) = object {
        coercer.resource(fields, &Place::Root(None))?;
    }
    Ok(coercer.unknown)
}

struct Coercer {
    malformed: Malformed,
    unknown: Vec<String>,
}

impl Coercer {
    fn node(
        &mut self,
        value: &mut Value,
        schema: &Structural,
        is_root: bool,
        place: &Place<'_>,
    ) -> Result<(), FieldError> {
        match value {
            Value::Object(fields) => {
                if is_root || schema.extensions.embedded_resource {
                    self.resource(fields, place)?;
                }
                let additional = schema.additional_properties.as_ref().and_then(AdditionalProperties::schema);
                for (name, value) in fields.iter_mut() {
                    if let Some(schema) = schema.properties.get(name) {
                        self.node(value, schema, false, &place.field(name))?;
                    } else if let Some(schema) = additional {
                        self.node(value, schema, false, &place.key(name))?;
                    }
                }
            }
            Value::Array(items) => {
                let Some(schema) = schema.items.as_deref() else { return Ok(()) };
                for (index, item) in items.iter_mut().enumerate() {
                    self.node(item, schema, false, &place.index(index))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn resource(&mut self, fields: &mut Map<String, Value>, place: &Place<'_>) -> Result<(), FieldError> {
        for name in ["apiVersion", "kind"] {
            match (fields.get(name), self.malformed) {
                (None | Some(Value::String(_)), _) => {}
                (Some(_), Malformed::Drop) => {
                    fields.remove(name);
                }
                (Some(other), Malformed::Refuse) => {
                    return Err(FieldError::invalid(&place.field(name).path(), other.clone(), "must be a string"));
                }
            }
        }
        let Some(metadata) = fields.get_mut("metadata") else { return Ok(()) };
        let path = place.field("metadata").name();
        match (decode::metadata(metadata, &path), self.malformed) {
            (Ok(unknown), _) => self.unknown.extend(unknown),
            (Err(why), Malformed::Refuse) => {
                return Err(FieldError::invalid(&place.field("metadata").path(), metadata.clone(), why));
            }
            (Err(_), Malformed::Drop) => {
                // What is no object at all is left to validation.
                if let Value::Object(parts) = metadata {
                    parts.retain(|name, value| {
                        let mut alone = Value::Object(Map::from_iter([(name.clone(), value.clone())]));
                        decode::metadata(&mut alone, &path).is_ok()
                    });
                    // Every field that is left has just been read.
                    let _ = decode::metadata(metadata, &path);
                }
            }
        }
        Ok(())
    }
}

fn judge(value: &Value, schema: &Structural, is_root: bool, place: &Place<'_>, errors: &mut ErrorList) {
    match value {
        Value::Object(fields) => {
            if is_root || schema.extensions.embedded_resource {
                resource(fields, place, errors);
            }
            let additional = schema.additional_properties.as_ref().and_then(AdditionalProperties::schema);
            for (name, value) in fields {
                if let Some(schema) = schema.properties.get(name) {
                    judge(value, schema, false, &place.field(name), errors);
                } else if let Some(schema) = additional {
                    judge(value, schema, false, &place.key(name), errors);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.items.as_deref() else { return };
            for (index, item) in items.iter().enumerate() {
                judge(item, schema, false, &place.index(index), errors);
            }
        }
        _ => {}
    }
}

fn resource(fields: &Map<String, Value>, place: &Place<'_>, errors: &mut ErrorList) {
    let mut text = |name: &str, judge: &dyn Fn(&str, &Path, &mut ErrorList)| {
        let path = place.field(name).path();
        match fields.get(name) {
            None => errors.push(FieldError::required(&path, "must not be empty")),
            Some(Value::String(text)) if text.is_empty() => {
                errors.push(FieldError::required(&path, "must not be empty"));
            }
            Some(Value::String(text)) => judge(text, &path, errors),
            Some(other) => errors.push(FieldError::invalid(&path, other.clone(), "must be a string")),
        }
    };
    text("apiVersion", &|text, path, errors| {
        if text.matches('/').count() > 1 {
            errors.push(FieldError::invalid(path, text, format!("unexpected GroupVersion string: {text}")));
        }
    });
    text("kind", &|text, path, errors| {
        let messages = names::dns_1035_label(&text.to_lowercase());
        if !messages.is_empty() {
            let why = format!("may have mixed case, but should otherwise match: {}", messages.join(","));
            errors.push(FieldError::invalid(path, text, why));
        }
    });
    if let Some(metadata) = fields.get("metadata") {
        let path = place.field("metadata");
        let mut copy = metadata.clone();
        match decode::metadata(&mut copy, &path.name()) {
            Ok(_) => embedded_metadata(&copy, &path.path(), errors),
            Err(why) => errors.push(FieldError::invalid(&path.path(), metadata.clone(), why)),
        }
    }
}
