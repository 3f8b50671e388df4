//! The node's pods, and finding one of them and its containers.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use cri as v1;
use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;
use serde_json::{Value, json};
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
    pod_list(&context.pods.list())
}

fn pod_list<T: Serialize>(items: &[T]) -> Response {
    let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items});
    ([(header::CONTENT_TYPE, "application/json")], list.to_string()).into_response()
}

/// The pods that the runtime runs, as far as it knows them.
pub async fn running_list(State(context): State<Shared>) -> Result<Response, Refusal> {
    let refused = |err: v1::Status| Refusal(StatusCode::INTERNAL_SERVER_ERROR, err.message().to_owned());
    let mut runtime = context.runtime.clone();
    let state = v1::PodSandboxStateValue { state: v1::PodSandboxState::SandboxReady.into() };
    let filter = v1::PodSandboxFilter { state: Some(state), ..Default::default() };
    let sandboxes =
        runtime.list_pod_sandbox(v1::ListPodSandboxRequest { filter: Some(filter) }).await.map_err(refused)?;
    let state = v1::ContainerStateValue { state: v1::ContainerState::ContainerRunning.into() };
    let filter = v1::ContainerFilter { state: Some(state), ..Default::default() };
    let containers =
        runtime.list_containers(v1::ListContainersRequest { filter: Some(filter) }).await.map_err(refused)?;
    let containers = containers.into_inner().containers;
    let one = |sandbox: v1::PodSandbox| {
        let metadata = sandbox.metadata.unwrap_or_default();
        let own = containers.iter().filter(|container| container.pod_sandbox_id == sandbox.id);
        let own: Vec<Value> = own
            .map(|container| {
                let name = container.metadata.as_ref().map(|metadata| metadata.name.as_str());
                json!({"name": name, "image": container.image_ref, "resources": {}})
            })
            .collect();
        let names = json!({"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid});
        json!({"metadata": names, "spec": {"containers": own}, "status": {}})
    };
    let items: Vec<Value> = sandboxes.into_inner().items.into_iter().map(one).collect();
    Ok(pod_list(&items))
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
    instance
        .filter(|instance| instance.state == crate::pods::State::Running)
        .ok_or_else(|| Refusal(StatusCode::INTERNAL_SERVER_ERROR, format!("container not found (\"{container}\")")))
}
