//! What an object uses of the resources that quotas limit.

use crate::quantity::{Format, Quantity};
use serde_json::Value;

use super::amounts::{self, Amounts};
use super::storage_class;

/// Compute resources that quotas also know by their bare name.
const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Resources of core that quotas count by their plural name alone.
const COUNTED_BY_NAME: [&str; 4] = ["configmaps", "replicationcontrollers", "resourcequotas", "secrets"];

/// What follows the name of a storage class in the resources that limit its claims.
const OF_CLASS: &str = ".storageclass.storage.k8s.io/";

/// Resources that every container of a pod must give where a quota limits them.
const MANDATORY: [&str; 6] = ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];

/// A resource whose objects use quota.
#[derive(Clone, Copy)]
pub struct Evaluator<'a> {
    /// The API group.
    pub group: &'a str,
    /// The plural name.
    pub plural: &'a str,
}

impl Evaluator<'_> {
    fn is(self, plural: &str) -> bool {
        self.group.is_empty() && self.plural == plural
    }

    pub(super) fn is_pods(self) -> bool {
        self.is("pods")
    }

    pub(super) fn is_claims(self) -> bool {
        self.is("persistentvolumeclaims")
    }

    /// Whether an update can change what an object uses.
    pub fn counts_updates(self, subresource: &str) -> bool {
        match subresource {
            "" => self.is("services") || self.is_claims(),
            "resize" => self.is_pods(),
            _ => false,
        }
    }

    /// The resource that counts the objects, whatever they are.
    fn object_count(self) -> String {
        match self.group {
            "" => format!("count/{}", self.plural),
            group => format!("count/{}.{group}", self.plural),
        }
    }

    /// Whether the objects can use a resource.
    pub fn matches(self, name: &str) -> bool {
        if name == self.object_count() {
            return true;
        }
        if self.is_pods() {
            let of_pods = |name: &str| COMPUTE.contains(&name) || name.starts_with("hugepages-");
            return match name.split_once('.') {
                Some(("limits", rest)) => COMPUTE.contains(&rest),
                Some(("requests", "storage")) => false,
                Some(("requests", rest)) => of_pods(rest) || rest.contains('/'),
                _ => name == "pods" || of_pods(name),
            };
        }
        if self.is_claims() {
            let name = name.split_once(OF_CLASS).map_or(name, |(_, name)| name);
            return matches!(name, "persistentvolumeclaims" | "requests.storage");
        }
        match self.plural {
            "services" if self.group.is_empty() => {
                matches!(name, "services" | "services.nodeports" | "services.loadbalancers")
            }
            plural => self.group.is_empty() && COUNTED_BY_NAME.contains(&plural) && name == plural,
        }
    }

    /// What an object uses, without what it uses nothing of.
    pub fn usage(self, object: &Value, now: jiff::Timestamp) -> Amounts {
        let one = Quantity::new(1, Format::DecimalSi);
        let mut usage = Amounts::from([(self.object_count(), one)]);
        if self.is_pods() {
            if !is_over(object, now) {
                usage.insert("pods".to_owned(), one);
                usage.extend(pod_usage(object));
            }
        } else if self.is_claims() {
            usage.extend(claim_usage(object));
        } else if self.is("services") {
            usage.extend(service_usage(object));
        } else if self.group.is_empty() && COUNTED_BY_NAME.contains(&self.plural) {
            usage.insert(self.plural.to_owned(), one);
        }
        usage.retain(|_, amount| !amount.is_zero());
        usage
    }

    /// The limited resources that an object leaves out though it must give them, with its containers that do.
    pub fn missing<'n>(self, object: &Value, limited: impl Iterator<Item = &'n String>) -> Vec<String> {
        let limited = limited.filter(|name| self.is_pods() && MANDATORY.contains(&name.as_str()));
        let whole = compute_usage(&resources(&object["spec"], "requests"), &resources(&object["spec"], "limits"));
        let mut missing = Vec::new();
        for name in limited.filter(|name| !whole.contains_key(*name)) {
            let lists = ["containers", "initContainers"].into_iter();
            let containers = lists.flat_map(|list| amounts::containers(object, list));
            let without = containers.filter(|container| {
                let given = compute_usage(&resources(container, "requests"), &resources(container, "limits"));
                !given.contains_key(name)
            });
            let mut names: Vec<_> =
                without.map(|container| container["name"].as_str().unwrap_or_default().to_owned()).collect();
            names.sort_unstable();
            names.dedup();
            if !names.is_empty() {
                missing.push(format!("{name} for: {}", names.join(",")));
            }
        }
        missing
    }
}

fn resources(holder: &Value, part: &str) -> Amounts {
    amounts::resources(holder, part)
}

/// Whether a pod uses nothing any more: it has ended, or should have by now.
fn is_over(pod: &Value, now: jiff::Timestamp) -> bool {
    if matches!(pod.pointer("/status/phase").and_then(Value::as_str), Some("Failed" | "Succeeded")) {
        return true;
    }
    let metadata = &pod["metadata"];
    let deleted = metadata["deletionTimestamp"].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok());
    let grace = metadata["deletionGracePeriodSeconds"].as_i64();
    deleted.zip(grace).is_some_and(|(deleted, grace)| now.as_second() > deleted.as_second().saturating_add(grace))
}

