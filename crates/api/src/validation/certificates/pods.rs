//! Certificates that pods ask for: PodCertificateRequests. What the key and its proof must be is in
//! [`super::possession`], what a certificate must be once it is issued in [`super::issued`].

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1beta1::{PodCertificateRequest, PodCertificateRequestStatus};

use super::{issued, possession, signer_name};
use crate::field::{ErrorList, FieldError, Path};
use crate::validation::{check, metadata, names};

const MAX_UID: usize = 128;
/// An hour, a day and 91 days.
const MIN_EXPIRATION: i32 = 3600;
const MAX_OWN_EXPIRATION: i32 = 86_400;
const MAX_EXPIRATION: i32 = 7_862_400;

/// How a request can end.
const ENDS: [&str; 3] = ["Denied", "Failed", "Issued"];

/// Judges a new request.
pub(in crate::validation) fn pod_request(request: &PodCertificateRequest, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = &request.spec;
    signer_name(errors, &path.child("signerName"), &spec.signer_name);
    if let Some(annotations) = &spec.unverified_user_annotations {
        let path = path.child("unverifiedUserAnnotations");
        metadata::annotations(Some(annotations), &path, errors);
        for key in annotations.keys().filter(|key| !key.contains('/')) {
            errors.push(FieldError::invalid(&path, key.as_str(), "must be prefixed with a domain"));
        }
    }
    for (whose, name, uid) in [
        ("pod", &spec.pod_name, &spec.pod_uid),
        ("serviceAccount", &spec.service_account_name, &spec.service_account_uid),
        ("node", &spec.node_name, &spec.node_uid),
    ] {
        let name_path = path.child(&format!("{whose}Name"));
        check::invalid(errors, &name_path, name.as_str(), names::dns_subdomain(name));
        let uid_path = path.child(&format!("{whose}UID"));
        if uid.is_empty() {
            errors.push(FieldError::invalid(&uid_path, "", "must not be empty"));
        }
        if uid.len() > MAX_UID {
            errors.push(FieldError::too_long(&uid_path, MAX_UID));
        }
    }
    let expiration_path = path.child("maxExpirationSeconds");
    let Some(expiration) = spec.max_expiration_seconds else {
        errors.push(FieldError::required(&expiration_path, "must be set"));
        return;
    };
    let domain = spec.signer_name.split_once('/').map_or("", |(domain, _)| domain);
    let is_own = domain == "kubernetes.io" || domain.ends_with(".kubernetes.io");
    let longest = if is_own { MAX_OWN_EXPIRATION } else { MAX_EXPIRATION };
    if !(MIN_EXPIRATION..=longest).contains(&expiration) {
        let why = format!("must be in the range [{MIN_EXPIRATION}, {longest}]");
        errors.push(FieldError::invalid(&expiration_path, expiration, why));
    }
    if let Err(error) = possession::check(&spec.pkix_public_key, &spec.proof_of_possession, &spec.pod_uid, &path) {
        errors.push(error);
    }
}

/// Judges an update of a request: what is asked for stays.
pub(in crate::validation) fn pod_request_update(
    new: &PodCertificateRequest,
    old: &PodCertificateRequest,
    errors: &mut ErrorList,
) {
    check::immutable(errors, &Path::new("spec"), &new.spec, &old.spec);
}

/// Whether a request has ended in one of some ways.
fn has_ended(status: &PodCertificateRequestStatus, ways: &[&str]) -> bool {
    let conditions = status.conditions.iter().flatten();
    conditions.into_iter().any(|condition| ways.contains(&condition.type_.as_str()) && condition.status == "True")
}

/// Judges an update of the status of a request, which is `now`.
pub(in crate::validation) fn pod_request_status(
    new: &PodCertificateRequest,
    old: &PodCertificateRequest,
    now: Timestamp,
    errors: &mut ErrorList,
) {
    if !errors.is_empty() {
        return;
    }
    let path = Path::new("status");
    let (status, before) = (new.status.clone().unwrap_or_default(), old.status.clone().unwrap_or_default());
    conditions(&status, &path.child("conditions"), errors);
    if !errors.is_empty() {
        return;
    }
    let mut stays = |is_same: bool, why: &str| {
        if !is_same {
            errors.push(FieldError::invalid_omitted(&path, why));
        }
    };
    if has_ended(&before, &ENDS) {
        stays(status == before, "immutable after PodCertificateRequest is issued, denied, or failed");
    } else if has_ended(&status, &["Denied", "Failed"]) {
        let bare = PodCertificateRequestStatus { conditions: status.conditions.clone(), ..Default::default() };
        let why = "non-condition status fields must be empty when denying or failing the PodCertificateRequest";
        stays(status == bare, why);
    } else if has_ended(&status, &["Issued"]) {
        issued::certificate(&status, &old.spec, now, &path, errors);
    } else {
        let why = "status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\"";
        stays(status == before, why);
    }
}

fn conditions(status: &PodCertificateRequestStatus, list: &Path, errors: &mut ErrorList) {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let mut ended = false;
    for (index, condition) in conditions.iter().enumerate() {
        let path = list.index(index);
        let kind = condition.type_.as_str();
        if !ENDS.contains(&kind) {
            errors.push(FieldError::not_supported(&path.child("type"), kind, &ENDS));
            continue;
        }
        if std::mem::replace(&mut ended, true) {
            let why = "There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\"";
            errors.push(FieldError::invalid(&path.child("type"), kind, why));
        }
        check::one_of(errors, &path.child("status"), &condition.status, &["True"]);
    }
    check::conditions(errors, list, conditions);
}
