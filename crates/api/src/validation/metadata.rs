//! Validation of `metadata`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize as _;
use serde_json::Value;

use super::check;
use super::names;
use super::rules::NameRule;
use super::undecodable;
use crate::field::{ErrorList, FieldError, Path, quote};
use crate::meta;

const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// The longest name of a field manager.
pub const MAX_MANAGER: usize = 128;
/// The longest name of a subresource in the entry of a manager.
const MAX_SUBRESOURCE: usize = 256;

/// The finalizers that need no domain.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

fn read(object: &Value, errors: &mut ErrorList) -> ObjectMeta {
    match object.get("metadata").map(ObjectMeta::deserialize) {
        Some(Ok(metadata)) => metadata,
        Some(Err(error)) => {
            errors.push(undecodable(&error));
            ObjectMeta::default()
        }
        None => ObjectMeta::default(),
    }
}

/// Judges the metadata of a new object; `name_rule` judges its name.
pub(super) fn create(namespaced: bool, name_rule: NameRule, object: &Value, errors: &mut ErrorList) {
    let metadata = read(object, errors);
    new(namespaced, name_rule, &metadata, &Path::new("metadata"), errors);
}

/// Judges the metadata of an object inside of another one, which needs no name, and no namespace either.
pub(super) fn embedded(metadata: &Value, path: &Path, errors: &mut ErrorList) {
    let mut metadata = match ObjectMeta::deserialize(metadata) {
        Ok(metadata) => metadata,
        Err(error) => return errors.push(FieldError::invalid(path, metadata.clone(), error.to_string())),
    };
    let namespaced = metadata.namespace.as_deref().is_some_and(|namespace| !namespace.is_empty());
    metadata.name = metadata.name.filter(|name| !name.is_empty()).or_else(|| Some("fakename".to_owned()));
    new(namespaced, names::path_segment, &metadata, path, errors);
}

fn new(namespaced: bool, name_rule: NameRule, metadata: &ObjectMeta, path: &Path, errors: &mut ErrorList) {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let generate_name = text(&metadata.generate_name);
    if !generate_name.is_empty() {
        let judged = name_rule(&names::without_trailing_dash(&generate_name));
        check::invalid(errors, &path.child("generateName"), generate_name.as_str(), judged);
    }
    let name = text(&metadata.name);
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), "name or generateName is required"));
    } else {
        check::invalid(errors, &path.child("name"), name.as_str(), name_rule(&name));
    }
    let namespace = text(&metadata.namespace);
    let namespace_path = path.child("namespace");
    match (namespaced, namespace.is_empty()) {
        (true, true) => errors.push(FieldError::required(&namespace_path, "")),
        (true, false) => check::invalid(errors, &namespace_path, namespace.as_str(), names::dns_label(&namespace)),
        (false, false) => errors.push(FieldError::forbidden(&namespace_path, "not allowed on this type")),
        (false, true) => {}
    }
    check::non_negative(errors, &path.child("generation"), metadata.generation.unwrap_or(0));
    template(metadata, path, errors);
    owner_references(metadata, &path.child("ownerReferences"), errors);
    finalizers(metadata, &path.child("finalizers"), errors);
    managed_fields(metadata, &path.child("managedFields"), errors);
}

/// Judges who manages the fields; what of that cannot be read at all has been replaced by what was there.
fn managed_fields(metadata: &ObjectMeta, path: &Path, errors: &mut ErrorList) {
    for (index, entry) in metadata.managed_fields.iter().flatten().enumerate() {
        let path = path.index(index);
        field_manager(check::text(&entry.manager), &path.child("manager"), errors);
        if check::text(&entry.subresource).len() > MAX_SUBRESOURCE {
            errors.push(FieldError::too_long(&path.child("subresource"), MAX_SUBRESOURCE));
        }
    }
}

/// Judges the name of a field manager.
pub fn field_manager(manager: &str, path: &Path, errors: &mut ErrorList) {
    if manager.len() > MAX_MANAGER {
        errors.push(FieldError::too_long(path, MAX_MANAGER));
    }
    for (position, found) in manager.char_indices().filter(|(_, found)| found.is_control()) {
        let why = format!("invalid character U+{:04X} (at position {position})", u32::from(found));
        errors.push(FieldError::invalid(path, manager, why));
    }
}

/// Judges what also the metadata of a pod template have.
pub(super) fn template(metadata: &ObjectMeta, path: &Path, errors: &mut ErrorList) {
    check::labels(errors, &path.child("labels"), metadata.labels.as_ref());
    annotations(metadata.annotations.as_ref(), &path.child("annotations"), errors);
}

