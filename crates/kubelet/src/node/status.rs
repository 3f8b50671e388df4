//! The node's status: made from what was measured, and written when it has changed.

use std::collections::{BTreeMap, BTreeSet};

use api::quantity::{Format, Quantity};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeFeatures,
    NodeRuntimeHandler, NodeStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::machine::system_info;
use crate::context::Context;
use crate::eviction::Condition;
use crate::pods::whole_seconds;
use crate::resources::Amounts;

/// What a status is made from.
pub struct Inputs<'a> {
    /// The kubelet.
    pub context: &'a Context,
    /// Its server's port.
    pub port: u16,
    /// The images that are here; `None` where the runtime has not said it yet, which leaves those that the API has.
    pub images: Option<&'a [ContainerImage]>,
    /// What the runtime offers.
    pub handlers: &'a [NodeRuntimeHandler],
    /// What it can do whoever runs containers for it.
    pub features: Option<&'a NodeFeatures>,
    /// Why the node is not ready; `None` if it is.
    pub ready: Option<&'a str>,
    /// What is short.
    pub pressures: &'a BTreeSet<Condition>,
    /// The conditions before.
    pub old: &'a BTreeMap<String, NodeCondition>,
    /// The present.
    pub now: Timestamp,
}

/// The node's status.
pub fn status(inputs: &Inputs<'_>) -> NodeStatus {
    let context = inputs.context;
    let mut addresses: Vec<NodeAddress> = (context.node_ips.iter())
        .map(|ip| NodeAddress { type_: "InternalIP".to_owned(), address: ip.clone() })
        .collect();
    addresses.push(NodeAddress { type_: "Hostname".to_owned(), address: context.config.node_name.clone() });
    let endpoint = DaemonEndpoint { port: i32::from(inputs.port) };
    NodeStatus {
        addresses: Some(addresses),
        capacity: Some(quantities(&context.capacity())),
        allocatable: Some(quantities(&context.allocatable())),
        conditions: Some(conditions(inputs)),
        daemon_endpoints: Some(NodeDaemonEndpoints { kubelet_endpoint: Some(endpoint) }),
        images: inputs.images.map(<[_]>::to_vec),
        node_info: Some(system_info(
            &context.config.machine_root,
            context.runtime_version(),
            context.machine.swap_bytes,
        )),
        volumes_in_use: Some(inputs.context.csi.attachments.in_use()),
        features: inputs.features.cloned(),
        runtime_handlers: Some(inputs.handlers.to_vec()).filter(|handlers| !handlers.is_empty()),
        ..NodeStatus::default()
    }
}

/// Amounts as the API has them.
fn quantities(amounts: &Amounts) -> BTreeMap<String, ApiQuantity> {
    let quantity = |name: &str, amount: i64| match name {
        "cpu" => Quantity::from_milli(amount, Format::DecimalSi),
        name if name == "pods" || name.contains('/') => Quantity::new(amount, Format::DecimalSi),
        _ => Quantity::new(amount, Format::BinarySi),
    };
    amounts.iter().map(|(name, amount)| (name.clone(), quantity(name, *amount).to_k8s())).collect()
}

fn conditions(inputs: &Inputs<'_>) -> Vec<NodeCondition> {
    let pressures = inputs.pressures;
    let pressure = |condition: Condition, reasons: (&'static str, &'static str), messages: (&str, &str)| {
        let short = pressures.contains(&condition);
        let (reason, message) = if short { (reasons.0, messages.0) } else { (reasons.1, messages.1) };
        (condition.as_str(), short, reason, message.to_owned())
    };
    let ready = match inputs.ready {
        None => ("Ready", true, "KubeletReady", "kubelet is posting ready status".to_owned()),
        Some(problem) => ("Ready", false, "KubeletNotReady", problem.to_owned()),
    };
    let all = [
        pressure(
            Condition::Memory,
            ("KubeletHasInsufficientMemory", "KubeletHasSufficientMemory"),
            ("kubelet has insufficient memory available", "kubelet has sufficient memory available"),
        ),
        pressure(
            Condition::Disk,
            ("KubeletHasDiskPressure", "KubeletHasNoDiskPressure"),
            ("kubelet has disk pressure", "kubelet has no disk pressure"),
        ),
        pressure(
            Condition::Pid,
            ("KubeletHasInsufficientPID", "KubeletHasSufficientPID"),
            ("kubelet has insufficient PID available", "kubelet has sufficient PID available"),
        ),
        ready,
    ];
    let now = Time(whole_seconds(inputs.now));
    let one = |(type_, status, reason, message): (&str, bool, &str, String)| {
        let status = if status { "True" } else { "False" };
        let same = inputs.old.get(type_).filter(|old| old.status == status);
        NodeCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_heartbeat_time: Some(now.clone()),
            last_transition_time: same.and_then(|old| old.last_transition_time.clone()).or_else(|| Some(now.clone())),
        }
    };
    all.into_iter().map(one).collect()
}

