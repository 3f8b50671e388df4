//! Persistent volumes and claims; the classes and what CSI drivers publish are in [`classes`].

use k8s_openapi::api::core::v1::{
    CSIPersistentVolumeSource, NodeSelectorRequirement, PersistentVolume, PersistentVolumeClaim,
    PersistentVolumeClaimSpec, PersistentVolumeSpec, TypedObjectReference, VolumeNodeAffinity,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as WireQuantity;

use super::{check, names, pods};
use crate::field::{ErrorList, FieldError, Path};
use crate::quantity::Quantity;

mod classes;

pub(super) use classes::{
    attributes_class, attributes_class_update, csi_driver, csi_driver_update, csi_node, csi_node_update,
    storage_capacity, storage_capacity_update, storage_class, storage_class_update, volume_attachment,
    volume_attachment_update,
};

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
/// How far the resizing of a claim's volume is.
const RESIZE_STATES: [&str; 5] = [
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];

/// Judges the name of a CSI driver.
pub(super) fn driver_name(name: &str, path: &Path, errors: &mut ErrorList) {
    check::required(errors, path, name);
    if name.len() > 63 {
        errors.push(FieldError::too_long(path, 63));
    }
    check::invalid(errors, path, name, names::dns_subdomain(&name.to_lowercase()));
}

fn access_modes(modes: &[String], path: &Path, errors: &mut ErrorList) {
    for mode in modes {
        check::one_of(errors, path, mode, &ACCESS_MODES);
    }
    let (once, others): (Vec<&String>, _) = modes.iter().partition(|mode| *mode == "ReadWriteOncePod");
    if !once.is_empty() && others.iter().any(|mode| ACCESS_MODES.contains(&mode.as_str())) {
        errors.push(FieldError::forbidden(path, "may not use ReadWriteOncePod with other access modes"));
    }
}

fn positive(amount: &WireQuantity, path: &Path, errors: &mut ErrorList) {
    if let Some(amount) = check::quantity(errors, path, amount).filter(|amount| amount.sign() <= 0) {
        errors.push(FieldError::invalid(path, amount.to_string(), "must be greater than zero"));
    }
}

/// What there is of a resource is not negative.
fn basic(amount: &WireQuantity, path: &Path, errors: &mut ErrorList) -> bool {
    let amount = check::quantity(errors, path, amount).map(Quantity::value).filter(|amount| *amount < 0);
    if let Some(amount) = amount {
        errors.push(FieldError::invalid(path, amount, "must be a valid resource quantity"));
    }
    amount.is_none()
}

/// Judges a persistent volume.
pub(super) fn persistent_volume(volume: &PersistentVolume, errors: &mut ErrorList) {
    let spec = volume.spec.clone().unwrap_or_default();
    volume_spec(&spec, Some(check::text(&volume.metadata.name)), &Path::new("spec"), errors);
}

/// Judges a volume that is described where it is attached.
fn inline_volume(spec: &PersistentVolumeSpec, path: &Path, errors: &mut ErrorList) {
    let mut forbid = |field: &str, set: bool| {
        if set {
            let why = "may not be specified in the context of inline volumes";
            errors.push(FieldError::forbidden(&path.child(field), why));
        }
    };
    forbid("claimRef", spec.claim_ref.is_some());
    forbid("capacity", spec.capacity.as_ref().is_some_and(|capacity| !capacity.is_empty()));
    forbid("volumeAttributesClassName", spec.volume_attributes_class_name.is_some());
    if spec.csi.is_none() {
        let why = "has to be specified in the context of inline volumes";
        errors.push(FieldError::required(&path.child("csi"), why));
    }
    volume_spec(spec, None, path, errors);
}

/// Judges what volumes have in common, in upstream's order; those that are described where they are attached have no
/// name.
fn volume_spec(spec: &PersistentVolumeSpec, name: Option<&str>, path: &Path, errors: &mut ErrorList) {
    const CONTEXT: &str = "in the context of inline volumes";
    let modes_path = path.child("accessModes");
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    if modes.is_empty() {
        errors.push(FieldError::required(&modes_path, ""));
    }
    access_modes(modes, &modes_path, errors);
    let policy_path = path.child("persistentVolumeReclaimPolicy");
    let policy = check::text(&spec.persistent_volume_reclaim_policy);
    if name.is_some() {
        volume_capacity(spec, &path.child("capacity"), errors);
        let policies = ["Delete", "Recycle", "Retain"];
        check::optional_one_of(errors, &policy_path, &spec.persistent_volume_reclaim_policy, &policies);
    } else if !matches!(policy, "" | "Retain") {
        errors.push(FieldError::forbidden(&policy_path, format!("may only be Retain {CONTEXT}")));
    }
    if let Some(affinity) = &spec.node_affinity {
        let path = path.child("nodeAffinity");
        match &affinity.required {
            _ if name.is_none() => errors.push(FieldError::forbidden(&path, format!("may not be specified {CONTEXT}"))),
            None => {
                errors.push(FieldError::required(&path.child("required"), "must specify required node constraints"))
            }
            Some(selector) => pods::node_selector(selector, &path.child("required"), errors),
        }
    }
    volume_source(spec, name.unwrap_or_default(), path, errors);
    if spec.host_path.as_ref().is_some_and(|source| is_root(&source.path)) && policy == "Recycle" {
        errors.push(FieldError::forbidden(&policy_path, "may not be 'recycle' for a hostPath mount of '/'"));
    }
    let class_path = path.child("storageClassName");
    let class = check::text(&spec.storage_class_name);
    let mode_path = path.child("volumeMode");
    if name.is_some() {
        check::optional_name(errors, &class_path, class, names::dns_subdomain);
        check::optional_one_of(errors, &mode_path, &spec.volume_mode, &VOLUME_MODES);
    } else {
        if !class.is_empty() {
            errors.push(FieldError::forbidden(&class_path, format!("may not be specified {CONTEXT}")));
        }
        if spec.volume_mode.as_deref().is_some_and(|mode| mode != "Filesystem") {
            let why = format!("may not specify volumeMode other than Filesystem {CONTEXT}");
            errors.push(FieldError::forbidden(&mode_path, why));
        }
    }
    if let Some(class) = &spec.volume_attributes_class_name {
        let (spec_path, path) = (path, path.child("volumeAttributesClassName"));
        if class.is_empty() {
            errors.push(FieldError::required(&path, "an empty string is disallowed"));
        }
        check::optional_name(errors, &path, class, names::dns_subdomain);
        if spec.csi.is_none() {
            let why = "has to be specified when using volumeAttributesClassName";
            errors.push(FieldError::required(&spec_path.child("csi"), why));
        }
    }
}

fn volume_capacity(spec: &PersistentVolumeSpec, path: &Path, errors: &mut ErrorList) {
    let capacity = spec.capacity.clone().unwrap_or_default();
    if capacity.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    if capacity.len() != 1 || !capacity.contains_key("storage") {
        errors.push(FieldError::not_supported(path, check::json(&capacity), &["storage"]));
    }
    for (name, amount) in &capacity {
        let path = path.key(name);
        basic(amount, &path, errors);
        positive(amount, &path, errors);
    }
}

/// Whether a path is `/` in other words.
fn is_root(path: &str) -> bool {
    let mut depth = 0_u32;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => depth = depth.saturating_sub(1),
            _ => depth += 1,
        }
    }
    path.starts_with('/') && depth == 0
}

