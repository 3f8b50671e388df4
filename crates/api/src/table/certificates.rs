//! Requests for certificates, and the bundles of authorities.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{self, NONE, age, human_duration, list, name, string, string_or};
use super::{AGE, Column, NAME, Printer, text};

const CERTIFICATES: &str = "certificates.k8s.io";

pub(super) const PRINTERS: &[Printer] = &[
    Printer {
        group: CERTIFICATES,
        kind: "CertificateSigningRequest",
        columns: SIGNING_REQUEST,
        cells: signing_request,
    },
    Printer { group: CERTIFICATES, kind: "ClusterTrustBundle", columns: TRUST_BUNDLE, cells: trust_bundle },
    Printer { group: CERTIFICATES, kind: "PodCertificateRequest", columns: POD_REQUEST, cells: pod_request },
];

const SIGNING_REQUEST: &[Column] =
    &[NAME, AGE, text("SignerName"), text("Requestor"), text("RequestedDuration"), text("Condition")];

fn signing_request(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let has = |condition_type: &str| cells::condition(object, condition_type).is_some();
    let mut status = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    }
    .to_owned();
    if has("Failed") {
        status.push_str(",Failed");
    }
    if !string(&object["status"]["certificate"]).is_empty() {
        status.push_str(",Issued");
    }
    let duration = spec["expirationSeconds"].as_i64().map_or(NONE.to_owned(), human_duration);
    vec![
        name(object),
        age(object, now),
        string_or(&spec["signerName"], NONE).into(),
        string(&spec["username"]).into(),
        duration.into(),
        status.into(),
    ]
}

const TRUST_BUNDLE: &[Column] = &[NAME, text("SignerName")];

fn trust_bundle(object: &Value, _now: Timestamp) -> Vec<Value> {
    vec![name(object), string_or(&object["spec"]["signerName"], NONE).into()]
}

const POD_REQUEST: &[Column] =
    &[NAME, text("PodName"), text("ServiceAccountName"), text("NodeName"), text("SignerName"), text("State")];

fn pod_request(object: &Value, _now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let mut types = list(&object["status"]["conditions"]).iter().map(|condition| string(&condition["type"]));
    let state = types.rfind(|state| matches!(*state, "Issued" | "Denied" | "Failed")).unwrap_or("Pending");
    vec![
        name(object),
        string(&spec["podName"]).into(),
        string(&spec["serviceAccountName"]).into(),
        string(&spec["nodeName"]).into(),
        string(&spec["signerName"]).into(),
        state.into(),
    ]
}
