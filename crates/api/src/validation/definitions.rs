//! CustomResourceDefinitions: names, versions, conversion, and what each version says.
//!
//! What all versions have in common upstream keeps once, and its errors stand at the place where it would be then:
//! `spec.validation` rather than `spec.versions[0].schema`. [`Shared`] says which place that is.

mod conversion;
mod versions;

use serde_json::Value;

use super::{api_approval, check, names};
use crate::custom::conditions;
use crate::custom::names::ESTABLISHED;
use crate::field::{ErrorList, FieldError, Path};
use crate::meta;

pub(crate) use conversion::invalid_bundle;
pub use versions::{PlacedSchema, schemas};

pub(super) fn create(crd: &Value, errors: &mut ErrorList) {
    let name = meta::name(crd);
    let wanted = format!("{}.{}", text(&crd["spec"]["names"]["plural"]), text(&crd["spec"]["group"]));
    if name != wanted {
        let why = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid(&Path::new("metadata").child("name"), name, why));
    }
    approval(crd, None, errors);
    spec(crd, conversion::Bundle::Any, errors);
    status(crd, errors);
    stored_versions(crd, errors);
}

pub(super) fn update(new: &Value, old: &Value, errors: &mut ErrorList) {
    approval(new, Some(old), errors);
    spec(new, conversion::Bundle::after(old), errors);
    let path = Path::new("spec");
    let mut immutable = |fields: &[&str]| {
        let at = |crd: &Value| fields.iter().fold(crd["spec"].clone(), |value, field| value[*field].clone());
        if at(new) != at(old) {
            let path = fields.iter().fold(path.clone(), |path, field| path.child(field));
            errors.push(FieldError::invalid(&path, at(new), check::IMMUTABLE));
        }
    };
    if conditions::is_true(old, ESTABLISHED) {
        immutable(&["scope"]);
        immutable(&["names", "kind"]);
    }
    immutable(&["group"]);
    immutable(&["names", "plural"]);
    status(new, errors);
    stored_versions(new, errors);
}

pub(super) fn status_update(new: &Value, _: &Value, errors: &mut ErrorList) {
    status(new, errors);
}

fn status(crd: &Value, errors: &mut ErrorList) {
    some_names(&crd["status"]["acceptedNames"], &Path::new("status").child("acceptedNames"), errors);
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Definitions in the groups of Kubernetes need an approval; what was without one may stay so.
fn approval(crd: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    use api_approval::Approval;
    let Some(approval) = api_approval::of(crd) else { return };
    if old.and_then(api_approval::of).is_some_and(|old| old.is_like(&approval)) {
        return;
    }
    let path = Path::new("metadata").child("annotations").key(api_approval::ANNOTATION);
    match approval {
        Approval::Missing(why) => errors.push(FieldError::required(&path, why)),
        Approval::Invalid(why) => {
            let annotation = meta::annotation(crd, api_approval::ANNOTATION).unwrap_or_default();
            errors.push(FieldError::invalid(&path, annotation, why));
        }
        Approval::Approved(_) | Approval::Bypassed(_) => {}
    }
}

fn spec(crd: &Value, bundle: conversion::Bundle, errors: &mut ErrorList) {
    let (spec, path) = (&crd["spec"], Path::new("spec"));
    group(text(&spec["group"]), &path.child("group"), errors);
    check::required_one_of(errors, &path.child("scope"), text(&spec["scope"]), &["Cluster", "Namespaced"]);
    let preserves = spec["preserveUnknownFields"] == true;
    if preserves {
        let path = path.child("preserveUnknownFields");
        if versions::have_defaults(list(&spec["versions"])) {
            errors.push(FieldError::invalid(&path, true, "must be false in order to use defaults in the schema"));
        }
        let why =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(FieldError::invalid(&path, true, why));
    }
    versions::judge(spec, &path, errors);
    for field in ["plural", "singular", "kind", "listKind"] {
        check::required(errors, &path.child("names").child(field), text(&spec["names"][field]));
    }
    some_names(&spec["names"], &path.child("names"), errors);
    conversion::judge(&spec["conversion"], preserves, bundle, &path.child("conversion"), errors);
}

fn group(group: &str, path: &Path, errors: &mut ErrorList) {
    if !check::required(errors, path, group) {
        return;
    }
    let messages = names::dns_subdomain(group);
    if !messages.is_empty() {
        errors.push(FieldError::invalid(path, group, messages.join(",")));
    } else if !group.contains('.') {
        errors.push(FieldError::invalid(path, group, "should be a domain with at least one dot"));
    }
}

/// Judges the names that are there.
fn some_names(names: &Value, path: &Path, errors: &mut ErrorList) {
    let mut judge = |path: &Path, name: &str, judged: &str, prefix: &str| {
        let messages = super::names::dns_1035_label(judged);
        if !name.is_empty() && !messages.is_empty() {
            errors.push(FieldError::invalid(path, name, format!("{prefix}{}", messages.join(","))));
        }
    };
    for field in ["plural", "singular"] {
        judge(&path.child(field), text(&names[field]), text(&names[field]), "");
    }
    for field in ["kind", "listKind"] {
        let name = text(&names[field]);
        judge(&path.child(field), name, &name.to_lowercase(), "may have mixed case, but should otherwise match: ");
    }
    for field in ["shortNames", "categories"] {
        for (index, name) in list(&names[field]).iter().map(text).enumerate() {
            judge(&path.child(field).index(index), name, name, "");
        }
    }
    let (kind, list_kind) = (text(&names["kind"]), text(&names["listKind"]));
    if !kind.is_empty() && kind == list_kind {
        let why = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(&path.child("listKind"), list_kind, why));
    }
}

/// What has been stored must stay readable.
fn stored_versions(crd: &Value, errors: &mut ErrorList) {
    let (stored, path) = (list(&crd["status"]["storedVersions"]), Path::new("status").child("storedVersions"));
    if stored.is_empty() {
        let shown = Value::Array(stored.to_vec());
        errors.push(FieldError::invalid(&path, shown, "must have at least one stored version"));
        return;
    }
    let versions = list(&crd["spec"]["versions"]);
    for version in versions.iter().filter(|version| version["storage"] == true) {
        if !stored.contains(&version["name"]) {
            let why = format!("must have the storage version {}", text(&version["name"]));
            errors.push(FieldError::invalid(&path, stored.to_vec(), why));
        }
    }
    for (index, name) in stored.iter().enumerate() {
        if !versions.iter().any(|version| version["name"] == *name) {
            let version = text(name);
            let why = format!(
                "missing from spec.versions; {version} was previously a storage version, and must remain in \
                 spec.versions until a storage migration ensures no data remains persisted in {version} and removes \
                 {version} from status.storedVersions"
            );
            errors.push(FieldError::invalid(&path.index(index), version, why));
        }
    }
}

#[cfg(test)]
mod tests;
