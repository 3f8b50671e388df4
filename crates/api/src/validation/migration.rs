//! Migrations of stored objects to another version.

use k8s_openapi::api::storagemigration::v1beta1::StorageVersionMigration;

use super::{check, names};
use crate::field::{ErrorList, FieldError, Path};

/// Judges a migration.
pub(super) fn migration(migration: &StorageVersionMigration, errors: &mut ErrorList) {
    let path = Path::new("spec").child("resource");
    let Some(resource) = migration.spec.as_ref().map(|spec| &spec.resource) else {
        errors.push(FieldError::required(&path.child("resource"), "resource is required to be set"));
        return;
    };
    if resource.resource.is_empty() {
        errors.push(FieldError::required(&path.child("resource"), "resource is required to be set"));
    } else {
        let judged = names::dns_1035_label(&resource.resource);
        check::joined(errors, &path.child("resource"), &resource.resource, &judged, "", ",");
    }
    let group = resource.group.as_str();
    if !group.is_empty() {
        check::joined(errors, &path.child("group"), group, &names::dns_subdomain(group), "", ",");
    }
}

/// Judges an update of a migration.
pub(super) fn migration_update(new: &StorageVersionMigration, old: &StorageVersionMigration, errors: &mut ErrorList) {
    check::immutable(errors, &Path::new("spec"), &new.spec, &old.spec);
}

/// Judges an update of the status of a migration.
pub(super) fn migration_status(new: &StorageVersionMigration, old: &StorageVersionMigration, errors: &mut ErrorList) {
    let path = Path::new("status");
    let status = new.status.clone().unwrap_or_default();
    let (version, before) = (check::text(&status.resource_version), version_of(old));
    let version_path = path.child("resourceVersion");
    if let Some(why) = not_comparable(version) {
        errors.push(FieldError::invalid(&version_path, version, why));
    }
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let path = path.child("conditions");
    check::conditions(errors, &path, conditions);
    if !before.is_empty() && before != version {
        errors.push(FieldError::invalid(&version_path, version, check::IMMUTABLE));
    }
    let told = [
        (
            is(new, "Succeeded") && is(new, "Failed"),
            "Both success and failed conditions cannot be true at the same time",
        ),
        (is(new, "Succeeded") && is(new, "Running"), "Running condition cannot be true when success condition is true"),
        (is(new, "Failed") && is(new, "Running"), "Running condition cannot be true when failed condition is true"),
        (is(old, "Succeeded") && !is(new, "Succeeded"), "Success condition cannot be set to false once it is true"),
        (is(old, "Failed") && !is(new, "Failed"), "Failed condition cannot be set to false once it is true"),
    ];
    for (_, why) in told.into_iter().filter(|(wrong, _)| *wrong) {
        errors.push(FieldError::invalid(&path, check::json(conditions), why));
    }
}

fn version_of(migration: &StorageVersionMigration) -> &str {
    migration.status.as_ref().map_or("", |status| check::text(&status.resource_version))
}

/// Why a resource version cannot be compared with others.
fn not_comparable(version: &str) -> Option<String> {
    let is_number = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    if version.is_empty() {
        return Some("resource version is empty".to_owned());
    }
    (!is_number || version.starts_with('0')).then(|| format!("resource version is not well formed: {version}"))
}

/// Whether a condition is true.
fn is(migration: &StorageVersionMigration, kind: &str) -> bool {
    let conditions = migration.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == kind && condition.status == "True")
}
