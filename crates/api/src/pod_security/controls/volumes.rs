//! Where volumes come from.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::Violation;
use super::super::pod::{Pod, plural, quoted};

fn has(volume: &Value, source: &str) -> bool {
    volume.get(source).is_some_and(|source| !source.is_null())
}

fn name(volume: &Value) -> &str {
    volume.get("name").and_then(Value::as_str).unwrap_or_default()
}

fn named(names: &[&str]) -> String {
    format!("{} {}", plural(names.len(), "volume", "volumes"), quoted(names))
}

pub(super) fn host_path(pod: &Pod<'_>) -> Option<Violation> {
    let names: Vec<&str> = pod.list("/volumes").filter(|volume| has(volume, "hostPath")).map(name).collect();
    (!names.is_empty()).then(|| Violation::new("hostPath volumes", named(&names)))
}

/// Sources that belong to the cluster, not to a node.
const ALLOWED: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// The others that are known.
const RESTRICTED: [&str; 21] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

pub(super) fn restricted(pod: &Pod<'_>) -> Option<Violation> {
    let (mut names, mut types) = (Vec::new(), BTreeSet::new());
    for volume in pod.list("/volumes").filter(|volume| !ALLOWED.iter().any(|source| has(volume, source))) {
        names.push(name(volume));
        types.insert(RESTRICTED.into_iter().find(|source| has(volume, source)).unwrap_or("unknown"));
    }
    (!names.is_empty()).then(|| {
        let uses = plural(names.len(), "uses", "use");
        let noun = plural(types.len(), "restricted volume type", "restricted volume types");
        Violation::new("restricted volume types", format!("{} {uses} {noun} {}", named(&names), quoted(&types)))
    })
}
