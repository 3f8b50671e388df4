//! Fields of a pod and resources of a container as text: the downward API.

use std::collections::BTreeMap;

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
    /// What the node can give to pods: stands in for a limit that is not set.
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
    let lines: Vec<String> = map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}")).collect();
    lines.join("\n")
}

/// A request or limit of a container, divided and rounded up.
pub fn resource_field(
    container: &Container,
    selector: &ResourceFieldSelector,
    context: &FieldContext<'_>,
) -> Result<String, FieldError> {
    let resource = selector.resource.as_str();
    let unsupported = || FieldError::UnsupportedResource(resource.to_owned());
    let (side, name) = resource.split_once('.').ok_or_else(unsupported)?;
    if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !name.starts_with("hugepages-") {
        return Err(unsupported());
    }
    let requirements = container.resources.clone().unwrap_or_default();
    let amount = match side {
        "limits" => container_amount(requirements.limits.as_ref(), name)
            .filter(|amount| *amount > 0)
            .or_else(|| context.allocatable.get(name).copied()),
        "requests" => container_amount(requirements.requests.as_ref(), name),
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
