//! Custom resources: what a CustomResourceDefinition says, read once, and the rows of [`crate::kinds`] that follow
//! from it.
//!
//! A definition gives one row for each of its versions. A row carries its [`Custom`], by which whatever handles
//! objects finds the schema, the columns and the paths of their version; it takes no other way than built-in kinds.

pub mod conditions;
pub mod names;
pub mod version;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::kinds::{Resource, Stability, Subresource, Text};
use crate::meta;
use crate::structural::{ColumnPrinter, Extensions, Structural};
use crate::validation::definitions::invalid_bundle;

/// One CustomResourceDefinition.
#[derive(Debug, PartialEq)]
pub struct Definition {
    /// The name of the definition, `<plural>.<group>`.
    pub name: String,
    /// The group of its resources.
    pub group: Text,
    /// The plural.
    pub plural: Text,
    /// The other names that are in use.
    pub names: Names,
    /// The names that were accepted, as the status has them.
    pub accepted: Value,
    /// Whether a name was refused, because another definition has it.
    pub is_refused: bool,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Its versions, in the order of the definition.
    pub versions: Vec<Version>,
    /// The version in which objects are stored.
    pub storage_version: Text,
    /// The fields that can be selected by in any version.
    pub selectable: Arc<[Text]>,
    /// How objects get from one version to another.
    pub conversion: Conversion,
    /// Whether its resources are served.
    pub is_served: bool,
    /// Whether its instances are being deleted.
    pub is_terminating: bool,
}

/// The accepted names of a definition.
#[derive(Debug, PartialEq)]
pub struct Names {
    /// The kind of one object.
    pub kind: Text,
    /// The kind of a list.
    pub list_kind: Text,
    /// The name of one.
    pub singular: Text,
    /// What people type.
    pub short_names: Vec<Text>,
    /// The groups of resources it belongs to.
    pub categories: Vec<Text>,
}

/// One version of a definition.
#[derive(Debug, PartialEq)]
pub struct Version {
    /// Its name.
    pub name: Text,
    /// Whether it may be asked for.
    pub served: bool,
    /// What whoever asks for it is warned of, if it is deprecated.
    pub deprecation: Option<String>,
    /// The schema as it is written.
    pub schema: Value,
    /// The schema, compiled.
    pub structural: Structural,
    /// The printer columns behind the name.
    pub columns: Vec<Column>,
    /// Whether there is a `status` subresource.
    pub has_status: bool,
    /// The paths of the `scale` subresource.
    pub scale: Option<Scale>,
    /// The fields that can be selected by, as `spec.color`.
    pub selectable: Arc<[Text]>,
}

/// A printer column.
#[derive(Debug, PartialEq)]
pub struct Column {
    /// Its heading.
    pub name: String,
    /// The type of its cells.
    pub ty: String,
    /// Their format.
    pub format: String,
    /// What it says.
    pub description: String,
    /// Columns above 0 are for wide tables.
    pub priority: i64,
    /// What fills its cells; nothing if its path cannot be read.
    pub printer: Option<ColumnPrinter>,
}

/// Where the `scale` subresource finds its values; paths begin with a dot.
#[derive(Debug, PartialEq)]
pub struct Scale {
    /// The wanted replicas.
    pub spec_replicas: String,
    /// The replicas that are there.
    pub status_replicas: String,
    /// The selector, as text.
    pub label_selector: Option<String>,
}

/// How objects get from one version to another.
#[derive(Debug, PartialEq)]
pub enum Conversion {
    /// Only their `apiVersion` changes.
    None,
    /// A webhook converts them; the value is `spec.conversion.webhook`.
    Webhook(Value),
}

/// The version of a definition that a row stands for.
#[derive(Debug, Clone)]
pub struct Custom {
    /// The definition.
    pub definition: Arc<Definition>,
    index: usize,
}

impl Custom {
    /// What the definition says of the version.
    pub fn version(&self) -> &Version {
        &self.definition.versions[self.index]
    }
}

