//! Classes of storage and of volume attributes, CSI drivers, nodes and capacities, volume attachments.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::TopologySelectorTerm;
use k8s_openapi::api::storage::v1::{
    CSIDriver, CSINode, CSINodeDriver, CSIStorageCapacity, StorageClass, VolumeAttachment, VolumeAttachmentStatus,
    VolumeAttributesClass,
};

use super::{driver_name, inline_volume};
use crate::field::{ErrorList, FieldError, Path};
use crate::validation::{check, names, pods};

/// How long the name of a node may be for a driver, and how long it might once be.
const NODE_ID: usize = 192;
const LONG_NODE_ID: usize = 256;

const MAX_ATTACHMENT_METADATA: usize = 256 * 1024;
const MAX_ERROR_MESSAGE: usize = 1024;

/// Judges a new storage class.
pub(in crate::validation) fn storage_class(class: &StorageClass, errors: &mut ErrorList) {
    provisioner(&class.provisioner, &Path::new("provisioner"), errors);
    parameters(class.parameters.as_ref(), &Path::new("parameters"), errors);
    check::optional_one_of(errors, &Path::new("reclaimPolicy"), &class.reclaim_policy, &["Delete", "Retain"]);
    let modes = ["Immediate", "WaitForFirstConsumer"];
    let mode = check::text(&class.volume_binding_mode);
    check::required_one_of(errors, &Path::new("volumeBindingMode"), mode, &modes);
    let terms = class.allowed_topologies.as_deref().unwrap_or_default();
    for (index, term) in terms.iter().enumerate() {
        let path = Path::new("allowedTopologies").index(index);
        topology(term, &path, errors);
        if terms[..index].iter().any(|earlier| values(earlier) == values(term)) {
            errors.push(FieldError::duplicate(&path.child("matchLabelExpressions"), ""));
        }
    }
}

fn provisioner(name: &str, path: &Path, errors: &mut ErrorList) {
    if check::required(errors, path, name) {
        check::invalid(errors, path, name, names::qualified_name(&name.to_lowercase()));
    }
}

fn parameters(parameters: Option<&BTreeMap<String, String>>, path: &Path, errors: &mut ErrorList) {
    let entries = || parameters.into_iter().flatten();
    if entries().count() > 512 {
        errors.push(FieldError::too_long(path, 512));
        return;
    }
    for (key, _) in entries().filter(|(key, _)| key.is_empty()) {
        errors.push(FieldError::invalid(path, key.as_str(), "field can not be empty."));
    }
    if size(entries()) > 256 * 1024 {
        errors.push(FieldError::too_long(path, 256 * 1024));
    }
}

fn size<'a>(entries: impl Iterator<Item = (&'a String, &'a String)>) -> usize {
    entries.map(|(key, value)| key.len() + value.len()).sum()
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

