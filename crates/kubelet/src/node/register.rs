//! Makes the node's object, or brings the one that is there up to date.

use std::collections::BTreeMap;

use api::validation::is_extended_resource;
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus, Taint};
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;

use super::machine::architecture;
use crate::context::Context;

/// The annotation of nodes to which a controller attaches volumes.
const CONTROLLER_ATTACHES: &str = "volumes.kubernetes.io/controller-managed-attach-detach";

/// Registers the node with its status, and returns it as the API has it: one that is there, or is registered by others,
/// keeps the status that it has, on which the next one goes on.
pub async fn register(context: &Context, status: NodeStatus) -> Result<Node, kube::Error> {
    let api: Api<Node> = Api::all(context.client.clone());
    let name = &context.config.node_name;
    if !context.config.register_node {
        return api.get(name).await;
    }
    let labels = labels(context);
    // Who attaches volumes to nodes looks for it: the kubelet never does so itself.
    let annotations = BTreeMap::from([(CONTROLLER_ATTACHES.to_owned(), "true".to_owned())]);
    // Until the node's lifecycle controller has seen it Ready, nothing is placed on it.
    let taints = [vec![not_ready()], context.config.register_with_taints.clone()].concat();
    let provider_id = context.config.provider_id.clone();
    let node = Node {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(labels.clone()),
            annotations: Some(annotations.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec { taints: Some(taints), provider_id, ..NodeSpec::default() }),
        status: Some(status),
    };
    match api.create(&PostParams::default(), &node).await {
        Ok(node) => return Ok(node),
        Err(kube::Error::Api(err)) if err.reason == "AlreadyExists" => {}
        Err(err) => return Err(err),
    }
    let body = json!({"metadata": {"labels": labels, "annotations": annotations}});
    let node = api.patch(name, &PatchParams::default(), &Patch::Merge(body)).await?;
    zero_out(context, &api, &node).await?;
    Ok(node)
}

/// A node without any record of devices is another one than that of which the API says that it has extended resources.
async fn zero_out(context: &Context, api: &Api<Node>, node: &Node) -> Result<(), kube::Error> {
    if !context.devices.is_new() {
        return Ok(());
    }
    let capacity = node.status.as_ref().and_then(|status| status.capacity.clone()).unwrap_or_default();
    let zeros: BTreeMap<&String, &str> =
        capacity.keys().filter(|name| is_extended_resource(name)).map(|name| (name, "0")).collect();
    if zeros.is_empty() {
        return Ok(());
    }
    let body = json!({"status": {"capacity": zeros, "allocatable": zeros}});
    let name = &context.config.node_name;
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(body)).await.map(|_| ())
}

fn not_ready() -> Taint {
    Taint { key: "node.kubernetes.io/not-ready".to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() }
}

fn labels(context: &Context) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = context.config.node_labels.iter().cloned().collect();
    for (key, value) in [
        ("kubernetes.io/hostname", context.config.node_name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture()),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", architecture()),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    labels
}