fn pod_usage(pod: &Value) -> Amounts {
    let overhead = amounts::read(pod["spec"].get("overhead"));
    let mut requests = amounts::of_pod(pod, "requests");
    amounts::add(&mut requests, &overhead);
    let mut limits = amounts::of_pod(pod, "limits");
    // What has no limit does not get one from the overhead.
    for (name, amount) in limits.iter_mut().filter(|(_, amount)| !amount.is_zero()) {
        *amount += overhead.get(name).copied().unwrap_or_default();
    }
    compute_usage(&requests, &limits)
}

/// Requests and limits by the names that quotas have for them.
fn compute_usage(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut usage = Amounts::new();
    for (name, amount) in requests {
        if COMPUTE.contains(&name.as_str()) || name.starts_with("hugepages-") {
            usage.insert(name.clone(), *amount);
        }
        usage.insert(format!("requests.{name}"), *amount);
    }
    let limits = limits.iter().filter(|(name, _)| COMPUTE.contains(&name.as_str()));
    usage.extend(limits.map(|(name, amount)| (format!("limits.{name}"), *amount)));
    usage
}

fn claim_usage(claim: &Value) -> Amounts {
    let one = Quantity::new(1, Format::DecimalSi);
    let storage = |amounts: Amounts| amounts.get("storage").copied().unwrap_or_default();
    let requested = storage(resources(&claim["spec"], "requests"));
    let allocated = storage(amounts::read(claim.pointer("/status/allocatedResources")));
    let size = requested.max(allocated);
    let size = if size.is_integer() { size } else { Quantity::new(size.value(), size.format()) };
    let mut usage = Amounts::from([("persistentvolumeclaims".to_owned(), one), ("requests.storage".to_owned(), size)]);
    let class = storage_class(claim);
    if !class.is_empty() {
        usage.insert(format!("{class}{OF_CLASS}persistentvolumeclaims"), one);
        usage.insert(format!("{class}{OF_CLASS}requests.storage"), size);
    }
    usage
}

fn service_usage(service: &Value) -> Amounts {
    let spec = &service["spec"];
    let ports = spec["ports"].as_array().map_or(&[][..], Vec::as_slice);
    let gives_ports = spec["allocateLoadBalancerNodePorts"].as_bool().unwrap_or(true);
    let asked = ports.iter().filter(|port| port["nodePort"].as_i64().unwrap_or(0) != 0).count();
    let (node_ports, load_balancers) = match spec["type"].as_str() {
        Some("NodePort") => (ports.len(), 0),
        Some("LoadBalancer") if gives_ports => (ports.len(), 1),
        Some("LoadBalancer") => (asked, 1),
        _ => (0, 0),
    };
    let count = |count: usize| Quantity::new(i64::try_from(count).unwrap_or(i64::MAX), Format::DecimalSi);
    Amounts::from([
        ("services".to_owned(), count(1)),
        ("services.nodeports".to_owned(), count(node_ports)),
        ("services.loadbalancers".to_owned(), count(load_balancers)),
    ])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(plural: &str, object: &Value, expected: &str) {
        let usage = Evaluator { group: "", plural }.usage(object, jiff::Timestamp::UNIX_EPOCH);
        let found: Vec<_> = usage.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
        assert_eq!(found.join(","), expected);
    }

    #[test]
    fn objects_use_what_they_ask_for() {
        check("configmaps", &json!({}), "configmaps=1,count/configmaps=1");
        let pod = json!({"spec": {"overhead": {"cpu": "100m"}, "containers": [{"resources": {
            "requests": {"cpu": "1", "x.io/gpu": "2"}, "limits": {"memory": "1Gi", "x.io/gpu": "2"},
        }}]}});
        let usage = "count/pods=1,cpu=1100m,limits.memory=1Gi,pods=1,requests.cpu=1100m,requests.x.io/gpu=2";
        check("pods", &pod, usage);
        check("pods", &json!({"spec": {}, "status": {"phase": "Failed"}}), "count/pods=1");
        let ports = json!([{"port": 1}, {"port": 2, "nodePort": 30000}]);
        check("services", &json!({"spec": {"type": "ClusterIP", "ports": ports}}), "count/services=1,services=1");
        let usage = "count/services=1,services=1,services.nodeports=2";
        check("services", &json!({"spec": {"type": "NodePort", "ports": ports}}), usage);
        let balanced = json!({"type": "LoadBalancer", "ports": ports, "allocateLoadBalancerNodePorts": false});
        let usage = "count/services=1,services=1,services.loadbalancers=1,services.nodeports=1";
        check("services", &json!({"spec": balanced}), usage);
        let claim = json!({"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}}});
        let usage = "count/persistentvolumeclaims=1,fast.storageclass.storage.k8s.io/persistentvolumeclaims=1,\
                     fast.storageclass.storage.k8s.io/requests.storage=1Gi,persistentvolumeclaims=1,requests.storage=1Gi";
        check("persistentvolumeclaims", &claim, usage);
    }

    #[test]
    fn resources_belong_to_the_objects_that_use_them() {
        for (group, plural, name, expected) in [
            ("", "pods", "requests.nvidia.com/gpu", true),
            ("", "pods", "requests.storage", false),
            ("", "pods", "limits.ephemeral-storage", true),
            ("", "pods", "services", false),
            ("", "persistentvolumeclaims", "fast.storageclass.storage.k8s.io/requests.storage", true),
            ("", "services", "services.loadbalancers", true),
            ("", "secrets", "secrets", true),
            ("", "events", "events", false),
            ("apps", "deployments", "count/deployments.apps", true),
            ("apps", "deployments", "count/deployments.extensions", false),
        ] {
            assert_eq!(Evaluator { group, plural }.matches(name), expected, "{plural} {name}");
        }
    }
}
