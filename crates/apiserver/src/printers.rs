//! Tables: the columns that `kubectl get` shows, from the kinds' printers in `api`.

use api::kinds::Resource;
use api::table::{Column, NAME};
use serde_json::{Value, json};

/// The column definitions of a resource.
pub(crate) fn columns(resource: &Resource) -> Vec<Value> {
    if let Some(custom) = &resource.custom {
        let declared = custom.version().columns.iter().map(|column| {
            json!({
                "name": column.name, "type": column.ty, "format": column.format, "description": column.description,
                "priority": column.priority,
            })
        });
        return std::iter::once(built_in(&NAME)).chain(declared).collect();
    }
    api::table::columns(resource).iter().map(built_in).collect()
}

fn built_in(column: &Column) -> Value {
    json!({
        "name": column.name, "type": column.ty, "format": column.format, "description": "",
        "priority": column.priority,
    })
}

/// A row without its object.
pub(crate) fn row(resource: &Resource, object: &Value, now: jiff::Timestamp) -> Value {
    let mut row = json!({"cells": api::table::row(resource, object, now)});
    let conditions = api::table::row_conditions(resource, object);
    if !conditions.is_empty() {
        row["conditions"] = conditions.into();
    }
    row
}
