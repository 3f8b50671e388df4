//! Parses YAML as upstream does: scalars by YAML 1.1's rules, duplicate keys noted by line, the last one kept.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};

/// Parses one document.
pub(super) fn read(bytes: &[u8]) -> Result<(Value, Vec<String>), serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    let node: Node = serde_saphyr::from_slice_with_options(bytes, options)?;
    let mut findings = Vec::new();
    let value = node.into_value(&mut findings);
    Ok((value, findings))
}

/// A value that remembers every key and where it stands.
enum Node {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<(String, u64, Node)>),
}

impl Node {
    fn into_value(self, findings: &mut Vec<String>) -> Value {
        match self {
            Node::Scalar(value) => value,
            Node::List(nodes) => nodes.into_iter().map(|node| node.into_value(findings)).collect(),
            Node::Map(entries) => {
                let mut values = Map::new();
                for (key, line, node) in entries {
                    if values.contains_key(&key) {
                        findings.push(format!("line {line}: key {key:?} already set in map"));
                    }
                    let value = node.into_value(findings);
                    values.insert(key, value);
                }
                Value::Object(values)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

/// A key as JSON has it: `y` is `true` there, as it would be in the place of a value.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        match Node::deserialize(deserializer)? {
            Node::Scalar(Value::String(text)) => Ok(Key(text)),
            Node::Scalar(scalar) => Ok(Key(scalar.to_string())),
            Node::List(_) | Node::Map(_) => Err(serde::de::Error::custom("map key is not a scalar")),
        }
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(Number::from_f64(value).map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(Value::String(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = access.next_element()? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, node)) = access.next_entry::<Spanned<Key>, Node>()? {
            entries.push((key.value.0, key.referenced.line(), node));
        }
        Ok(Node::Map(entries))
    }
}
