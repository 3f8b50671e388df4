//! LimitPodHardAntiAffinityTopology: a pod keeps others off its node and from no larger part of the cluster.

use api::status::Status;
use serde_json::Value;

use super::{Attributes, Handler, Operation, Plugin};

const HOSTNAME: &str = "kubernetes.io/hostname";

const TERMS: &str = "/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution";

pub(super) const PLUGIN: Plugin = Plugin {
    validate: &[(Operation::Create, Handler::Now(check)), (Operation::Update, Handler::Now(check))],
    ..Plugin::off("LimitPodHardAntiAffinityTopology")
};

fn check(attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
    if !attributes.is("", "pods") {
        return Ok(());
    }
    let terms = pod.pointer(TERMS).and_then(Value::as_array).into_iter().flatten();
    let mut keys = terms.map(|term| term["topologyKey"].as_str().unwrap_or_default());
    match keys.find(|key| *key != HOSTNAME) {
        None => Ok(()),
        Some(key) => {
            let why = format!(
                "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but only key {HOSTNAME} is \
                 allowed"
            );
            Err(attributes.forbidden(pod, why))
        }
    }
}
