//! Storage classes, CSI drivers and nodes, volume attachments.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::TopologySelectorTerm;
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, StorageClass, VolumeAttachment};

use super::driver_name;
use crate::field::{ErrorList, FieldError, Path};
use crate::validation::{check, names, pods};

/// Judges a new storage class.
pub(in crate::validation) fn storage_class(class: &StorageClass, errors: &mut ErrorList) {
    let path = Path::new("provisioner");
    if check::required(errors, &path, &class.provisioner) {
        let judged = names::qualified_name(&class.provisioner.to_lowercase());
        check::invalid(errors, &path, class.provisioner.as_str(), judged);
    }
    let path = Path::new("parameters");
    let parameters = class.parameters.clone().unwrap_or_default();
    if parameters.len() > 512 {
        errors.push(FieldError::too_long(&path, 512));
    }
    for key in parameters.keys().filter(|key| key.is_empty()) {
        errors.push(FieldError::invalid(&path, key.as_str(), "field can not be empty."));
    }
    let size: usize = parameters.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > 256 * 1024 {
        errors.push(FieldError::too_long(&path, 256 * 1024));
    }
    check::optional_one_of(errors, &Path::new("reclaimPolicy"), &class.reclaim_policy, &["Delete", "Retain"]);
    let modes = ["Immediate", "WaitForFirstConsumer"];
    let mode = check::text(&class.volume_binding_mode);
    check::required_one_of(errors, &Path::new("volumeBindingMode"), mode, &modes);
    for (index, term) in class.allowed_topologies.iter().flatten().enumerate() {
        topology(term, &Path::new("allowedTopologies").index(index), errors);
    }
}

fn topology(term: &TopologySelectorTerm, path: &Path, errors: &mut ErrorList) {
    let list = path.child("matchLabelExpressions");
    let mut seen = BTreeSet::new();
    for (index, expression) in term.match_label_expressions.iter().flatten().enumerate() {
        let path = list.index(index);
        if expression.values.is_empty() {
            errors.push(FieldError::required(&path.child("values"), ""));
        }
        for (index, value) in expression.values.iter().enumerate() {
            if expression.values[..index].contains(value) {
                errors.push(FieldError::duplicate(&path.child("values").index(index), value.as_str()));
            }
        }
        check::invalid(errors, &path.child("key"), expression.key.as_str(), names::label_key(&expression.key));
        if !seen.insert(expression.key.as_str()) {
            errors.push(FieldError::duplicate(&path.child("key"), expression.key.as_str()));
        }
    }
}

/// Judges an update of a storage class.
pub(in crate::validation) fn storage_class_update(new: &StorageClass, old: &StorageClass, errors: &mut ErrorList) {
    for (field, changed) in [
        ("parameters", new.parameters != old.parameters),
        ("provisioner", new.provisioner != old.provisioner),
        ("reclaimPolicy", new.reclaim_policy != old.reclaim_policy),
    ] {
        if changed {
            let why = format!("updates to {field} are forbidden.");
            errors.push(FieldError::forbidden(&Path::new(field), why));
        }
    }
    let path = Path::new("volumeBindingMode");
    check::immutable(errors, &path, &new.volume_binding_mode, &old.volume_binding_mode);
}

/// Judges a CSI driver.
pub(in crate::validation) fn csi_driver(driver: &CSIDriver, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let policies = ["File", "None", "ReadWriteOnceWithFSType"];
    check::optional_one_of(errors, &path.child("fsGroupPolicy"), &driver.spec.fs_group_policy, &policies);
    let list = path.child("tokenRequests");
    let mut seen = BTreeSet::new();
    for (index, request) in driver.spec.token_requests.iter().flatten().enumerate() {
        let path = list.index(index);
        if !seen.insert(request.audience.as_str()) {
            errors.push(FieldError::duplicate(&path.child("audience"), request.audience.as_str()));
        }
        if let Some(seconds) = request.expiration_seconds {
            pods::token_lifetime(seconds, &path.child("expirationSeconds"), errors);
        }
    }
    for mode in driver.spec.volume_lifecycle_modes.iter().flatten() {
        check::one_of(errors, &path.child("volumeLifecycleModes"), mode, &["Ephemeral", "Persistent"]);
    }
}

/// Judges a CSI node.
pub(in crate::validation) fn csi_node(node: &CSINode, errors: &mut ErrorList) {
    let list = Path::new("spec").child("drivers");
    let mut seen = BTreeSet::new();
    for (index, driver) in node.spec.drivers.iter().enumerate() {
        let path = list.index(index);
        driver_name(&driver.name, &path.child("name"), errors);
        if !seen.insert(driver.name.as_str()) {
            errors.push(FieldError::duplicate(&path.child("name"), driver.name.as_str()));
        }
        check::required(errors, &path.child("nodeID"), &driver.node_id);
        let keys = driver.topology_keys.as_deref().unwrap_or_default();
        for (index, key) in keys.iter().enumerate() {
            if keys[..index].contains(key) {
                errors.push(FieldError::duplicate(&path, key.as_str()));
            }
            check::invalid(errors, &path, key.as_str(), names::qualified_name(key));
        }
        if let Some(count) = driver.allocatable.as_ref().and_then(|allocatable| allocatable.count) {
            check::non_negative(errors, &path.child("allocatable").child("count"), count);
        }
    }
}

/// Judges a volume attachment.
pub(in crate::validation) fn volume_attachment(attachment: &VolumeAttachment, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = &attachment.spec;
    // Upstream asks for the attacher, then for the name of a driver.
    check::required(errors, &path.child("attacher"), &spec.attacher);
    driver_name(&spec.attacher, &path.child("attacher"), errors);
    check::invalid(errors, &path.child("nodeName"), spec.node_name.as_str(), names::dns_subdomain(&spec.node_name));
    let path = path.child("source");
    let why = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (&spec.source.inline_volume_spec, check::text(&spec.source.persistent_volume_name)) {
        (None, "") => errors.push(FieldError::required(&path, why)),
        (None, name) => {
            check::invalid(errors, &path.child("persistentVolumeName"), name, names::dns_subdomain(name));
        }
        (Some(_), "") => {}
        (Some(_), _) => errors.push(FieldError::forbidden(&path, why)),
    }
}
