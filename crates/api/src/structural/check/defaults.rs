//! That defaults are valid and pruned.

use serde_json::{Map, Value, json};

use crate::field::{ErrorList, FieldError, Path};
use crate::structural::embedded::Malformed;
use crate::structural::place::Place;
use crate::structural::schema::{Structural, is_meta_field};

pub(super) fn check(schema: &Structural, path: &Path) -> ErrorList {
    let mut walk = Walk { resource: schema, steps: Vec::new(), inside_meta: false, errors: Vec::new() };
    walk.node(schema, true, path);
    walk.errors
}

/// The way to a default, from the resource that it is in.
struct Walk<'a> {
    /// The schema of the innermost resource.
    resource: &'a Structural,
    /// The fields that lead from there; nothing stands for any item of a list.
    steps: Vec<Option<&'a str>>,
    /// Whether this is below `metadata`, `apiVersion` or `kind`.
    inside_meta: bool,
    errors: ErrorList,
}

impl<'a> Walk<'a> {
    fn node(&mut self, schema: &'a Structural, is_root: bool, path: &Path) {
        if is_root || schema.extensions.embedded_resource {
            let inner = Walk { resource: schema, steps: Vec::new(), inside_meta: false, errors: Vec::new() };
            let outer = std::mem::replace(self, inner);
            self.parts(schema, true, path);
            let errors = std::mem::replace(self, outer).errors;
            self.errors.extend(errors);
        } else {
            self.parts(schema, false, path);
        }
    }

    fn parts(&mut self, schema: &'a Structural, is_resource: bool, path: &Path) {
        if let Some(default) = &schema.default {
            let path = path.child("default");
            let errors = if self.inside_meta {
                self.in_metadata(schema, default, &path)
            } else {
                plain(schema, default, is_resource, &path)
            };
            self.errors.extend(errors);
        }
        // There are no defaults below additionalProperties of metadata, and others are judged when they are used.
        if let Some(items) = &schema.items {
            self.steps.push(None);
            self.node(items, false, &path.child("items"));
            self.steps.pop();
        }
        for (name, property) in &schema.properties {
            let before = self.inside_meta;
            self.inside_meta |= is_resource && is_meta_field(name);
            self.steps.push(Some(name));
            self.node(property, false, &path.child("properties").key(name));
            self.steps.pop();
            self.inside_meta = before;
        }
    }

    fn in_metadata(&self, schema: &Structural, default: &Value, path: &Path) -> ErrorList {
        let mut object = self.steps.iter().rev().fold(default.clone(), |value, step| match step {
            Some(name) => Value::Object(Map::from_iter([((*name).to_owned(), value)])),
            None => json!([value]),
        });
        if let Value::Object(fields) = &mut object {
            fields.entry("apiVersion").or_insert_with(|| "validation/v1".into());
            fields.entry("kind").or_insert_with(|| "Validation".into());
        }
        let refused = |why: String| {
            vec![FieldError::invalid(path, default.clone(), format!("must result in valid metadata: {why}"))]
        };
        let place = Place::Root(None);
        if let Err(error) = self.resource.coerce_at(&mut object, true, Malformed::Refuse, &place) {
            return refused(error.to_string());
        }
        let errors = self.resource.validate_embedded_at(&object, true, &place);
        match errors.as_slice() {
            [] => schema.validate_at(default, path),
            [one] => refused(one.to_string()),
            many => {
                let texts: Vec<String> = many.iter().map(ToString::to_string).collect();
                refused(format!("[{}]", texts.join(", ")))
            }
        }
    }
}

fn plain(schema: &Structural, default: &Value, is_resource: bool, path: &Path) -> ErrorList {
    let mut errors = Vec::new();
    let mut copy = default.clone();
    if !schema.prune_value(&mut copy, is_resource).is_empty() {
        errors.push(FieldError::invalid(path, default.clone(), "must not have unknown fields"));
    }
    let place = Place::Root(Some(path));
    let is_embedded = schema.extensions.embedded_resource;
    let mut copy = default.clone();
    if let Err(error) = schema.coerce_at(&mut copy, is_embedded, Malformed::Refuse, &place) {
        errors.push(error);
        return errors;
    }
    let metadata = schema.validate_embedded_at(default, is_embedded, &place);
    if metadata.is_empty() {
        errors.extend(schema.validate_at(default, path));
    } else {
        errors.extend(metadata);
    }
    errors
}
