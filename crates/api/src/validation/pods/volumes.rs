//! Volumes of pods.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    ClusterTrustBundleProjection, DownwardAPIVolumeFile, HostPathVolumeSource, KeyToPath, NFSVolumeSource,
    ProjectedVolumeSource, Volume, VolumeProjection,
};

use super::{drivers, env};
use crate::field::{ErrorList, FieldError, Path, quote};
use crate::validation::{certificates, check, metadata, names, storage};

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

/// Judges the volumes and returns the well-named ones.
pub(super) fn volumes(volumes: &[Volume], path: &Path, errors: &mut ErrorList) -> BTreeMap<String, Kind> {
    let mut seen = BTreeMap::new();
    for (index, volume) in volumes.iter().enumerate() {
        let path = path.index(index);
        check::required_name(errors, &path.child("name"), &volume.name, names::dns_label);
        if seen.contains_key(&volume.name) {
            errors.push(FieldError::duplicate(&path.child("name"), volume.name.as_str()));
        }
        source(volume, &path, errors);
        drivers::portal_name(volume, &path, errors);
        let claim = volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some();
        seen.insert(volume.name.clone(), if claim { Kind::Claim } else { Kind::Other });
    }
    seen
}

/// Judges what only matters in a pod, whose name is part of that of the claim, and whose image nobody adds any more.
pub(super) fn of_named_pod(volume: &Volume, pod: Option<&str>, path: &Path, errors: &mut ErrorList) {
    if let Some(pod) = pod.filter(|name| !name.is_empty() && !volume.name.is_empty())
        && volume.ephemeral.is_some()
    {
        let claim = format!("{pod}-{}", volume.name);
        let whys = names::dns_subdomain(&claim).into_iter().map(|why| format!("PVC name {}: {why}", quote(&claim)));
        check::invalid(errors, &path.child("name"), volume.name.as_str(), whys.collect());
    }
    if let Some(image) = &volume.image {
        check::required(errors, &path.child("image").child("reference"), check::text(&image.reference));
    }
}

