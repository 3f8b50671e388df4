//! The defaults that markers declare, for every type of the table.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

use crate::schema::{self, FieldType, Type};

/// The fields with a default, by type.
static DEFAULTS: LazyLock<HashMap<&'static str, Vec<(&'static str, Value)>>> = LazyLock::new(|| {
    let with_defaults = |ty: &'static Type| {
        let defaults: Vec<_> = ty
            .fields
            .iter()
            .filter_map(|field| {
                let value: Value = serde_json::from_str(field.default?).ok()?;
                let zero = value == "" || value == 0 || value == false;
                // The zero of what upstream holds by value is what an absent field is anyway.
                (!zero || !(field.by_value || field.required)).then_some((field.json, value))
            })
            .collect();
        (!defaults.is_empty()).then_some((ty.name, defaults))
    };
    schema::all_types().filter_map(with_defaults).collect()
});

/// Sets every declared default in an object of a type of the table.
pub(super) fn apply(value: &mut Value, type_name: &str) {
    if let Some(ty) = schema::type_by_name(type_name) {
        object(value, ty);
    }
}

fn object(value: &mut Value, ty: &'static Type) {
    let Value::Object(values) = value else { return };
    for (key, value) in values.iter_mut() {
        if let Some(field) = ty.field(key) {
            nested(value, &field.ty);
        }
    }
    for (key, default) in DEFAULTS.get(ty.name).into_iter().flatten() {
        if super::edit::is_unset(values, key) {
            values.insert((*key).to_owned(), default.clone());
        }
    }
}

fn nested(value: &mut Value, ty: &FieldType) {
    match ty {
        FieldType::Ref(_) => {
            if let Some(ty) = ty.as_type() {
                object(value, ty);
            }
        }
        FieldType::List(element) => {
            value.as_array_mut().into_iter().flatten().for_each(|value| nested(value, element));
        }
        FieldType::Map(element) => {
            value.as_object_mut().into_iter().flatten().for_each(|(_, value)| nested(value, element));
        }
        _ => {}
    }
}
