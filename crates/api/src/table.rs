//! What `kubectl get` shows: the columns of every built-in kind, and their cells for one object.
//!
//! A printer is a list of columns and a function; [`PRINTERS`] is the list of all. Kinds without one show their name
//! and when they were created, as upstream does.

mod admission;
mod autoscaling;
mod batch;
mod cells;
mod certificates;
mod cluster;
mod config;
mod devices;
mod flow;
mod network;
mod node;
mod pod;
mod rbac;
mod storage;
mod versions;
mod workload;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::custom;
use crate::meta;

pub use cells::human_duration;

/// One column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// The heading.
    pub name: &'static str,
    /// The OpenAPI type of the cells.
    pub ty: &'static str,
    /// The OpenAPI format of the cells; `name` marks the column that names the object.
    pub format: &'static str,
    /// 0 is always shown, 1 only with `-o wide`.
    pub priority: i32,
}

const fn text(name: &'static str) -> Column {
    Column { name, ty: "string", format: "", priority: 0 }
}

const fn wide(name: &'static str) -> Column {
    Column { name, ty: "string", format: "", priority: 1 }
}

const fn integer(name: &'static str) -> Column {
    Column { name, ty: "integer", format: "", priority: 0 }
}

const fn boolean(name: &'static str) -> Column {
    Column { name, ty: "boolean", format: "", priority: 0 }
}

/// The column that names the object.
pub const NAME: Column = Column { name: "Name", ty: "string", format: "name", priority: 0 };
const AGE: Column = text("Age");
const CREATED_AT: Column = Column { name: "Created At", ty: "date", format: "", priority: 0 };

/// How one kind is shown.
struct Printer {
    group: &'static str,
    kind: &'static str,
    columns: &'static [Column],
    cells: fn(&Value, Timestamp) -> Vec<Value>,
}

/// Every printer, by family.
const PRINTERS: &[&[Printer]] = &[
    admission::PRINTERS,
    autoscaling::PRINTERS,
    batch::PRINTERS,
    certificates::PRINTERS,
    cluster::PRINTERS,
    config::PRINTERS,
    devices::PRINTERS,
    flow::PRINTERS,
    network::PRINTERS,
    node::PRINTERS,
    pod::PRINTERS,
    rbac::PRINTERS,
    storage::PRINTERS,
    versions::PRINTERS,
    workload::PRINTERS,
];

fn printer(group: &str, kind: &str) -> Option<&'static Printer> {
    let mut all = PRINTERS.iter().flat_map(|family| family.iter());
    all.find(|printer| printer.kind == kind && printer.group == group)
}

/// The columns of a built-in kind; those of a custom one are the name and what its definition declares.
pub fn columns(group: &str, kind: &str) -> &'static [Column] {
    printer(group, kind).map_or(&[NAME, CREATED_AT], |printer| printer.columns)
}

/// The cells of one object of a built-in kind, in the order of the columns.
pub fn row(group: &str, kind: &str, object: &Value, now: Timestamp) -> Vec<Value> {
    match printer(group, kind) {
        Some(printer) => (printer.cells)(object, now),
        // What is never stored was made at the beginning of time.
        None => {
            let created = object["metadata"]["creationTimestamp"].as_str().unwrap_or("0001-01-01T00:00:00Z");
            vec![meta::name(object).into(), created.into()]
        }
    }
}

/// The cells of a custom resource: its name and what its definition declares.
pub fn custom_row(custom: &custom::Custom, object: &Value, now: Timestamp) -> Vec<Value> {
    let columns = custom.version().columns.iter();
    let cell =
        |column: &custom::Column| column.printer.as_ref().map_or(Value::Null, |printer| printer.cell(object, now));
    std::iter::once(cells::name(object)).chain(columns.map(cell)).collect()
}

/// Brings the objects of a list in the order in which they are shown: flow schemas stand as they are tried.
pub fn sort(group: &str, kind: &str, objects: &mut [Value]) {
    if group == flow::GROUP && kind == "FlowSchema" {
        objects.sort_by_key(flow::rank);
    }
}

/// The conditions of a row: pods that have ended say so, for tools that hide them.
pub fn row_conditions(group: &str, kind: &str, object: &Value) -> Vec<Value> {
    if !group.is_empty() || kind != "Pod" {
        return Vec::new();
    }
    let (reason, message) = match object["status"]["phase"].as_str() {
        Some("Succeeded") => ("Succeeded", "The pod has completed successfully."),
        Some("Failed") => ("Failed", "The pod failed."),
        _ => return Vec::new(),
    };
    vec![json!({"type": "Completed", "status": "True", "reason": reason, "message": message})]
}

#[cfg(test)]
mod tests;