/// What a term allows, whatever the order in which it says so.
fn values(term: &TopologySelectorTerm) -> BTreeMap<&str, BTreeSet<&str>> {
    let expressions = term.match_label_expressions.iter().flatten();
    expressions
        .map(|found| (found.key.as_str(), found.values.iter().map(String::as_str).collect::<BTreeSet<_>>()))
        .collect()
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

/// Judges a class of volume attributes.
pub(in crate::validation) fn attributes_class(class: &VolumeAttributesClass, errors: &mut ErrorList) {
    provisioner(&class.driver_name, &Path::new("driverName"), errors);
    let path = Path::new("parameters");
    parameters(class.parameters.as_ref(), &path, errors);
    if class.parameters.as_ref().is_none_or(BTreeMap::is_empty) {
        errors.push(FieldError::required(&path, "must contain at least one key/value pair"));
    }
}

/// Judges an update of a class of volume attributes.
pub(in crate::validation) fn attributes_class_update(
    new: &VolumeAttributesClass,
    old: &VolumeAttributesClass,
    errors: &mut ErrorList,
) {
    for (field, changed) in
        [("driverName", new.driver_name != old.driver_name), ("parameters", new.parameters != old.parameters)]
    {
        if changed {
            let why = format!("updates to {field} are forbidden.");
            errors.push(FieldError::forbidden(&Path::new(field), why));
        }
    }
}

/// Judges a CSI driver.
pub(in crate::validation) fn csi_driver(driver: &CSIDriver, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let policies = ["File", "None", "ReadWriteOnceWithFSType"];
    check::optional_one_of(errors, &path.child("fsGroupPolicy"), &driver.spec.fs_group_policy, &policies);
    let list = path.child("tokenRequests");
    let requests = driver.spec.token_requests.as_deref().unwrap_or_default();
    let mut seen = BTreeSet::new();
    for (index, request) in requests.iter().enumerate() {
        let path = list.index(index);
        if !seen.insert(request.audience.as_str()) {
            errors.push(FieldError::duplicate(&path.child("audience"), request.audience.as_str()));
            continue;
        }
        if let Some(seconds) = request.expiration_seconds {
            pods::token_lifetime(seconds, &path.child("expirationSeconds"), errors);
        }
    }
    for mode in driver.spec.volume_lifecycle_modes.iter().flatten() {
        check::one_of(errors, &path.child("volumeLifecycleModes"), mode, &["Ephemeral", "Persistent"]);
    }
    if let Some(seconds) = driver.spec.node_allocatable_update_period_seconds.filter(|seconds| *seconds < 10) {
        let path = path.child("nodeAllocatableUpdatePeriodSeconds");
        errors.push(FieldError::invalid(&path, seconds, "must be greater than or equal to 10 seconds"));
    }
    // The default says false; upstream does not set it where there are no requests.
    if driver.spec.service_account_token_in_secrets == Some(true) && requests.is_empty() {
        let why = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        errors.push(FieldError::invalid(&path.child("serviceAccountTokenInSecrets"), true, why));
    }
}

/// Judges an update of a CSI driver.
pub(in crate::validation) fn csi_driver_update(new: &CSIDriver, old: &CSIDriver, errors: &mut ErrorList) {
    let path = Path::new("spec");
    // Upstream spells the path like this.
    check::immutable(errors, &path.child("attachedRequired"), &new.spec.attach_required, &old.spec.attach_required);
    let modes_path = path.child("volumeLifecycleModes");
    check::immutable(errors, &modes_path, &new.spec.volume_lifecycle_modes, &old.spec.volume_lifecycle_modes);
}

/// Judges a new CSI node.
pub(in crate::validation) fn csi_node(node: &CSINode, errors: &mut ErrorList) {
    drivers(&node.spec.drivers, false, errors);
}

/// Judges the drivers of a node; those from before may have longer names for it.
fn drivers(drivers: &[CSINodeDriver], long_ids: bool, errors: &mut ErrorList) {
    let list = Path::new("spec").child("drivers");
    let mut seen = BTreeSet::new();
    for (index, driver) in drivers.iter().enumerate() {
        let path = list.index(index);
        driver_name(&driver.name, &path.child("name"), errors);
        if !seen.insert(driver.name.as_str()) {
            errors.push(FieldError::duplicate(&path.child("name"), driver.name.as_str()));
        }
        let id = driver.node_id.as_str();
        let limit = if long_ids { LONG_NODE_ID } else { NODE_ID };
        check::required(errors, &path.child("nodeID"), id);
        if id.len() > limit {
            let why = format!("must be {limit} characters or less");
            errors.push(FieldError::invalid(&path.child("nodeID"), id, why));
        }
        let keys = driver.topology_keys.as_deref().unwrap_or_default();
        for (index, key) in keys.iter().enumerate() {
            check::required(errors, &path, key);
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

/// Judges an update of a CSI node: a driver that stays may only change how many volumes it can have.
pub(in crate::validation) fn csi_node_update(new: &CSINode, old: &CSINode, errors: &mut ErrorList) {
    let long_before = old.spec.drivers.iter().any(|driver| driver.node_id.len() > NODE_ID);
    drivers(&new.spec.drivers, long_before, errors);
    let fixed = |driver: &CSINodeDriver| CSINodeDriver { allocatable: None, ..driver.clone() };
    for driver in &old.spec.drivers {
        for now in new.spec.drivers.iter().filter(|now| now.name == driver.name) {
            check::immutable(errors, &Path::new("spec").child("drivers"), &fixed(now), &fixed(driver));
        }
    }
}

/// Judges what a driver tells about the room that it has.
pub(in crate::validation) fn storage_capacity(capacity: &CSIStorageCapacity, errors: &mut ErrorList) {
    if let Some(topology) = &capacity.node_topology {
        check::label_selector(errors, &Path::new("nodeTopology"), topology);
    }
    let class = capacity.storage_class_name.as_str();
    check::invalid(errors, &Path::new("storageClassName"), class, names::dns_subdomain(class));
    let path = Path::new("capacity");
    let amount = capacity.capacity.as_ref().and_then(|amount| check::quantity(errors, &path, amount));
    if let Some(amount) = amount.filter(|amount| amount.sign() < 0) {
        errors.push(FieldError::invalid(&path, amount.to_string(), "must be greater than or equal to 0"));
    }
}

/// Judges an update of that: what was asked for stays.
pub(in crate::validation) fn storage_capacity_update(
    new: &CSIStorageCapacity,
    old: &CSIStorageCapacity,
    errors: &mut ErrorList,
) {
    check::immutable(errors, &Path::new("nodeTopology"), &new.node_topology, &old.node_topology);
    check::immutable(errors, &Path::new("storageClassName"), &new.storage_class_name, &old.storage_class_name);
}

/// Judges a new volume attachment.
pub(in crate::validation) fn volume_attachment(attachment: &VolumeAttachment, errors: &mut ErrorList) {
    let spec = &attachment.spec;
    whole_attachment(attachment, errors);
    // Upstream has two sets of rules: those above and what the first version added.
    driver_name(&spec.attacher, &Path::new("spec").child("attacher"), errors);
    if let Some(name) = &spec.source.persistent_volume_name {
        let path = Path::new("spec").child("source").child("persistentVolumeName");
        check::invalid(errors, &path, name.as_str(), names::dns_subdomain(name));
    }
}

fn whole_attachment(attachment: &VolumeAttachment, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = &attachment.spec;
    check::required(errors, &path.child("attacher"), &spec.attacher);
    check::invalid(errors, &path.child("nodeName"), spec.node_name.as_str(), names::dns_subdomain(&spec.node_name));
    let path = path.child("source");
    let why = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (&spec.source.inline_volume_spec, &spec.source.persistent_volume_name) {
        (None, None) => errors.push(FieldError::required(&path, why)),
        (Some(_), Some(_)) => errors.push(FieldError::forbidden(&path, why)),
        (None, Some(name)) if name.is_empty() => {
            let why = "must specify non empty persistentVolumeName";
            errors.push(FieldError::required(&path.child("persistentVolumeName"), why));
        }
        (None, Some(_)) => {}
        (Some(volume), None) => inline_volume(volume, &path.child("inlineVolumeSpec"), errors),
    }
    if let Some(status) = &attachment.status {
        attachment_status(status, &Path::new("status"), errors);
    }
}

fn attachment_status(status: &VolumeAttachmentStatus, path: &Path, errors: &mut ErrorList) {
    if size(status.attachment_metadata.iter().flatten()) > MAX_ATTACHMENT_METADATA {
        errors.push(FieldError::too_long(&path.child("attachmentMetadata"), MAX_ATTACHMENT_METADATA));
    }
    for (field, error) in [("attachError", &status.attach_error), ("detachError", &status.detach_error)] {
        let Some(error) = error else {
            continue;
        };
        let path = path.child(field);
        if check::text(&error.message).len() > MAX_ERROR_MESSAGE {
            // Upstream tells the limit of the metadata here.
            errors.push(FieldError::too_long(&path.child("message"), MAX_ATTACHMENT_METADATA));
        }
        if let Some(code) = error.error_code.filter(|code| *code < 0) {
            let why = names::in_range(0, i64::from(i32::MAX));
            errors.push(FieldError::invalid(&path.child("errorCode"), code, why));
        }
    }
}

/// Judges an update of a volume attachment.
pub(in crate::validation) fn volume_attachment_update(
    new: &VolumeAttachment,
    old: &VolumeAttachment,
    errors: &mut ErrorList,
) {
    whole_attachment(new, errors);
    check::immutable(errors, &Path::new("spec"), &new.spec, &old.spec);
}
