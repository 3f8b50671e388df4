//! Printer columns, scale paths and selectable fields of a version.

use serde_json::Value;

use crate::field::{ErrorList, FieldError, Path};
use crate::structural::field_path;
use crate::structural::schema::{Structural, Type};

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 9] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "name", "password"];

/// A version can have this many selectable fields.
const MAX_SELECTABLE_FIELDS: usize = 8;

fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// What is wrong with an entry of `additionalPrinterColumns`.
#[must_use]
pub fn printer_column(column: &Value, path: &Path) -> ErrorList {
    let mut errors = Vec::new();
    if text(column, "name").is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    }
    let ty = text(column, "type");
    let types = || format!("must be one of {}", COLUMN_TYPES.join(","));
    if ty.is_empty() {
        errors.push(FieldError::required(&path.child("type"), types()));
    } else if !COLUMN_TYPES.contains(&ty) {
        errors.push(FieldError::invalid(&path.child("type"), ty, types()));
    }
    let format = text(column, "format");
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
        let why = format!("must be one of {}", COLUMN_FORMATS.join(","));
        errors.push(FieldError::invalid(&path.child("format"), format, why));
    }
    let (json_path, at) = (text(column, "jsonPath"), path.child("JSONPath"));
    if json_path.is_empty() {
        errors.push(FieldError::required(&at, ""));
    } else {
        errors.extend(simple_path(json_path, &at));
    }
    errors
}

/// What is wrong with `subresources.scale`.
#[must_use]
pub fn scale(scale: &Value, path: &Path) -> ErrorList {
    let mut errors = Vec::new();
    for (name, roots, is_required) in [
        ("specReplicasPath", &[".spec."][..], true),
        ("statusReplicasPath", &[".status."], true),
        ("labelSelectorPath", &[".spec.", ".status."], false),
    ] {
        let (json_path, at) = (text(scale, name), path.child(name));
        if json_path.is_empty() {
            if is_required {
                errors.push(FieldError::required(&at, ""));
            }
        } else if let Some(error) = simple_path(json_path, &at) {
            errors.push(error);
        } else if !roots.iter().any(|root| json_path.starts_with(root)) {
            let why = match roots {
                [root] => format!("should be a json path under {}", root.trim_end_matches('.')),
                _ => "should be a json path under either .spec or .status".to_owned(),
            };
            errors.push(FieldError::invalid(&at, json_path, why));
        }
    }
    errors
}

fn simple_path(json_path: &str, path: &Path) -> Option<FieldError> {
    let why = "must be a simple json path starting with .";
    (!json_path.starts_with('.')).then(|| FieldError::invalid(path, json_path, why))
}

/// What is wrong with `selectableFields`.
#[must_use]
pub fn selectable_fields(fields: &[Value], schema: &Structural, path: &Path) -> ErrorList {
    let mut errors = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let (json_path, at) = (text(field, "jsonPath"), path.index(index).child("jsonPath"));
        if json_path.is_empty() {
            errors.push(FieldError::required(&at, ""));
            continue;
        }
        let found = match field_path::resolve(json_path, schema, field_path::Keys::Forbidden) {
            Ok(found) => found,
            Err(err) => {
                errors.push(FieldError::invalid(&at, json_path, format!("is an invalid path: {err}")));
                continue;
            }
        };
        if found.root == "metadata" {
            errors.push(FieldError::invalid(&at, json_path, "must not point to fields in metadata"));
        }
        if !matches!(found.schema.ty, Some(Type::String | Type::Boolean | Type::Integer)) {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with \
                       formats are allowed.";
            errors.push(FieldError::invalid(&at, json_path, why));
        }
        let shown = found.path.to_string();
        if seen.contains(&shown) {
            errors.push(FieldError::duplicate(&at, json_path));
        } else {
            seen.push(shown);
        }
    }
    if seen.len() > MAX_SELECTABLE_FIELDS {
        errors.push(FieldError::too_many(path, seen.len(), MAX_SELECTABLE_FIELDS));
    }
    errors
}
