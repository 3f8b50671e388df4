//! Parses JSON in one pass, and notes duplicate and unknown fields in the order in which they stand.

use std::collections::HashSet;
use std::fmt;
use std::fmt::Write as _;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::schema::{FieldType, Type};

/// Parses a document; with a type, unknown fields are noted and left out.
pub(super) fn read(bytes: &[u8], ty: Option<FieldType>) -> Result<(Value, Vec<String>), serde_json::Error> {
    let mut state = State::default();
    // Upstream takes text of other encodings for what it can read, and replaces the rest.
    let text = String::from_utf8_lossy(bytes);
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    let value = Reader { ty, state: &mut state }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok((value, state.findings))
}

/// What is wrong with a text that is no JSON, as upstream says it.
pub(super) fn told(bytes: &[u8], error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    if error.classify() == Category::Eof {
        return "unexpected end of JSON input".to_owned();
    }
    let line = bytes.split(|byte| *byte == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    // The error is of a text in which what is no UTF-8 is replaced; a place behind that is found in there.
    let replaced = String::from_utf8_lossy(line);
    let at = error.column().saturating_sub(1);
    let line = if line.get(..at) == replaced.as_bytes().get(..at) { line } else { replaced.as_bytes() };
    let Some(found) = line.get(at).copied() else { return error.to_string() };
    let text = error.to_string();
    let place = [
        ("expected value", "looking for beginning of value"),
        ("key must be a string", "looking for beginning of object key string"),
        ("trailing comma", "looking for beginning of value"),
        ("expected `:`", "after object key"),
        ("expected `,` or `}`", "after object key:value pair"),
        ("expected `,` or `]`", "after array element"),
        ("trailing characters", "after top-level value"),
        ("expected ident", "in literal"),
        ("control character", "in string literal"),
        ("invalid escape", "in string escape code"),
        ("invalid number", "in numeric literal"),
    ];
    match place.iter().find(|(start, _)| text.starts_with(start)) {
        Some((_, place)) => format!("invalid character {} {place}", quoted(found)),
        None => text,
    }
}

/// A byte in single quotes, as the character of its number.
fn quoted(found: u8) -> String {
    match found {
        b'\'' => "'\\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        0x80..=0xa0 | 0xad => format!("'\\u{found:04x}'"),
        0xa1.. => format!("'{}'", char::from(found)),
        7 => "'\\a'".to_owned(),
        8 => "'\\b'".to_owned(),
        11 => "'\\v'".to_owned(),
        12 => "'\\f'".to_owned(),
        _ => format!("'{}'", found.escape_ascii()),
    }
}

#[derive(Default)]
struct State {
    path: String,
    findings: Vec<String>,
    noted: HashSet<String>,
}

impl State {
    fn note(&mut self, what: &str, key: &str) {
        let before = self.push_key(key);
        let text = format!("{what} field \"{}\"", self.path);
        self.path.truncate(before);
        if self.findings.len() < super::MAX_FINDINGS && self.noted.insert(text.clone()) {
            self.findings.push(text);
        }
    }

    /// Appends a key; answers the length to truncate to afterwards.
    fn push_key(&mut self, key: &str) -> usize {
        let before = self.path.len();
        if before > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        before
    }
}

/// Reads one value at a place of which the type may be known.
struct Reader<'a> {
    ty: Option<FieldType>,
    state: &'a mut State,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let element = match self.ty {
            Some(FieldType::List(element)) => Some(*element),
            _ => None,
        };
        let before = self.state.path.len();
        let mut values = Vec::new();
        loop {
            // Writing to a String cannot fail.
            let _ = write!(self.state.path, "[{}]", values.len());
            let next = access.next_element_seed(Reader { ty: element, state: self.state })?;
            self.state.path.truncate(before);
            match next {
                Some(value) => values.push(value),
                None => return Ok(Value::Array(values)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let object: Option<&'static Type> = self.ty.and_then(|ty| ty.as_type());
        let mut values = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let ty = match (object, self.ty) {
                (Some(object), _) => match object.field(&key) {
                    Some(field) => Some(field.ty),
                    None => {
                        self.state.note("unknown", &key);
                        access.next_value::<IgnoredAny>()?;
                        continue;
                    }
                },
                (None, Some(FieldType::Map(element))) => Some(*element),
                (None, _) => None,
            };
            if values.contains_key(&key) {
                self.state.note("duplicate", &key);
            }
            let before = self.state.push_key(&key);
            let value = access.next_value_seed(Reader { ty, state: self.state })?;
            self.state.path.truncate(before);
            values.insert(key, value);
        }
        Ok(Value::Object(values))
    }
}
