//! AdmissionReview: what is sent to webhooks, and what they answer.

use std::collections::BTreeMap;

use api::field::quote;
use api::status::{Cause, Details, Status};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::configuration::ReviewVersion;
use crate::admission::matching::VersionedAttributes;

/// What a webhook is asked.
#[derive(Serialize)]
pub(super) struct Review<'a> {
    kind: &'static str,
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    request: Request<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    uid: &'a str,
    #[serde(flatten)]
    request: Value,
    object: Option<&'a Value>,
    old_object: Option<&'a Value>,
}

impl<'a> Review<'a> {
    /// A review of a request under a UID.
    pub(super) fn new(uid: &'a str, version: ReviewVersion, request: &'a VersionedAttributes<'a>) -> Self {
        let (object, old_object) = (request.object.as_deref(), request.old.as_deref());
        let request = Request { uid, request: request.request(), object, old_object };
        Self { kind: "AdmissionReview", api_version: version.api_version(), request }
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        Bytes::from(serde_json::to_vec(self).expect("documents are JSON, whose keys are texts"))
    }
}

/// The one type of patches that there is.
pub(super) const JSON_PATCH: &str = "JSONPatch";

/// What a webhook answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Answer {
    uid: String,
    allowed: bool,
    status: Option<Value>,
    patch: Option<String>,
    patch_type: Option<String>,
    audit_annotations: Option<BTreeMap<String, String>>,
    warnings: Option<Vec<String>>,
}

/// The answer, checked.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) is_allowed: bool,
    status: Option<Value>,
    /// The patch; empty if nothing is to be changed.
    pub(super) patch: Vec<u8>,
    /// What kind of a patch it is.
    pub(super) patch_type: String,
    pub(super) audit_annotations: BTreeMap<String, String>,
    pub(super) warnings: Vec<String>,
}

impl Response {
    /// Reads an answer; the error says what is wrong with it.
    pub(super) fn read(
        mut review: Value,
        uid: &str,
        version: ReviewVersion,
        is_mutating: bool,
    ) -> Result<Self, String> {
        let answer = review["response"].take();
        if !answer.is_object() {
            return Err("webhook response was absent".to_owned());
        }
        let answer: Answer = serde_json::from_value(answer).map_err(|err| err.to_string())?;
        // Nothing but the answer itself was looked at in the beta version.
        if version == ReviewVersion::V1 {
            check(&review, &answer, uid, is_mutating)?;
        }
        let patch = answer.patch.filter(|_| is_mutating).unwrap_or_default();
        let patch_type = match version {
            ReviewVersion::V1 => answer.patch_type.unwrap_or_default(),
            // That version knew one type alone.
            ReviewVersion::V1beta1 => JSON_PATCH.to_owned(),
        };
        Ok(Self {
            is_allowed: answer.allowed,
            status: answer.status,
            patch_type,
            patch: BASE64_STANDARD.decode(patch).map_err(|err| err.to_string())?,
            audit_annotations: answer.audit_annotations.unwrap_or_default(),
            warnings: answer.warnings.unwrap_or_default(),
        })
    }

    /// The status of the request that the webhook refuses.
    pub(super) fn refusal(&self, webhook: &str) -> Status {
        let text = |field: &str| self.status.as_ref().and_then(|status| status[field].as_str()).unwrap_or_default();
        let denied = format!("admission webhook {} denied the request", quote(webhook));
        let message = match (text("message"), text("reason")) {
            ("", "") => format!("{denied} without explanation"),
            ("", why) | (why, _) => format!("{denied}: {why}"),
        };
        let code = self.status.as_ref().and_then(|status| status["code"].as_u64());
        let code = code.and_then(|code| u16::try_from(code).ok()).filter(|code| (400..600).contains(code));
        let mut refusal = Status::bad_request(message);
        refusal.code = code.unwrap_or(400);
        refusal.reason = text("reason").to_owned().into();
        refusal.details = self.status.as_ref().and_then(details);
        refusal
    }
}

fn details(status: &Value) -> Option<Box<Details>> {
    let details = status.get("details").filter(|details| details.is_object())?;
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let causes = details["causes"].as_array().into_iter().flatten().map(|cause| Cause {
        reason: text(cause, "reason").into(),
        message: text(cause, "message"),
        field: text(cause, "field"),
    });
    let seconds = details["retryAfterSeconds"].as_u64().and_then(|seconds| u32::try_from(seconds).ok());
    Some(Box::new(Details {
        name: text(details, "name"),
        group: text(details, "group"),
        kind: text(details, "kind"),
        uid: text(details, "uid"),
        causes: causes.collect(),
        retry_after_seconds: seconds.unwrap_or(0),
    }))
}