/// What can be done with custom resources.
const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// What can be done while they are on their way out.
const TERMINATING_VERBS: &[&str] = &["delete", "deletecollection", "get", "list", "watch"];
const SUBRESOURCE_VERBS: &[&str] = &["get", "patch", "update"];

impl Definition {
    /// Reads a definition; its names are those that were accepted, or those that it asks for until then.
    pub fn read(crd: &Value) -> Self {
        let spec = &crd["spec"];
        let accepted = &crd["status"]["acceptedNames"];
        let name = |field: &str| {
            let found = [&accepted[field], &spec["names"][field]].into_iter().map(text).find(|name| !name.is_empty());
            owned(found.unwrap_or_default())
        };
        let list = |field: &str| texts(&accepted[field]);
        let (group, kind) = (owned(text(&spec["group"])), name("kind"));
        let declared: Vec<&Value> = spec["versions"].as_array().into_iter().flatten().collect();
        let storage = declared.iter().find(|version| version["storage"] == true).map(|version| text(&version["name"]));
        let is = |condition: &str| conditions::is_true(crd, condition);
        let versions: Vec<Version> =
            declared.iter().map(|version| Version::read(version, &declared, &group, &kind)).collect();
        let selectable: BTreeSet<Text> =
            versions.iter().flat_map(|version| version.selectable.iter().cloned()).collect();
        Self {
            name: meta::name(crd).to_owned(),
            plural: owned(text(&spec["names"]["plural"])),
            names: Names {
                list_kind: name("listKind"),
                singular: name("singular"),
                short_names: list("shortNames"),
                categories: list("categories"),
                kind: kind.clone(),
            },
            accepted: accepted.clone(),
            is_refused: conditions::find(crd, names::NAMES_ACCEPTED).is_some_and(|found| found["status"] != "True"),
            namespaced: text(&spec["scope"]) == "Namespaced",
            versions,
            selectable: selectable.into_iter().collect(),
            storage_version: owned(storage.unwrap_or_default()),
            conversion: match text(&spec["conversion"]["strategy"]) {
                "Webhook" => Conversion::Webhook(spec["conversion"]["webhook"].clone()),
                _ => Conversion::None,
            },
            is_served: is("Established") || (is("NamesAccepted") && invalid_bundle(crd).is_none()),
            is_terminating: is("Terminating"),
            group,
        }
    }

    /// The rows of its versions, served or not.
    pub fn rows(self: &Arc<Self>) -> Vec<Arc<Resource>> {
        (0..self.versions.len()).map(|index| Arc::new(self.row(index))).collect()
    }

    fn row(self: &Arc<Self>, index: usize) -> Resource {
        let version = &self.versions[index];
        let mut subresources = Vec::new();
        if version.has_status {
            subresources.push(subresource("status", &self.group, &version.name, &self.names.kind));
        }
        if version.scale.is_some() {
            subresources.push(subresource("scale", "autoscaling", "v1", "Scale"));
        }
        Resource {
            group: self.group.clone(),
            version: version.name.clone(),
            kind: self.names.kind.clone(),
            plural: self.plural.clone(),
            singular: self.names.singular.clone(),
            list_kind: self.names.list_kind.clone(),
            short_names: self.names.short_names.clone().into(),
            categories: self.names.categories.clone().into(),
            namespaced: self.namespaced,
            verbs: if self.is_terminating { TERMINATING_VERBS } else { VERBS },
            subresources: subresources.into(),
            schema: "",
            storage_group: self.group.clone(),
            storage_version: self.storage_version.clone(),
            stability: Stability::Stable,
            custom: Some(Custom { definition: self.clone(), index }),
        }
    }

    /// The version with this name.
    pub fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.name == name)
    }

    /// Whether objects look the same under both definitions once they are read from the datastore.
    pub fn reads_like(&self, other: &Self) -> bool {
        let what_counts = |definition: &Self| (definition.storage_version.clone(), definition.names.kind.clone());
        let same =
            |(a, b): (&Version, &Version)| (&a.name, &a.schema, &a.selectable) == (&b.name, &b.schema, &b.selectable);
        what_counts(self) == what_counts(other)
            && self.versions.len() == other.versions.len()
            && self.versions.iter().zip(&other.versions).all(same)
    }
}

