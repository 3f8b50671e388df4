//! `metadata.managedFields`: the field managers of an object and what each has set.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::element::Element;
use super::set::Set;
use crate::meta;

/// How a manager writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// With applied configurations.
    Apply,
    /// In any other way.
    Update,
}

/// What tells one manager from another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Manager {
    /// The name that the client gave.
    pub name: String,
    /// How it writes.
    pub operation: Operation,
    /// The version in which it writes, if it does not apply: a configuration may change its version.
    pub api_version: Option<String>,
    /// The subresource it writes, or nothing.
    pub subresource: String,
}

impl Manager {
    pub(super) fn applying(write: &super::Write<'_>) -> Self {
        Self { operation: Operation::Apply, api_version: None, ..Self::updating(write) }
    }

    pub(super) fn updating(write: &super::Write<'_>) -> Self {
        let name = if write.manager.is_empty() { "unknown" } else { write.manager };
        Self {
            name: name.to_owned(),
            operation: Operation::Update,
            api_version: Some(write.api_version.to_owned()),
            subresource: write.subresource.to_owned(),
        }
    }
}

/// What a manager has set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Managed {
    /// The fields.
    pub set: Set,
    /// The version in which the set's paths are.
    pub api_version: String,
    /// When the manager last changed something, as text.
    pub time: Option<String>,
}

/// Every manager of an object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Managers(pub BTreeMap<Manager, Managed>);

/// Metadata that nobody owns: identity, and what the server sets.
const UNTRACKED: [&str; 9] = [
    "clusterName",
    "creationTimestamp",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// The paths that are never tracked.
static NEVER_TRACKED: LazyLock<Set> = LazyLock::new(|| {
    let mut set = Set::default();
    for name in ["apiVersion", "kind"] {
        set.insert([Element::field(name)]);
    }
    for name in UNTRACKED {
        set.insert([Element::field("metadata"), Element::field(name)]);
    }
    set
});

/// The set without what is never tracked.
pub(super) fn tracked(mut set: Set) -> Set {
    set.drop_subtrees(&NEVER_TRACKED);
    set.drop_element(&Element::field("metadata"));
    set
}

impl Managers {
    /// Reads `metadata.managedFields`; `None` if an entry is not understood.
    pub fn decode(object: &Value) -> Option<Self> {
        let entries = meta::metadata(object).and_then(|metadata| metadata.get("managedFields"));
        let mut managers = Self::default();
        for entry in entries.and_then(Value::as_array).into_iter().flatten() {
            let (manager, managed) = decode_entry(entry)?;
            managers.0.insert(manager, managed);
        }
        Some(managers)
    }

    /// Writes `metadata.managedFields`.
    pub fn encode_into(&self, object: &mut Value) {
        if self.0.is_empty() {
            meta::remove(object, "managedFields");
            return;
        }
        let mut sorted: Vec<(&Manager, &Managed)> = self.0.iter().collect();
        sorted.sort_by_cached_key(|(manager, managed)| {
            // Times are of one form, so that their order as text is their order.
            let time = managed.time.clone().unwrap_or_default();
            let subresource = manager.subresource.clone();
            (manager.operation, time, manager.name.clone(), managed.api_version.clone(), subresource)
        });
        let entries = sorted.into_iter().map(|(manager, managed)| encode_entry(manager, managed));
        meta::set(object, "managedFields", Value::Array(entries.collect()));
    }
}

fn decode_entry(entry: &Value) -> Option<(Manager, Managed)> {
    let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
    let operation = match text("operation") {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return None,
    };
    if !matches!(text("fieldsType"), "FieldsV1") {
        return None;
    }
    let api_version = text("apiVersion").to_owned();
    let manager = Manager {
        name: text("manager").to_owned(),
        operation,
        api_version: (operation == Operation::Update).then(|| api_version.clone()),
        subresource: text("subresource").to_owned(),
    };
    let set = match entry.get("fieldsV1").filter(|fields| !fields.is_null()) {
        Some(fields) => Set::decode(fields)?,
        None => Set::default(),
    };
    let time = entry.get("time").and_then(Value::as_str).map(str::to_owned);
    Some((manager, Managed { set, api_version, time }))
}

fn encode_entry(manager: &Manager, managed: &Managed) -> Value {
    let operation = match manager.operation {
        Operation::Apply => "Apply",
        Operation::Update => "Update",
    };
    let mut entry = Map::new();
    if !manager.name.is_empty() {
        entry.insert("manager".to_owned(), manager.name.clone().into());
    }
    entry.insert("operation".to_owned(), operation.into());
    entry.insert("apiVersion".to_owned(), managed.api_version.clone().into());
    if let Some(time) = &managed.time {
        entry.insert("time".to_owned(), time.clone().into());
    }
    entry.insert("fieldsType".to_owned(), "FieldsV1".into());
    entry.insert("fieldsV1".to_owned(), managed.set.encode());
    if !manager.subresource.is_empty() {
        entry.insert("subresource".to_owned(), manager.subresource.clone().into());
    }
    Value::Object(entry)
}

/// Whether the request asks for all managers to be forgotten: a list of one empty entry.
pub(super) fn is_reset(object: &Value) -> bool {
    let entries = meta::metadata(object).and_then(|metadata| metadata.get("managedFields"));
    entries.and_then(Value::as_array).is_some_and(|entries| match entries.as_slice() {
        [only] => is_empty_entry(only),
        _ => false,
    })
}

fn is_empty_entry(entry: &Value) -> bool {
    let is_empty = |value: &Value| value.is_null() || *value == json!("") || *value == json!({});
    entry.as_object().is_some_and(|fields| fields.values().all(is_empty))
}
