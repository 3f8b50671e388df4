//! The parts of `x-kubernetes-validations` but for the expressions themselves.

use serde_json::{Map, Value};

use super::props::text;
use crate::field::{ErrorList, FieldError, Path};
use crate::structural::field_path;
use crate::structural::schema::Structural;

/// The reasons that a rule may give.
const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

pub(super) fn check(value: &Value, schema: &Map<String, Value>, path: &Path, errors: &mut ErrorList) {
    let rules = schema.get("x-kubernetes-validations").and_then(Value::as_array);
    for (index, rule) in rules.into_iter().flatten().enumerate() {
        if let Value::Object(rule) = rule {
            let path = path.child("x-kubernetes-validations").index(index);
            texts(rule, &path, errors);
            reason_and_field(value, rule, &path, errors);
        }
    }
}

fn texts(rule: &Map<String, Value>, path: &Path, errors: &mut ErrorList) {
    let part = |name: &str| text(rule, name).unwrap_or_default();
    let (expression, message, message_expression) = (part("rule"), part("message"), part("messageExpression"));
    let message_path = path.child("message");
    if expression.trim().is_empty() {
        errors.push(FieldError::required(&path.child("rule"), "rule is not specified"));
    } else if !message.is_empty() && message.trim().is_empty() {
        errors.push(FieldError::invalid(&message_path, message, "message must be non-empty if specified"));
    } else if has_newlines(message.trim()) {
        errors.push(FieldError::invalid(&message_path, message, "message must not contain line breaks"));
    } else if has_newlines(expression.trim()) && message.trim().is_empty() {
        let why = "message must be specified if rule contains line breaks";
        errors.push(FieldError::required(&message_path, why));
    }
    if !message_expression.is_empty() && message_expression.trim().is_empty() {
        let why = "messageExpression must be non-empty if specified";
        errors.push(FieldError::required(&path.child("messageExpression"), why));
    }
}

fn reason_and_field(schema: &Value, rule: &Map<String, Value>, path: &Path, errors: &mut ErrorList) {
    if let Some(reason) = text(rule, "reason").filter(|reason| !REASONS.contains(reason)) {
        errors.push(FieldError::not_supported(&path.child("reason"), reason, &REASONS));
    }
    let Some(field) = text(rule, "fieldPath").filter(|field| !field.is_empty()) else { return };
    let mut refuse = |why: &str| errors.push(FieldError::invalid(&path.child("fieldPath"), field, why));
    if field.trim().is_empty() {
        refuse("fieldPath must be non-empty if specified");
    }
    if has_newlines(field) {
        refuse("fieldPath must not contain line breaks");
    }
    // What is no tree is refused elsewhere.
    if let Ok(schema) = Structural::parse(schema)
        && field_path::resolve(field, &schema, field_path::Keys::Allowed).is_err()
    {
        refuse("fieldPath must be a valid path");
    }
}

fn has_newlines(text: &str) -> bool {
    text.contains(['\n', '\r'])
}
