//! Fields of a pod and resources of a container as text: the downward API.

use std::collections::BTreeMap;

use api::field::quote;
use api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};

use crate::pods::spec;
use crate::resources::{Amounts, container_amount};

/// What fields refer to beside the pod itself.
#[derive(Clone, Debug, Default)]
pub struct FieldContext<'a> {
    /// The pod's addresses.
    pub pod_ips: &'a [String],
    /// The node's addresses.
    pub host_ips: &'a [String],
    /// What the node can give to pods: stands in for a limit that neither container nor pod has.
    pub allocatable: Amounts,
}

/// A field that does not exist or cannot be used here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FieldError {
    /// Nothing is known under this path.
    #[error("unsupported fieldPath: {0}")]
    UnsupportedPath(String),
    /// Nothing is known under this resource name.
    #[error("unsupported container resource : {0}")]
    UnsupportedResource(String),
    /// The pod has no container of this name.
    #[error("container {0} not found")]
    UnknownContainer(String),
    /// The divisor is not a quantity.
    #[error("invalid divisor {0:?}")]
    InvalidDivisor(String),
}

/// A field of the pod.
pub fn pod_field(pod: &Pod, path: &str, context: &FieldContext<'_>) -> Result<String, FieldError> {
    let metadata = &pod.metadata;
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.labels" => metadata.labels.as_ref(),
            "metadata.annotations" => metadata.annotations.as_ref(),
            _ => return Err(FieldError::UnsupportedPath(path.to_owned())),
        };
        return Ok(map.and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    let text = match path {
        "metadata.name" => spec::name(pod).to_owned(),
        "metadata.namespace" => spec::namespace(pod).to_owned(),
        "metadata.uid" => spec::uid(pod).to_owned(),
        "metadata.labels" => lines(metadata.labels.as_ref()),
        "metadata.annotations" => lines(metadata.annotations.as_ref()),
        "spec.nodeName" => spec::spec(pod).node_name.clone().unwrap_or_default(),
        "spec.serviceAccountName" => spec::spec(pod).service_account_name.clone().unwrap_or_default(),
        "status.hostIP" => context.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => context.host_ips.join(","),
        "status.podIP" => context.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => context.pod_ips.join(","),
        _ => return Err(FieldError::UnsupportedPath(path.to_owned())),
    };
    Ok(text)
}

/// `metadata.labels['key']` as map and key.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// A map as a file: one `key="value"` a line, in the order of the keys.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quote(value))).collect();
    lines.join("\n")
}

/// A request or limit of a container, divided and rounded up: of the one that the selector names, or of `own`.
pub fn resource_field(
    pod: &Pod,
    own: Option<&Container>,
    selector: &ResourceFieldSelector,
    context: &FieldContext<'_>,
) -> Result<String, FieldError> {
    let name = selector.container_name.as_deref().filter(|name| !name.is_empty());
    let named = name.and_then(|name| spec::container(pod, name));
    let container = if name.is_some() { named.as_ref() } else { own };
    let container = container.ok_or_else(|| FieldError::UnknownContainer(name.unwrap_or_default().to_owned()))?;
    let resource = selector.resource.as_str();
    let unsupported = || FieldError::UnsupportedResource(resource.to_owned());
    let (side, name) = resource.split_once('.').ok_or_else(unsupported)?;
    if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !name.starts_with("hugepages-") {
        return Err(unsupported());
    }
    let requirements = container.resources.as_ref();
    let amount = match side {
        "limits" => container_amount(requirements.and_then(|requirements| requirements.limits.as_ref()), name)
            .filter(|amount| *amount > 0)
            .or_else(|| bound(pod, name, context)),
        "requests" => container_amount(requirements.and_then(|requirements| requirements.requests.as_ref()), name),
        _ => return Err(unsupported()),
    };
    let amount = amount.unwrap_or(0);
    let divisor = selector.divisor.as_ref().map(|quantity| quantity.0.as_str()).filter(|text| !text.is_empty());
    let divisor = Quantity::parse(divisor.unwrap_or("1"))
        .map_err(|_| FieldError::InvalidDivisor(divisor.unwrap_or_default().to_owned()))?;
    // CPU amounts are thousandths, so the divisor is taken in thousandths too; "0" is the API's unset divisor.
    let divisor = if name == "cpu" { divisor.milli_value() } else { divisor.value() };
    let divisor = match divisor {
        0 if name == "cpu" => 1000,
        0 => 1,
        divisor => divisor,
    };
    Ok(amount.div_euclid(divisor).saturating_add(i64::from(amount.rem_euclid(divisor) > 0)).to_string())
}

