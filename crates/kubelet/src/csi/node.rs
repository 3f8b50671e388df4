//! What drivers say of the node, in the API: the CSINode, and annotation and labels of the Node.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::storage::v1::{CSINode, CSINodeDriver, CSINodeSpec, VolumeNodeResources};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;

use super::messages::NodeGetInfoResponse;
use crate::context::Context;

/// The annotation with the node's names among those of drivers.
const NODE_IDS: &str = "csi.volume.kubernetes.io/nodeid";
/// How often a write is repeated that others came before.
const ATTEMPTS: usize = 5;

/// Says in the API that a driver is on the node; an error is a message for the driver.
pub async fn announce(context: &Context, driver: &str, info: &NodeGetInfoResponse) -> Result<(), String> {
    let segments = info.accessible_topology.as_ref().map(|topology| topology.segments.clone()).unwrap_or_default();
    label(context, driver, Some(&info.node_id), &segments).await?;
    let entry = CSINodeDriver {
        name: driver.to_owned(),
        node_id: info.node_id.clone(),
        topology_keys: Some(segments.into_keys().collect::<Vec<_>>()).filter(|keys| !keys.is_empty()),
        allocatable: i32::try_from(info.max_volumes_per_node)
            .ok()
            .filter(|count| *count > 0)
            .map(|count| VolumeNodeResources { count: Some(count) }),
    };
    change(context, driver, Some(&entry)).await.map_err(|err| format!("error updating CSINode object: {err}"))
}

/// Says in the API that a driver is no longer on the node.
pub async fn withdraw(context: &Context, driver: &str) -> Result<(), String> {
    change(context, driver, None).await.map_err(|err| format!("error updating CSINode object: {err}"))?;
    label(context, driver, None, &BTreeMap::new()).await
}

/// Makes the node's CSINode, so that it is known that the kubelet is one that has drivers.
pub async fn initialize(context: &Context) -> Result<(), kube::Error> {
    let api: Api<CSINode> = Api::all(context.client.clone());
    if api.get_opt(&context.config.node_name).await?.is_some() {
        return Ok(());
    }
    match api.create(&PostParams::default(), &csi_node(context).await?).await {
        Err(kube::Error::Api(err)) if err.reason == "AlreadyExists" => Ok(()),
        made => made.map(|_| ()),
    }
}

/// A CSINode without drivers, which goes with its node.
async fn csi_node(context: &Context) -> Result<CSINode, kube::Error> {
    let name = context.config.node_name.clone();
    let node = Api::<Node>::all(context.client.clone()).get(&name).await?;
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: name.clone(),
        uid: node.metadata.uid.unwrap_or_default(),
        ..OwnerReference::default()
    };
    Ok(CSINode {
        metadata: ObjectMeta { name: Some(name), owner_references: Some(vec![owner]), ..ObjectMeta::default() },
        spec: CSINodeSpec { drivers: Vec::new() },
    })
}

/// Puts a driver into the CSINode, or takes it out.
async fn change(context: &Context, driver: &str, entry: Option<&CSINodeDriver>) -> Result<(), kube::Error> {
    let api: Api<CSINode> = Api::all(context.client.clone());
    let name = &context.config.node_name;
    for attempt in 1.. {
        let found = api.get_opt(name).await?;
        let is_new = found.is_none();
        let mut object = match found {
            Some(object) => object,
            None if entry.is_none() => return Ok(()),
            None => csi_node(context).await?,
        };
        let before = object.spec.drivers.clone();
        object.spec.drivers.retain(|one| one.name != driver);
        object.spec.drivers.extend(entry.cloned());
        object.spec.drivers.sort_by(|a, b| a.name.cmp(&b.name));
        if object.spec.drivers == before && !is_new {
            return Ok(());
        }
        // What a driver's entry says cannot be changed, only taken away; but for how many volumes it can have.
        let fixed = |one: &CSINodeDriver| CSINodeDriver { allocatable: None, ..one.clone() };
        let old = before.iter().find(|one| one.name == driver);
        let is_other = old.zip(entry).is_some_and(|(old, new)| fixed(old) != fixed(new));
        if is_other {
            let mut without = object.clone();
            without.spec.drivers.retain(|one| one.name != driver);
            object.metadata = api.replace(name, &PostParams::default(), &without).await?.metadata;
        }
        let written = match is_new {
            true => api.create(&PostParams::default(), &object).await,
            false => api.replace(name, &PostParams::default(), &object).await,
        };
        match written {
            Err(kube::Error::Api(err)) if err.code == 409 && attempt < ATTEMPTS => {}
            written => return written.map(|_| ()),
        }
    }
    Ok(())
}

/// Writes annotation and labels of the Node; without an ID takes the driver's away.
async fn label(
    context: &Context,
    driver: &str,
    id: Option<&str>,
    segments: &BTreeMap<String, String>,
) -> Result<(), String> {
    let api: Api<Node> = Api::all(context.client.clone());
    let name = &context.config.node_name;
    let node =
        api.get(name).await.map_err(|err| format!("error updating Node object with CSI driver node info: {err}"))?;
    let labels = node.metadata.labels.unwrap_or_default();
    for (key, value) in segments {
        if let Some(other) = labels.get(key).filter(|other| *other != value) {
            return Err(format!(
                "detected topology value collision: driver reported {key:?}:{value:?} but existing label is {key:?}:{other:?}"
            ));
        }
    }
    let annotation = node.metadata.annotations.unwrap_or_default().get(NODE_IDS).cloned();
    let mut ids: BTreeMap<String, String> =
        annotation.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    match id {
        Some(id) => ids.insert(driver.to_owned(), id.to_owned()),
        None => ids.remove(driver),
    };
    let annotation = if ids.is_empty() { json!(null) } else { json!(json!(ids).to_string()) };
    let body = json!({"metadata": {"annotations": {NODE_IDS: annotation}, "labels": segments}});
    let written = api.patch(name, &PatchParams::default(), &Patch::Merge(body)).await;
    written.map(|_| ()).map_err(|err| format!("error updating Node object with CSI driver node info: {err}"))
}
