//! Volumes, claims, storage classes and CSI objects.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{NONE, UNSET, age, count, list, name, scalar, string, string_or};
use super::{AGE, Column, NAME, Printer, boolean, integer, text, wide};
use crate::meta;

const STORAGE: &str = "storage.k8s.io";

pub(super) const PRINTERS: &[Printer] = &[
    Printer { group: "", kind: "PersistentVolume", columns: PERSISTENT_VOLUME, cells: persistent_volume },
    Printer { group: "", kind: "PersistentVolumeClaim", columns: CLAIM, cells: claim },
    Printer { group: STORAGE, kind: "CSIDriver", columns: CSI_DRIVER, cells: csi_driver },
    Printer { group: STORAGE, kind: "CSINode", columns: CSI_NODE, cells: csi_node },
    Printer { group: STORAGE, kind: "StorageClass", columns: STORAGE_CLASS, cells: storage_class },
    Printer { group: STORAGE, kind: "VolumeAttachment", columns: ATTACHMENT, cells: attachment },
    Printer { group: STORAGE, kind: "VolumeAttributesClass", columns: ATTRIBUTES_CLASS, cells: attributes_class },
];

/// The annotation that held the class before there was a field.
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

const PERSISTENT_VOLUME: &[Column] = &[
    NAME,
    text("Capacity"),
    text("Access Modes"),
    text("Reclaim Policy"),
    text("Status"),
    text("Claim"),
    text("StorageClass"),
    text("VolumeAttributesClass"),
    text("Reason"),
    AGE,
    wide("VolumeMode"),
];

fn persistent_volume(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let claim = &spec["claimRef"];
    let claim = match claim.is_null() {
        true => String::new(),
        false => format!("{}/{}", string(&claim["namespace"]), string(&claim["name"])),
    };
    vec![
        name(object),
        string_or(&spec["capacity"]["storage"], "0").into(),
        access_modes(&spec["accessModes"]).into(),
        string(&spec["persistentVolumeReclaimPolicy"]).into(),
        phase(object).into(),
        claim.into(),
        class(object).into(),
        or_unset(&spec["volumeAttributesClassName"]),
        string(&status["reason"]).into(),
        age(object, now),
        or_unset(&spec["volumeMode"]),
    ]
}

const CLAIM: &[Column] = &[
    NAME,
    text("Status"),
    text("Volume"),
    text("Capacity"),
    text("Access Modes"),
    text("StorageClass"),
    text("VolumeAttributesClass"),
    AGE,
    wide("VolumeMode"),
];

fn claim(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let volume = string(&spec["volumeName"]);
    let (capacity, modes) = match volume.is_empty() {
        true => ("", String::new()),
        false => (string_or(&status["capacity"]["storage"], "0"), access_modes(&status["accessModes"])),
    };
    vec![
        name(object),
        phase(object).into(),
        volume.into(),
        capacity.into(),
        modes.into(),
        class(object).into(),
        or_unset(&spec["volumeAttributesClassName"]),
        age(object, now),
        or_unset(&spec["volumeMode"]),
    ]
}

fn or_unset(value: &Value) -> Value {
    value.as_str().unwrap_or(UNSET).into()
}

fn phase(object: &Value) -> &str {
    if meta::is_deleting(object) { "Terminating" } else { string(&object["status"]["phase"]) }
}

fn class(object: &Value) -> &str {
    let annotation = &object["metadata"]["annotations"][BETA_CLASS];
    annotation.as_str().unwrap_or_else(|| string(&object["spec"]["storageClassName"]))
}

fn access_modes(value: &Value) -> String {
    const SHORT: [(&str, &str); 4] =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let modes = list(value);
    let shown: Vec<&str> =
        SHORT.iter().filter(|(mode, _)| modes.iter().any(|has| has == mode)).map(|(_, short)| *short).collect();
    shown.join(",")
}

const STORAGE_CLASS: &[Column] =
    &[NAME, text("Provisioner"), text("ReclaimPolicy"), text("VolumeBindingMode"), text("AllowVolumeExpansion"), AGE];

fn storage_class(object: &Value, now: Timestamp) -> Vec<Value> {
    let marks = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    vec![
        class_name(object, &marks),
        string(&object["provisioner"]).into(),
        string_or(&object["reclaimPolicy"], "Delete").into(),
        string_or(&object["volumeBindingMode"], "Immediate").into(),
        (object["allowVolumeExpansion"] == true).into(),
        age(object, now),
    ]
}

const ATTRIBUTES_CLASS: &[Column] = &[NAME, text("DriverName"), AGE];

fn attributes_class(object: &Value, now: Timestamp) -> Vec<Value> {
    let name = class_name(object, &["storage.alpha.kubernetes.io/is-default-class"]);
    vec![name, string(&object["driverName"]).into(), age(object, now)]
}

/// The name of a class, and whether one of the annotations makes it the one of who names none.
fn class_name(object: &Value, marks: &[&str]) -> Value {
    let annotations = &object["metadata"]["annotations"];
    let is_default = marks.iter().any(|mark| annotations[*mark] == "true");
    format!("{}{}", meta::name(object), if is_default { " (default)" } else { "" }).into()
}

const ATTACHMENT: &[Column] = &[
    NAME,
    Column { name: "Attacher", ty: "string", format: "name", priority: 0 },
    text("PV"),
    text("Node"),
    boolean("Attached"),
    AGE,
];

fn attachment(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    vec![
        name(object),
        string(&spec["attacher"]).into(),
        string(&spec["source"]["persistentVolumeName"]).into(),
        string(&spec["nodeName"]).into(),
        (object["status"]["attached"] == true).into(),
        age(object, now),
    ]
}

const CSI_DRIVER: &[Column] = &[
    NAME,
    boolean("AttachRequired"),
    boolean("PodInfoOnMount"),
    boolean("StorageCapacity"),
    text("TokenRequests"),
    boolean("RequiresRepublish"),
    text("Modes"),
    AGE,
];

fn csi_driver(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let joined = |items: Vec<String>, otherwise: &str| match items.is_empty() {
        true => otherwise.to_owned(),
        false => items.join(","),
    };
    let audiences = list(&spec["tokenRequests"]).iter().map(|request| scalar(&request["audience"])).collect();
    let modes = list(&spec["volumeLifecycleModes"]).iter().map(scalar).collect();
    vec![
        name(object),
        (spec["attachRequired"] != false).into(),
        (spec["podInfoOnMount"] == true).into(),
        (spec["storageCapacity"] == true).into(),
        joined(audiences, UNSET).into(),
        (spec["requiresRepublish"] == true).into(),
        joined(modes, NONE).into(),
        age(object, now),
    ]
}

const CSI_NODE: &[Column] = &[NAME, integer("Drivers"), AGE];

fn csi_node(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), count(&object["spec"]["drivers"]).into(), age(object, now)]
}
