//! Tables: the columns that `kubectl get` shows, from the kinds' printers in `api`.

use api::custom::Custom;
use api::table::{Column, NAME};
use serde_json::{Value, json};

use crate::registry::Expected;

/// How the objects of a type are shown.
#[derive(Clone, Copy)]
pub(crate) enum Printer<'a> {
    /// As the definition of a custom resource says.
    Custom(&'a Custom),
    /// As the kind of that group and name.
    BuiltIn(&'a str, &'a str),
}

impl<'a> Printer<'a> {
    /// The printer of a type.
    pub(crate) fn of(ty: Expected<'a>) -> Self {
        match ty.custom {
            Some(custom) => Printer::Custom(custom),
            None => Printer::BuiltIn(ty.group, ty.kind),
        }
    }

    /// The column definitions.
    pub(crate) fn columns(self) -> Vec<Value> {
        match self {
            Printer::Custom(custom) => {
                let declared = custom.version().columns.iter().map(|column| {
                    json!({
                        "name": column.name, "type": column.ty, "format": column.format,
                        "description": column.description, "priority": column.priority,
                    })
                });
                std::iter::once(built_in(&NAME)).chain(declared).collect()
            }
            Printer::BuiltIn(group, kind) => api::table::columns(group, kind).iter().map(built_in).collect(),
        }
    }

    /// A row without its object.
    pub(crate) fn row(self, object: &Value, now: jiff::Timestamp) -> Value {
        let (cells, conditions) = match self {
            Printer::Custom(custom) => (api::table::custom_row(custom, object, now), Vec::new()),
            Printer::BuiltIn(group, kind) => {
                (api::table::row(group, kind, object, now), api::table::row_conditions(group, kind, object))
            }
        };
        let mut row = json!({"cells": cells});
        if !conditions.is_empty() {
            row["conditions"] = conditions.into();
        }
        row
    }
}

fn built_in(column: &Column) -> Value {
    json!({
        "name": column.name, "type": column.ty, "format": column.format, "description": "",
        "priority": column.priority,
    })
}