/// What stands in for a limit that a container does not have: the pod's, or what the node can give.
fn bound(pod: &Pod, name: &str, context: &FieldContext<'_>) -> Option<i64> {
    // Nobody has huge pages who does not ask for them.
    let of_node = context.allocatable.get(name).copied().filter(|_| !name.starts_with("hugepages-"))?;
    let of_pod = spec::spec(pod).resources.as_ref().and_then(|resources| resources.limits.as_ref());
    let of_pod = container_amount(of_pod, name).filter(|amount| *amount > 0);
    Some(of_pod.unwrap_or(of_node))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use testkit::pod;

    use super::*;

    /// What is told of a container with its own resources in a pod with its own.
    #[track_caller]
    fn check(of_pod: Value, of_container: Value, selector: Value, expected: Result<&str, &str>) {
        let pod = pod("web").container("a", "image:1").container("b", "image:1").with(|pod| {
            let spec = pod.spec.as_mut().expect("a specification");
            spec.resources = serde_json::from_value(of_pod).expect("resources");
            spec.containers[0].resources = serde_json::from_value(of_container).expect("resources");
        });
        let pod = pod.build();
        let allocatable =
            [("cpu", 4000), ("memory", 8 << 30), ("ephemeral-storage", 1 << 40), ("hugepages-2Mi", 4 << 20)];
        let allocatable = allocatable.map(|(name, amount)| (name.to_owned(), amount)).into();
        let context = FieldContext { allocatable, ..FieldContext::default() };
        let selector = serde_json::from_value(selector).expect("a selector");
        let found = resource_field(&pod, Some(&spec::containers(&pod)[0]), &selector, &context);
        assert_eq!(found.map_err(|err| err.to_string()), expected.map(str::to_owned).map_err(str::to_owned));
    }

    #[test]
    fn a_limit_is_the_containers_or_the_pods_or_what_the_node_can_give() {
        let limits = |name: &str, amount: &str| json!({"limits": {name: amount}});
        let cpu = json!({"resource": "limits.cpu", "divisor": "1m"});
        check(limits("cpu", "2"), limits("cpu", "500m"), cpu.clone(), Ok("500"));
        check(limits("cpu", "2"), limits("memory", "1Gi"), cpu.clone(), Ok("2000"));
        check(limits("cpu", "2"), limits("cpu", "0"), cpu.clone(), Ok("2000"));
        check(limits("cpu", "32"), json!({}), cpu.clone(), Ok("32000"));
        check(json!(null), json!({}), cpu, Ok("4000"));
        let memory = json!({"resource": "limits.memory", "divisor": "1Mi"});
        check(limits("memory", "1Gi"), json!({}), memory.clone(), Ok("1024"));
        check(limits("cpu", "2"), json!({}), memory, Ok("8192"));
        check(json!(null), json!({}), json!({"resource": "limits.ephemeral-storage", "divisor": "1Gi"}), Ok("1024"));
        // Nobody has huge pages who does not ask for them.
        check(json!(null), json!({}), json!({"resource": "limits.hugepages-2Mi"}), Ok("0"));
        check(limits("hugepages-2Mi", "2Mi"), json!({}), json!({"resource": "limits.hugepages-2Mi"}), Ok("0"));
    }

    #[test]
    fn a_request_is_the_containers_alone() {
        let requests = |amount: &str| json!({"requests": {"cpu": amount}});
        let cpu = json!({"resource": "requests.cpu", "divisor": "1m"});
        check(requests("2"), requests("500m"), cpu.clone(), Ok("500"));
        check(requests("2"), json!({}), cpu, Ok("0"));
    }

    #[test]
    fn another_container_may_be_named_and_must_be_there() {
        let of = |name: &str| json!({"resource": "limits.cpu", "containerName": name});
        let own = json!({"limits": {"cpu": "1"}});
        check(json!(null), own.clone(), of("a"), Ok("1"));
        check(json!(null), own.clone(), of("b"), Ok("4"));
        check(json!(null), own, of("c"), Err("container c not found"));
    }

    #[test]
    fn labels_are_quoted_as_upstream_does() {
        let labels = [("a", "plain"), ("b", "say \"no\"\n\u{7f}'\u{e9}")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        assert_eq!(lines(Some(&labels)), "a=\"plain\"\nb=\"say \\\"no\\\"\\n\\x7f'\u{e9}\"");
    }
}
