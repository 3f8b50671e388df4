//! Certificate signing requests; bundles of trust anchors are in [`bundles`], what pods ask for in [`pods`].

use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::rules::NameRule;
use super::{check, names};
use crate::field::{ErrorList, FieldError, Path, quote};

mod bundles;
mod issued;
mod pods;
mod possession;

pub(super) use bundles::{trust_bundle, trust_bundle_name, trust_bundle_update};
pub(super) use pods::{pod_request, pod_request_status, pod_request_update};

/// What a certificate can be asked for.
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";

/// Conditions that are there or not, but never false.
const TRUE_ONLY: [&str; 3] = ["Approved", "Denied", "Failed"];

/// Which part of a request an update is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Main,
    Status,
    Approval,
}

/// Judges the name of a signer.
pub(super) fn signer_name(errors: &mut ErrorList, path: &Path, name: &str) {
    if name.is_empty() {
        errors.push(FieldError::required(path, "signerName must be provided"));
        return;
    }
    let Some((domain, rest)) = name.split_once('/').filter(|(_, rest)| !rest.contains('/')) else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.push(FieldError::invalid(path, name, why));
        return;
    };
    if domain.len() > 253 {
        errors.push(FieldError::too_long(path, 253));
    }
    let rules: [(&str, NameRule); 2] = [(domain, names::dns_label), (rest, names::dns_subdomain)];
    for (part, rule) in rules {
        // Only the first wrong label is told.
        if let Some((label, judged)) =
            part.split('.').map(|label| (label, rule(label))).find(|(_, judged)| !judged.is_empty())
        {
            let told = judged.into_iter().map(|why| format!("validating label {}: {why}", quote(label))).collect();
            check::invalid(errors, path, part, told);
        }
    }
    if !domain.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        errors.push(FieldError::invalid(path, domain, why));
    }
    // A domain, a slash, and a namespace, a dot and a name.
    let limit = 253 + 1 + (253 + 63 + 1);
    if name.len() > limit {
        errors.push(FieldError::too_long(path, limit));
    }
}

/// What is wrong with a request for a certificate.
fn request(bytes: &[u8]) -> Result<(), String> {
    let wrong_block = || "PEM block type must be CERTIFICATE REQUEST".to_owned();
    let (_, block) = x509_parser::pem::parse_x509_pem(bytes).map_err(|_| wrong_block())?;
    if block.label != "CERTIFICATE REQUEST" {
        return Err(wrong_block());
    }
    let (_, request) = X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
    request.verify_signature().map_err(|error| error.to_string())
}

/// What is wrong with an issued certificate.
fn certificate(bytes: &[u8]) -> Result<(), String> {
    if bytes.is_empty() {
        return Ok(());
    }
    let mut found = false;
    for block in Pem::iter_from_buffer(bytes).map_while(Result::ok) {
        if block.label != "CERTIFICATE" {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {}", quote(&block.label)));
        }
        X509Certificate::from_der(&block.contents).map_err(|error| error.to_string())?;
        found = true;
    }
    if found { Ok(()) } else { Err("must contain at least one CERTIFICATE PEM block".to_owned()) }
}

fn bytes_of(request: &CertificateSigningRequest) -> &[u8] {
    request.status.as_ref().and_then(|status| status.certificate.as_ref()).map_or(&[], |bytes| bytes.0.as_slice())
}

fn conditions_of(request: &CertificateSigningRequest) -> &[CertificateSigningRequestCondition] {
    request.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default()
}

fn of_type<'a>(request: &'a CertificateSigningRequest, kind: &str) -> Vec<&'a CertificateSigningRequestCondition> {
    conditions_of(request).iter().filter(|condition| condition.type_ == kind).collect()
}

/// Judges a new request.
pub(super) fn signing_request(new: &CertificateSigningRequest, errors: &mut ErrorList) {
    whole_request(new, None, errors);
}

