//! Signs approved requests with the cluster's authorities, those of upstream's signers.

use std::sync::Arc;
use std::time::Duration;

use base::Drain;
use client::{Controller, ControllerError, ObjectKey, objects};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::PostParams;
use pki::RequestedSubject;

use super::signers::SignerName;
use super::{Signer, has_condition, is_issued};
use crate::context::Context;
use crate::error::{Attempt, SyncError};

const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
const SHORTEST: Duration = Duration::from_secs(600);

/// Runs the controller until the drain signal.
pub(crate) async fn run(context: Context, drain: Drain) -> Result<(), ControllerError> {
    let Some(signer) = context.config.signer.clone() else {
        drain.drained().await;
        return Ok(());
    };
    let requests = context.informers.of::<CertificateSigningRequest>();
    let lister = Arc::new(requests.lister());
    Controller::new("certificatesigningrequest-signing-controller", context.env.clone())
        .watch_own(&requests)
        .run(drain, move |key| {
            let (context, lister, signer) = (context.clone(), Arc::clone(&lister), signer.clone());
            async move {
                match lister.get_key(&key) {
                    Some(request) if is_to_be_signed(&request) => sync(&context, &signer, &key, &request).await,
                    _ => Ok(None),
                }
            }
        })
        .await
}

fn is_to_be_signed(request: &CertificateSigningRequest) -> bool {
    SignerName::of(&request.spec).is_some()
        && has_condition(request, "Approved")
        && !has_condition(request, "Denied")
        && !has_condition(request, "Failed")
        && !is_issued(request)
}

/// For how long a certificate is made, from what was asked for.
fn validity(request: &CertificateSigningRequest) -> Duration {
    let asked = request.spec.expiration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    asked.map_or(LONGEST, Duration::from_secs).clamp(SHORTEST, LONGEST)
}

async fn sync(
    context: &Context,
    signer: &Signer,
    key: &ObjectKey,
    request: &CertificateSigningRequest,
) -> Result<Option<Duration>, SyncError> {
    let Some(name) = SignerName::of(&request.spec) else { return Ok(None) };
    let pem = String::from_utf8_lossy(&request.spec.request.0).into_owned();
    let usages = request.spec.usages.clone().unwrap_or_default();
    let signed = RequestedSubject::of(&pem)
        .map_err(|err| err.to_string())
        .and_then(|subject| name.check(&request.spec, &subject))
        .and_then(|()| {
            let signed = signer.authority(name).sign(&pem, &usages, validity(request), &context.env);
            signed.map_err(|err| err.to_string())
        });
    let mut request = request.clone();
    let status = request.status.get_or_insert_default();
    match signed {
        Ok(certificate) => status.certificate = Some(ByteString(certificate.into_bytes())),
        Err(why) => {
            let now = Some(Time(context.env.now()));
            status.conditions.get_or_insert_default().push(CertificateSigningRequestCondition {
                type_: "Failed".to_owned(),
                status: "True".to_owned(),
                reason: Some("SignerValidationFailure".to_owned()),
                message: Some(why),
                last_update_time: now.clone(),
                last_transition_time: now,
            });
        }
    }
    let api: Api<CertificateSigningRequest> = context.cluster();
    let written = api.replace_status(&key.name, &PostParams::default(), &request).await;
    objects::ignore_not_found(written).attempt("sign certificate signing request", key)?;
    Ok(None)
}