/// What must be right in an answer to a review of version `v1`.
fn check(review: &Value, answer: &Answer, uid: &str, is_mutating: bool) -> Result<(), String> {
    if answer.uid != uid {
        return Err(format!("expected response.uid={}, got {}", quote(uid), quote(&answer.uid)));
    }
    let (api_version, kind) = (api::meta::api_version(review), api::meta::kind(review));
    if (api_version, kind) != (ReviewVersion::V1.api_version(), "AdmissionReview") {
        let (group, version) = api::meta::split_api_version(api_version);
        let expected = "admission.k8s.io/v1, Kind=AdmissionReview";
        return Err(format!("expected webhook response of {expected}, got {group}/{version}, Kind={kind}"));
    }
    let has_patch = answer.patch.as_ref().is_some_and(|patch| !patch.is_empty());
    match (is_mutating, has_patch, answer.patch_type.as_deref()) {
        (false, true, _) => Err("validating webhook may not return response.patch".to_owned()),
        (false, false, Some(_)) => Err("validating webhook may not return response.patchType".to_owned()),
        (true, true, None) => Err("webhook returned response.patch but not response.patchType".to_owned()),
        (true, false, Some(_)) => Err("webhook returned response.patchType but not response.patch".to_owned()),
        (true, true, Some("")) => Err("webhook returned invalid response.patchType of \"\"".to_owned()),
        (true, true, Some(_)) | (_, false, None) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn review(response: Value) -> Value {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    }

    #[track_caller]
    fn check(review: Value, version: ReviewVersion, is_mutating: bool, expected: Result<bool, &str>) {
        let read = Response::read(review, "u", version, is_mutating).map(|response| response.is_allowed);
        assert_eq!(read, expected.map_err(str::to_owned));
    }

    #[test]
    fn answers_must_be_whole() {
        use ReviewVersion::{V1, V1beta1};
        check(review(json!({"uid": "u", "allowed": true})), V1, true, Ok(true));
        check(review(json!({"uid": "u"})), V1, false, Ok(false));
        check(json!({}), V1, true, Err("webhook response was absent"));
        check(review(json!({"uid": "x"})), V1, true, Err("expected response.uid=\"u\", got \"x\""));
        let why = "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got admission.k8s.io/v1beta1, Kind=AdmissionReview";
        let beta =
            json!({"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "response": {"uid": "u"}});
        check(beta, V1, true, Err(why));
        check(json!({"response": {"allowed": true}}), V1beta1, true, Ok(true));
    }

    #[test]
    fn patches_come_with_their_type_and_from_mutating_webhooks_alone() {
        use ReviewVersion::V1;
        let answer =
            |patch: &str, ty: Value| review(json!({"uid": "u", "allowed": true, "patch": patch, "patchType": ty}));
        check(answer("W10=", json!("JSONPatch")), V1, true, Ok(true));
        check(answer("W10=", Value::Null), V1, true, Err("webhook returned response.patch but not response.patchType"));
        let why = "webhook returned response.patchType but not response.patch";
        check(answer("", json!("JSONPatch")), V1, true, Err(why));
        check(answer("W10=", json!("")), V1, true, Err("webhook returned invalid response.patchType of \"\""));
        check(answer("W10=", Value::Null), V1, false, Err("validating webhook may not return response.patch"));
    }

    #[track_caller]
    fn check_refusal(status: Value, code: u16, message: &str) {
        let response = review(json!({"uid": "u", "status": status}));
        let response = Response::read(response, "u", ReviewVersion::V1, false).expect("an answer");
        let refusal = response.refusal("a.example.com");
        assert_eq!((refusal.code, refusal.message.as_str()), (code, message));
    }

    #[test]
    fn refusals_say_who_refuses() {
        let denied = "admission webhook \"a.example.com\" denied the request";
        check_refusal(Value::Null, 400, &format!("{denied} without explanation"));
        check_refusal(json!({"message": "no"}), 400, &format!("{denied}: no"));
        check_refusal(json!({"reason": "Policy", "code": 403}), 403, &format!("{denied}: Policy"));
        check_refusal(json!({"message": "no", "code": 200}), 400, &format!("{denied}: no"));
    }
}
