//! Volume sources of single storage systems, of pods and of persistent volumes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolumeSpec, Volume};
use serde::Deserialize;
use serde_json::Value;

use crate::field::{ErrorList, FieldError, Path};
use crate::validation::{check, names};

/// What the sources of a system have in common, whatever they are in; secrets are names or references.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::validation) struct Source {
    #[serde(rename = "pdName")]
    pd_name: String,
    partition: Option<i32>,
    #[serde(rename = "volumeID")]
    volume_id: String,
    repository: String,
    directory: String,
    target_portal: String,
    iqn: String,
    lun: Option<i32>,
    chap_auth_discovery: bool,
    chap_auth_session: bool,
    secret_ref: Option<Value>,
    initiator_name: Option<String>,
    monitors: Vec<String>,
    image: String,
    endpoints: String,
    path: String,
    driver: String,
    #[serde(rename = "targetWWNs")]
    target_wwns: Vec<String>,
    wwids: Vec<String>,
    dataset_name: String,
    #[serde(rename = "datasetUUID")]
    dataset_uuid: String,
    secret_name: String,
    secret_namespace: Option<String>,
    share_name: String,
    volume_path: String,
    registry: String,
    volume: String,
    tenant: String,
    options: BTreeMap<String, String>,
    endpoints_namespace: Option<String>,
    volume_namespace: String,
    disk_name: String,
    #[serde(rename = "diskURI")]
    disk_uri: String,
    caching_mode: Option<String>,
    kind: Option<String>,
    #[serde(rename = "pdID")]
    pd_id: String,
    gateway: String,
    system: String,
    volume_name: String,
}

/// Where a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::validation) enum In {
    Pod,
    PersistentVolume,
}

/// What upstream calls a source in errors about it.
pub(in crate::validation) fn first_name(field: &str) -> &str {
    if field == "gcePersistentDisk" { "persistentDisk" } else { field }
}

/// What upstream calls a source where there is another one already.
pub(in crate::validation) fn second_name(field: &str) -> &str {
    match field {
        "cephfs" => "cephFS",
        "downwardAPI" => "downwarAPI",
        field => field,
    }
}

/// Judges the source of a volume in this field, if it is of a system that has rules here.
pub(super) fn of_pod(volume: &Volume, field: &str, path: &Path, errors: &mut ErrorList) {
    judge(&check::json(volume), field, (In::Pod, ""), path, errors);
}

/// Judges the source of a persistent volume of that name.
pub(in crate::validation) fn of_volume(
    spec: &PersistentVolumeSpec,
    name: &str,
    field: &str,
    path: &Path,
    errors: &mut ErrorList,
) {
    judge(&check::json(spec), field, (In::PersistentVolume, name), path, errors);
}

fn judge(document: &Value, field: &str, (place, name): (In, &str), path: &Path, errors: &mut ErrorList) {
    let Some(Ok(source)) = document.get(field).map(Source::deserialize) else {
        return;
    };
    let mut required = |fields: &[(&str, &str)]| {
        for (field, value) in fields {
            check::required(errors, &path.child(field), value);
        }
    };
    match field {
        "gcePersistentDisk" => {
            required(&[("pdName", &source.pd_name)]);
            partition(source.partition, path, errors);
        }
        "awsElasticBlockStore" => {
            required(&[("volumeID", &source.volume_id)]);
            partition(source.partition, path, errors);
        }
        "gitRepo" => {
            required(&[("repository", &source.repository)]);
            check::descending_path(errors, &path.child("directory"), &source.directory);
        }
        "iscsi" => iscsi(&source, place, name, path, errors),
        "glusterfs" => {
            required(&[("endpoints", &source.endpoints), ("path", &source.path)]);
            endpoints_namespace(&source, path, errors);
        }
        "rbd" => {
            monitors(&source, path, errors);
            check::required(errors, &path.child("image"), &source.image);
        }
        "cephfs" => monitors(&source, path, errors),
        "cinder" => {
            required(&[("volumeID", &source.volume_id)]);
            secret(source.secret_ref.as_ref(), place, path, errors);
        }
        "flexVolume" => {
            required(&[("driver", &source.driver)]);
            flex_options(&source.options, &path.child("options"), errors);
        }
        "fc" => fibre_channel(&source, path, errors),
        "flocker" => flocker(&source, path, errors),
        "azureFile" => {
            required(&[("secretName", &source.secret_name), ("shareName", &source.share_name)]);
            if source.secret_namespace.as_deref() == Some("") {
                errors.push(FieldError::required(&path.child("secretNamespace"), ""));
            }
        }
        "vsphereVolume" => required(&[("volumePath", &source.volume_path)]),
        "photonPersistentDisk" => required(&[("pdID", &source.pd_id)]),
        "portworxVolume" => required(&[("volumeID", &source.volume_id)]),
        "quobyte" => quobyte(&source, path, errors),
        "azureDisk" => azure_disk(&source, path, errors),
        "scaleIO" => {
            required(&[("gateway", &source.gateway), ("system", &source.system), ("volumeName", &source.volume_name)]);
        }
        "storageos" => storage_os(&source, place, path, errors),
        _ => {}
    }
}

