//! Volumes of pods.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, HostPathVolumeSource, KeyToPath, NFSVolumeSource, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{drivers, env, projected};
use crate::field::{ErrorList, FieldError, Path, quote};
use crate::validation::{check, metadata, names, storage};

/// What containers need to know about a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::validation) enum Kind {
    /// It comes from a claim, so it may be a block device.
    Claim,
    /// Anything else.
    Other,
}

const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// Judges the volumes and returns those that have nothing wrong with them.
pub(super) fn volumes(
    volumes: &[Volume],
    meta: Option<&ObjectMeta>,
    list: &Path,
    errors: &mut ErrorList,
) -> BTreeMap<String, Kind> {
    let pod = meta.and_then(|meta| meta.name.as_deref()).filter(|name| !name.is_empty());
    let made_for = |name: &str| pod.map(|pod| format!("{pod}-{name}"));
    let mut fine = BTreeMap::new();
    for (index, volume) in volumes.iter().enumerate() {
        let path = list.index(index);
        let name_path = path.child("name");
        let before = errors.len();
        source(volume, meta.is_some(), &path, errors);
        if let Some(claim) = made_for(&volume.name).filter(|_| volume.ephemeral.is_some() && !volume.name.is_empty()) {
            let whys = names::dns_subdomain(&claim).into_iter().map(|why| format!("PVC name {}: {why}", quote(&claim)));
            check::invalid(errors, &name_path, volume.name.as_str(), whys.collect());
        }
        check::required_name(errors, &name_path, &volume.name, names::dns_label);
        if fine.contains_key(&volume.name) {
            errors.push(FieldError::duplicate(&name_path, volume.name.as_str()));
        }
        if errors.len() == before {
            let claim = volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some();
            fine.insert(volume.name.clone(), if claim { Kind::Claim } else { Kind::Other });
        }
        let claim = volume.persistent_volume_claim.as_ref().map(|claim| &claim.claim_name);
        let is_made = |claim: &&String| {
            volumes.iter().any(|other| other.ephemeral.is_some() && made_for(&other.name).as_ref() == Some(*claim))
        };
        if let Some(claim) = claim.filter(is_made) {
            let path = path.child("persistentVolumeClaim").child("claimName");
            let why = "must not reference a PVC that gets created for an ephemeral volume";
            errors.push(FieldError::invalid(&path, claim.as_str(), why));
        }
    }
    fine
}

