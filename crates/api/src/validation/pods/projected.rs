//! Volumes that several sources write into.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    ClusterTrustBundleProjection, PodCertificateProjection, ProjectedVolumeSource, VolumeProjection,
};

use super::volumes::{downward_file, items, mode};
use crate::field::{ErrorList, FieldError, Path};
use crate::validation::{certificates, check};

const KEY_TYPES: [&str; 6] = ["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
const MIN_CERTIFICATE_SECONDS: i32 = 3600;
const MAX_CERTIFICATE_SECONDS: i32 = 91 * 86_400;
/// How long certificates of Kubernetes' own signers may be valid at most.
const MAX_KUBERNETES_SECONDS: i32 = 86_400;

/// Judges a projected volume.
pub(super) fn volume(volume: &ProjectedVolumeSource, path: &Path, errors: &mut ErrorList) {
    mode(volume.default_mode, &path.child("defaultMode"), errors);
    let mut files = Files { seen: BTreeSet::new(), path };
    for (index, source) in volume.sources.iter().flatten().enumerate() {
        projection(source, &path.child("sources").index(index), &mut files, errors);
    }
}

/// The files that sources write, of which no two may be the same.
struct Files<'a> {
    seen: BTreeSet<String>,
    /// Where the volume is: upstream tells of it instead of the source.
    path: &'a Path,
}

impl Files<'_> {
    fn write(&mut self, file: &str, shown: &str, errors: &mut ErrorList) {
        if !self.seen.insert(file.to_owned()) {
            errors.push(FieldError::invalid(self.path, shown, "conflicting duplicate paths"));
        }
    }
}

fn projection(source: &VolumeProjection, path: &Path, files: &mut Files<'_>, errors: &mut ErrorList) {
    let keys = [
        ("secret", source.secret.as_ref().map(|found| (&found.name, found.items.as_deref()))),
        ("configMap", source.config_map.as_ref().map(|found| (&found.name, found.items.as_deref()))),
    ];
    let mut count = 0;
    for (field, found) in keys {
        let Some((name, found)) = found else { continue };
        count += 1;
        let path = path.child(field);
        check::required(errors, &path.child("name"), name);
        items(found, &path, errors);
        for item in found.unwrap_or_default().iter().filter(|item| !item.path.is_empty()) {
            files.write(&item.path, name, errors);
        }
    }
    if let Some(downward) = &source.downward_api {
        count += 1;
        let path = path.child("downwardAPI");
        for file in downward.items.iter().flatten() {
            downward_file(file, &path, errors);
            if !file.path.is_empty() {
                files.write(&file.path, &file.path, errors);
            }
        }
    }
    if let Some(token) = &source.service_account_token {
        count += 1;
        let seconds = token.expiration_seconds.unwrap_or(3600);
        token_lifetime(seconds, &path.child("serviceAccountToken").child("expirationSeconds"), errors);
        // Upstream tells of the path as if it were the volume's.
        let file_path = files.path.child("path");
        if check::required(errors, &file_path, &token.path) {
            check::volume_file_path(errors, &file_path, &token.path);
        }
    }
    if let Some(bundle) = &source.cluster_trust_bundle {
        count += 1;
        let path = path.child("clusterTrustBundle");
        trust_bundle(bundle, &path, errors);
        check::required(errors, &path.child("path"), &bundle.path);
        check::volume_file_path(errors, &path.child("path"), &bundle.path);
        files.write(&bundle.path, &bundle.path, errors);
    }
    if let Some(certificate) = &source.pod_certificate {
        count += 1;
        pod_certificate(certificate, &path.child("podCertificate"), files, errors);
    }
    if count > 1 {
        errors.push(FieldError::forbidden(path, "may not specify more than 1 volume type per source"));
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
            let signer = name.rsplit_once(':').map(|(signer, _)| signer.replace(':', "/")).unwrap_or_default();
            let whys = certificates::trust_bundle_name(name, &signer).into_iter();
            let whys = whys.map(|why| format!("not a valid clustertrustbundlename: {why}")).collect();
            check::invalid(errors, &path.child("name"), name.as_str(), whys);
            if bundle.label_selector.is_some() {
                let why = "labelSelector must be unset if name is specified";
                let shown = check::json(&bundle.label_selector);
                errors.push(FieldError::invalid(&path.child("labelSelector"), shown, why));
            }
        }
        (None, Some(signer)) => {
            if signer.is_empty() {
                errors.push(FieldError::required(&path.child("signerName"), "must be a valid signer name"));
            }
            certificates::signer_name(errors, &path.child("signerName"), signer);
            if let Some(selector) = &bundle.label_selector {
                check::label_selector(errors, &path.child("labelSelector"), selector);
            }
        }
    }
}

fn pod_certificate(certificate: &PodCertificateProjection, path: &Path, files: &mut Files<'_>, errors: &mut ErrorList) {
    certificates::signer_name(errors, &path.child("signerName"), &certificate.signer_name);
    check::one_of(errors, &path.child("keyType"), &certificate.key_type, &KEY_TYPES);
    if let Some(seconds) = certificate.max_expiration_seconds {
        let path = path.child("maxExpirationSeconds");
        if seconds < MIN_CERTIFICATE_SECONDS {
            let why = format!("if provided, maxExpirationSeconds must be >= {MIN_CERTIFICATE_SECONDS}");
            errors.push(FieldError::invalid(&path, seconds, why));
        }
        let is_own = certificate.signer_name.starts_with("kubernetes.io/");
        let longest = if is_own { MAX_KUBERNETES_SECONDS } else { MAX_CERTIFICATE_SECONDS };
        if seconds > longest {
            let why = format!("if provided, maxExpirationSeconds must be <= {longest}");
            errors.push(FieldError::invalid(&path, seconds, why));
        }
    }
    let paths = [
        ("credentialBundlePath", check::text(&certificate.credential_bundle_path)),
        ("keyPath", check::text(&certificate.key_path)),
        ("certificateChainPath", check::text(&certificate.certificate_chain_path)),
    ];
    for (field, file) in paths.into_iter().filter(|(_, file)| !file.is_empty()) {
        check::volume_file_path(errors, &path.child(field), file);
        files.write(file, file, errors);
    }
    if paths.iter().all(|(_, file)| file.is_empty()) {
        let why = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.push(FieldError::required(path, why));
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
