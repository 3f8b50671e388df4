//! Approves the requests of nodes for their own client certificate.
//!
//! A machine that joins asks with its join token (group `system:bootstrappers`); a node asks again as itself before its
//! certificate ends. Either may ask for nothing but the identity of one node.

use std::sync::Arc;
use std::time::Duration;

use base::Drain;
use client::{Controller, ControllerError, ObjectKey};
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::PostParams;
use pki::RequestedSubject;

use super::{KUBELET_CLIENT, is_decided};
use crate::context::Context;
use crate::error::{Attempt, SyncError};

const BOOTSTRAPPERS: &str = "system:bootstrappers";
const NODES: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";

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

async fn sync(
    context: &Context,
    key: &ObjectKey,
    request: &CertificateSigningRequest,
) -> Result<Option<Duration>, SyncError> {
    if !is_for_own_node(&request.spec) {
        // For a person, or another approver, to decide.
        return Ok(None);
    }
    let now = Some(Time(context.env.now()));
    let mut request = request.clone();
    let conditions = &mut request.status.get_or_insert_default().conditions;
    conditions.get_or_insert_default().push(CertificateSigningRequestCondition {
        type_: "Approved".to_owned(),
        status: "True".to_owned(),
        reason: Some("AutoApproved".to_owned()),
        message: Some("Approved automatically: a kubelet asks for its own client certificate.".to_owned()),
        last_update_time: now.clone(),
        last_transition_time: now,
    });
    let api: Api<CertificateSigningRequest> = context.cluster();
    let approved = api.replace_subresource("approval", &key.name, &PostParams::default(), &request).await;
    client::objects::ignore_not_found(approved).attempt("approve certificate signing request", key)?;
    Ok(None)
}

/// Whether a request is by a joining machine or a node, for a node's client certificate and nothing more.
fn is_for_own_node(spec: &CertificateSigningRequestSpec) -> bool {
    if spec.signer_name != KUBELET_CLIENT {
        return false;
    }
    let Ok(pem) = std::str::from_utf8(&spec.request.0) else { return false };
    let Ok(subject) = RequestedSubject::of(pem) else { return false };
    let usages: Vec<&str> = spec.usages.iter().flatten().map(String::as_str).collect();
    let usages_fit = ["digital signature", "client auth"].iter().all(|usage| usages.contains(usage))
        && usages.iter().all(|usage| ["digital signature", "client auth", "key encipherment"].contains(usage));
    let is_node =
        subject.common_name.starts_with(NODE_PREFIX) && subject.organizations == [NODES] && !subject.has_extensions;
    let in_group = |group: &str| spec.groups.iter().flatten().any(|known| known == group);
    let asks_for_itself = in_group(NODES) && spec.username.as_ref() == Some(&subject.common_name);
    usages_fit && is_node && (in_group(BOOTSTRAPPERS) || asks_for_itself)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use pki::SigningRequest;

    use super::*;

    struct Case {
        subject: (&'static str, &'static str),
        signer: &'static str,
        usages: &'static [&'static str],
        by: (&'static str, &'static str),
    }

    const GOOD: Case = Case {
        subject: ("system:node:n1", NODES),
        signer: KUBELET_CLIENT,
        usages: &["digital signature", "client auth"],
        by: ("system:bootstrap:abcdef", BOOTSTRAPPERS),
    };

    #[track_caller]
    fn check(case: Case, expected: bool) {
        let request = SigningRequest::new(case.subject.0, &[case.subject.1.to_owned()]).expect("a request");
        let spec = CertificateSigningRequestSpec {
            request: ByteString(request.request.into_bytes()),
            signer_name: case.signer.to_owned(),
            usages: Some(case.usages.iter().map(|usage| (*usage).to_owned()).collect()),
            username: Some(case.by.0.to_owned()),
            groups: Some(vec![case.by.1.to_owned()]),
            ..CertificateSigningRequestSpec::default()
        };
        assert_eq!(is_for_own_node(&spec), expected);
    }

    #[test]
    fn only_a_nodes_own_certificate_is_approved() {
        check(GOOD, true);
        check(Case { by: ("system:node:n1", NODES), ..GOOD }, true);
        check(Case { by: ("system:node:n2", NODES), ..GOOD }, false);
        check(Case { by: ("alice", "developers"), ..GOOD }, false);
        check(Case { subject: ("system:admin", NODES), ..GOOD }, false);
        check(Case { subject: ("system:node:n1", "system:masters"), ..GOOD }, false);
        check(Case { signer: "kubernetes.io/kube-apiserver-client", ..GOOD }, false);
        check(Case { usages: &["digital signature", "client auth", "server auth"], ..GOOD }, false);
        check(Case { usages: &["client auth"], ..GOOD }, false);
    }
}
