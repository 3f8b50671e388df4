//! Custom resources: their kind, their metadata, what their schema says, and the values of their `scale` subresource.

use serde_json::Value;

use super::{metadata, metadata_update, names};
use crate::custom::{Custom, Scale};
use crate::field::{ErrorList, FieldError, Path};
use crate::go_value;
use crate::kinds::Resource;
use crate::meta;

pub(super) fn create(resource: &Resource, custom: &Custom, object: &Value, errors: &mut ErrorList) {
    if !has_type(resource, object, errors) {
        return;
    }
    metadata::create(resource.namespaced, names::dns_subdomain, object, errors);
    errors.extend(custom.version().structural.validate(object, None));
    scale(custom, object, &["spec", "status"], errors);
}

pub(super) fn update(resource: &Resource, custom: &Custom, new: &Value, old: &Value, errors: &mut ErrorList) {
    if !has_type(resource, new, errors) {
        return;
    }
    metadata_update(resource, super::rules::Metadata::Difference, new, old, errors);
    errors.extend(custom.version().structural.validate(new, Some(old)));
    scale(custom, new, &["spec", "status"], errors);
}

/// Only the status can have changed, so only the status is judged.
pub(super) fn status_update(resource: &Resource, custom: &Custom, new: &Value, old: &Value, errors: &mut ErrorList) {
    if !has_type(resource, new, errors) {
        return;
    }
    metadata_update(resource, super::rules::Metadata::Difference, new, old, errors);
    let of_status = |error: &FieldError| {
        error.field.strip_prefix("status").is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    errors.extend(custom.version().structural.validate(new, Some(old)).into_iter().filter(of_status));
    scale(custom, new, &["status"], errors);
}

fn has_type(resource: &Resource, object: &Value, errors: &mut ErrorList) -> bool {
    let before = errors.len();
    let mut expect = |field: &str, found: &str, wanted: &str| {
        if found != wanted {
            errors.push(FieldError::invalid(&Path::new(field), found, format!("must be {wanted}")));
        }
    };
    expect("kind", meta::kind(object), &resource.kind);
    expect("apiVersion", meta::api_version(object), &resource.api_version());
    errors.len() == before
}

/// Judges the values that the `scale` subresource reads below these fields.
fn scale(custom: &Custom, object: &Value, below: &[&str], errors: &mut ErrorList) {
    let Some(Scale { spec_replicas, status_replicas, label_selector }) = &custom.version().scale else { return };
    for (part, path) in [("spec", spec_replicas), ("status", status_replicas)] {
        if below.contains(&part) {
            replicas(object, path, errors);
        }
    }
    if let Some(path) = label_selector.as_ref().filter(|_| below.contains(&"status"))
        && let Some(found) = at(object, path).filter(|found| !found.is_string())
    {
        let why =
            format!("{path} accessor error: {found} is of the type {}, expected string", go_value::type_name(found));
        errors.push(FieldError::invalid(&Path::new(path), "", why));
    }
}

fn replicas(object: &Value, path: &str, errors: &mut ErrorList) {
    let Some(found) = at(object, path) else { return };
    let why = match found.as_i64() {
        None => format!("{path} accessor error: {found} is of the type {}, expected int64", go_value::type_name(found)),
        Some(negative) if negative < 0 => "should be a non-negative integer".to_owned(),
        Some(large) if large > i64::from(i32::MAX) => format!("should be less than or equal to {}", i32::MAX),
        Some(_) => return,
    };
    errors.push(FieldError::invalid(&Path::new(path), found.as_i64().unwrap_or(0), why));
}

/// The value at a path of fields, each behind a dot.
fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.trim_start_matches('.').split('.').try_fold(object, |value, field| value.get(field))
}
