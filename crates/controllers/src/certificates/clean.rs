//! Deletes certificate signing requests that nobody needs any more.

use std::sync::Arc;
use std::time::Duration;

use base::Drain;
use client::{Controller, ControllerError, objects};
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::Api;

use super::{conditions, is_issued};
use crate::context::Context;
use crate::error::{Attempt, SyncError};

/// How long a request stays that was answered: with a certificate, or with no.
const ANSWERED: Duration = Duration::from_secs(3600);
/// How long a request waits for a decision.
const WAITING: Duration = Duration::from_secs(24 * 3600);

/// Runs the controller until the drain signal.
pub(crate) async fn run(context: Context, drain: Drain) -> Result<(), ControllerError> {
    let requests = context.informers.of::<CertificateSigningRequest>();
    let lister = Arc::new(requests.lister());
    Controller::new("certificatesigningrequest-cleaner-controller", context.env.clone())
        .watch_own(&requests)
        .run(drain, move |key| {
            let (context, lister) = (context.clone(), Arc::clone(&lister));
            async move {
                let Some(request) = lister.get_key(&key) else { return Ok(None) };
                let Some(left) = left(&request, context.env.now()) else { return Ok(None) };
                if !left.is_zero() {
                    return Ok::<_, SyncError>(Some(left));
                }
                let api: Api<CertificateSigningRequest> = context.cluster();
                let deleted = api.delete(&key.name, &objects::delete_uid(objects::uid(&*request))).await;
                objects::ignore_not_found(deleted).attempt("delete certificate signing request", &key)?;
                Ok(None)
            }
        })
        .await
}

/// How long a request still stays; without an end while it waits for its certificate.
fn left(request: &CertificateSigningRequest, now: Timestamp) -> Option<Duration> {
    let until = |since: Timestamp, stays: Duration| since.saturating_add(stays).unwrap_or(Timestamp::MAX);
    let is_issued = is_issued(request);
    let answered = conditions(request).filter_map(|condition| {
        let is_answer = match condition.type_.as_str() {
            "Denied" | "Failed" => true,
            "Approved" => is_issued,
            _ => false,
        };
        let updated = condition.last_update_time.as_ref().filter(|_| is_answer)?;
        Some(until(updated.0, ANSWERED))
    });
    let waiting = conditions(request).next().is_none();
    let waiting = request.metadata.creation_timestamp.as_ref().filter(|_| waiting);
    let end = answered.chain(waiting.map(|created| until(created.0, WAITING))).chain(expiry(request)).min()?;
    Some(Duration::try_from(end.duration_since(now)).unwrap_or_default())
}

/// When the certificate of a request ends.
fn expiry(request: &CertificateSigningRequest) -> Option<Timestamp> {
    let pem = request.status.as_ref()?.certificate.as_ref()?;
    let certificates = pki::inspect(std::str::from_utf8(&pem.0).ok()?).ok()?;
    certificates.first().map(|certificate| certificate.not_after)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use k8s_openapi::api::certificates::v1::{CertificateSigningRequestCondition, CertificateSigningRequestStatus};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use testkit::{at, object};

    use super::*;

    /// How many seconds a request made at 0 still stays at second 1000.
    #[track_caller]
    fn check(decision: Option<&str>, issued: bool, expected: Option<u64>) {
        let condition = |type_: &str| CertificateSigningRequestCondition {
            type_: type_.to_owned(),
            status: "True".to_owned(),
            last_update_time: Some(Time(at(100))),
            ..CertificateSigningRequestCondition::default()
        };
        let made = object::<CertificateSigningRequest>("csr-1").with(|made| {
            made.status = Some(CertificateSigningRequestStatus {
                conditions: decision.map(|decision| vec![condition(decision)]),
                certificate: issued.then(|| ByteString(vec![1])),
            });
        });
        assert_eq!(left(&made.build(), at(1000)).map(|left| left.as_secs()), expected);
    }

    #[test]
    fn requests_stay_until_they_are_of_no_use() {
        check(None, false, Some(24 * 3600 - 1000));
        check(Some("Approved"), false, None);
        check(Some("Approved"), true, Some(3600 - 900));
        check(Some("Denied"), false, Some(3600 - 900));
        check(Some("Failed"), false, Some(3600 - 900));
    }
}