/// The sources of a volume, in the order in which upstream looks at them.
fn sources(spec: &PersistentVolumeSpec) -> [(&'static str, bool); 22] {
    [
        ("hostPath", spec.host_path.is_some()),
        ("gcePersistentDisk", spec.gce_persistent_disk.is_some()),
        ("awsElasticBlockStore", spec.aws_elastic_block_store.is_some()),
        ("glusterfs", spec.glusterfs.is_some()),
        ("flocker", spec.flocker.is_some()),
        ("nfs", spec.nfs.is_some()),
        ("rbd", spec.rbd.is_some()),
        ("quobyte", spec.quobyte.is_some()),
        ("cephfs", spec.cephfs.is_some()),
        ("iscsi", spec.iscsi.is_some()),
        ("cinder", spec.cinder.is_some()),
        ("fc", spec.fc.is_some()),
        ("flexVolume", spec.flex_volume.is_some()),
        ("azureFile", spec.azure_file.is_some()),
        ("vsphereVolume", spec.vsphere_volume.is_some()),
        ("photonPersistentDisk", spec.photon_persistent_disk.is_some()),
        ("portworxVolume", spec.portworx_volume.is_some()),
        ("azureDisk", spec.azure_disk.is_some()),
        ("scaleIO", spec.scale_io.is_some()),
        ("local", spec.local.is_some()),
        ("storageos", spec.storageos.is_some()),
        ("csi", spec.csi.is_some()),
    ]
}

fn volume_source(spec: &PersistentVolumeSpec, name: &str, path: &Path, errors: &mut ErrorList) {
    let mut first = true;
    for (field, _) in sources(spec).into_iter().filter(|(_, set)| *set) {
        // Upstream looks at drivers of that kind whatever else there is.
        if std::mem::take(&mut first) || field == "flexVolume" {
            first_source(spec, (name, field), path, errors);
        } else {
            let path = path.child(pods::drivers::second_name(field));
            errors.push(FieldError::forbidden(&path, "may not specify more than 1 volume type"));
        }
    }
    if first {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
}

fn first_source(spec: &PersistentVolumeSpec, (name, field): (&str, &str), path: &Path, errors: &mut ErrorList) {
    let source = path.child(pods::drivers::first_name(field));
    match field {
        "hostPath" => spec.host_path.iter().for_each(|host| pods::host_path(host, &source, errors)),
        "nfs" => spec.nfs.iter().for_each(|server| pods::nfs(server, &source, errors)),
        "local" => {
            let local = spec.local.as_ref().map(|local| local.path.as_str()).unwrap_or_default();
            if check::required(errors, &source.child("path"), local) {
                check::no_backsteps(errors, &source.child("path"), local);
            }
            if spec.node_affinity.as_ref().is_none_or(|affinity| affinity.required.is_none()) {
                let path = path.child("nodeAffinity");
                errors.push(FieldError::required(&path, "Local volume requires node affinity"));
            }
        }
        "csi" => spec.csi.iter().for_each(|csi| csi_source(csi, &source, errors)),
        _ => pods::drivers::of_volume(spec, name, field, &source, errors),
    }
}

fn csi_source(csi: &CSIPersistentVolumeSource, path: &Path, errors: &mut ErrorList) {
    driver_name(&csi.driver, &path.child("driver"), errors);
    check::required(errors, &path.child("volumeHandle"), &csi.volume_handle);
    for (field, secret) in [
        ("controllerPublishSecretRef", &csi.controller_publish_secret_ref),
        ("controllerExpandSecretRef", &csi.controller_expand_secret_ref),
        ("nodePublishSecretRef", &csi.node_publish_secret_ref),
        ("nodeExpandSecretRef", &csi.node_expand_secret_ref),
    ] {
        if let Some(secret) = secret {
            let path = path.child(field);
            check::required_name(errors, &path.child("name"), check::text(&secret.name), names::dns_subdomain);
            let namespace = check::text(&secret.namespace);
            check::required_name(errors, &path.child("namespace"), namespace, names::dns_label);
        }
    }
}

/// Judges an update of a persistent volume.
pub(super) fn persistent_volume_update(new: &PersistentVolume, old: &PersistentVolume, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let (new, old) = (new.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
    // Everything but the source is taken from the old spec; of CSI sources one secret may be named later.
    let mut source = PersistentVolumeSpec {
        access_modes: old.access_modes.clone(),
        capacity: old.capacity.clone(),
        claim_ref: old.claim_ref.clone(),
        mount_options: old.mount_options.clone(),
        node_affinity: old.node_affinity.clone(),
        persistent_volume_reclaim_policy: old.persistent_volume_reclaim_policy.clone(),
        storage_class_name: old.storage_class_name.clone(),
        volume_attributes_class_name: old.volume_attributes_class_name.clone(),
        volume_mode: old.volume_mode.clone(),
        ..new.clone()
    };
    if let (Some(csi), Some(old)) = (&mut source.csi, &old.csi)
        && old.controller_expand_secret_ref.is_none()
    {
        csi.controller_expand_secret_ref = None;
    }
    if source != old {
        let why = "spec.persistentvolumesource is immutable after creation";
        errors.push(FieldError::forbidden(&path.child("persistentvolumesource"), why));
    }
    // Upstream names these without the spec.
    check::immutable(errors, &Path::new("volumeMode"), &new.volume_mode, &old.volume_mode);
    if old.node_affinity.is_some() && !is_renamed(old.node_affinity.clone(), &new.node_affinity) {
        let why = format!("{}, except for updating from beta label to GA", check::IMMUTABLE);
        errors.push(FieldError::invalid(&Path::new("nodeAffinity"), check::json(&new.node_affinity), why));
    }
    if old.volume_attributes_class_name.is_some() && new.volume_attributes_class_name.is_none() {
        let why = "update from non-nil value to nil is forbidden";
        errors.push(FieldError::forbidden(&path.child("volumeAttributesClassName"), why));
    }
}

/// Labels of nodes that have other names now.
const RENAMED_LABELS: [(&str, &str); 5] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
];

/// Whether the new affinity is the old one, but for names of labels.
fn is_renamed(mut old: Option<VolumeNodeAffinity>, new: &Option<VolumeNodeAffinity>) -> bool {
    fn keys(affinity: &mut Option<VolumeNodeAffinity>) -> impl Iterator<Item = &mut NodeSelectorRequirement> {
        let required = affinity.iter_mut().flat_map(|affinity| affinity.required.iter_mut());
        let terms = required.flat_map(|selector| selector.node_selector_terms.iter_mut());
        terms.flat_map(|term| term.match_expressions.iter_mut().chain(term.match_fields.iter_mut()).flatten())
    }
    for (before, now) in keys(&mut old).zip(keys(&mut new.clone())) {
        if RENAMED_LABELS.contains(&(before.key.as_str(), now.key.as_str())) {
            before.key.clone_from(&now.key);
        }
    }
    old == *new
}

/// Judges a claim.
pub(super) fn claim(claim: &PersistentVolumeClaim, errors: &mut ErrorList) {
    claim_spec(&claim.spec.clone().unwrap_or_default(), &Path::new("spec"), errors);
}

/// Judges the spec of a claim, also inside a pod.
pub(super) fn claim_spec(spec: &PersistentVolumeClaimSpec, path: &Path, errors: &mut ErrorList) {
    let modes_path = path.child("accessModes");
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    if modes.is_empty() {
        errors.push(FieldError::required(&modes_path, "at least 1 access mode is required"));
    }
    if let Some(selector) = &spec.selector {
        check::label_selector(errors, &path.child("selector"), selector);
    }
    access_modes(modes, &modes_path, errors);
    let storage_path = path.child("resources").key("storage");
    let requests = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    match requests.and_then(|requests| requests.get("storage")) {
        None => errors.push(FieldError::required(&storage_path, "")),
        Some(amount) => positive(amount, &storage_path, errors),
    }
    let class = check::text(&spec.storage_class_name);
    check::optional_name(errors, &path.child("storageClassName"), class, names::dns_subdomain);
    check::optional_one_of(errors, &path.child("volumeMode"), &spec.volume_mode, &VOLUME_MODES);
    if let Some(source) = &spec.data_source {
        let path = path.child("dataSource");
        check::required(errors, &path.child("name"), &source.name);
        check::required(errors, &path.child("kind"), &source.kind);
        if check::text(&source.api_group).is_empty() && source.kind != "PersistentVolumeClaim" {
            let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            errors.push(FieldError::invalid(&path, source.kind.as_str(), why));
        }
        let group = check::text(&source.api_group);
        check::optional_name(errors, &path.child("apiGroup"), group, names::dns_subdomain);
    }
    if let Some(reference) = &spec.data_source_ref {
        data_source_ref(reference, &path.child("dataSourceRef"), errors);
    }
    if let (Some(source), Some(reference)) = (&spec.data_source, &spec.data_source_ref) {
        let same =
            source.api_group == reference.api_group && source.kind == reference.kind && source.name == reference.name;
        let why = if !check::text(&reference.namespace).is_empty() {
            Some("may not be specified when dataSourceRef.namespace is specified")
        } else {
            (!same).then_some("must match dataSourceRef")
        };
        // Upstream shows a path, of which nothing is to be seen.
        let shown = || serde_json::Value::Object(serde_json::Map::new());
        errors.extend(why.map(|why| FieldError::invalid(path, shown(), why)));
    }
    if let Some(class) = &spec.volume_attributes_class_name {
        let path = path.child("volumeAttributesClassName");
        check::optional_name(errors, &path, class, names::dns_subdomain);
    }
}

fn data_source_ref(reference: &TypedObjectReference, path: &Path, errors: &mut ErrorList) {
    check::required(errors, &path.child("name"), &reference.name);
    check::required(errors, &path.child("kind"), &reference.kind);
    let group = check::text(&reference.api_group);
    if group.is_empty() && reference.kind != "PersistentVolumeClaim" {
        let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.push(FieldError::invalid(path, reference.kind.as_str(), why));
    }
    check::optional_name(errors, &path.child("apiGroup"), group, names::dns_subdomain);
    let namespace = check::text(&reference.namespace);
    check::optional_name(errors, &path.child("namespace"), namespace, names::dns_label);
}

/// Judges an update of a claim.
pub(super) fn claim_update(new: &PersistentVolumeClaim, old: &PersistentVolumeClaim, errors: &mut ErrorList) {
    let path = Path::new("spec");
    class_annotation(new, old, errors);
    let bound = old.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"));
    let current_class = old.status.as_ref().and_then(|status| status.current_volume_attributes_class_name.clone());
    let annotated = annotated_class(old);
    let capacity = old.status.as_ref().and_then(|status| status.capacity.clone()).unwrap_or_default();
    let (new, old) = (new.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
    let mut rest = new.clone();
    if check::text(&old.volume_name).is_empty() {
        // The volume is named once, when the claim is bound.
        rest.volume_name.clone_from(&old.volume_name);
    }
    if old.storage_class_name.is_none() && (annotated.is_none() || annotated == new.storage_class_name) {
        // A default class may come later.
        rest.storage_class_name = None;
    }
    if bound {
        let size =
            |spec: &PersistentVolumeClaimSpec| spec.resources.as_ref()?.requests.as_ref()?.get("storage").cloned();
        let requests = rest.resources.as_mut().and_then(|resources| resources.requests.as_mut());
        if let (Some(requests), Some(size)) = (requests, size(&old)) {
            requests.insert("storage".to_owned(), size);
        }
        rest.volume_attributes_class_name.clone_from(&old.volume_attributes_class_name);
    }
    if rest != old {
        let why =
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.push(FieldError::forbidden(&path, why));
    }
    shrinking(&new, &old, capacity.get("storage"), &path, errors);
    check::immutable(errors, &Path::new("volumeMode"), &new.volume_mode, &old.volume_mode);
    let what = match new.volume_attributes_class_name.as_deref() {
        _ if current_class.is_none() || new.volume_attributes_class_name == old.volume_attributes_class_name => return,
        None => "nil",
        Some("") => "empty string",
        Some(_) => return,
    };
    let why = format!("update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil");
    errors.push(FieldError::forbidden(&path.child("volumeAttributesClassName"), why));
}

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

fn annotated_class(claim: &PersistentVolumeClaim) -> Option<String> {
    claim.metadata.annotations.as_ref()?.get(CLASS_ANNOTATION).cloned()
}

/// A class that a claim has by its annotation stays, but it may become the field.
fn class_annotation(new: &PersistentVolumeClaim, old: &PersistentVolumeClaim, errors: &mut ErrorList) {
    let field = |claim: &PersistentVolumeClaim| claim.spec.as_ref()?.storage_class_name.clone();
    let (before, now) = (annotated_class(old), annotated_class(new));
    let is_upgrade =
        before.is_some() && field(old).is_none() && field(new) == before && (now.is_none() || now == before);
    if !is_upgrade && before.clone().unwrap_or_default() != now.clone().unwrap_or_default() {
        let path = Path::new("metadata").child("annotations").child(CLASS_ANNOTATION);
        errors.push(FieldError::invalid(&path, now.unwrap_or_default(), check::IMMUTABLE));
    }
}

fn shrinking(
    new: &PersistentVolumeClaimSpec,
    old: &PersistentVolumeClaimSpec,
    capacity: Option<&WireQuantity>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let size = |spec: &PersistentVolumeClaimSpec| {
        let requests = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        requests.and_then(|requests| requests.get("storage")).and_then(|size| Quantity::from_k8s(size).ok())
    };
    let capacity = capacity.and_then(|capacity| Quantity::from_k8s(capacity).ok());
    if let (Some(now), Some(before)) = (size(new), size(old))
        && now < before
        && capacity.is_some_and(|capacity| now <= capacity)
    {
        let path = path.child("resources").child("requests").child("storage");
        errors.push(FieldError::forbidden(&path, "field can not be less than status.capacity"));
    }
}

/// Judges an update of the status of a claim.
pub(super) fn claim_status(new: &PersistentVolumeClaim, _: &PersistentVolumeClaim, errors: &mut ErrorList) {
    let path = Path::new("status");
    let status = new.status.clone().unwrap_or_default();
    for (name, amount) in status.capacity.iter().flatten() {
        basic(amount, &path.child("capacity").key(name), errors);
    }
    for (name, state) in status.allocated_resource_statuses.iter().flatten() {
        let path = path.child("allocatedResourceStatuses");
        resource_key(name, &path, errors);
        if !RESIZE_STATES.contains(&state.as_str()) {
            errors.push(FieldError::not_supported(&path, name.as_str(), &RESIZE_STATES));
        }
    }
    for (name, amount) in status.allocated_resources.iter().flatten() {
        let path = path.child("allocatedResources");
        if resource_key(name, &path, errors) {
            basic(amount, &path.key(name), errors);
        }
    }
}

/// What volumes have: their size, and what names of their own drivers give them.
fn resource_key(name: &str, path: &Path, errors: &mut ErrorList) -> bool {
    let whys = names::qualified_name(name);
    if !whys.is_empty() {
        check::invalid(errors, path, name, whys);
        return false;
    }
    let is_native = !name.contains('/') || name.contains("kubernetes.io/");
    if is_native && name != "storage" {
        errors.push(FieldError::not_supported(path, name, &["storage"]));
        return false;
    }
    true
}
