//! Values as they stand in messages where upstream prints them as its language does.

use serde_json::Value;

use crate::field::{go_float, quote};

/// The type of a value.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// A value without quotes.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let entries: Vec<String> = fields.iter().map(|(name, value)| format!("{name}:{}", plain(value))).collect();
            format!("map[{}]", entries.join(" "))
        }
        other => scalar(other),
    }
}

/// A value as it would stand in a program.
pub(crate) fn syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::String(text) => quote(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(syntax).collect();
            format!("{}{{{}}}", type_name(value), items.join(", "))
        }
        Value::Object(fields) => {
            let entries: Vec<String> =
                fields.iter().map(|(name, value)| format!("{}:{}", quote(name), syntax(value))).collect();
            format!("{}{{{}}}", type_name(value), entries.join(", "))
        }
        other => scalar(other),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Number(number) if number.is_f64() => go_float(number.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(value: Value, expected: [&str; 3]) {
        assert_eq!([type_name(&value), &plain(&value), &syntax(&value)], expected);
    }

    #[test]
    fn values_are_printed_as_upstream_prints_them() {
        check(json!("a b"), ["string", "a b", "\"a b\""]);
        check(json!(1), ["int64", "1", "1"]);
        check(json!(1.5), ["float64", "1.5", "1.5"]);
        check(json!(true), ["bool", "true", "true"]);
        check(json!(["a", 1]), ["[]interface {}", "[a 1]", "[]interface {}{\"a\", 1}"]);
        check(
            json!({"b": {"c": null}, "a": []}),
            [
                "map[string]interface {}",
                "map[a:[] b:map[c:<nil>]]",
                "map[string]interface {}{\"a\":[]interface {}{}, \"b\":map[string]interface {}{\"c\":interface {}(nil)}}",
            ],
        );
    }
}
