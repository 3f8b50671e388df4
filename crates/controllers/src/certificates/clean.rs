//! Deletes certificate signing requests that nobody needs any more.

use std::sync::Arc;
use std::time::Duration;

use base::Drain;
use client::{Controller, ControllerError, objects};
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::Api;

use super::{conditions, is_decided, is_issued};
use crate::context::Context;
use crate::error::{Attempt, SyncError};

/// How long a request that was decided on stays.
const DECIDED: Duration = Duration::from_secs(3600);
/// How long a request waits for a decision, or for a signer.
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
                let left = left(&request, context.env.now());
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

/// How long a request still stays.
fn left(request: &CertificateSigningRequest, now: Timestamp) -> Duration {
    let approved_only = is_decided(request) && !is_issued(request);
    let denied = super::has_condition(request, "Denied") || super::has_condition(request, "Failed");
    let stays = if is_decided(request) && (!approved_only || denied) { DECIDED } else { WAITING };
    let updated = conditions(request).filter_map(|condition| condition.last_update_time.as_ref()).max();
    let since = updated.or(request.metadata.creation_timestamp.as_ref()).map_or(now, |time| time.0);
    stays.saturating_sub(Duration::try_from(since.duration_until(now)).unwrap_or_default())
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
    fn check(decision: Option<&str>, issued: bool, expected: u64) {
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
        assert_eq!(left(&made.build(), at(1000)).as_secs(), expected);
    }

    #[test]
    fn requests_stay_until_they_are_of_no_use() {
        check(None, false, 24 * 3600 - 1000);
        check(Some("Approved"), false, 24 * 3600 - 900);
        check(Some("Approved"), true, 3600 - 900);
        check(Some("Denied"), false, 3600 - 900);
    }
}