fn subresource(name: &'static str, group: &str, version: &str, kind: &str) -> Subresource {
    Subresource {
        name: name.into(),
        group: owned(group),
        version: owned(version),
        kind: owned(kind),
        verbs: SUBRESOURCE_VERBS,
    }
}

impl Version {
    fn read(version: &Value, all: &[&Value], group: &str, kind: &str) -> Self {
        let subresources = &version["subresources"];
        let columns = version["additionalPrinterColumns"].as_array().filter(|columns| !columns.is_empty());
        let selectable = version["selectableFields"].as_array().into_iter().flatten();
        let selectable = selectable.map(|field| owned(text(&field["jsonPath"]).trim_start_matches('.')));
        let name = text(&version["name"]);
        let schema = version["schema"]["openAPIV3Schema"].clone();
        Self {
            structural: Structural::parse(&schema).unwrap_or_else(|_| anything()),
            name: owned(name),
            served: version["served"] == true,
            deprecation: (version["deprecated"] == true).then(|| match &version["deprecationWarning"] {
                Value::String(warning) => warning.clone(),
                _ => deprecation(name, all, group, kind),
            }),
            schema,
            columns: columns.map_or_else(|| vec![Column::age()], |columns| columns.iter().map(Column::read).collect()),
            has_status: subresources["status"].is_object(),
            scale: subresources.get("scale").filter(|scale| scale.is_object()).map(Scale::read),
            selectable: selectable.collect(),
        }
    }
}

/// The schema of what cannot be compiled, which validation lets nobody write: whatever is there stays.
fn anything() -> Structural {
    let extensions = Extensions { preserve_unknown_fields: true, ..Extensions::default() };
    Structural { extensions, ..Structural::default() }
}

/// The warning about a version, which names the newest that is better.
fn deprecation(name: &str, all: &[&Value], group: &str, kind: &str) -> String {
    let others = all.iter().filter(|other| other["served"] == true && other["deprecated"] != true);
    let newest = others
        .map(|other| text(&other["name"]))
        .filter(|other| version::compare(name, other).is_lt())
        .max_by(|a, b| version::compare(a, b));
    let warning = format!("{group}/{name} {kind} is deprecated");
    newest.map_or(warning.clone(), |newest| format!("{warning}; use {group}/{newest} {kind}"))
}

impl Column {
    /// The column of resources that declare none.
    fn age() -> Self {
        Self {
            name: "Age".to_owned(),
            ty: "date".to_owned(),
            format: String::new(),
            description: "when the object was created".to_owned(),
            priority: 0,
            printer: ColumnPrinter::new(".metadata.creationTimestamp", "date").ok(),
        }
    }

    fn read(column: &Value) -> Self {
        let field = |name: &str| text(&column[name]).to_owned();
        let path = field("jsonPath");
        let description = match field("description") {
            none if none.is_empty() => format!("Custom resource definition column (in JSONPath format): {path}"),
            some => some,
        };
        Self {
            name: field("name"),
            ty: field("type"),
            format: field("format"),
            description,
            priority: column["priority"].as_i64().unwrap_or(0),
            printer: ColumnPrinter::new(&path, text(&column["type"])).ok(),
        }
    }
}

impl Scale {
    fn read(scale: &Value) -> Self {
        let path = |name: &str| text(&scale[name]).to_owned();
        Self {
            spec_replicas: path("specReplicasPath"),
            status_replicas: path("statusReplicasPath"),
            label_selector: Some(path("labelSelectorPath")).filter(|path| !path.is_empty()),
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn owned(text: &str) -> Text {
    Cow::Owned(text.to_owned())
}

fn texts(list: &Value) -> Vec<Text> {
    list.as_array().into_iter().flatten().map(|item| owned(text(item))).collect()
}

#[cfg(test)]
mod tests;
