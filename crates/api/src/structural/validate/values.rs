//! Texts, sizes and enumerations.

use serde_json::{Map, Value};

use super::Outcome;
use crate::field::FieldError;
use crate::structural::place::Place;
use crate::structural::schema::Structural;

/// The first thing that is wrong with a text.
pub(super) fn text(text: &str, schema: &Structural, place: &Place<'_>) -> Option<FieldError> {
    let values = &schema.values;
    let fail = |what: String| {
        let why = format!("{} in body should {what}", place.name());
        Some(FieldError::invalid(&place.path(), text, why))
    };
    let length = if values.max_length.or(values.min_length).is_some() { text.chars().count() } else { 0 };
    if let Some(most) = values.max_length.filter(|most| count(length) > *most) {
        return Some(FieldError::too_long(&place.path(), usize::try_from(most).unwrap_or_default()));
    }
    if let Some(least) = values.min_length.filter(|least| count(length) < *least) {
        return fail(format!("be at least {least} chars long"));
    }
    match &values.pattern {
        Some(pattern) if pattern.error().is_some() => {
            let error = pattern.error().map(ToString::to_string).unwrap_or_default();
            fail(format!("match '{}, but pattern is invalid: {error}'", pattern.source()))
        }
        Some(pattern) if !pattern.is_match(text) => fail(format!("match '{}'", pattern.source())),
        _ => None,
    }
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

pub(super) fn enumeration(value: &Value, schema: &Structural, place: &Place<'_>) -> Option<FieldError> {
    let known = schema.values.enumeration.as_ref()?;
    let same = |known: &Value| match (known, value) {
        (Value::Number(known), Value::Number(value)) => known == value || known.as_f64() == value.as_f64(),
        (known, value) => known == value,
    };
    if known.iter().any(same) {
        return None;
    }
    let shown: Vec<String> = known
        .iter()
        .map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
        .collect();
    let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
    Some(FieldError::not_supported(&place.path(), value.clone(), &shown))
}

pub(super) fn size_of_list(list: &[Value], schema: &Structural, place: &Place<'_>, outcome: &mut Outcome) {
    let values = &schema.values;
    let size = count(list.len());
    if let Some(least) = values.min_items.filter(|least| size < *least) {
        let why = format!("{} in body should have at least {least} items", place.name());
        outcome.add(FieldError::invalid(&place.path(), size, why));
    }
    if let Some(most) = values.max_items.filter(|most| size > *most) {
        outcome.add(too_many(list.len(), most, place));
    }
    let is_repeated = |(index, item): (usize, &Value)| list[..index].contains(item);
    if values.unique_items && list.iter().enumerate().any(is_repeated) {
        let why = format!("{} in body shouldn't contain duplicates", place.name());
        outcome.add(FieldError::invalid(&place.path(), "", why));
    }
}

pub(super) fn size_of_object(
    object: &Map<String, Value>,
    schema: &Structural,
    place: &Place<'_>,
    outcome: &mut Outcome,
) {
    let size = count(object.len());
    if let Some(least) = schema.values.min_properties.filter(|least| size < *least) {
        let why = format!("{} in body should have at least {least} properties", place.name());
        outcome.add(FieldError::invalid(&place.path(), size, why));
    }
    if let Some(most) = schema.values.max_properties.filter(|most| size > *most) {
        outcome.add(too_many(object.len(), most, place));
    }
}

fn too_many(size: usize, most: i64, place: &Place<'_>) -> FieldError {
    FieldError::too_many(&place.path(), size, usize::try_from(most).unwrap_or_default())
}
