//! The versions of a definition.

use std::collections::HashSet;

use serde_json::Value;

use super::{list, text};
use crate::field::{ErrorList, FieldError, Path};
use crate::structural::{Structural, check as structural};
use crate::validation::names;

/// The longest deprecation warning, in bytes.
const MAX_WARNING: usize = 256;

/// A schema, and where upstream has it.
pub struct PlacedSchema<'a> {
    /// The `openAPIV3Schema`.
    pub schema: &'a Value,
    /// Its path in errors.
    pub path: Path,
    /// Whether its version has a status subresource.
    pub has_status: bool,
}

/// Something that each version says, and that upstream keeps once if all say the same.
struct Shared<'a> {
    /// What is said, with the index of the version that says it, if they differ.
    values: Vec<(Option<usize>, &'a Value)>,
}

impl<'a> Shared<'a> {
    fn new(versions: &'a [Value], field: &str) -> Self {
        let is_same = versions.windows(2).all(|pair| pair[0].get(field) == pair[1].get(field));
        let said = versions.iter().enumerate().filter_map(|(index, version)| Some((index, version.get(field)?)));
        let said = said.filter(|(_, value)| !value.is_null());
        let values = match is_same {
            true => said.take(1).map(|(_, value)| (None, value)).collect(),
            false => said.map(|(index, value)| (Some(index), value)).collect(),
        };
        Self { values }
    }

    /// The values with their paths; `shared` is the name of the field that all share.
    fn placed(&self, spec: &Path, shared: &str, field: &str) -> impl Iterator<Item = (&'a Value, Path)> {
        self.values.iter().map(move |(index, value)| match index {
            None => (*value, spec.child(shared)),
            Some(index) => (*value, spec.child("versions").index(*index).child(field)),
        })
    }
}

/// The schemas of a definition: one if all versions share it.
pub fn schemas(crd: &Value) -> Vec<PlacedSchema<'_>> {
    let (versions, spec) = (list(&crd["spec"]["versions"]), Path::new("spec"));
    let any_status = versions.iter().any(has_status);
    let shared = Shared::new(versions, "schema");
    let placed = shared.values.iter().zip(shared.placed(&spec, "validation", "schema"));
    let schemas = placed.map(|((index, _), (value, path))| PlacedSchema {
        schema: &value["openAPIV3Schema"],
        path: path.child("openAPIV3Schema"),
        has_status: index.map_or(any_status, |index| has_status(&versions[index])),
    });
    schemas.filter(|placed| placed.schema.is_object()).collect()
}

fn has_status(version: &Value) -> bool {
    version["subresources"]["status"].is_object()
}

pub(super) fn judge(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let versions = list(&spec["versions"]);
    let versions_path = path.child("versions");
    let mut seen = HashSet::new();
    let mut is_unique = true;
    for (index, version) in versions.iter().enumerate() {
        let at = versions_path.index(index);
        is_unique &= seen.insert(text(&version["name"]));
        label(text(&version["name"]), &at.child("name"), errors);
        deprecation(version, &at.child("deprecationWarning"), errors);
        if !version["schema"]["openAPIV3Schema"].is_object() {
            let at = at.child("schema").child("openAPIV3Schema");
            errors.push(FieldError::required(&at, "schemas are required"));
        }
    }
    let shown = || Value::Array(versions.to_vec());
    if !is_unique {
        errors.push(FieldError::invalid(&versions_path, shown(), "must contain unique version names"));
    }
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid(&versions_path, shown(), why));
    }
    // Upstream keeps the name of the first version in a field of its own too.
    if let Some(first) = versions.first() {
        label(text(&first["name"]), &path.child("version"), errors);
    }
    let crd = serde_json::json!({"spec": {"versions": versions}});
    for PlacedSchema { schema, path, has_status } in schemas(&crd) {
        errors.extend(structural::schema(schema, &path, has_status));
    }
    for (subresources, at) in Shared::new(versions, "subresources").placed(path, "subresources", "subresources") {
        if let Some(scale) = subresources.get("scale").filter(|scale| scale.is_object()) {
            errors.extend(structural::scale(scale, &at.child("scale")));
        }
    }
    let columns = "additionalPrinterColumns";
    for (columns, at) in Shared::new(versions, columns).placed(path, columns, columns) {
        for (index, column) in list(columns).iter().enumerate() {
            errors.extend(structural::printer_column(column, &at.index(index)));
        }
    }
    selectable_fields(versions, path, errors);
}

fn selectable_fields(versions: &[Value], path: &Path, errors: &mut ErrorList) {
    let field = "selectableFields";
    let shared = Shared::new(versions, field);
    for ((index, _), (fields, at)) in shared.values.iter().zip(shared.placed(path, field, field)) {
        let version = &versions[index.unwrap_or(0)];
        if let Ok(schema) = Structural::parse(&version["schema"]["openAPIV3Schema"]) {
            errors.extend(structural::selectable_fields(list(fields), &schema, &at));
        }
    }
}

/// Whether a schema of any version has a default anywhere.
pub(super) fn have_defaults(versions: &[Value]) -> bool {
    versions.iter().any(|version| has_default(&version["schema"]["openAPIV3Schema"]))
}

fn has_default(schema: &Value) -> bool {
    let Value::Object(fields) = schema else { return false };
    let is_set = |value: &Value| !value.is_null();
    fields.get("default").is_some_and(is_set)
        || ["items", "not", "additionalProperties"].iter().any(|name| fields.get(*name).is_some_and(has_default))
        || ["allOf", "anyOf", "oneOf"]
            .iter()
            .any(|name| fields.get(*name).and_then(Value::as_array).is_some_and(|all| all.iter().any(has_default)))
        || fields.get("properties").and_then(Value::as_object).is_some_and(|all| all.values().any(has_default))
}

fn label(name: &str, path: &Path, errors: &mut ErrorList) {
    let messages = names::dns_1035_label(name);
    if !messages.is_empty() {
        errors.push(FieldError::invalid(path, name, messages.join(",")));
    }
}

fn deprecation(version: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(warning) = version["deprecationWarning"].as_str() else { return };
    let mut refuse = |why: String| errors.push(FieldError::invalid(path, warning, why));
    if version["deprecated"] != true {
        return refuse("can only be set for deprecated versions".to_owned());
    }
    if warning.len() > MAX_WARNING {
        refuse(format!("must be <= {MAX_WARNING} characters long"));
    }
    if warning.is_empty() {
        refuse("must not be an empty string".to_owned());
    }
    if let Some((index, _)) = warning.char_indices().find(|(_, c)| c.is_control()) {
        refuse(format!("must only contain printable UTF-8 characters; non-printable character found at index {index}"));
    }
}
