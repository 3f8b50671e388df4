//! Volume mounts and block devices of containers.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, VolumeMount};

use super::containers::Context;
use super::volumes::Kind;
use crate::field::{ErrorList, FieldError, Path};
use crate::validation::check;

/// Judges how a container uses the pod's volumes.
pub(super) fn mounts(container: &Container, context: &Context<'_>, path: &Path, errors: &mut ErrorList) {
    let devices_path = path.child("volumeDevices");
    let list = path.child("volumeMounts");
    let devices: BTreeSet<&str> =
        container.volume_devices.iter().flatten().map(|device| device.device_path.as_str()).collect();
    let mut mount_paths = BTreeSet::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let path = list.index(index);
        check::required(errors, &path.child("name"), &mount.name);
        if !context.volumes.contains_key(&mount.name) {
            errors.push(FieldError::not_found(&path.child("name"), mount.name.as_str()));
        }
        let mount_path = mount.mount_path.as_str();
        check::required(errors, &path.child("mountPath"), mount_path);
        if !mount_paths.insert(mount_path) {
            errors.push(FieldError::invalid(&path.child("mountPath"), mount_path, "must be unique"));
        }
        if devices.contains(mount_path) {
            let why = "must not already exist as a path in volumeDevices";
            errors.push(FieldError::invalid(&path.child("mountPath"), mount_path, why));
        }
        sub_paths(mount, &list, &path, errors);
        propagation(mount, container, &list, &path, errors);
    }
    let mut seen_names = BTreeSet::new();
    let mut seen_paths = BTreeSet::new();
    for (index, device) in container.volume_devices.iter().flatten().enumerate() {
        let path = devices_path.index(index);
        let name = device.name.as_str();
        if check::required(errors, &path.child("name"), name) {
            if !seen_names.insert(name) {
                errors.push(FieldError::invalid(&path.child("name"), name, "must be unique"));
            }
            match context.volumes.get(name) {
                None => errors.push(FieldError::not_found(&path.child("name"), name)),
                Some(Kind::Claim) => {}
                Some(Kind::Other) => {
                    let why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                    errors.push(FieldError::invalid(&path.child("name"), name, why));
                }
            }
        }
        let device_path = device.device_path.as_str();
        if check::required(errors, &path.child("devicePath"), device_path) {
            if !seen_paths.insert(device_path) {
                errors.push(FieldError::invalid(&path.child("devicePath"), device_path, "must be unique"));
            }
            if mount_paths.contains(device_path) {
                let why = "must not already exist as a path in volumeMounts";
                errors.push(FieldError::invalid(&path.child("devicePath"), device_path, why));
            }
            if device_path.split('/').any(|part| part == "..") {
                let why = "can not contain backsteps ('..')";
                errors.push(FieldError::invalid(&path.child("devicePath"), device_path, why));
            }
        }
    }
}

/// Upstream tells of wrong sub-paths without the index of the mount.
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

fn propagation(mount: &VolumeMount, container: &Container, list: &Path, path: &Path, errors: &mut ErrorList) {
    let propagation_path = list.child("mountPropagation");
    let supported = ["Bidirectional", "HostToContainer", "None"];
    check::optional_one_of(errors, &propagation_path, &mount.mount_propagation, &supported);
    let propagation = check::text(&mount.mount_propagation);
    let privileged = container.security_context.as_ref().and_then(|security| security.privileged) == Some(true);
    if propagation == "Bidirectional" && !privileged {
        let why = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(FieldError::forbidden(&propagation_path, why));
    }
    let recursive = path.child("recursiveReadOnly");
    let modes = ["Disabled", "Enabled", "IfPossible"];
    check::optional_one_of(errors, &recursive, &mount.recursive_read_only, &modes);
    if matches!(check::text(&mount.recursive_read_only), "Enabled" | "IfPossible") {
        if mount.read_only != Some(true) {
            errors.push(FieldError::forbidden(&recursive, "may only be specified when readOnly is true"));
        }
        if !matches!(propagation, "" | "None") {
            let why = "may only be specified when mountPropagation is None or not specified";
            errors.push(FieldError::forbidden(&recursive, why));
        }
    }
}
