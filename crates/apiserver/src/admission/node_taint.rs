//! TaintNodesByCondition: nothing is scheduled to a new node before it has said that it is ready.

use api::status::Status;
use serde_json::{Value, json};

use super::{Attributes, Handler, Operation, Plugin};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub(super) const PLUGIN: Plugin =
    Plugin { admit: &[(Operation::Create, Handler::Now(create))], ..Plugin::named("TaintNodesByCondition") };

fn create(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    if !attributes.is("", "nodes") {
        return Ok(());
    }
    if !object["spec"].is_object() {
        object["spec"] = json!({});
    }
    let taints = &mut object["spec"]["taints"];
    if !taints.is_array() {
        *taints = json!([]);
    }
    if let Some(taints) = taints.as_array_mut()
        && !taints.iter().any(|taint| taint["key"] == NOT_READY && taint["effect"] == "NoSchedule")
    {
        taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
    }
    Ok(())
}
