//! CertificateApproval, CertificateSigning and CertificateSubjectRestriction: who may decide about certificate requests
//! depends on the signer, and nobody becomes an administrator by a request.

use api::field::{FieldError, Path, quote};
use api::status::Status;
use base64::Engine;
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use super::{Attributes, Handler, Operation, Plugin};
use crate::access::attributes::{Attributes as Question, ResourceAttributes};
use crate::access::identity::MASTERS;

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";

/// The signer whose certificates the API server takes for anybody's.
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

pub(super) const APPROVAL: Plugin =
    Plugin { admit: &[(Operation::Update, Handler::Now(approve))], ..Plugin::named("CertificateApproval") };

pub(super) const SIGNING: Plugin =
    Plugin { admit: &[(Operation::Update, Handler::Now(sign))], ..Plugin::named("CertificateSigning") };

pub(super) const SUBJECT_RESTRICTION: Plugin = Plugin {
    admit: &[(Operation::Create, Handler::Now(restrict_subject))],
    ..Plugin::named("CertificateSubjectRestriction")
};

fn approve(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    if attributes.old.is_none() || !attributes.is_subresource(GROUP, REQUESTS, "approval") {
        return Ok(());
    }
    decide(attributes, object, "approve")
}

fn sign(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    if attributes.is_subresource(GROUP, "podcertificaterequests", "status") {
        return sign_for_pod(attributes, object);
    }
    let Some(old) = attributes.old.filter(|_| attributes.is_subresource(GROUP, REQUESTS, "status")) else {
        return Ok(());
    };
    let differs = |field: &str| object.pointer(field) != old.pointer(field);
    if !differs("/status/certificate") && !differs("/status/conditions") {
        return Ok(());
    }
    decide(attributes, object, "sign")
}

/// Who signs for a signer may issue its certificates; upstream answers as if the request were invalid.
fn sign_for_pod(attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
    let Some(old) = attributes.old else { return Ok(()) };
    let chain = "/status/certificateChain";
    let signer = old.pointer("/spec/signerName").and_then(Value::as_str).unwrap_or_default();
    if object.pointer(chain) == old.pointer(chain) || may_on_signer(attributes, signer, "sign") {
        return Ok(());
    }
    let user = quote(&attributes.caller.identity.user);
    let why = format!("User {user} is not permitted to \"sign\" for signer {}", quote(signer));
    let error = FieldError::forbidden(&Path::new("spec").child("signerName"), why);
    Err(Status::invalid(GROUP, "PodCertificateRequest", api::meta::name(object), vec![error]))
}

/// Whether the caller has a verb on a signer, or on all of its domain.
pub(super) fn may_on_signer(attributes: &Attributes<'_>, signer: &str, verb: &str) -> bool {
    let may = |name: &str| {
        let resource = ResourceAttributes { group: GROUP, resource: "signers", name, ..ResourceAttributes::default() };
        let question = Question::of_verb(attributes.caller.identity, verb, resource);
        attributes.registry.authorization.decide_now(&question).is_allowed()
    };
    let domain = signer.split_once('/').map_or(signer, |(domain, _)| domain);
    may(signer) || may(&format!("{domain}/*"))
}

fn decide(attributes: &Attributes<'_>, object: &Value, verb: &str) -> Result<(), Status> {
    let signer = object.pointer("/spec/signerName").and_then(Value::as_str).unwrap_or_default();
    if may_on_signer(attributes, signer, verb) {
        return Ok(());
    }
    let why = format!("user not permitted to {verb} requests with signerName {}", quote(signer));
    Err(attributes.forbidden(object, why))
}

fn restrict_subject(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    let is_create = attributes.old.is_none() && attributes.is(GROUP, REQUESTS);
    if !is_create || object.pointer("/spec/signerName").and_then(Value::as_str) != Some(CLIENT_SIGNER) {
        return Ok(());
    }
    let asks_for_masters =
        |subject: &X509Name<'_>| subject.iter_organization().any(|organization| organization.as_str() == Ok(MASTERS));
    if requested(object, asks_for_masters) != Some(true) {
        return Ok(());
    }
    let why = format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed");
    Err(attributes.forbidden(object, why))
}

/// Reads the subject that a request asks for; nothing if it is no certificate request.
pub(super) fn requested<T>(object: &Value, read: impl FnOnce(&X509Name<'_>) -> T) -> Option<T> {
    let encoded = object.pointer("/spec/request").and_then(Value::as_str)?;
    let pem = base64::prelude::BASE64_STANDARD.decode(encoded).ok()?;
    let (_, block) = parse_x509_pem(&pem).ok()?;
    let (_, request) = X509CertificationRequest::from_der(&block.contents).ok()?;
    Some(read(&request.certification_request_info.subject))
}