fn partition(partition: Option<i32>, path: &Path, errors: &mut ErrorList) {
    if let Some(partition) = partition.filter(|partition| !(0..=255).contains(partition)) {
        let why = names::in_range(1, 255);
        errors.push(FieldError::invalid(&path.child("partition"), partition, why));
    }
}

fn endpoints_namespace(source: &Source, path: &Path, errors: &mut ErrorList) {
    let path = path.child("endpointsNamespace");
    match source.endpoints_namespace.as_deref() {
        None => {}
        Some("") => {
            let why = "if the endpointnamespace is set, it must be a valid namespace name";
            errors.push(FieldError::invalid(&path, "", why));
        }
        Some(namespace) => check::invalid(errors, &path, namespace, names::dns_label(namespace)),
    }
}

/// Options of drivers may not look like Kubernetes' own.
fn flex_options(options: &BTreeMap<String, String>, path: &Path, errors: &mut ErrorList) {
    for name in options.keys() {
        let domain = name.split_once('/').map_or(name.as_str(), |(domain, _)| domain);
        let domain = format!(".{}", domain.to_lowercase());
        if domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io") {
            let why = "kubernetes.io and k8s.io namespaces are reserved";
            errors.push(FieldError::invalid(&path.key(name), name.as_str(), why));
        }
    }
}

fn monitors(source: &Source, path: &Path, errors: &mut ErrorList) {
    if source.monitors.is_empty() {
        errors.push(FieldError::required(&path.child("monitors"), ""));
    }
}

fn secret(reference: Option<&Value>, place: In, path: &Path, errors: &mut ErrorList) {
    let Some(reference) = reference else {
        return;
    };
    let text = |field: &str| reference.get(field).and_then(Value::as_str).unwrap_or_default();
    let path = path.child("secretRef");
    check::required(errors, &path.child("name"), text("name"));
    if place == In::PersistentVolume {
        check::required(errors, &path.child("namespace"), text("namespace"));
    }
}

fn lun(lun: Option<i32>, path: &Path, errors: &mut ErrorList) {
    if let Some(lun) = lun.filter(|lun| !(0..=255).contains(lun)) {
        errors.push(FieldError::invalid(&path.child("lun"), lun, names::in_range(0, 255)));
    }
}

const LONG_NAME: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if \
                         iscsi.initiatorName is specified.";

/// Whether the name of a volume with the portal is too long.
fn is_long(name: &str, portal: &str) -> bool {
    name.len() + 1 + portal.len() > 64
}

/// Judges the name of a pod's volume by the portal that it is at.
pub(super) fn portal_name(volume: &Volume, path: &Path, errors: &mut ErrorList) {
    let Some(iscsi) = &volume.iscsi else { return };
    if iscsi.initiator_name.is_some() && is_long(&volume.name, &iscsi.target_portal) {
        errors.push(FieldError::invalid(&path.child("name"), volume.name.as_str(), LONG_NAME));
    }
}

/// `name` is that of a persistent volume.
fn iscsi(source: &Source, place: In, name: &str, path: &Path, errors: &mut ErrorList) {
    check::required(errors, &path.child("targetPortal"), &source.target_portal);
    if place == In::PersistentVolume && source.initiator_name.is_some() && is_long(name, &source.target_portal) {
        errors.push(FieldError::invalid(&path.child("targetportal"), source.target_portal.as_str(), LONG_NAME));
    }
    if check::required(errors, &path.child("iqn"), &source.iqn) {
        iqn(&source.iqn, place, &path.child("iqn"), errors);
    }
    lun(source.lun, path, errors);
    if (source.chap_auth_discovery || source.chap_auth_session) && source.secret_ref.is_none() {
        errors.push(FieldError::required(&path.child("secretRef"), ""));
    }
    if let Some(name) = &source.initiator_name {
        iqn(name, place, &path.child("initiatorname"), errors);
    }
    if let Some(secret) = source.secret_ref.as_ref().filter(|_| place == In::PersistentVolume) {
        let name = secret.get("name").and_then(Value::as_str).unwrap_or_default();
        check::required(errors, &path.child("secretRef").child("name"), name);
    }
}

