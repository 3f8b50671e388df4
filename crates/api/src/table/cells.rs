//! What cells are made of: ages, lists, selectors, conditions.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::meta;

pub(super) const NONE: &str = "<none>";
pub(super) const UNKNOWN: &str = "<unknown>";
pub(super) const UNSET: &str = "<unset>";

/// A duration in whole seconds, as short as people want it.
pub fn human_duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let two = |big: i64, big_unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{big}{big_unit}"),
        _ => format!("{big}{big_unit}{small}{small_unit}"),
    };
    match seconds {
        // Clocks of two machines may differ a little.
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        _ if seconds < 2 * MINUTE => format!("{seconds}s"),
        _ if seconds < 10 * MINUTE => two(seconds / MINUTE, "m", seconds % MINUTE, "s"),
        _ if seconds < 3 * HOUR => format!("{}m", seconds / MINUTE),
        _ if seconds < 8 * HOUR => two(seconds / HOUR, "h", seconds % HOUR / MINUTE, "m"),
        _ if seconds < 2 * DAY => format!("{}h", seconds / HOUR),
        _ if seconds < 8 * DAY => two(seconds / DAY, "d", seconds % DAY / HOUR, "h"),
        _ if seconds < 2 * YEAR => format!("{}d", seconds / DAY),
        _ if seconds < 8 * YEAR => two(seconds / YEAR, "y", seconds % YEAR / DAY, "d"),
        _ => format!("{}y", seconds / YEAR),
    }
}

/// The time in a field.
pub(super) fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// How long ago a time was.
pub(super) fn since(value: &Value, now: Timestamp) -> String {
    time(value).map_or_else(|| UNKNOWN.to_owned(), |then| human_duration(now.duration_since(then).as_secs()))
}

/// How long ago the object was created.
pub(super) fn age(object: &Value, now: Timestamp) -> Value {
    since(&object["metadata"]["creationTimestamp"], now).into()
}

/// The name of the object.
pub(super) fn name(object: &Value) -> Value {
    meta::name(object).into()
}

/// The text in a field; empty if there is none.
pub(super) fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The text in a field, or something else if there is none.
pub(super) fn string_or<'a>(value: &'a Value, otherwise: &'a str) -> &'a str {
    value.as_str().filter(|text| !text.is_empty()).unwrap_or(otherwise)
}

/// The number in a field; 0 if there is none.
pub(super) fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

/// The values of a list.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The number of entries of a list or map.
pub(super) fn count(value: &Value) -> usize {
    match value {
        Value::Array(values) => values.len(),
        Value::Object(values) => values.len(),
        _ => 0,
    }
}

/// A scalar as text: what `IntOrString` and quantities look like.
pub(super) fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The first few of a list, and how many more there are.
pub(super) fn few(items: &[String], max: usize, separator: &str) -> String {
    let shown = items[..items.len().min(max)].join(separator);
    if items.len() > max { format!("{shown} + {} more...", items.len() - max) } else { shown }
}

/// A map of labels as `a=b,c=d`.
pub(super) fn labels(value: &Value) -> String {
    let pairs: Vec<String> =
        value.as_object().into_iter().flatten().map(|(key, value)| format!("{key}={}", string(value))).collect();
    if pairs.is_empty() { NONE.to_owned() } else { pairs.join(",") }
}

/// A label selector as people write one.
pub(super) fn selector(value: &Value) -> String {
    let mut parts: Vec<(String, String)> = Vec::new();
    for (key, value) in value["matchLabels"].as_object().unwrap_or(&Map::new()) {
        parts.push((key.clone(), format!("{key}={}", string(value))));
    }
    for expression in list(&value["matchExpressions"]) {
        let key = string(&expression["key"]);
        let mut values: Vec<&str> = list(&expression["values"]).iter().map(string).collect();
        values.sort_unstable();
        let values = values.join(",");
        let part = match string(&expression["operator"]) {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return "<error>".to_owned(),
        };
        parts.push((key.to_owned(), part));
    }
    if parts.is_empty() {
        return NONE.to_owned();
    }
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>().join(",")
}

/// The names and images of the containers of a pod spec.
pub(super) fn containers(spec: &Value) -> [Value; 2] {
    let joined = |field: &str| {
        let texts: Vec<&str> = list(&spec["containers"]).iter().map(|container| string(&container[field])).collect();
        Value::from(texts.join(","))
    };
    [joined("name"), joined("image")]
}

/// The condition of a type.
pub(super) fn condition<'a>(object: &'a Value, condition_type: &str) -> Option<&'a Value> {
    list(&object["status"]["conditions"]).iter().find(|condition| condition["type"] == condition_type)
}

/// Whether the condition of a type is true.
pub(super) fn is_true(object: &Value, condition_type: &str) -> bool {
    condition(object, condition_type).is_some_and(|condition| condition["status"] == "True")
}
