use serde_json::{Value, json};

use super::*;

#[track_caller]
fn schema(schema: Value) -> Structural {
    Structural::parse(&schema).expect("a schema")
}

/// A schema whose only field is `x`.
#[track_caller]
fn with_x(x: Value) -> Structural {
    schema(json!({"type": "object", "properties": {"x": x}}))
}

fn texts(errors: ErrorList) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn check(x: Value, value: Value, expected: &[&str]) {
    let found = with_x(x.clone()).validate(&json!({"x": value}), None);
    assert_eq!(texts(found), expected, "{x} on {value}");
}

#[track_caller]
fn check_update(x: Value, old: Value, new: Value, expected: &[&str]) {
    let found = with_x(x.clone()).validate(&json!({"x": new}), Some(&json!({"x": old})));
    assert_eq!(texts(found), expected, "{x} on {old} -> {new}");
}

#[track_caller]
fn check_conform(x: Value, value: Value, expected: Value, unknown: &[&str]) {
    let mut object = value.clone();
    let found = with_x(x.clone()).conform(&mut object, Malformed::Refuse).expect("metadata");
    assert_eq!(object, expected, "{x} on {value}");
    assert_eq!(found, unknown, "{x} on {value}");
}

mod conforming;
mod laws;
mod validating;
