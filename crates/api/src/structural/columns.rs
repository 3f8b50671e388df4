//! The cells of additional printer columns.

use jiff::Timestamp;
use serde_json::Value;

use crate::jsonpath::{self, JsonPath};
use crate::table::human_duration;

/// What fills the cells of one printer column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnPrinter {
    path: JsonPath,
    ty: CellType,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CellType {
    Boolean,
    Date,
    Integer,
    Number,
    String,
}

impl ColumnPrinter {
    /// A column of a type that shows what is found at a path. Upstream shows no column from the first on whose path
    /// cannot be read.
    pub fn new(json_path: &str, ty: &str) -> Result<Self, jsonpath::ParseError> {
        let ty = match ty {
            "boolean" => CellType::Boolean,
            "date" => CellType::Date,
            "integer" => CellType::Integer,
            "number" => CellType::Number,
            _ => CellType::String,
        };
        Ok(Self { path: JsonPath::parse(json_path)?, ty })
    }

    /// The cell of an object: the first value that the path finds, as the column's type; null if there is none.
    #[must_use]
    pub fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let found = self.path.find(object).unwrap_or_default();
        let Some(value) = found.first() else { return Value::Null };
        match (self.ty, value.as_ref()) {
            (CellType::String, value) => jsonpath::printed(value).into(),
            (CellType::Boolean, value @ Value::Bool(_)) => value.clone(),
            (CellType::Integer, Value::Number(number)) => match number.as_i64() {
                Some(number) => number.into(),
                None => whole(number.as_f64().unwrap_or_default()),
            },
            (CellType::Number, value @ Value::Number(number)) => {
                let float = number.as_f64().unwrap_or_default();
                // Upstream writes no fraction where there is none, and a large number as one.
                let is_whole = number.is_f64() && float.fract() == 0.0 && float.abs() < LARGE;
                if is_whole { whole(float) } else { value.clone() }
            }
            (CellType::Date, Value::String(text)) => age(text, now).into(),
            _ => Value::Null,
        }
    }
}

/// Numbers from here on have digits that a float does not tell.
const LARGE: f64 = 9_007_199_254_740_992.0;

#[expect(clippy::cast_possible_truncation, reason = "upstream cuts numbers in the same way")]
fn whole(number: f64) -> Value {
    Value::from(number as i64)
}

/// How long ago a time was.
fn age(text: &str, now: Timestamp) -> String {
    if text.is_empty() || text == "null" {
        return "<unknown>".to_owned();
    }
    match text.parse::<Timestamp>() {
        Ok(time) => human_duration(now.as_second() - time.as_second()),
        Err(_) => "<invalid>".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(path: &str, ty: &str, expected: Value) {
        let object = json!({
            "metadata": {"creationTimestamp": "2024-01-01T00:00:00Z"},
            "spec": {"size": 3, "ratio": 1.5, "whole": 2.0, "huge": 1e21, "flag": true, "tags": ["a", "b"], "text": "t", "none": null,
                "map": {"k": "v"}, "when": "yesterday", "empty": ""},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]},
        });
        let now = "2024-01-01T02:03:00Z".parse().expect("a time");
        let column = ColumnPrinter::new(path, ty).expect(path);
        assert_eq!(column.cell(&object, now), expected, "{path} as {ty}");
    }

    #[test]
    fn cells_are_of_the_columns_type() {
        check(".spec.size", "integer", json!(3));
        check(".spec.ratio", "integer", json!(1));
        check(".spec.text", "integer", Value::Null);
        check(".spec.ratio", "number", json!(1.5));
        check(".spec.size", "number", json!(3));
        check(".spec.whole", "number", json!(2));
        check(".spec.huge", "number", json!(1e21));
        check(".spec.flag", "boolean", json!(true));
        check(".spec.text", "boolean", Value::Null);
        check(".metadata.creationTimestamp", "date", json!("123m"));
        check(".spec.when", "date", json!("<invalid>"));
        check(".spec.empty", "date", json!("<unknown>"));
        check(".spec.size", "date", Value::Null);
    }

    #[test]
    fn texts_show_anything() {
        check(".spec.text", "string", json!("t"));
        check(".spec.size", "string", json!("3"));
        check(".spec.flag", "string", json!("true"));
        check(".spec.tags", "string", json!(r#"["a","b"]"#));
        check(".spec.tags[*]", "string", json!("a"));
        check(".spec.map", "string", json!(r#"{"k":"v"}"#));
        check(".spec.none", "string", json!("<no value>"));
        check(".status.conditions[?(@.type==\"Ready\")].status", "string", json!("True"));
        check(".status.missing", "string", Value::Null);
        check(".spec.tags[5]", "string", Value::Null);
    }
}
