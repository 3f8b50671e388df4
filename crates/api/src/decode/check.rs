//! Checks values against the types of the table, with the words of Go's JSON decoder.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::quantity::{Quantity, QuantityError};
use crate::schema::{self, FieldType, JSON_SCHEMA_PROPS, Type};

/// Why a value is not of its type.
#[derive(Debug, Error)]
pub(super) enum TypeError {
    #[error("json: cannot unmarshal {found} into Go struct field {structure}.{path} of type {wanted}")]
    Field { found: String, structure: &'static str, path: String, wanted: String },
    #[error("json: cannot unmarshal {found} into Go value of type {wanted}")]
    Value { found: String, wanted: String },
    #[error("{0}")]
    Quantity(#[from] QuantityError),
    #[error("parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\"")]
    Time { text: String, layout: &'static str },
    #[error("illegal base64 data at input byte {at}")]
    Base64 { at: usize },
}

/// Where the checker is.
struct Place<'a> {
    /// Names of fields from the root, without indexes, as Go's decoder names a field.
    names: Vec<String>,
    /// Names and indexes, as strict field validation names a field.
    path: String,
    /// The type whose field is looked at.
    structure: &'static str,
    /// The paths of what was found unknown; none where upstream's own decoder would not tell.
    unknown: Option<&'a mut Vec<String>>,
}

/// Checks an object of a type of the table that stands at a path; the paths of what is unknown are added to a list.
pub(super) fn object(
    value: &mut Value,
    ty: &'static Type,
    path: &str,
    unknown: &mut Vec<String>,
) -> Result<(), TypeError> {
    let structure = short_name(ty.name);
    let mut place = Place { names: Vec::new(), path: path.to_owned(), structure, unknown: Some(unknown) };
    place.object(value, ty)
}

impl Place<'_> {
    fn object(&mut self, value: &mut Value, ty: &'static Type) -> Result<(), TypeError> {
        let Value::Object(values) = value else { return Err(self.mismatch(value, &FieldType::Ref(ty.name))) };
        let outer = std::mem::replace(&mut self.structure, short_name(ty.name));
        self.fields(values, ty)?;
        self.structure = outer;
        Ok(())
    }

    fn fields(&mut self, values: &mut Map<String, Value>, ty: &'static Type) -> Result<(), TypeError> {
        let mut dropped = Vec::new();
        for (key, value) in values.iter_mut() {
            let before = self.push(key);
            match ty.field(key) {
                None => {
                    if let Some(unknown) = &mut self.unknown {
                        unknown.push(self.path.clone());
                    }
                    dropped.push(key.clone());
                }
                Some(_) if value.is_null() => dropped.push(key.clone()),
                Some(field) => self.value(value, &field.ty)?,
            }
            self.pop(before);
        }
        for key in dropped {
            values.remove(&key);
        }
        Ok(())
    }

    fn push(&mut self, key: &str) -> usize {
        let before = self.path.len();
        if before > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        self.names.push(key.to_owned());
        before
    }

    fn pop(&mut self, before: usize) {
        self.path.truncate(before);
        self.names.pop();
    }

    fn value(&mut self, value: &mut Value, ty: &FieldType) -> Result<(), TypeError> {
        let fits = match ty {
            FieldType::String => value.is_string(),
            FieldType::Boolean => value.is_boolean(),
            FieldType::Integer32 => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
            FieldType::Integer64 => value.as_i64().is_some(),
            FieldType::Number => value.is_number(),
            FieldType::Bytes => return self.bytes(value),
            FieldType::Quantity => return self.quantity(value),
            FieldType::Time => return self.time(value, "%Y-%m-%dT%H:%M:%SZ", "2006-01-02T15:04:05Z07:00"),
            FieldType::MicroTime => {
                return self.time(value, "%Y-%m-%dT%H:%M:%S.%6fZ", "2006-01-02T15:04:05.000000Z07:00");
            }
            FieldType::IntOrString => return int_or_string(value),
            FieldType::FieldsV1 | FieldType::Raw => value.is_object() || matches!(ty, FieldType::Raw),
            FieldType::Json => true,
            FieldType::SchemaOrArray | FieldType::SchemaOrBool | FieldType::SchemaOrStringArray => {
                return self.schema_or(value);
            }
            FieldType::Ref(_) => {
                return match ty.as_type() {
                    Some(ty) => self.object(value, ty),
                    None => Ok(()),
                };
            }
            FieldType::List(element) => {
                let Value::Array(values) = value else { return Err(self.mismatch(value, ty)) };
                return self.list(values, element);
            }
            FieldType::Map(element) => {
                let Value::Object(values) = value else { return Err(self.mismatch(value, ty)) };
                return self.map(values, element);
            }
        };
        if fits { Ok(()) } else { Err(self.mismatch(value, ty)) }
    }

    fn list(&mut self, values: &mut [Value], element: &FieldType) -> Result<(), TypeError> {
        for (index, value) in values.iter_mut().enumerate() {
            let before = self.path.len();
            self.path.push_str(&format!("[{index}]"));
            zero_for_null(value, element);
            self.value(value, element)?;
            self.path.truncate(before);
        }
        Ok(())
    }

    fn map(&mut self, values: &mut Map<String, Value>, element: &FieldType) -> Result<(), TypeError> {
        for (key, value) in values.iter_mut() {
            let before = self.path.len();
            self.path.push('.');
            self.path.push_str(key);
            zero_for_null(value, element);
            self.value(value, element)?;
            self.path.truncate(before);
        }
        Ok(())
    }

    fn bytes(&mut self, value: &Value) -> Result<(), TypeError> {
        let Value::String(text) = value else { return Err(self.mismatch(value, &FieldType::Bytes)) };
        match STANDARD.decode(text) {
            Ok(_) => Ok(()),
            Err(base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _)) => {
                Err(TypeError::Base64 { at })
            }
            Err(_) => Err(TypeError::Base64 { at: text.len() }),
        }
    }