/// Judges the metadata of a claim that is made for a pod: its labels and annotations, and that it has nothing else.
pub(super) fn claim_template(metadata: &ObjectMeta, path: &Path, errors: &mut ErrorList) {
    annotations(metadata.annotations.as_ref(), &path.child("annotations"), errors);
    check::labels(errors, &path.child("labels"), metadata.labels.as_ref());
    let json = check::json(metadata);
    for field in [
        "name",
        "generateName",
        "namespace",
        "selfLink",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "ownerReferences",
        "finalizers",
        "managedFields",
    ] {
        let is_set = match &json[field] {
            Value::Null => false,
            Value::String(text) => !text.is_empty(),
            Value::Number(number) => field != "generation" || number.as_i64() != Some(0),
            _ => true,
        };
        if is_set {
            // Upstream names the field after its member.
            let field = if field == "uid" { "uID" } else { field };
            errors.push(FieldError::forbidden(&path.child(field), "cannot be set"));
        }
    }
}

pub(super) fn annotations(annotations: Option<&BTreeMap<String, String>>, path: &Path, errors: &mut ErrorList) {
    let mut size = 0;
    for (key, value) in annotations.into_iter().flatten() {
        check::invalid(errors, path, key.as_str(), names::qualified_name(&key.to_lowercase()));
        size += key.len() + value.len();
    }
    if size > ANNOTATIONS_LIMIT {
        errors.push(FieldError::too_long(path, ANNOTATIONS_LIMIT));
    }
}

fn owner_references(metadata: &ObjectMeta, path: &Path, errors: &mut ErrorList) {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let mut controller: Option<&str> = None;
    for owner in owners {
        let (group, version) = meta::split_api_version(&owner.api_version);
        if version.is_empty() {
            let path = path.child("apiVersion");
            errors.push(FieldError::invalid(&path, owner.api_version.as_str(), "version must not be empty"));
        }
        for (field, value) in [("kind", &owner.kind), ("name", &owner.name), ("uid", &owner.uid)] {
            if value.is_empty() {
                errors.push(FieldError::invalid(&path.child(field), "", "must not be empty"));
            }
        }
        if (group, version, owner.kind.as_str()) == ("", "v1", "Event") {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid(path, check::json(owner), why));
        }
        if owner.controller == Some(true) {
            let name = owner.name.as_str();
            match controller {
                None => controller = Some(name),
                Some(first) => {
                    let why = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {name}"
                    );
                    errors.push(FieldError::invalid(path, check::json(&owners), why));
                }
            }
        }
    }
}

fn finalizers(metadata: &ObjectMeta, path: &Path, errors: &mut ErrorList) {
    let finalizers = metadata.finalizers.as_deref().unwrap_or_default();
    for finalizer in finalizers {
        check::invalid(errors, path, finalizer.as_str(), names::qualified_name(finalizer));
    }
    let has = |name: &str| finalizers.iter().any(|finalizer| finalizer == name);
    if has("orphan") && has("foregroundDeletion") {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(path, finalizers.to_vec(), why));
    }
}

/// Judges the finalizers of upstream's own kinds, which need a domain unless they are upstream's own too.
pub(super) fn standard_finalizers(object: &Value, errors: &mut ErrorList) {
    let path = Path::new("metadata").child("finalizers");
    for (index, finalizer) in meta::finalizers(object).enumerate() {
        if !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(&finalizer) {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(&path.index(index), finalizer, why));
        }
    }
}

/// Judges the difference of the metadata of an update.
pub(super) fn update(new_object: &Value, old_object: &Value, errors: &mut ErrorList) {
    let path = Path::new("metadata");
    let metadata = read(new_object, errors);
    if meta::is_deleting(new_object) {
        let added: Vec<&str> = meta::finalizers(new_object)
            .filter(|finalizer| meta::finalizers(old_object).all(|old| old != *finalizer))
            .collect();
        if !added.is_empty() {
            // Upstream prints the list as Go source.
            let list = added.iter().map(|finalizer| quote(finalizer)).collect::<Vec<_>>().join(", ");
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{list}}}"
            );
            errors.push(FieldError::forbidden(&path.child("finalizers"), why));
        }
    }
    if meta::generation(new_object) < meta::generation(old_object) {
        let why = "must not be decremented";
        errors.push(FieldError::invalid(&path.child("generation"), meta::generation(new_object), why));
    }
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let value = |object: &Value| meta::metadata(object).and_then(|metadata| metadata.get(field)).cloned();
        let set = |value: Option<Value>| value.filter(|value| !value.is_null() && value.as_str() != Some(""));
        let (new, old) = (set(value(new_object)), set(value(old_object)));
        if new != old {
            let shown = new.unwrap_or(Value::Null);
            errors.push(FieldError::invalid(&path.child(field), shown, check::IMMUTABLE));
        }
    }
    template(&metadata, &path, errors);
    owner_references(&metadata, &path.child("ownerReferences"), errors);
}