/// Judges the source of a volume, of which there must be exactly one.
fn source(volume: &Volume, path: &Path, errors: &mut ErrorList) {
    let mut found = false;
    for (field, _) in sources(volume).into_iter().filter(|(_, set)| *set) {
        if found {
            let path = path.child(drivers::second_name(field));
            errors.push(FieldError::forbidden(&path, "may not specify more than 1 volume type"));
            continue;
        }
        found = true;
        source_field(volume, field, &path.child(drivers::first_name(field)), errors);
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
        "projected" => volume.projected.iter().for_each(|source| projected(source, path, errors)),
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
            let policy = volume.image.as_ref().and_then(|image| image.pull_policy.clone());
            let policies = ["Always", "IfNotPresent", "Never"];
            check::optional_one_of(errors, &path.child("pullPolicy"), &policy, &policies);
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

fn mode(mode: Option<i32>, path: &Path, errors: &mut ErrorList) {
    if let Some(mode) = mode.filter(|mode| !(0..=0o777).contains(mode)) {
        let why = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(FieldError::invalid(path, mode, why));
    }
}

fn items(items: Option<&[KeyToPath]>, path: &Path, errors: &mut ErrorList) {
    for (index, item) in items.unwrap_or_default().iter().enumerate() {
        let path = path.child("items").index(index);
        check::required(errors, &path.child("key"), &item.key);
        if check::required(errors, &path.child("path"), &item.path) {
            check::volume_file_path(errors, &path.child("path"), &item.path);
        }
        mode(item.mode, &path.child("mode"), errors);
    }
}

/// Upstream tells of these without the index of the file.
fn downward_file(file: &DownwardAPIVolumeFile, path: &Path, errors: &mut ErrorList) {
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

fn projected(volume: &ProjectedVolumeSource, path: &Path, errors: &mut ErrorList) {
    mode(volume.default_mode, &path.child("defaultMode"), errors);
    let mut paths = BTreeSet::new();
    for (index, source) in volume.sources.iter().flatten().enumerate() {
        projection(source, &path.child("sources").index(index), path, &mut paths, errors);
    }
}

/// Judges one source of a projected volume; `paths` are the files that others write.
fn projection(
    source: &VolumeProjection,
    path: &Path,
    volume_path: &Path,
    paths: &mut BTreeSet<String>,
    errors: &mut ErrorList,
) {
    let set = [
        source.secret.is_some(),
        source.config_map.is_some(),
        source.downward_api.is_some(),
        source.service_account_token.is_some(),
        source.cluster_trust_bundle.is_some(),
        source.pod_certificate.is_some(),
    ];
    if set.into_iter().filter(|set| *set).count() > 1 {
        errors.push(FieldError::forbidden(path, "may not specify more than 1 volume type"));
    }
    let mut claim = |file: &str, shown: &str, errors: &mut ErrorList| {
        if !file.is_empty() && !paths.insert(file.to_owned()) {
            errors.push(FieldError::invalid(volume_path, shown, "conflicting duplicate paths"));
        }
    };
    if let Some(secret) = &source.secret {
        let path = path.child("secret");
        check::required(errors, &path.child("name"), &secret.name);
        items(secret.items.as_deref(), &path, errors);
        secret.items.iter().flatten().for_each(|item| claim(&item.path, &secret.name, errors));
    }
    if let Some(config_map) = &source.config_map {
        let path = path.child("configMap");
        check::required(errors, &path.child("name"), &config_map.name);
        items(config_map.items.as_deref(), &path, errors);
        config_map.items.iter().flatten().for_each(|item| claim(&item.path, &config_map.name, errors));
    }
    if let Some(downward) = &source.downward_api {
        let path = path.child("downwardAPI");
        for file in downward.items.iter().flatten() {
            downward_file(file, &path, errors);
            claim(&file.path, &file.path, errors);
        }
    }
    if let Some(token) = &source.service_account_token {
        let seconds = token.expiration_seconds.unwrap_or(3600);
        token_lifetime(seconds, &path.child("serviceAccountToken").child("expirationSeconds"), errors);
        // Upstream tells of the path as if it were the volume's.
        let file_path = volume_path.child("path");
        if check::required(errors, &file_path, &token.path) {
            check::volume_file_path(errors, &file_path, &token.path);
        }
    }
    if let Some(bundle) = &source.cluster_trust_bundle {
        let path = path.child("clusterTrustBundle");
        trust_bundle(bundle, &path, errors);
        if check::required(errors, &path.child("path"), &bundle.path) {
            check::volume_file_path(errors, &path.child("path"), &bundle.path);
        }
        claim(&bundle.path, &bundle.path, errors);
    }
}

/// A bundle is chosen by its name, or by its signer and labels.
fn trust_bundle(bundle: &ClusterTrustBundleProjection, path: &Path, errors: &mut ErrorList) {
    match (&bundle.name, &bundle.signer_name) {
        (Some(_), Some(_)) => {
            let why = "only one of name and signerName may be used";
            errors.push(FieldError::invalid(path, check::json(bundle), why));
        }
        (None, None) => {
            errors.push(FieldError::required(path, "either name or signerName must be specified"));
        }
        (Some(name), None) => {
            if name.is_empty() {
                errors.push(FieldError::required(&path.child("name"), "must be a valid object name"));
            }
            // What is before the last colon is the signer's name.
            let last = name.rsplit(':').next().unwrap_or_default();
            check::invalid(errors, &path.child("name"), name.as_str(), names::dns_subdomain(last));
            if bundle.label_selector.is_some() {
                let why = "labelSelector must be unset if name is specified";
                let shown = check::json(&bundle.label_selector);
                errors.push(FieldError::invalid(&path.child("labelSelector"), shown, why));
            }
        }
        (None, Some(signer)) => {
            if signer.is_empty() {
                errors.push(FieldError::required(&path.child("signerName"), "must be a valid signer name"));
            } else {
                certificates::signer_name(errors, &path.child("signerName"), signer);
            }
            if let Some(selector) = &bundle.label_selector {
                check::label_selector(errors, &path.child("labelSelector"), selector);
            }
        }
    }
}

/// How long a service account token may be valid.
pub(in crate::validation) fn token_lifetime(seconds: i64, path: &Path, errors: &mut ErrorList) {
    if seconds < 600 {
        errors.push(FieldError::invalid(path, seconds, "may not specify a duration less than 10 minutes"));
    }
    if seconds > 1 << 32 {
        errors.push(FieldError::invalid(path, seconds, "may not specify a duration larger than 2^32 seconds"));
    }
}
