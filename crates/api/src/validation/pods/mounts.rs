//! Volume mounts and block devices of containers.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, VolumeMount};

use super::containers::Context;
use super::volumes::Kind;
use crate::field::{ErrorList, FieldError, Path};
use crate::validation::check;

/// Judges which volumes a container mounts, and how.
pub(super) fn mounts(container: &Container, context: &Context<'_>, list: &Path, errors: &mut ErrorList) {
    let devices = container.volume_devices.as_deref().unwrap_or_default();
    let mut seen = BTreeSet::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let path = list.index(index);
        let name = mount.name.as_str();
        check::required(errors, &path.child("name"), name);
        if !context.volumes.contains_key(name) {
            errors.push(FieldError::not_found(&path.child("name"), name));
        }
        let mount_path = mount.mount_path.as_str();
        check::required(errors, &path.child("mountPath"), mount_path);
        if !seen.insert(mount_path) {
            errors.push(FieldError::invalid(&path.child("mountPath"), mount_path, "must be unique"));
        }
        if devices.iter().any(|device| device.name == name) {
            let why = "must not already exist in volumeDevices";
            errors.push(FieldError::invalid(&path.child("name"), name, why));
        }
        if devices.iter().any(|device| device.device_path == mount_path) {
            let why = "must not already exist as a path in volumeDevices";
            errors.push(FieldError::invalid(&path.child("mountPath"), mount_path, why));
        }
        sub_paths(mount, list, &path, errors);
        propagation(mount, container, &list.child("mountPropagation"), errors);
        recursion(mount, &list.child("recursiveReadOnly"), errors);
    }
}

/// Judges which volumes a container has as block devices.
pub(super) fn devices(container: &Container, context: &Context<'_>, list: &Path, errors: &mut ErrorList) {
    let mounts = container.volume_mounts.as_deref().unwrap_or_default();
    let mut seen_names = BTreeSet::new();
    let mut seen_paths = BTreeSet::new();
    for (index, device) in container.volume_devices.iter().flatten().enumerate() {
        let path = list.index(index);
        let name = device.name.as_str();
        let name_path = path.child("name");
        check::required(errors, &name_path, name);
        if !name.is_empty() && !seen_names.insert(name) {
            errors.push(FieldError::invalid(&name_path, name, "must be unique"));
        }
        match context.volumes.get(name) {
            None => errors.push(FieldError::not_found(&name_path, name)),
            Some(Kind::Claim) => {}
            Some(Kind::Other) => {
                let why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(FieldError::invalid(&name_path, name, why));
            }
        }
        let device_path = device.device_path.as_str();
        let path_path = path.child("devicePath");
        check::required(errors, &path_path, device_path);
        if seen_paths.contains(device_path) {
            errors.push(FieldError::invalid(&path_path, device_path, "must be unique"));
        }
        if device_path.split('/').any(|part| part == "..") {
            errors.push(FieldError::invalid(&path_path, device_path, "can not contain backsteps ('..')"));
        } else {
            seen_paths.insert(device_path);
        }
        if mounts.iter().any(|mount| mount.name == name) {
            errors.push(FieldError::invalid(&name_path, name, "must not already exist in volumeMounts"));
        }
        if mounts.iter().any(|mount| mount.mount_path == device_path) {
            let why = "must not already exist as a path in volumeMounts";
            errors.push(FieldError::invalid(&path_path, device_path, why));
        }
    }
}

/// Upstream tells of wrong sub-paths, and of all below, without the index of the mount.
fn sub_paths(mount: &VolumeMount, list: &Path, path: &Path, errors: &mut ErrorList) {
    let sub_path = check::text(&mount.sub_path);
    let expression = check::text(&mount.sub_path_expr);
    if !sub_path.is_empty() {
        check::descending_path(errors, &list.child("subPath"), sub_path);
    }
    if !expression.is_empty() {
        if !sub_path.is_empty() {
            let why = "subPathExpr and subPath are mutually exclusive";
            errors.push(FieldError::invalid(&path.child("subPathExpr"), expression, why));
        }
        check::descending_path(errors, &list.child("subPathExpr"), expression);
    }
}

fn propagation(mount: &VolumeMount, container: &Container, path: &Path, errors: &mut ErrorList) {
    let supported = ["Bidirectional", "HostToContainer", "None"];
    check::optional_one_of(errors, path, &mount.mount_propagation, &supported);
    let privileged = container.security_context.as_ref().and_then(|security| security.privileged) == Some(true);
    if check::text(&mount.mount_propagation) == "Bidirectional" && !privileged {
        let why = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(FieldError::forbidden(path, why));
    }
}

/// What is mounted below a volume is read-only only where nothing else can come in.
fn recursion(mount: &VolumeMount, path: &Path, errors: &mut ErrorList) {
    let modes = ["Disabled", "Enabled", "IfPossible"];
    check::optional_one_of(errors, path, &mount.recursive_read_only, &modes);
    if matches!(check::text(&mount.recursive_read_only), "Enabled" | "IfPossible") {
        if mount.read_only != Some(true) {
            errors.push(FieldError::forbidden(path, "may only be specified when readOnly is true"));
        }
        if mount.mount_propagation.as_deref().is_some_and(|propagation| propagation != "None") {
            let why = "may only be specified when mountPropagation is None or not specified";
            errors.push(FieldError::forbidden(path, why));
        }
    }
}
