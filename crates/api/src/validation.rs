//! Validation of API objects on create, update and status update, with upstream's paths and words.
//!
//! A document is read once into its `k8s-openapi` type; then the rules of its kind run. [`rules::all`] lists the rules of
//! every kind. Objects must have their defaults already: rules say "required" where a default would have stood.

use jiff::Timestamp;
use serde_json::Value;

use crate::field::{ErrorList, FieldError, Path};
use crate::kinds::Resource;

use rules::Metadata;

mod admission;
pub mod api_approval;
mod apiregistration;
mod apps;
mod autoscaling;
mod batch;
pub(crate) mod ca_bundle;
mod certificates;
mod check;
mod coordination;
mod core;
mod cron;
mod custom;
pub mod definitions;
mod devices;
mod events;
mod flowcontrol;
mod metadata;
mod migration;
pub mod names;
mod networking;
mod nodes;
mod pods;
mod policy;
mod quota;
mod rbac;
mod rules;
mod scheduling;
mod semver;
mod services;
mod storage;
mod storage_versions;
#[cfg(test)]
mod tests;
mod urls;

pub use devices::MAX_EXPRESSION as MAX_DEVICE_EXPRESSION;
pub use metadata::{MAX_MANAGER, field_manager};
pub use pods::resources::is_extended as is_extended_resource;

/// What is wrong with the metadata of an object inside of another one.
pub(crate) fn embedded_metadata(metadata: &Value, path: &Path, errors: &mut ErrorList) {
    metadata::embedded(metadata, path, errors);
}

/// What is wrong with an object that a client wants to create.
#[must_use]
pub fn create(resource: &Resource, object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(custom) = &resource.custom {
        custom::create(resource, custom, object, &mut errors);
        return errors;
    }
    let rules = rules::find(resource);
    let name = rules.map_or(names::dns_subdomain as rules::NameRule, |rules| rules.name);
    own_metadata(resource, name, object, &mut errors);
    if let Some(create) = rules.and_then(|rules| rules.create.as_ref()) {
        create(object, &mut errors);
    }
    if let Some(create) = rules.and_then(|rules| rules.create_only.as_ref()) {
        create(object, &mut errors);
    }
    errors
}

/// What is wrong with `new` as a replacement of `old`.
#[must_use]
pub fn update(resource: &Resource, new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(custom) = &resource.custom {
        custom::update(resource, custom, new, old, &mut errors);
        return errors;
    }
    let rules = rules::find(resource);
    metadata_update(resource, rules.map_or(Metadata::Difference, |rules| rules.metadata), new, old, &mut errors);
    let Some(rules) = rules else {
        return errors;
    };
    if let Some(create) = rules.create.as_ref().filter(|_| !rules.update_only) {
        create(new, &mut errors);
    }
    if let Some(update) = &rules.update {
        update(new, old, &mut errors);
    }
    errors
}

/// What is wrong with `new` as a replacement of the status of `old`, which is made `now`.
#[must_use]
pub fn status_update(resource: &Resource, new: &Value, old: &Value, now: Timestamp) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(custom) = &resource.custom {
        custom::status_update(resource, custom, new, old, &mut errors);
        return errors;
    }
    metadata_update(resource, Metadata::Difference, new, old, &mut errors);
    if let Some(status) = rules::find(resource).and_then(|rules| rules.status.as_ref()) {
        status(new, old, now, &mut errors);
    }
    errors
}

/// What is wrong with `new` as what approval or denial made of `old`.
#[must_use]
pub fn approval_update(resource: &Resource, new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    metadata_update(resource, Metadata::Both, new, old, &mut errors);
    if let Some(approval) = rules::find(resource).and_then(|rules| rules.approval.as_ref()) {
        approval(new, old, &mut errors);
    }
    errors
}

/// What is wrong with `new` as a replacement of a pod's `ephemeralContainers`.
#[must_use]
pub fn ephemeral_containers_update(resource: &Resource, new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    metadata_update(resource, Metadata::Both, new, old, &mut errors);
    rules::typed_update(new, old, &mut errors, pods::ephemeral_containers_update);
    errors
}

/// What is wrong with a namespace of which the finalizers are new.
#[must_use]
pub fn finalize(resource: &Resource, namespace: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    own_metadata(resource, names::path_segment, namespace, &mut errors);
    rules::typed(namespace, &mut errors, core::namespace_finalize);
    errors
}

/// What is wrong with `new` as a replacement of the resources of a running pod.
#[must_use]
pub fn resize_update(resource: &Resource, new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    metadata_update(resource, Metadata::Both, new, old, &mut errors);
    rules::typed_update(new, old, &mut errors, pods::pod_resize);
    errors
}

/// What is wrong with the cluster addresses and families that a service asks for, before any is given to it.
#[must_use]
pub fn service_addresses(service: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    rules::typed(service, &mut errors, services::addresses);
    errors
}

/// Upstream judges the metadata in the generic registry and again in the strategy of the kind, and tells of each.
fn metadata_update(resource: &Resource, again: Metadata, new: &Value, old: &Value, errors: &mut ErrorList) {
    let name: rules::NameRule = names::path_segment;
    own_metadata(resource, name, new, errors);
    metadata::update(new, old, errors);
    if again != Metadata::Object {
        metadata::update(new, old, errors);
    }
    if again != Metadata::Difference {
        own_metadata(resource, name, new, errors);
    }
}

/// Definitions and what they define may have finalizers of any name.
fn own_metadata(resource: &Resource, name: rules::NameRule, object: &Value, errors: &mut ErrorList) {
    metadata::create(resource.namespaced, name, object, errors);
    if resource.custom.is_none() && resource.group != "apiextensions.k8s.io" {
        metadata::standard_finalizers(object, errors);
    }
}

/// The error of a document that does not have its kind's shape, which `decode` should have refused.
fn undecodable(error: &serde_json::Error) -> FieldError {
    FieldError::internal(&Path::new("<nil>"), error.to_string())
}
