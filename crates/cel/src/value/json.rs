//! From documents to values, as the schema says, and back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::Date;
use serde_json::{Number, Value as Json};

use super::{Instant, List, Map, Str, Value, duration_text, parse_rfc3339, time, timestamp_text};
use crate::error::EvalError;
use crate::schema::{Decl, DeclKind, ListKind};

impl<'a> Value<'a> {
    /// The value that a part of a document is when nothing is known about its shape.
    #[must_use]
    pub fn dynamic(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(integer) => Self::Int(integer),
                None => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::String(Str::Borrowed(text)),
            Json::Array(items) => Self::List(List::Data { items, element: Decl::dynamic(), kind: &ListKind::Atomic }),
            Json::Object(fields) => Self::Map(Map::Data { fields, decl: Decl::dynamic() }),
        }
    }

    /// The value that a part of a document is when its shape is declared.
    ///
    /// # Errors
    ///
    /// The document has another shape.
    pub fn from_json(json: &'a Json, decl: &'a Decl) -> Result<Self, EvalError> {
        if json.is_null() && !matches!(decl.kind, DeclKind::Dyn) {
            return match decl.nullable {
                true => Ok(Self::Null),
                false => Err(EvalError::failed("invalid data, got null for schema with nullable=false")),
            };
        }
        match (&decl.kind, json) {
            (DeclKind::Dyn | DeclKind::Typed(_), _) => Ok(Self::dynamic(json)),
            (DeclKind::IntOrString, Json::String(_)) => Ok(Self::dynamic(json)),
            (DeclKind::IntOrString | DeclKind::Int, Json::Number(number)) => integer(number),
            (DeclKind::IntOrString, _) => {
                Err(EvalError::failed("invalid data, expected XIntOrString value to be either a string or integer"))
            }
            (DeclKind::Bool, Json::Bool(value)) => Ok(Self::Bool(*value)),
            (DeclKind::Double, Json::Number(number)) => Ok(Self::Double(number.as_f64().unwrap_or(f64::NAN))),
            (DeclKind::List { element, kind }, Json::Array(items)) => {
                Ok(Self::List(List::Data { items, element, kind }))
            }
            (DeclKind::Map { .. } | DeclKind::Object { .. }, Json::Object(fields)) => {
                Ok(Self::Map(Map::Data { fields, decl }))
            }
            (kind, Json::String(text)) => string(text, kind),
            (kind, _) => Err(mismatch(kind, json)),
        }
    }
}

/// The most parts that a value may have as a document: a value can hold another one many times for nothing.
pub(crate) const MAX_PARTS: usize = 1_000_000;

impl Value<'_> {
    /// The value as a part of a document.
    ///
    /// # Errors
    ///
    /// JSON has no such values, or this one is too large.
    pub fn to_json(&self) -> Result<Json, EvalError> {
        let mut left = MAX_PARTS;
        self.json(&mut left)
    }

    /// The same, with what is left of the parts that it may have.
    pub(crate) fn json(&self, left: &mut usize) -> Result<Json, EvalError> {
        spend(left, 1)?;
        Ok(match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(value) => Json::from(*value),
            Self::Uint(value) => Json::from(*value),
            Self::Double(value) => Number::from_f64(*value).map(Json::Number).ok_or_else(|| self.no_json())?,
            Self::String(text) => {
                spend(left, text.len() / 8)?;
                Json::from(&**text)
            }
            Self::Bytes(bytes) => {
                spend(left, bytes.len() / 8)?;
                Json::from(STANDARD.encode(bytes))
            }
            Self::Timestamp(instant) => Json::from(timestamp_text(*instant)),
            Self::Duration(nanos) => Json::from(duration_text(*nanos)),
            // A part of a document without a schema is what it was.
            Self::List(List::Data { items, element, .. }) if matches!(element.kind, DeclKind::Dyn) => {
                spend(left, items.iter().map(parts).sum())?;
                Json::Array(items.to_vec())
            }
            Self::Map(Map::Data { fields, decl }) if matches!(decl.kind, DeclKind::Dyn) => {
                spend(left, fields.values().map(parts).sum())?;
                Json::Object((*fields).clone())
            }
            Self::List(list) => Json::Array(list.iter().map(|item| item?.json(left)).collect::<Result<_, _>>()?),
            Self::Map(map) => {
                let mut fields = serde_json::Map::new();
                for key in map.keys() {
                    let Value::String(name) = &key else { return Err(self.no_json()) };
                    let value = map.get(&key)?.unwrap_or(Value::Null);
                    fields.insert(name.to_string(), value.json(left)?);
                }
                Json::Object(fields)
            }
            Self::Message(message) => {
                let mut fields = serde_json::Map::new();
                for (name, value) in &message.fields {
                    fields.insert(name.to_string(), value.json(left)?);
                }
                Json::Object(fields)
            }
            Self::Type(_) | Self::Optional(_) | Self::Extension(_) => return Err(self.no_json()),
        })
    }

    fn no_json(&self) -> EvalError {
        EvalError::failed(format!("unsupported type conversion of {} to JSON", self.type_of()))
    }
}

