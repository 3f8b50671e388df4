//! Certificates that pods ask for: PodCertificateRequests. What a certificate must be once it is issued is in
//! [`super::issued`].

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1beta1::{PodCertificateRequest, PodCertificateRequestStatus};
use ring::signature;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::{issued, signer_name};
use crate::field::{ErrorList, FieldError, Path};
use crate::validation::{check, metadata, names};

const MAX_UID: usize = 128;
const MAX_KEY: usize = 10 * 1024;
const MAX_PROOF: usize = 10 * 1024;
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
    if let Err(error) = possession(&spec.pkix_public_key, &spec.proof_of_possession, &spec.pod_uid, &path) {
        errors.push(error);
    }
}

/// Whoever asks must have the private key: it has signed the pod's UID.
fn possession(key: &ByteString, proof: &ByteString, uid: &str, path: &Path) -> Result<(), FieldError> {
    let (key_path, proof_path) = (path.child("pkixPublicKey"), path.child("proofOfPossession"));
    if key.0.len() > MAX_KEY {
        return Err(FieldError::too_long(&key_path, MAX_KEY));
    }
    if proof.0.len() > MAX_PROOF {
        return Err(FieldError::too_long(&proof_path, MAX_PROOF));
    }
    let unreadable = || FieldError::invalid(&key_path, check::json(key), "must be a valid PKIX-serialized public key");
    let (_, info) =
        SubjectPublicKeyInfo::from_der(&key.0).ok().filter(|(rest, _)| rest.is_empty()).ok_or_else(unreadable)?;
    let algorithm = algorithm(&info, key, &key_path)?.ok_or_else(unreadable)?;
    let public = signature::UnparsedPublicKey::new(algorithm, info.subject_public_key.data.as_ref());
    let unproven = |_| FieldError::invalid_omitted(&proof_path, "could not verify proof-of-possession signature");
    public.verify(uid.as_bytes(), &proof.0).map_err(unproven)
}

/// How a key signs; nothing if it is not what it says.
fn algorithm(
    info: &SubjectPublicKeyInfo<'_>,
    key: &ByteString,
    path: &Path,
) -> Result<Option<&'static dyn signature::VerificationAlgorithm>, FieldError> {
    const ED25519: &str = "1.3.101.112";
    const CURVES: [(&str, &dyn signature::VerificationAlgorithm); 2] = [
        ("1.2.840.10045.3.1.7", &signature::ECDSA_P256_SHA256_ASN1),
        ("1.3.132.0.34", &signature::ECDSA_P384_SHA256_ASN1),
    ];
    if info.algorithm.algorithm.to_id_string() == ED25519 {
        return Ok(Some(&signature::ED25519));
    }
    match info.parsed() {
        Ok(PublicKey::EC(_)) => {
            let curve = info.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
            let curve = curve.map(|curve| curve.to_id_string()).unwrap_or_default();
            match CURVES.iter().find(|(known, _)| *known == curve) {
                Some((_, algorithm)) => Ok(Some(*algorithm)),
                // The third curve that upstream takes, P-521, is none of those that `ring` can check.
                None => {
                    let why = "elliptic public keys must use curve P256 or P384";
                    Err(FieldError::invalid(path, format!("curve {curve}"), why))
                }
            }
        }
        Ok(PublicKey::RSA(rsa)) => {
            let bits = rsa.key_size();
            if ![3072, 4096].contains(&bits) {
                let why = "RSA keys must have modulus size 3072 or 4096";
                return Err(FieldError::invalid(path, format!("{bits}-bit modulus"), why));
            }
            Ok(Some(&signature::RSA_PSS_2048_8192_SHA256))
        }
        Ok(_) => {
            let why = "unknown public key type; supported types are Ed25519, ECDSA, and RSA";
            Err(FieldError::invalid(path, check::json(key), why))
        }
        Err(_) => Ok(None),
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

/// Judges an update of the status of a request.
pub(in crate::validation) fn pod_request_status(
    new: &PodCertificateRequest,
    old: &PodCertificateRequest,
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
        issued::certificate(&status, &old.spec, &path, errors);
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
