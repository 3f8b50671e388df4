//! Documents against a schema, in the words of upstream's OpenAPI validator.
//!
//! On an update, what is as it was is not looked at: its errors have been there before. What lists of type map hold is
//! found again by its keys, items of lists without a type by their place.

mod branches;
mod numeric;
mod values;

use serde_json::{Map, Value};

use super::correlate::Old;
use super::formats;
use super::place::Place;
use super::schema::{AdditionalProperties, Structural, Type};
use crate::field::{ErrorList, FieldError, Path};

impl Structural {
    /// Judges a document; `old` is what it was before an update.
    ///
    /// This is all that the schema says but for what `x-kubernetes-` extensions ask for:
    /// [`validate_embedded`](Self::validate_embedded), [`validate_lists`](Self::validate_lists) and rules.
    #[must_use]
    pub fn validate_values(&self, new: &Value, old: Option<&Value>) -> ErrorList {
        correlated(new, Old::of(old), self, &Place::Root(None)).errors
    }

    /// Judges a value that stands at a path of its own.
    pub(super) fn validate_at(&self, value: &Value, path: &Path) -> ErrorList {
        correlated(value, Old::of(None), self, &Place::Root(Some(path))).errors
    }
}

/// What a validation found, and how much fitted: of several alternatives, that which fits best tells what is wrong.
#[derive(Default)]
struct Outcome {
    errors: ErrorList,
    matches: usize,
}

impl Outcome {
    fn is_valid(&self) -> bool {
        self.errors.is_empty()
    }

    fn add(&mut self, error: FieldError) {
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    fn merge(&mut self, other: Outcome) {
        self.matches += other.matches;
        other.errors.into_iter().for_each(|error| self.add(error));
    }

    /// One more check has been made, with or without an error.
    fn checked(&mut self, error: Option<FieldError>) {
        self.matches += 1;
        if let Some(error) = error {
            self.add(error);
        }
    }
}

/// Judges a value that may be as it was.
fn correlated(value: &Value, old: Old<'_>, schema: &Structural, place: &Place<'_>) -> Outcome {
    if old.is_same(value, schema) {
        return Outcome { errors: Vec::new(), matches: 1 };
    }
    node(value, old, schema, place)
}

fn node(value: &Value, old: Old<'_>, schema: &Structural, place: &Place<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    match type_error(value, schema, place) {
        Some(error) => outcome.add(error),
        None => outcome.matches += 1,
    }
    if value.is_null() {
        if let Some(error) = values::enumeration(value, schema, place) {
            outcome.add(error);
        }
        return outcome;
    }
    outcome.matches += 1;
    branches::check(value, old, schema, place, &mut outcome);
    match value {
        Value::String(text) => {
            outcome.checked(values::text(text, schema, place));
            outcome.checked(format_error(text, schema, place));
        }
        Value::Number(number) => numeric::check(number, schema, place, &mut outcome),
        Value::Array(list) => items(list, old, schema, place, &mut outcome),
        _ => {}
    }
    outcome.checked(values::enumeration(value, schema, place));
    if let Value::Object(object) = value {
        fields(object, old, schema, place, &mut outcome);
    }
    outcome.matches += 1;
    outcome
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn type_error(value: &Value, schema: &Structural, place: &Place<'_>) -> Option<FieldError> {
    let fits = |ty: &Type| match (ty, value) {
        (Type::Integer, Value::Number(number)) => number.as_f64().is_some_and(|number| number.fract() == 0.0),
        (Type::Number, Value::Number(_)) => true,
        (ty, value) => ty.name() == type_name(value),
    };
    let wanted = match &schema.ty {
        _ if value.is_null() && schema.nullable => return None,
        _ if schema.extensions.int_or_string => {
            if fits(&Type::Integer) || fits(&Type::String) {
                return None;
            }
            "integer,string"
        }
        None => return None,
        Some(ty) if fits(ty) => return None,
        Some(ty) => ty.name(),
    };
    let found = type_name(value);
    let why = format!("{} in body must be of type {wanted}: \"{found}\"", place.name());
    Some(FieldError::type_invalid(&place.path(), found, why))
}

fn format_error(text: &str, schema: &Structural, place: &Place<'_>) -> Option<FieldError> {
    let format = schema.values.format.as_str();
    let is_checked = !format.is_empty()
        && matches!(schema.ty, None | Some(Type::String))
        && !schema.extensions.int_or_string
        && !formats::is_valid(format, text);
    is_checked.then(|| {
        let why = format!("{} in body must be of type {format}: {}", place.name(), crate::field::quote(text));
        FieldError::type_invalid(&place.path(), text, why)
    })
}

fn items(list: &[Value], old: Old<'_>, schema: &Structural, place: &Place<'_>, outcome: &mut Outcome) {
    if let Some(item_schema) = &schema.items {
        let old = old.items(schema);
        for (index, item) in list.iter().enumerate() {
            outcome.merge(correlated(item, old.item(index, item), item_schema, &place.index(index)));
        }
    }
    values::size_of_list(list, schema, place, outcome);
    outcome.matches += 1;
}

fn fields(object: &Map<String, Value>, old: Old<'_>, schema: &Structural, place: &Place<'_>, outcome: &mut Outcome) {
    values::size_of_object(object, schema, place, outcome);
    let undeclared = || object.iter().filter(|(name, _)| !schema.properties.contains_key(*name));
    match &schema.additional_properties {
        Some(AdditionalProperties::Any(false)) => {
            for (name, _) in undeclared() {
                let why = format!("{}.{name} in body is a forbidden property", place.name());
                outcome.add(FieldError::invalid(&place.path(), name.as_str(), why));
            }
        }
        Some(AdditionalProperties::Schema(schema)) => {
            for (name, value) in undeclared() {
                outcome.merge(correlated(value, old.field(name), schema, &place.field(name)));
            }
        }
        Some(AdditionalProperties::Any(true)) | None => {}
    }
    for (name, schema) in &schema.properties {
        if let Some(value) = object.get(name) {
            outcome.merge(correlated(value, old.field(name), schema, &place.field(name)));
        }
    }
    for name in schema.values.required.iter().filter(|name| !object.contains_key(*name)) {
        outcome.add(FieldError::required(&place.field(name).path(), ""));
    }
    outcome.matches += 1;
}