    fn quantity(&mut self, value: &mut Value) -> Result<(), TypeError> {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Err(self.mismatch(value, &FieldType::Quantity)),
        };
        *value = Value::String(Quantity::parse(&text)?.to_string());
        Ok(())
    }

    fn time(&mut self, value: &mut Value, format: &str, layout: &'static str) -> Result<(), TypeError> {
        let Value::String(text) = value else { return Err(self.mismatch(value, &FieldType::String)) };
        let time: Timestamp = text.parse().map_err(|_| TypeError::Time { text: text.clone(), layout })?;
        *text = time.strftime(format).to_string();
        Ok(())
    }

    /// Upstream decodes these with a decoder of its own, which does not report unknown fields.
    fn schema_or(&mut self, value: &mut Value) -> Result<(), TypeError> {
        let Some(ty) = schema::type_by_name(JSON_SCHEMA_PROPS) else { return Ok(()) };
        let unknown = self.unknown.take();
        let result = match value {
            Value::Object(_) => self.object(value, ty),
            Value::Array(values) => {
                values.iter_mut().filter(|value| value.is_object()).try_for_each(|value| self.object(value, ty))
            }
            _ => Ok(()),
        };
        self.unknown = unknown;
        result
    }

    fn mismatch(&self, value: &Value, wanted: &FieldType) -> TypeError {
        let found = describe(value, wanted);
        let wanted = go_type(wanted);
        if self.names.is_empty() {
            TypeError::Value { found, wanted }
        } else {
            TypeError::Field { found, structure: self.structure, path: self.names.join("."), wanted }
        }
    }
}

fn int_or_string(value: &Value) -> Result<(), TypeError> {
    let fits = value.is_string() || value.as_i64().is_some_and(|number| i32::try_from(number).is_ok());
    if fits {
        return Ok(());
    }
    Err(TypeError::Value { found: describe(value, &FieldType::Integer32), wanted: "int32".to_owned() })
}

/// Go makes the zero value of a null in a list or map.
fn zero_for_null(value: &mut Value, ty: &FieldType) {
    if value.is_null() {
        *value = match ty {
            FieldType::String => Value::String(String::new()),
            FieldType::Boolean => Value::Bool(false),
            FieldType::Integer32 | FieldType::Integer64 | FieldType::Number | FieldType::IntOrString => Value::from(0),
            FieldType::Quantity => Value::from("0"),
            FieldType::Bytes => Value::String(String::new()),
            FieldType::Ref(_) | FieldType::Map(_) => Value::Object(Map::new()),
            FieldType::List(_) => Value::Array(Vec::new()),
            _ => return,
        };
    }
}

fn describe(value: &Value, wanted: &FieldType) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) if matches!(wanted, FieldType::Integer32 | FieldType::Integer64) => {
            format!("number {number}")
        }
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    }
}

fn short_name(type_name: &'static str) -> &'static str {
    type_name.rsplit('.').next().unwrap_or(type_name)
}

fn go_type(ty: &FieldType) -> String {
    match ty {
        FieldType::String => "string".to_owned(),
        FieldType::Integer32 => "int32".to_owned(),
        FieldType::Integer64 => "int64".to_owned(),
        FieldType::Number => "float64".to_owned(),
        FieldType::Boolean => "bool".to_owned(),
        FieldType::Bytes => "[]uint8".to_owned(),
        FieldType::Quantity => "resource.Quantity".to_owned(),
        FieldType::IntOrString => "intstr.IntOrString".to_owned(),
        FieldType::Time => "v1.Time".to_owned(),
        FieldType::MicroTime => "v1.MicroTime".to_owned(),
        FieldType::FieldsV1 => "v1.FieldsV1".to_owned(),
        FieldType::Raw => "runtime.RawExtension".to_owned(),
        FieldType::Json => "v1.JSON".to_owned(),
        FieldType::SchemaOrArray => "v1.JSONSchemaPropsOrArray".to_owned(),
        FieldType::SchemaOrBool => "v1.JSONSchemaPropsOrBool".to_owned(),
        FieldType::SchemaOrStringArray => "v1.JSONSchemaPropsOrStringArray".to_owned(),
        FieldType::Ref(name) => {
            let mut parts = name.rsplit('.');
            let kind = parts.next().unwrap_or_default();
            format!("{}.{kind}", parts.next().unwrap_or_default())
        }
        FieldType::List(element) => format!("[]{}", go_type(element)),
        FieldType::Map(element) => format!("map[string]{}", go_type(element)),
    }
}
