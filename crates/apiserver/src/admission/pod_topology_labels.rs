//! PodTopologyLabels: pods get the labels of their node that say where in the world it stands.

use api::status::Status;
use serde_json::Value;

use super::{Attributes, Handler, Operation, Plugin};

const LABELS: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

pub(super) const PLUGIN: Plugin =
    Plugin { admit: &[(Operation::Create, Handler::Now(copy))], ..Plugin::named("PodTopologyLabels") };

/// Labels a pod that names its node, or the binding that takes a pod to one: that hands its labels on.
fn copy(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    let path = if attributes.is("", "pods") {
        "/spec/nodeName"
    } else if attributes.is_subresource("", "pods", "binding") {
        "/target/name"
    } else {
        return Ok(());
    };
    let node = object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let Some(node) = attributes.registry.cached_by("", "v1", "nodes", None, node) else { return Ok(()) };
    for (key, value) in LABELS.iter().filter_map(|key| Some((key, node.labels.get(key)?))) {
        api::meta::set_label(object, key, value);
    }
    Ok(())
}
