//! In which versions objects are stored.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{UNSET, age, few, list, name, string, string_or};
use super::{AGE, Column, NAME, Printer, text};

pub(super) const PRINTERS: &[Printer] = &[
    Printer { group: "internal.apiserver.k8s.io", kind: "StorageVersion", columns: VERSION, cells: version },
    Printer { group: "storagemigration.k8s.io", kind: "StorageVersionMigration", columns: MIGRATION, cells: migration },
];

/// More servers than these are only counted.
const FEW: usize = 3;

const VERSION: &[Column] = &[NAME, text("CommonEncodingVersion"), text("StorageVersions"), AGE];

fn version(object: &Value, now: Timestamp) -> Vec<Value> {
    let status = &object["status"];
    let servers: Vec<String> = list(&status["storageVersions"])
        .iter()
        .map(|server| format!("{}={}", string(&server["apiServerID"]), string(&server["encodingVersion"])))
        .collect();
    let servers = if servers.is_empty() { UNSET.to_owned() } else { few(&servers, FEW, ",") };
    vec![name(object), string_or(&status["commonEncodingVersion"], UNSET).into(), servers.into(), age(object, now)]
}

/// The name is no link, as upstream has it.
const MIGRATION: &[Column] = &[text("Name"), text("Resource")];

fn migration(object: &Value, _now: Timestamp) -> Vec<Value> {
    let resource = &object["spec"]["resource"];
    vec![name(object), format!("{}.{}", string(&resource["resource"]), string(&resource["group"])).into()]
}
