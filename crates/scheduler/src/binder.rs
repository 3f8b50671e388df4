//! What a cycle's result needs of the API server: bindings and the conditions of pods that fit nowhere.

use std::sync::Arc;

use client::{ObjectKey, objects};
use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::dynamic_resources::{self, Decision, WriteError};
use crate::pod_info::PodInfo;

/// How a binding ended.
#[derive(Debug)]
pub(crate) enum Bound {
    /// The API server accepted it, or had accepted it before.
    Accepted,
    /// It did not; the node does not hold the pod.
    Refused(BindError),
    /// The pod is gone.
    Gone,
}

/// Why a pod was not bound.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    /// The API server refuses.
    #[error("{}", objects::message(.0))]
    Api(#[source] kube::Error),
    /// A claim of the pod's cannot be written.
    #[error(transparent)]
    Claim(#[from] WriteError),
}

/// Binds a pod to a node, after what was decided for its claims is written. `open` are the claims for which it is not.
pub(crate) async fn bind(
    client: kube::Client,
    pod: Arc<PodInfo>,
    node: String,
    decisions: &[Decision],
    open: &mut Vec<String>,
) -> Bound {
    if let Err(err) = dynamic_resources::write(&client, &pod, decisions, open).await {
        return Bound::Refused(err.into());
    }
    let (namespace, name) = parts(&pod.key);
    let target = ObjectReference { kind: Some("Node".to_owned()), name: Some(node), ..ObjectReference::default() };
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        uid: Some(pod.uid.clone()),
        ..ObjectMeta::default()
    };
    let binding = Binding { metadata, target };
    let api = Api::<Pod>::namespaced(client, namespace);
    let result: Result<serde_json::Value, _> =
        api.create_subresource("binding", name, &PostParams::default(), &binding).await;
    match result {
        Ok(_) => Bound::Accepted,
        Err(err) if objects::is_not_found(&err) => Bound::Gone,
        Err(err) => Bound::Refused(BindError::Api(err)),
    }
}

/// Says in a pod's status that it has no node, and why.
pub(crate) async fn report(
    client: kube::Client,
    pod: Arc<PodInfo>,
    reason: &'static str,
    message: String,
    now: jiff::Timestamp,
) -> Result<(), kube::Error> {
    let Some(condition) = new_condition(&pod.pod, reason, message, now) else { return Ok(()) };
    let (namespace, name) = parts(&pod.key);
    let api = Api::<Pod>::namespaced(client, namespace);
    let patch = json!({"metadata": {"uid": pod.uid}, "status": {"conditions": [condition]}});
    let result = api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await;
    objects::ignore_not_found(result).map(|_| ())
}

/// The condition, if it says something new.
fn new_condition(pod: &Pod, reason: &str, message: String, now: jiff::Timestamp) -> Option<PodCondition> {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let current = conditions.into_iter().flatten().find(|condition| condition.type_ == "PodScheduled");
    let unchanged = |condition: &PodCondition| {
        condition.status == "False"
            && condition.reason.as_deref() == Some(reason)
            && condition.message.as_deref() == Some(message.as_str())
    };
    if current.is_some_and(unchanged) {
        return None;
    }
    let since = current.filter(|condition| condition.status == "False");
    let since = since.and_then(|condition| condition.last_transition_time.clone());
    Some(PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "False".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: Some(since.unwrap_or(Time(now))),
        ..PodCondition::default()
    })
}

fn parts(key: &ObjectKey) -> (&str, &str) {
    (key.namespace.as_deref().unwrap_or_default(), &key.name)
}
