//! Approves the requests of nodes for their own client certificate, of those who may have it.
//!
//! Whoever may create `certificatesigningrequests/nodeclient` gets the certificate of any node (a machine that joins, by
//! its token), whoever may create `certificatesigningrequests/selfnodeclient` that of the node that he is. All other
//! requests are for a person, or another approver, to decide.

use std::sync::Arc;
use std::time::Duration;

use base::Drain;
use client::{Controller, ControllerError, ObjectKey};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::PostParams;
use pki::RequestedSubject;

use super::is_decided;
use super::signers::SignerName;
use crate::context::Context;
use crate::error::{Attempt, SyncError};

/// When a request is looked at again whose owner may not have what he asks for: roles change.
const AGAIN: Duration = Duration::from_secs(60);

/// Runs the controller until the drain signal.
pub(crate) async fn run(context: Context, drain: Drain) -> Result<(), ControllerError> {
    let requests = context.informers.of::<CertificateSigningRequest>();
    let lister = Arc::new(requests.lister());
    Controller::new("certificatesigningrequest-approving-controller", context.env.clone())
        .watch_own(&requests)
        .run(drain, move |key| {
            let (context, lister) = (context.clone(), Arc::clone(&lister));
            async move {
                match lister.get_key(&key) {
                    Some(request) if !is_decided(&request) => sync(&context, &key, &request).await,
                    _ => Ok(None),
                }
            }
        })
        .await
}

/// What somebody must be allowed to create for a request to be approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Recognized {
    subresource: &'static str,
    message: &'static str,
}

const SELF: Recognized = Recognized {
    subresource: "selfnodeclient",
    message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
};

const NODE: Recognized = Recognized {
    subresource: "nodeclient",
    message: "Auto approving kubelet client certificate after SubjectAccessReview.",
};

async fn sync(
    context: &Context,
    key: &ObjectKey,
    request: &CertificateSigningRequest,
) -> Result<Option<Duration>, SyncError> {
    let recognized = recognize(&request.spec);
    for recognized in &recognized {
        let review = SubjectAccessReview { spec: asked(&request.spec, *recognized), ..SubjectAccessReview::default() };
        let api: Api<SubjectAccessReview> = context.cluster();
        let reviewed = api.create(&PostParams::default(), &review).await;
        let reviewed = reviewed.attempt("review access for certificate signing request", key)?;
        if reviewed.status.is_some_and(|status| status.allowed) {
            approve(context, key, request, recognized.message).await?;
            return Ok(None);
        }
    }
    Ok((!recognized.is_empty()).then_some(AGAIN))
}

async fn approve(
    context: &Context,
    key: &ObjectKey,
    request: &CertificateSigningRequest,
    message: &str,
) -> Result<(), SyncError> {
    let now = Some(Time(context.env.now()));
    let mut request = request.clone();
    let conditions = &mut request.status.get_or_insert_default().conditions;
    conditions.get_or_insert_default().push(CertificateSigningRequestCondition {
        type_: "Approved".to_owned(),
        status: "True".to_owned(),
        reason: Some("AutoApproved".to_owned()),
        message: Some(message.to_owned()),
        last_update_time: now.clone(),
        last_transition_time: now,
    });
    let api: Api<CertificateSigningRequest> = context.cluster();
    let approved = api.replace_subresource("approval", &key.name, &PostParams::default(), &request).await;
    client::objects::ignore_not_found(approved).attempt("approve certificate signing request", key).map(drop)
}

fn asked(spec: &CertificateSigningRequestSpec, recognized: Recognized) -> SubjectAccessReviewSpec {
    SubjectAccessReviewSpec {
        user: spec.username.clone(),
        groups: spec.groups.clone(),
        uid: spec.uid.clone(),
        extra: spec.extra.clone(),
        resource_attributes: Some(ResourceAttributes {
            group: Some("certificates.k8s.io".to_owned()),
            resource: Some("certificatesigningrequests".to_owned()),
            subresource: Some(recognized.subresource.to_owned()),
            verb: Some("create".to_owned()),
            version: Some("*".to_owned()),
            ..ResourceAttributes::default()
        }),
        ..SubjectAccessReviewSpec::default()
    }
}

/// As what a request may be approved; as nothing if it is not for a node's client certificate.
fn recognize(spec: &CertificateSigningRequestSpec) -> Vec<Recognized> {
    if SignerName::of(spec) != Some(SignerName::KubeletClient) {
        return Vec::new();
    }
    let Ok(pem) = std::str::from_utf8(&spec.request.0) else { return Vec::new() };
    let Ok(subject) = RequestedSubject::of(pem) else { return Vec::new() };
    if SignerName::KubeletClient.check(spec, &subject).is_err() {
        return Vec::new();
    }
    let is_self = spec.username.as_ref() == Some(&subject.common_name);
    is_self.then_some(SELF).into_iter().chain([NODE]).collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use pki::SigningRequest;

    use super::super::signers::KUBELET_CLIENT;
    use super::*;

    #[track_caller]
    fn check(subject: (&str, &str), signer: &str, by: &str, expected: &[Recognized]) {
        let request = SigningRequest::new(subject.0, &[subject.1.to_owned()]).expect("a request");
        let spec = CertificateSigningRequestSpec {
            request: ByteString(request.request.into_bytes()),
            signer_name: signer.to_owned(),
            usages: Some(["digital signature", "client auth"].map(str::to_owned).to_vec()),
            username: Some(by.to_owned()),
            ..CertificateSigningRequestSpec::default()
        };
        assert_eq!(recognize(&spec), expected);
    }

    #[test]
    fn only_client_certificates_of_nodes_are_recognized() {
        let node = ("system:node:n1", "system:nodes");
        check(node, KUBELET_CLIENT, "system:bootstrap:abcdef", &[NODE]);
        check(node, KUBELET_CLIENT, "system:node:n1", &[SELF, NODE]);
        check(node, KUBELET_CLIENT, "system:node:n2", &[NODE]);
        check(("system:admin", "system:nodes"), KUBELET_CLIENT, "system:admin", &[]);
        check(("system:node:n1", "system:masters"), KUBELET_CLIENT, "system:node:n1", &[]);
        check(node, "kubernetes.io/kube-apiserver-client", "system:node:n1", &[]);
    }
}
