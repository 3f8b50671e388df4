//! Volumes, claims, storage classes and CSI drivers.

use serde_json::json;

use super::Object;
use super::edit::{child, is_empty, made, set};

pub(super) fn persistent_volume(object: &mut Object) {
    let spec = made(object, "spec");
    set(spec, "persistentVolumeReclaimPolicy", "Retain");
    set(spec, "volumeMode", "Filesystem");
    if let Some(path) = child(spec, "hostPath") {
        // An empty type is a type of its own: no check.
        path.entry("type").or_insert_with(|| "".into());
    }
    set(made(object, "status"), "phase", "Pending");
}

pub(super) fn persistent_volume_claim(object: &mut Object) {
    claim_spec(made(object, "spec"));
    set(made(object, "status"), "phase", "Pending");
}

/// The spec of a claim, also of one in a template.
pub(super) fn claim_spec(spec: &mut Object) {
    set(spec, "volumeMode", "Filesystem");
}

pub(super) fn storage_class(object: &mut Object) {
    set(object, "reclaimPolicy", "Delete");
    set(object, "volumeBindingMode", "Immediate");
}

pub(super) fn csi_driver(object: &mut Object) {
    let spec = made(object, "spec");
    set(spec, "attachRequired", true);
    set(spec, "podInfoOnMount", false);
    set(spec, "storageCapacity", false);
    set(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    if is_empty(spec, "volumeLifecycleModes") {
        spec.insert("volumeLifecycleModes".to_owned(), json!(["Persistent"]));
    }
    set(spec, "requiresRepublish", false);
    set(spec, "seLinuxMount", false);
    set(spec, "serviceAccountTokenInSecrets", false);
}