fn spend(left: &mut usize, parts: usize) -> Result<(), EvalError> {
    *left = left.checked_sub(parts).ok_or_else(|| EvalError::failed("the value is too large"))?;
    Ok(())
}

/// How many parts a document has; long texts count as several.
fn parts(json: &Json) -> usize {
    1 + match json {
        Json::String(text) => text.len() / 8,
        Json::Array(items) => items.iter().map(parts).sum(),
        Json::Object(fields) => fields.values().map(parts).sum(),
        _ => 0,
    }
}

fn integer<'a>(number: &serde_json::Number) -> Result<Value<'a>, EvalError> {
    let whole = |value: f64| (value.fract() == 0.0 && value.abs() < 9.0e18).then_some(value as i64);
    let value = number.as_i64().or_else(|| number.as_f64().and_then(whole));
    value.map(Value::Int).ok_or_else(|| EvalError::failed("invalid data, expected int, got float64"))
}

fn string<'a>(text: &'a str, kind: &DeclKind) -> Result<Value<'a>, EvalError> {
    match kind {
        DeclKind::String => Ok(Value::String(Str::Borrowed(text))),
        DeclKind::Bytes => match STANDARD.decode(text) {
            Ok(bytes) => Ok(Value::Bytes(bytes.into())),
            Err(error) => Err(EvalError::failed(format!("Invalid byte formatted string {text}: {error}"))),
        },
        DeclKind::Duration => match time::parse_schema_duration(text) {
            Some(nanos) => Ok(Value::Duration(nanos)),
            None => Err(EvalError::failed(format!("Invalid duration {text}: unable to parse {text} as duration"))),
        },
        DeclKind::Date => match text.parse::<Date>().ok().filter(|_| text.len() == 10).and_then(Instant::midnight) {
            Some(timestamp) => Ok(Value::Timestamp(timestamp)),
            None => Err(EvalError::failed(format!("Invalid date formatted string {text}"))),
        },
        DeclKind::Timestamp => match parse_rfc3339(text) {
            Some(timestamp) => Ok(Value::Timestamp(timestamp)),
            None => Err(EvalError::failed(format!("Invalid date-time formatted string {text}"))),
        },
        _ => Err(mismatch(kind, &Json::String(text.to_owned()))),
    }
}

fn mismatch(kind: &DeclKind, json: &Json) -> EvalError {
    let expected = match kind {
        DeclKind::Bool => "bool",
        DeclKind::Int => "int",
        DeclKind::Double => "float",
        DeclKind::List { .. } => {
            return EvalError::failed("invalid data, expected an array for the provided schema with type=array");
        }
        DeclKind::Map { .. } | DeclKind::Object { .. } => {
            return EvalError::failed("invalid data, expected a map for the provided schema with type=object");
        }
        _ => "string",
    };
    let actual = match json {
        Json::Null => "<nil>",
        Json::Bool(_) => "bool",
        Json::Number(number) if number.is_f64() => "float64",
        Json::Number(_) => "int64",
        Json::String(_) => "string",
        Json::Array(_) => "[]interface {}",
        Json::Object(_) => "map[string]interface {}",
    };
    EvalError::failed(format!("invalid data, expected {expected}, got {actual}"))
}
