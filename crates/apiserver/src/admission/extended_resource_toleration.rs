//! ExtendedResourceToleration: pods that ask for extended resources go to nodes that are kept for these.

use std::collections::BTreeSet;

use api::quota::amounts;
use api::status::Status;
use serde_json::{Value, json};

use super::{Attributes, Handler, Operation, Plugin};

pub(super) const PLUGIN: Plugin = Plugin {
    admit: &[(Operation::Create, Handler::Now(add)), (Operation::Update, Handler::Now(add))],
    ..Plugin::off("ExtendedResourceToleration")
};

fn add(attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
    if !attributes.is("", "pods") {
        return Ok(());
    }
    let lists = ["initContainers", "containers"].into_iter();
    let containers = lists.flat_map(|list| amounts::containers(pod, list));
    let requests = containers.filter_map(|container| container.pointer("/resources/requests")?.as_object()).flatten();
    let wanted: BTreeSet<String> =
        requests.map(|(name, _)| name).filter(|name| api::validation::is_extended_resource(name)).cloned().collect();
    for name in wanted {
        let tolerations = &mut pod["spec"]["tolerations"];
        if !tolerations.is_array() {
            *tolerations = json!([]);
        }
        let toleration = json!({"key": name, "operator": "Exists"});
        if let Some(tolerations) = tolerations.as_array_mut()
            && !tolerations.contains(&toleration)
        {
            tolerations.push(toleration);
        }
    }
    Ok(())
}