/// Judges the source of a volume, of which there must be exactly one; templates may leave out an image.
fn source(volume: &Volume, is_pod: bool, path: &Path, errors: &mut ErrorList) {
    let mut found = false;
    for (field, _) in sources(volume).into_iter().filter(|(_, set)| *set) {
        if found {
            let path = path.child(drivers::second_name(field));
            errors.push(FieldError::forbidden(&path, "may not specify more than 1 volume type"));
        } else {
            found = true;
            source_field(volume, field, &path.child(drivers::first_name(field)), errors);
        }
        if field == "iscsi" {
            drivers::portal_name(volume, path, errors);
        }
    }
    if let Some(image) = volume.image.as_ref().filter(|_| is_pod) {
        check::required(errors, &path.child("image").child("reference"), check::text(&image.reference));
    }
    if !found {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
}

/// Which sources are set, in the order in which upstream looks at them.
fn sources(volume: &Volume) -> [(&'static str, bool); 30] {
    [
        ("emptyDir", volume.empty_dir.is_some()),
        ("hostPath", volume.host_path.is_some()),
        ("gitRepo", volume.git_repo.is_some()),
        ("gcePersistentDisk", volume.gce_persistent_disk.is_some()),
        ("awsElasticBlockStore", volume.aws_elastic_block_store.is_some()),
        ("secret", volume.secret.is_some()),
        ("nfs", volume.nfs.is_some()),
        ("iscsi", volume.iscsi.is_some()),
        ("glusterfs", volume.glusterfs.is_some()),
        ("flocker", volume.flocker.is_some()),
        ("persistentVolumeClaim", volume.persistent_volume_claim.is_some()),
        ("rbd", volume.rbd.is_some()),
        ("cinder", volume.cinder.is_some()),
        ("cephfs", volume.cephfs.is_some()),
        ("quobyte", volume.quobyte.is_some()),
        ("downwardAPI", volume.downward_api.is_some()),
        ("fc", volume.fc.is_some()),
        ("flexVolume", volume.flex_volume.is_some()),
        ("configMap", volume.config_map.is_some()),
        ("azureFile", volume.azure_file.is_some()),
        ("vsphereVolume", volume.vsphere_volume.is_some()),
        ("photonPersistentDisk", volume.photon_persistent_disk.is_some()),
        ("portworxVolume", volume.portworx_volume.is_some()),
        ("azureDisk", volume.azure_disk.is_some()),
        ("storageos", volume.storageos.is_some()),
        ("projected", volume.projected.is_some()),
        ("scaleIO", volume.scale_io.is_some()),
        ("csi", volume.csi.is_some()),
        ("ephemeral", volume.ephemeral.is_some()),
        ("image", volume.image.is_some()),
    ]
}

/// Judges one source.
fn source_field(volume: &Volume, field: &str, path: &Path, errors: &mut ErrorList) {
    if let Some(limit) = volume.empty_dir.as_ref().and_then(|source| source.size_limit.as_ref())
        && field == "emptyDir"
        && check::quantity(errors, &path.child("sizeLimit"), limit).is_some_and(|limit| limit.sign() < 0)
    {
        let why = "SizeLimit field must be a valid resource quantity";
        errors.push(FieldError::forbidden(&path.child("sizeLimit"), why));
    }
    match field {
        "hostPath" => volume.host_path.iter().for_each(|source| host_path(source, path, errors)),
        "nfs" => volume.nfs.iter().for_each(|source| nfs(source, path, errors)),
        "secret" => {
            if let Some(secret) = &volume.secret {
                check::required(errors, &path.child("secretName"), check::text(&secret.secret_name));
                mode(secret.default_mode, &path.child("defaultMode"), errors);
                items(secret.items.as_deref(), path, errors);
            }
        }
        "configMap" => {
            if let Some(config_map) = &volume.config_map {
                check::required(errors, &path.child("name"), &config_map.name);
                mode(config_map.default_mode, &path.child("defaultMode"), errors);
                items(config_map.items.as_deref(), path, errors);
            }
        }
        "downwardAPI" => {
            if let Some(downward) = &volume.downward_api {
                mode(downward.default_mode, &path.child("defaultMode"), errors);
                for file in downward.items.iter().flatten() {
                    downward_file(file, path, errors);
                }
            }
        }
        "persistentVolumeClaim" => {
            if let Some(claim) = &volume.persistent_volume_claim {
                check::required(errors, &path.child("claimName"), &claim.claim_name);
            }
        }
        "projected" => volume.projected.iter().for_each(|source| projected::volume(source, path, errors)),
        "csi" => {
            if let Some(csi) = &volume.csi {
                storage::driver_name(&csi.driver, &path.child("driver"), errors);
                if let Some(secret) = &csi.node_publish_secret_ref {
                    let required_path = path.child("nodePublishSecretRef").child("name");
                    if check::required(errors, &required_path, &secret.name) {
                        // Upstream tells of a wrong name in another place.
                        let why = names::dns_subdomain(&secret.name);
                        check::invalid(errors, &path.child("name"), secret.name.as_str(), why);
                    }
                }
            }
        }
        "ephemeral" => {
            let template = volume.ephemeral.as_ref().and_then(|source| source.volume_claim_template.as_ref());
            let path = path.child("volumeClaimTemplate");
            match template {
                None => errors.push(FieldError::required(&path, "")),
                Some(template) => {
                    if let Some(metadata) = &template.metadata {
                        metadata::claim_template(metadata, &path.child("metadata"), errors);
                    }
                    storage::claim_spec(&template.spec, &path.child("spec"), errors);
                }
            }
        }
        "image" => {
            let policy = volume.image.as_ref().map(|image| check::text(&image.pull_policy)).unwrap_or_default();
            let policies = ["Always", "IfNotPresent", "Never"];
            check::required_one_of(errors, &path.child("pullPolicy"), policy, &policies);
        }
        _ => drivers::of_pod(volume, field, path, errors),
    }
}

pub(in crate::validation) fn host_path(source: &HostPathVolumeSource, path: &Path, errors: &mut ErrorList) {
    if check::required(errors, &path.child("path"), &source.path) {
        check::no_backsteps(errors, &path.child("path"), &source.path);
        check::optional_one_of(errors, &path.child("type"), &source.type_, &HOST_PATH_TYPES);
    }
}

pub(in crate::validation) fn nfs(source: &NFSVolumeSource, path: &Path, errors: &mut ErrorList) {
    check::required(errors, &path.child("server"), &source.server);
    check::required(errors, &path.child("path"), &source.path);
    if !source.path.starts_with('/') {
        errors.push(FieldError::invalid(&path.child("path"), source.path.as_str(), "must be an absolute path"));
    }
}

/// Judges the mode of files.
pub(super) fn mode(mode: Option<i32>, path: &Path, errors: &mut ErrorList) {
    if let Some(mode) = mode.filter(|mode| !(0..=0o777).contains(mode)) {
        let why = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(FieldError::invalid(path, mode, why));
    }
}

/// Judges which keys become which files.
pub(super) fn items(items: Option<&[KeyToPath]>, path: &Path, errors: &mut ErrorList) {
    for (index, item) in items.unwrap_or_default().iter().enumerate() {
        let path = path.child("items").index(index);
        check::required(errors, &path.child("key"), &item.key);
        if check::required(errors, &path.child("path"), &item.path) {
            check::volume_file_path(errors, &path.child("path"), &item.path);
        }
        mode(item.mode, &path.child("mode"), errors);
    }
}

/// Judges a file of what is known of the pod, of which upstream tells without its index.
pub(super) fn downward_file(file: &DownwardAPIVolumeFile, path: &Path, errors: &mut ErrorList) {
    if check::required(errors, &path.child("path"), &file.path) {
        check::volume_file_path(errors, &path.child("path"), &file.path);
    }
    match (&file.field_ref, &file.resource_field_ref) {
        (Some(field), resource) => {
            env::field_ref(field, &env::VOLUME_FIELDS, &path.child("fieldRef"), errors);
            if resource.is_some() {
                let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(FieldError::invalid(path, "resource", why));
            }
        }
        (None, Some(resource)) => {
            env::resource_field_ref(resource, true, &path.child("resourceFieldRef"), errors);
        }
        (None, None) => {
            errors.push(FieldError::required(path, "one of fieldRef and resourceFieldRef is required"));
        }
    }
    mode(file.mode, &path.child("mode"), errors);
}
