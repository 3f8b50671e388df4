//! The node's pods, and finding one of them and its containers.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use std::sync::Arc;

use crate::context::{Context, Shared};
use crate::pods::{Instance, Observed, observe, spec};

/// A request that cannot be answered: a status code and a text for people.
#[derive(Debug)]
pub struct Refusal(pub StatusCode, pub String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

/// All pods of the node, as a list object.
pub async fn list(State(context): State<Shared>) -> Response {
    let items = context.pods.list();
    let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items});
    ([(header::CONTENT_TYPE, "application/json")], list.to_string()).into_response()
}

/// A pod of this node and what the runtime has of it.
pub async fn find(context: &Context, namespace: &str, name: &str) -> Result<(Arc<Pod>, Observed), Refusal> {
    let pod = context.pods.get(namespace, name).ok_or_else(|| {
        Refusal(StatusCode::NOT_FOUND, format!("pod \"{name}\" not found in namespace \"{namespace}\""))
    })?;
    let observed = observe(context, spec::uid(&pod)).await;
    let observed = observed.map_err(|err| Refusal(StatusCode::INTERNAL_SERVER_ERROR, err.to_string()))?;
    Ok((pod, observed))
}

/// A running container of a pod.
pub fn running<'a>(pod: &Pod, observed: &'a Observed, container: &str) -> Result<&'a Instance, Refusal> {
    let known = spec::container(pod, container).is_some();
    let instance = observed.latest(container).filter(|_| known);
    instance.filter(|instance| instance.state == crate::pods::State::Running).ok_or_else(|| {
        Refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("unable to upgrade connection: container not found (\"{container}\")"),
        )
    })
}