/// The resources that one status has and the next one lacks.
pub fn gone(old: &NodeStatus, new: &NodeStatus) -> Vec<String> {
    let names = |status: &NodeStatus| status.capacity.clone().unwrap_or_default().into_keys().collect::<BTreeSet<_>>();
    names(old).difference(&names(new)).cloned().collect()
}

/// Whether the status that the API has says something else than the kubelet's, times aside. What the kubelet does not
/// write does not matter: the conditions of others, say.
pub fn differs(known: &NodeStatus, ours: &NodeStatus) -> bool {
    let timeless = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
            condition.last_transition_time = None;
        }
        serde_json::to_value(status).unwrap_or_default()
    };
    !contains(&timeless(known), &timeless(ours))
}

/// Whether one value has all that another one has. Of conditions each is looked for by its type; other lists are the
/// same as a whole, and empty ones are as good as none.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part.iter().all(|(key, part)| match (key.as_str(), part) {
            ("conditions", Value::Array(part)) => {
                let all = whole.get(key).and_then(Value::as_array);
                let is_there = |one: &Value| all.into_iter().flatten().any(|other| contains(other, one));
                part.iter().all(is_there)
            }
            _ => contains(whole.get(key).unwrap_or(&Value::Null), part),
        }),
        (Value::Null, Value::Array(part)) => part.is_empty(),
        (Value::Null, Value::Object(part)) => part.is_empty(),
        (whole, part) => whole == part,
    }
}

/// Whether the node's lifecycle controller has not heard of the kubelet for long, and says so in the conditions.
pub fn is_doubted(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "Unknown")
}

/// Writes the status; conditions and resources of others are left as they are. `gone` are resources that the node has
/// no more. Returns the node that came of it.
pub async fn write(api: &Api<Node>, name: &str, status: &NodeStatus, gone: &[String]) -> Result<Node, kube::Error> {
    let mut body = serde_json::to_value(status).map_err(kube::Error::SerdeError)?;
    for resource in gone {
        for list in ["capacity", "allocatable"] {
            body[list][resource] = Value::Null;
        }
    }
    // Addresses are merged by their type, which would keep ones that are gone.
    if let Some(Value::Array(addresses)) = body.get_mut("addresses") {
        addresses.push(json!({"$patch": "replace"}));
    }
    api.patch_status(name, &PatchParams::default(), &Patch::Strategic(json!({"status": body}))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a status is to be written over the one that the API has; both are changed from one that is the same.
    #[track_caller]
    fn check(known: &dyn Fn(&mut Value), ours: &dyn Fn(&mut Value), expected: bool) {
        let ready = |time: &str| json!({"type": "Ready", "status": "True", "lastHeartbeatTime": time});
        let mut both = ["2024-01-01T00:00:00Z", "2024-01-01T00:05:00Z"]
            .map(|time| json!({"conditions": [ready(time)], "capacity": {"cpu": "2"}, "images": [{"names": ["a"]}]}));
        known(&mut both[0]);
        ours(&mut both[1]);
        let [known, ours] = both.map(|status| serde_json::from_value(status).expect("a status"));
        assert_eq!(differs(&known, &ours), expected, "{known:?} {ours:?}");
    }

    #[test]
    fn a_status_is_compared_with_the_one_that_the_api_has() {
        let same = |_: &mut Value| {};
        check(&same, &same, false);
        check(&|known| known["conditions"][0]["status"] = json!("Unknown"), &same, true);
        check(
            &|known| known["conditions"][0]["reason"] = json!("NodeStatusUnknown"),
            &|ours| {
                ours["conditions"][0]["reason"] = json!("KubeletReady");
            },
            true,
        );
        check(&|known| known["conditions"] = json!([]), &same, true);
        check(&same, &|ours| ours["capacity"]["cpu"] = json!("3"), true);
        check(&same, &|ours| ours["images"] = json!([{"names": ["a"]}, {"names": ["b"]}]), true);
        check(&|known| known["volumesInUse"] = json!(["v"]), &|ours| ours["volumesInUse"] = json!([]), true);
        check(&same, &|ours| ours["volumesInUse"] = json!([]), false);
    }

    #[test]
    fn what_others_write_does_not_matter() {
        let network = json!({"type": "NetworkUnavailable", "status": "False"});
        let others = |known: &mut Value| {
            known["conditions"].as_array_mut().expect("a list").insert(0, network.clone());
            known["capacity"]["example.com/dongle"] = json!("1");
            known["volumesAttached"] = json!([{"name": "v", "devicePath": ""}]);
        };
        check(&others, &|_| {}, false);
    }
}