/// Judges a request; faults that `old` had already are let be.
fn whole_request(new: &CertificateSigningRequest, old: Option<&CertificateSigningRequest>, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = &new.spec;
    if let Err(why) = request(&spec.request.0) {
        errors.push(FieldError::invalid(&path.child("request"), check::json(&spec.request), why));
    }
    let usages = spec.usages.as_deref().unwrap_or_default();
    let before = old.and_then(|old| old.spec.usages.as_deref()).unwrap_or_default();
    if usages.is_empty() {
        errors.push(FieldError::required(&path.child("usages"), "usages must be provided"));
    }
    let entries =
        || usages.iter().enumerate().map(|(index, usage)| (path.child("usages").index(index), usage.as_str()));
    if before.iter().all(|usage| USAGES.contains(&usage.as_str())) {
        entries().for_each(|(path, usage)| check::one_of(errors, &path, usage, &USAGES));
    }
    if !before.iter().enumerate().any(|(index, usage)| before[..index].contains(usage)) {
        check::unique(errors, entries());
    }
    let legacy = |request: &CertificateSigningRequest| request.spec.signer_name == LEGACY_SIGNER;
    if legacy(new) && !old.is_some_and(legacy) {
        let why = "the legacy signerName is not allowed via this API version";
        errors.push(FieldError::invalid(&path.child("signerName"), LEGACY_SIGNER, why));
    } else {
        signer_name(errors, &path.child("signerName"), &spec.signer_name);
    }
    if let Some(seconds) = spec.expiration_seconds.filter(|seconds| *seconds < 600) {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(FieldError::invalid(&path.child("expirationSeconds"), seconds, why));
    }
    conditions(new, old, errors);
    let issued = bytes_of(new);
    let tolerated = old.is_some_and(|old| bytes_of(old) == issued || certificate(bytes_of(old)).is_err());
    if !tolerated && let Err(why) = certificate(issued) {
        let path = Path::new("status").child("certificate");
        errors.push(FieldError::invalid(&path, "<certificate data>", why));
    }
}

fn conditions(new: &CertificateSigningRequest, old: Option<&CertificateSigningRequest>, errors: &mut ErrorList) {
    let list = Path::new("status").child("conditions");
    let before = old.map(conditions_of).unwrap_or_default();
    let had = |kind: &str| before.iter().any(|condition| condition.type_ == kind);
    let both_before = had("Approved") && had("Denied");
    let mut decided: Option<&str> = None;
    for (index, condition) in conditions_of(new).iter().enumerate() {
        let path = list.index(index);
        let kind = condition.type_.as_str();
        if !had("") {
            check::required(errors, &path.child("type"), kind);
        }
        let statuses: &[&str] = if TRUE_ONLY.contains(&kind) { &["True"] } else { &["False", "True", "Unknown"] };
        check::required_one_of(errors, &path.child("status"), &condition.status, statuses);
        if ["Approved", "Denied"].contains(&kind) {
            if decided.is_some_and(|first| first != kind) && !both_before {
                let why = "Approved and Denied conditions are mutually exclusive";
                errors.push(FieldError::invalid(&path.child("type"), kind, why));
            }
            decided = decided.or(Some(kind));
        }
    }
    let twice_before = before
        .iter()
        .enumerate()
        .any(|(index, condition)| before[..index].iter().any(|earlier| earlier.type_ == condition.type_));
    if !twice_before {
        let entries = conditions_of(new).iter().enumerate();
        check::unique(errors, entries.map(|(index, found)| (list.index(index).child("type"), found.type_.as_str())));
    }
}

/// Judges an update of a request.
pub(super) fn signing_request_update(
    new: &CertificateSigningRequest,
    old: &CertificateSigningRequest,
    errors: &mut ErrorList,
) {
    update(new, old, Part::Main, errors);
}

/// Judges an update of the status of a request.
pub(super) fn signing_request_status(
    new: &CertificateSigningRequest,
    old: &CertificateSigningRequest,
    errors: &mut ErrorList,
) {
    update(new, old, Part::Status, errors);
}

/// Judges the approval of a request.
pub(super) fn signing_request_approval(
    new: &CertificateSigningRequest,
    old: &CertificateSigningRequest,
    errors: &mut ErrorList,
) {
    update(new, old, Part::Approval, errors);
}

fn update(new: &CertificateSigningRequest, old: &CertificateSigningRequest, part: Part, errors: &mut ErrorList) {
    whole_request(new, Some(old), errors);
    let path = Path::new("status").child("conditions");
    for kind in TRUE_ONLY {
        let (now, before) = (of_type(new, kind), of_type(old, kind));
        let change = match now.len().cmp(&before.len()) {
            std::cmp::Ordering::Less => "remove",
            // Who approves and who signs are different people.
            _ if part == Part::Approval || kind == "Failed" => continue,
            std::cmp::Ordering::Greater => "add",
            std::cmp::Ordering::Equal if now != before => "modify",
            std::cmp::Ordering::Equal => continue,
        };
        let why = format!("updates may not {change} a condition of type {}", quote(kind));
        errors.push(FieldError::forbidden(&path, why));
    }
    let (now, before) = (bytes_of(new), bytes_of(old));
    if now != before && (part != Part::Status || !before.is_empty()) {
        let why = match part {
            Part::Status => "updates may not modify existing certificate content",
            Part::Main | Part::Approval => "updates may not set certificate content",
        };
        errors.push(FieldError::forbidden(&Path::new("status").child("certificate"), why));
    }
}
