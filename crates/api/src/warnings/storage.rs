//! Volumes, claims and classes of storage.

use serde_json::Value;

use super::nodes::{deprecated_label, selector_term};
use super::{Found, entries, fractional, has, list, text};
use crate::field::Path;

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const CLASS_MESSAGE: &str = "deprecated since v1.8; use \"storageClassName\" attribute instead";
const OPTIONS_ANNOTATION: &str = "volume.beta.kubernetes.io/mount-options";
const OPTIONS_MESSAGE: &str = "deprecated since v1.31; use \"mountOptions\" attribute instead";

/// Kinds of volumes that no longer work, and since when.
pub(super) const GONE: [(&str, &str); 8] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

fn annotation(object: &Value, key: &str, why: &str, found: &mut Found) {
    if entries(object, "/metadata/annotations").any(|(known, _)| known == key) {
        found.add(&Path::new("metadata").child("annotations").key(key), why);
    }
}

pub(super) fn claim(object: &Value, _: Option<&Value>, found: &mut Found) {
    annotation(object, CLASS_ANNOTATION, CLASS_MESSAGE, found);
    claim_spec(&object["spec"], &Path::new("spec"), found);
}

/// What is claimed, whoever makes the claim.
pub(super) fn claim_spec(spec: &Value, path: &Path, found: &mut Found) {
    for field in ["requests", "limits"] {
        let amount = &spec["resources"][field]["storage"];
        fractional(amount, &path.child("resources").child(field).key("storage"), found);
    }
}

pub(super) fn volume(object: &Value, _: Option<&Value>, found: &mut Found) {
    annotation(object, CLASS_ANNOTATION, CLASS_MESSAGE, found);
    annotation(object, OPTIONS_ANNOTATION, OPTIONS_MESSAGE, found);
    let path = Path::new("spec");
    if text(object, "/spec/persistentVolumeReclaimPolicy") == "Recycle" {
        let why = "The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic \
                   provisioning.";
        found.add(&path.child("persistentVolumeReclaimPolicy"), why);
    }
    let terms_path = path.child("nodeAffinity").child("required").child("nodeSelectorTerms");
    for (index, term) in list(object, "/spec/nodeAffinity/required/nodeSelectorTerms").iter().enumerate() {
        selector_term(term, &terms_path.index(index), found);
    }
    for (source, why) in GONE.iter().filter(|(source, _)| has(object, &format!("/spec/{source}"))) {
        // Upstream names this one field otherwise here.
        let name = if *source == "storageos" { "storageOS" } else { source };
        found.add(&path.child(name), why);
    }
}

pub(super) fn class(object: &Value, _: Option<&Value>, found: &mut Found) {
    for (index, term) in list(object, "/allowedTopologies").iter().enumerate() {
        let list_path = Path::new("allowedTopologies").index(index).child("matchLabelExpressions");
        for (index, expression) in list(term, "/matchLabelExpressions").iter().enumerate() {
            let key = text(expression, "/key");
            if let Some(why) = deprecated_label(key) {
                found.add(&list_path.index(index).child("key"), format_args!("{key} is {why}"));
            }
        }
    }
}
