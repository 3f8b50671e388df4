//! One step of a path: a field's name, a list item's keys, a set's value or an index.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// One step of a path, kept in the form that `fieldsV1` has for it: `f:name`, `k:{"name":"a"}`, `v:"a"` or `i:0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element(Box<str>);

impl Element {
    /// A field of an object, or a key of a map.
    pub fn field(name: &str) -> Self {
        let mut text = String::with_capacity(name.len() + 2);
        text.push_str("f:");
        text.push_str(name);
        Self(text.into())
    }

    /// A list item, by the values of its keys.
    pub fn keys<'a>(keys: impl Iterator<Item = (&'a str, Value)>) -> Self {
        let mut sorted: Vec<(&str, Value)> = keys.collect();
        sorted.sort_by(|a, b| a.0.cmp(b.0));
        let mut text = String::from("k:{");
        for (index, (key, value)) in sorted.into_iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(text, "{comma}{}:{value}", Value::from(key));
        }
        text.push('}');
        Self(text.into())
    }

    /// A value in a set.
    pub fn value(value: &Value) -> Self {
        Self(format!("v:{value}").into())
    }

    /// A list item by position.
    pub fn index(index: usize) -> Self {
        Self(format!("i:{index}").into())
    }

    /// The element out of a key of `fieldsV1`; `None` for what no version of the API writes.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':')? {
            ("f", _) => Some(Self(text.into())),
            ("k", keys) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).ok()?;
                Some(Self::keys(keys.iter().map(|(key, value)| (key.as_str(), value.clone()))))
            }
            ("v", value) => serde_json::from_str(value).ok().map(|value: Value| Self::value(&value)),
            ("i", index) => index.parse().ok().map(Self::index),
            _ => None,
        }
    }

    /// The key of `fieldsV1`.
    pub fn encoded(&self) -> &str {
        &self.0
    }

    /// The name, if this is a field.
    pub fn name(&self) -> Option<&str> {
        self.0.strip_prefix("f:")
    }

    /// As refusals show it: `.name`, `[name="a"]`, `[="a"]` or `[0]`.
    pub fn display(&self) -> String {
        match self.0.split_once(':') {
            Some(("f", name)) => format!(".{name}"),
            Some(("v", value)) => format!("[={value}]"),
            Some(("k", keys)) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
                format!("[{}]", keys.join(","))
            }
            Some((_, other)) => format!("[{other}]"),
            None => self.0.to_string(),
        }
    }
}
