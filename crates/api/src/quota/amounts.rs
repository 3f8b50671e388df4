//! What containers, pods and claims ask for, as plugins that limit it count it.

use std::collections::BTreeMap;

use crate::quantity::Quantity;
use serde_json::Value;

/// Amounts by resource name.
pub type Amounts = BTreeMap<String, Quantity>;

/// The amounts of a map of quantities in an object; nothing where there is none.
pub fn read(quantities: Option<&Value>) -> Amounts {
    let entries = quantities.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(name, amount)| Some((name.clone(), Quantity::parse(amount.as_str()?).ok()?))).collect()
}

/// Adds every amount of `other`.
pub fn add(amounts: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        *amounts.entry(name.clone()).or_default() += *amount;
    }
}

/// Raises amounts to those of `other`.
fn raise(amounts: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let held = amounts.entry(name.clone()).or_insert(*amount);
        *held = (*held).max(*amount);
    }
}

/// The containers of a pod in one of its lists.
pub fn containers<'a>(pod: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    pod["spec"].get(list).and_then(Value::as_array).into_iter().flatten()
}

/// The `requests` or `limits` of a container, or those of a pod as a whole (of its spec).
pub fn resources(holder: &Value, part: &str) -> Amounts {
    read(holder.get("resources").and_then(|resources| resources.get(part)))
}

/// The `requests` or `limits` of a pod without its overhead: of all that run together, or of an init container with the
/// sidecars started before it, whichever is more. What is given for the pod as a whole counts instead.
pub fn of_pod(pod: &Value, part: &str) -> Amounts {
    let mut running = Amounts::new();
    for container in containers(pod, "containers") {
        add(&mut running, &resources(container, part));
    }
    let (mut sidecars, mut starting) = (Amounts::new(), Amounts::new());
    for container in containers(pod, "initContainers") {
        let amounts = resources(container, part);
        if container.get("restartPolicy").and_then(Value::as_str) == Some("Always") {
            add(&mut running, &amounts);
            add(&mut sidecars, &amounts);
            raise(&mut starting, &sidecars);
        } else {
            let mut together = sidecars.clone();
            add(&mut together, &amounts);
            raise(&mut starting, &together);
        }
    }
    raise(&mut running, &starting);
    running.extend(resources(&pod["spec"], part));
    running
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(spec: &Value, expected: &[(&str, &str)]) {
        let amounts = of_pod(&json!({"spec": spec}), "requests");
        let found: Vec<_> = amounts.iter().map(|(name, amount)| (name.clone(), amount.to_string())).collect();
        let expected: Vec<_> = expected.iter().map(|(name, amount)| (name.to_string(), amount.to_string())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_pod_needs_what_runs_together() {
        let container = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        let sidecar = |cpu: &str| json!({"restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}});
        check(&json!({"containers": [container("1"), container("500m"), {}]}), &[("cpu", "1500m")]);
        check(&json!({"containers": [container("1")], "initContainers": [container("3")]}), &[("cpu", "3")]);
        let inits = [sidecar("1"), container("3"), sidecar("2")];
        check(&json!({"containers": [container("500m")], "initContainers": inits}), &[("cpu", "4")]);
        let whole = json!({"requests": {"cpu": "2"}});
        check(&json!({"containers": [container("500m")], "resources": whole}), &[("cpu", "2")]);
    }
}
