//! Brings objects into the form in which upstream writes them: what is empty and may be left out is left out, what is
//! never left out is there.

use serde_json::{Map, Value};

use crate::schema::{self, Field, FieldType, Type};

/// Normalizes an object of a type of the table; others are left alone.
pub fn normalize(value: &mut Value, type_name: &str) {
    normalize_sent(value, type_name);
    settle(value, type_name);
}

/// Normalizes an object as it was sent: an empty list of its own that is never left out stays, because whoever sets
/// it owns it. [`settle`] makes of it what is stored.
pub fn normalize_sent(value: &mut Value, type_name: &str) {
    if let (Some(ty), Value::Object(values)) = (schema::type_by_name(type_name), value) {
        object(values, ty, false);
    }
}

/// Makes null of the empty lists that [`normalize_sent`] has left.
pub fn settle(value: &mut Value, type_name: &str) {
    let (Some(ty), Value::Object(values)) = (schema::type_by_name(type_name), value) else { return };
    for (key, value) in values {
        if ty.field(key).is_some_and(|field| is_empty_collection(value, &field.ty)) {
            *value = Value::Null;
        }
    }
}

/// The fields of a document that are there and empty, where upstream leaves empty ones out of JSON: JSON pointers and
/// what stands there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Omitted(Vec<(String, Value)>);

impl Omitted {
    /// Takes them out of a document as it was sent, which [`normalize_sent`] would do without a word. What is empty in
    /// metadata and status does not count.
    #[must_use]
    pub fn take(value: &mut Value, type_name: &str) -> Self {
        let mut found = Vec::new();
        if let (Some(ty), Value::Object(values)) = (schema::type_by_name(type_name), &*value) {
            for (key, value) in values.iter().filter(|(key, _)| !matches!(key.as_str(), "metadata" | "status")) {
                if let Some(field) = ty.field(key) {
                    find_omitted(value, &field.ty, &below("", key), &mut found);
                }
            }
        }
        if !found.is_empty() {
            normalize_sent(value, type_name);
        }
        Self(found)
    }

    /// Puts them back.
    pub fn restore(&self, value: &mut Value) {
        for (path, empty) in &self.0 {
            let Some((parent, key)) = path.rsplit_once('/') else { continue };
            let key = key.replace("~1", "/").replace("~0", "~");
            if let Some(Value::Object(parent)) = value.pointer_mut(parent) {
                parent.insert(key, empty.clone());
            }
        }
    }

    /// Those that upstream's datastore tells from fields that are not there: bytes.
    #[must_use]
    pub fn stored(&self) -> Self {
        Self(self.0.iter().filter(|(_, value)| value.is_string()).cloned().collect())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As JSON: a list of pointers. It tells all of what [`Omitted::stored`] answers.
    #[must_use]
    pub fn to_json(&self) -> Value {
        self.0.iter().map(|(path, _)| path.as_str()).collect()
    }

    /// What [`Omitted::to_json`] has told.
    #[must_use]
    pub fn from_pointers(pointers: Vec<String>) -> Self {
        Self(pointers.into_iter().map(|path| (path, Value::from(""))).collect())
    }
}

/// The JSON pointer of what stands below another one.
fn below(path: &str, key: &str) -> String {
    format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"))
}

fn find_omitted(value: &Value, ty: &FieldType, path: &str, found: &mut Vec<(String, Value)>) {
    match (value, ty) {
        (Value::String(text), FieldType::Bytes) if text.is_empty() => found.push((path.to_owned(), value.clone())),
        (value, ty) if is_empty_collection(value, ty) => found.push((path.to_owned(), value.clone())),
        (Value::Array(values), FieldType::List(element)) => {
            for (index, value) in values.iter().enumerate() {
                find_omitted(value, element, &format!("{path}/{index}"), found);
            }
        }
        (Value::Object(values), FieldType::Map(element)) => {
            values.iter().for_each(|(key, value)| find_omitted(value, element, &below(path, key), found));
        }
        (Value::Object(values), FieldType::Ref(_)) => {
            let fields = values.iter().filter_map(|(key, value)| Some((key, value, ty.as_type()?.field(key)?)));
            fields.for_each(|(key, value, field)| find_omitted(value, &field.ty, &below(path, key), found));
        }
        _ => {}
    }
}

/// Lists that only get their defaults where they are not there at all: an empty one stays, to be refused.
const TOLD_EMPTY: &[(&str, &str)] = &[("io.k8s.api.autoscaling.v2.HPAScalingRules", "policies")];

fn object(values: &mut Map<String, Value>, ty: &'static Type, is_settled: bool) {
    values.retain(|key, value| {
        let Some(field) = ty.field(key) else { return true };
        nested(value, &field.ty);
        let is_kept = field.required || field.always;
        if is_kept && is_settled && is_empty_collection(value, &field.ty) {
            *value = Value::Null;
        }
        !is_left_out(value, field) || TOLD_EMPTY.contains(&(ty.name, field.json))
    });
    for field in ty.fields {
        if values.contains_key(field.json) {
            continue;
        }
        if let Some(value) = never_left_out(field) {
            values.insert(field.json.to_owned(), value);
        }
    }
}

fn nested(value: &mut Value, ty: &FieldType) {
    match (value, ty) {
        (Value::Object(values), FieldType::Ref(_)) => {
            if let Some(ty) = ty.as_type() {
                object(values, ty, true);
            }
        }
        (Value::Array(values), FieldType::List(element)) => {
            values.iter_mut().for_each(|value| nested(value, element));
        }
        (Value::Object(values), FieldType::Map(element)) => {
            values.values_mut().for_each(|value| nested(value, element));
        }
        (value, FieldType::SchemaOrArray | FieldType::SchemaOrBool | FieldType::SchemaOrStringArray) => {
            const SCHEMA: FieldType = FieldType::Ref(schema::JSON_SCHEMA_PROPS);
            match value {
                Value::Array(values) => values.iter_mut().for_each(|value| nested(value, &SCHEMA)),
                value => nested(value, &SCHEMA),
            }
        }
        _ => {}
    }
}

/// Upstream cannot tell an empty list from none once it has been stored, and writes both as null where it must write.
fn is_empty_collection(value: &Value, ty: &FieldType) -> bool {
    match (value, ty) {
        (Value::Array(values), FieldType::List(_)) => values.is_empty(),
        (Value::Object(values), FieldType::Map(_)) => values.is_empty(),
        _ => false,
    }
}

fn is_left_out(value: &Value, field: &Field) -> bool {
    if field.required {
        return false;
    }
    match value {
        Value::Null => !field.always,
        Value::Bool(set) => field.by_value && !set,
        Value::Number(number) => field.by_value && number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() && (field.by_value || matches!(field.ty, FieldType::Bytes)),
        Value::Array(values) => values.is_empty() && !field.always,
        Value::Object(values) => values.is_empty() && matches!(field.ty, FieldType::Map(_)),
    }
}

/// What upstream writes for a field that nobody has set.
fn never_left_out(field: &Field) -> Option<Value> {
    if !(field.always || field.required) {
        return None;
    }
    if field.pointer {
        return field.always.then_some(Value::Null);
    }
    Some(match field.ty {
        FieldType::Ref(_) => {
            let mut values = Map::new();
            if let Some(ty) = field.ty.as_type() {
                object(&mut values, ty, true);
            }
            Value::Object(values)
        }
        FieldType::Quantity => Value::from("0"),
        FieldType::String => Value::from(""),
        FieldType::Integer32 | FieldType::Integer64 | FieldType::IntOrString => Value::from(0),
        FieldType::Boolean => Value::Bool(false),
        _ => Value::Null,
    })
}