fn iqn(name: &str, place: In, path: &Path, errors: &mut ErrorList) {
    let known = ["iqn", "eui", "naa"].iter().any(|prefix| name.starts_with(prefix));
    // A letter of any kind stands between the format and the number.
    let is_number = |length: usize| {
        let number = name.chars().skip(4).collect::<String>();
        number.len() == length && number.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let fine = match name.get(..3) {
        Some("iqn") => name.match_indices("iqn.").any(|(at, format)| is_dated_domain(&name[at + format.len()..])),
        Some("eui") => is_number(16),
        Some("naa") => is_number(32),
        _ => false,
    };
    if !known && place == In::Pod {
        errors.push(FieldError::invalid(path, name, "must be valid format starting with iqn, eui, or naa"));
    } else if !known || !fine {
        errors.push(FieldError::invalid(path, name, "must be valid format"));
    }
}

/// `2001-04.com.example` and what must follow after a colon.
fn is_dated_domain(text: &str) -> bool {
    let (date, rest) = text.split_once('.').unwrap_or((text, ""));
    let (domain, target) = rest.split_once(':').unwrap_or((rest, ""));
    let is_date = date.len() == 7
        && date.bytes().enumerate().all(|(index, byte)| if index == 4 { byte == b'-' } else { byte.is_ascii_digit() });
    let is_domain =
        !domain.is_empty() && domain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    let is_target = !target.is_empty() && !target.contains(|c: char| c.is_ascii_whitespace() || ",;*&$|".contains(c));
    is_date && is_domain && is_target
}

fn fibre_channel(source: &Source, path: &Path, errors: &mut ErrorList) {
    let (targets, ids) = (&source.target_wwns, &source.wwids);
    if targets.is_empty() && ids.is_empty() {
        let why = "must specify either targetWWNs or wwids, but not both";
        errors.push(FieldError::required(&path.child("targetWWNs"), why));
    }
    if !targets.is_empty() && !ids.is_empty() {
        let why = "targetWWNs and wwids can not be specified simultaneously";
        errors.push(FieldError::invalid(&path.child("targetWWNs"), targets.clone(), why));
    }
    if !targets.is_empty() {
        match source.lun {
            None => {
                let why = "lun is required if targetWWNs is specified";
                errors.push(FieldError::required(&path.child("lun"), why));
            }
            some => lun(some, path, errors),
        }
    }
}

fn flocker(source: &Source, path: &Path, errors: &mut ErrorList) {
    let (name, uuid) = (&source.dataset_name, &source.dataset_uuid);
    match (name.is_empty(), uuid.is_empty()) {
        (true, true) => {
            let why = "one of datasetName and datasetUUID is required";
            errors.push(FieldError::required(path, why));
        }
        (false, false) => {
            let why = "datasetName and datasetUUID can not be specified simultaneously";
            errors.push(FieldError::invalid(path, "resource", why));
        }
        _ => {}
    }
    if name.contains('/') {
        let why = "must not contain '/'";
        errors.push(FieldError::invalid(&path.child("datasetName"), name.as_str(), why));
    }
}

fn quobyte(source: &Source, path: &Path, errors: &mut ErrorList) {
    if source.registry.is_empty() {
        let why = "must be a host:port pair or multiple pairs separated by commas";
        errors.push(FieldError::required(&path.child("registry"), why));
    } else if source.tenant.len() > 64 {
        let why = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(FieldError::required(&path.child("tenant"), why));
    } else {
        // A host with colons stands in brackets.
        let is_pair = |pair: &str| match pair.strip_prefix('[').map(|rest| rest.split_once("]:")) {
            Some(bracketed) => bracketed.is_some_and(|(host, port)| !host.contains(['[', ']']) && !port.contains(':')),
            None => pair.matches(':').count() == 1,
        };
        for _ in source.registry.split(',').filter(|pair| !is_pair(pair)) {
            let why = "must be a host:port pair or multiple pairs separated by commas";
            errors.push(FieldError::invalid(&path.child("registry"), source.registry.as_str(), why));
        }
    }
    check::required(errors, &path.child("volume"), &source.volume);
}

fn azure_disk(source: &Source, path: &Path, errors: &mut ErrorList) {
    check::required(errors, &path.child("diskName"), &source.disk_name);
    let uri_path = path.child("diskURI");
    check::required(errors, &uri_path, &source.disk_uri);
    check::optional_one_of(
        errors,
        &path.child("cachingMode"),
        &source.caching_mode,
        &["None", "ReadOnly", "ReadWrite"],
    );
    let kinds = ["Dedicated", "Managed", "Shared"];
    check::optional_one_of(errors, &path.child("kind"), &source.kind, &kinds);
    let managed = source.kind.as_deref() == Some("Managed");
    let (prefix, shape) = match managed {
        true => (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        ),
        false => ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"),
    };
    if source.kind.is_some() && !source.disk_uri.to_lowercase().starts_with(prefix) {
        errors.push(FieldError::not_supported(&uri_path, source.disk_uri.as_str(), &[shape]));
    }
}

fn storage_os(source: &Source, place: In, path: &Path, errors: &mut ErrorList) {
    let name_path = path.child("volumeName");
    if source.volume_name.is_empty() {
        errors.push(FieldError::required(&name_path, ""));
    } else {
        check::invalid(errors, &name_path, source.volume_name.as_str(), names::dns_label(&source.volume_name));
    }
    let namespace = source.volume_namespace.as_str();
    check::optional_name(errors, &path.child("volumeNamespace"), namespace, names::dns_label);
    secret(source.secret_ref.as_ref(), place, path, errors);
}
