//! Volume sources of single storage systems, of pods and of persistent volumes.

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

/// Judges the source of a volume in this field, if it is of a system that has rules here.
pub(super) fn of_pod(volume: &Volume, field: &str, path: &Path, errors: &mut ErrorList) {
    judge(&check::json(volume), field, In::Pod, path, errors);
}

/// Judges the source of a persistent volume.
pub(in crate::validation) fn of_volume(spec: &PersistentVolumeSpec, field: &str, path: &Path, errors: &mut ErrorList) {
    judge(&check::json(spec), field, In::PersistentVolume, path, errors);
}

fn judge(document: &Value, field: &str, place: In, path: &Path, errors: &mut ErrorList) {
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
        "iscsi" => iscsi(&source, place, path, errors),
        "glusterfs" => required(&[("endpoints", &source.endpoints), ("path", &source.path)]),
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
            // The names of drivers follow the rule of label keys.
            check::optional_name(errors, &path.child("driver"), &source.driver, names::qualified_name);
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
        let why = names::in_range(0, 255);
        errors.push(FieldError::invalid(&path.child("partition"), partition, why));
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

fn iscsi(source: &Source, place: In, path: &Path, errors: &mut ErrorList) {
    check::required(errors, &path.child("targetPortal"), &source.target_portal);
    iqn(&source.iqn, "iqn", path, errors);
    lun(source.lun, path, errors);
    if (source.chap_auth_discovery || source.chap_auth_session) && source.secret_ref.is_none() {
        errors.push(FieldError::required(&path.child("secretRef"), ""));
    }
    if let Some(name) = &source.initiator_name {
        iqn(name, "initiatorName", path, errors);
    }
    secret(source.secret_ref.as_ref(), place, path, errors);
}

fn iqn(name: &str, field: &str, path: &Path, errors: &mut ErrorList) {
    let path = path.child(field);
    if !check::required(errors, &path, name) {
        return;
    }
    let known = ["iqn", "eui", "naa"].iter().any(|prefix| name.starts_with(prefix));
    let hex = |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let fine = match name.split_once('.') {
        Some(("iqn", rest)) => is_dated_domain(rest),
        Some(("eui" | "naa", rest)) => hex(rest) || (name.starts_with("naa") && rest.len() == 32 && hex(&rest[..16])),
        _ => false,
    };
    if !known || !fine {
        errors.push(FieldError::invalid(&path, name, "must be valid format"));
    }
}

/// `2001-04.com.example` and what may follow after a colon.
fn is_dated_domain(text: &str) -> bool {
    let (date, rest) = text.split_once('.').unwrap_or((text, ""));
    let (domain, _) = rest.split_once(':').unwrap_or((rest, ""));
    let is_date = date.len() == 7
        && date.bytes().enumerate().all(|(index, byte)| if index == 4 { byte == b'-' } else { byte.is_ascii_digit() });
    let is_domain = !domain.is_empty()
        && domain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
        && !domain.starts_with(['.', '-']);
    is_date && is_domain
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
            let why = "resource can not be specified simultaneously";
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
    } else {
        let is_pair =
            |pair: &str| matches!(pair.split_once(':'), Some((host, port)) if !host.is_empty() && !port.is_empty());
        for pair in source.registry.split(',').filter(|pair| !is_pair(pair)) {
            let why = "must be a host:port pair or multiple pairs separated by commas";
            errors.push(FieldError::invalid(&path.child("registry"), pair, why));
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
    if !source.disk_uri.is_empty() && !source.disk_uri.to_lowercase().starts_with(prefix) {
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
    secret(source.secret_ref.as_ref(), place, path, errors);
}
