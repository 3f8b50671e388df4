//! Resource names and amounts.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ResourceClaim, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as WireQuantity;

use crate::field::{ErrorList, FieldError, Path};
use crate::quantity::Quantity;
use crate::validation::{check, names};

const CONTAINER_RESOURCES: [&str; 3] = ["cpu", "ephemeral-storage", "memory"];

/// Resources that are counted and cannot be divided.
const INTEGER_RESOURCES: [&str; 9] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];

/// Resources without a domain that quotas know.
const QUOTA_RESOURCES: [&str; 11] = [
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "storage",
    "cpu",
    "memory",
    "ephemeral-storage",
];

fn is_huge_pages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Whether a name without a domain is known.
fn is_standard(name: &str) -> bool {
    QUOTA_RESOURCES.contains(&name)
        || INTEGER_RESOURCES.contains(&name)
        || is_huge_pages(name)
        || name.strip_prefix("requests.").is_some_and(is_huge_pages)
}

/// Whether a quota may limit it without a domain or `count/`.
pub(in crate::validation) fn is_standard_for_quota(name: &str) -> bool {
    is_standard(name)
}

/// Whether Kubernetes itself, not a device plugin, defines it.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether it is a resource that a device plugin brings.
pub fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether it can only be had in whole numbers.
pub(in crate::validation) fn is_integer(name: &str) -> bool {
    INTEGER_RESOURCES.contains(&name) || is_extended(name)
}

/// The name of any resource.
pub(in crate::validation) fn name(name: &str, path: &Path, errors: &mut ErrorList) {
    let judged = names::qualified_name(name);
    let qualified = judged.is_empty();
    check::invalid(errors, path, name, judged);
    if qualified && !name.contains('/') && !is_standard(name) {
        let why = "must be a standard resource type or fully qualified";
        errors.push(FieldError::invalid(path, name, why));
    }
}

/// The name of a resource that a container can have.
pub(in crate::validation) fn container_name(name: &str, path: &Path, errors: &mut ErrorList) {
    self::name(name, path, errors);
    if !name.contains('/') {
        if !CONTAINER_RESOURCES.contains(&name) && !is_huge_pages(name) {
            errors.push(FieldError::invalid(path, name, "must be a standard resource for containers"));
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.push(FieldError::invalid(path, name, "doesn't follow extended resource name standard"));
    }
}

/// An amount of a resource.
pub(in crate::validation) fn amount(
    name: &str,
    wire: &WireQuantity,
    path: &Path,
    errors: &mut ErrorList,
) -> Option<Quantity> {
    let quantity = check::quantity(errors, path, wire)?;
    if quantity.sign() < 0 {
        errors.push(FieldError::invalid(path, quantity.to_string(), "must be greater than or equal to 0"));
    }
    if is_integer(name) && !quantity.is_integer() {
        errors.push(FieldError::invalid(path, quantity.to_string(), "must be an integer"));
    }
    Some(quantity)
}

/// A resource of a container with its amount.
pub(super) fn resource(name: &str, wire: &WireQuantity, path: &Path, errors: &mut ErrorList) -> Option<Quantity> {
    container_name(name, path, errors);
    amount(name, wire, path, errors)
}

/// Whether more of it can be promised than there is.
pub(in crate::validation) fn can_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge_pages(name)
}

/// Judges limits, requests and claims of a container.
pub(super) fn requirements(
    requirements: &ResourceRequirements,
    claims: &BTreeSet<&str>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let limits_path = path.child("limits");
    let requests_path = path.child("requests");
    let mut huge_pages = false;
    let mut compute = false;
    let mut note = |name: &str| {
        huge_pages |= is_huge_pages(name);
        compute |= name == "cpu" || name == "memory";
    };
    for (name, wire) in requirements.limits.iter().flatten() {
        resource(name, wire, &limits_path.key(name), errors);
        note(name);
    }
    for (name, wire) in requirements.requests.iter().flatten() {
        let request = resource(name, wire, &requests_path.key(name), errors);
        note(name);
        let limit = requirements.limits.as_ref().and_then(|limits| limits.get(name));
        let limit = limit.map(Quantity::from_k8s);
        match (request, limit) {
            (Some(request), Some(Ok(limit))) => {
                if request != limit && !can_overcommit(name) {
                    let why = format!("must be equal to {name} limit of {limit}");
                    errors.push(FieldError::invalid(&requests_path, request.to_string(), why));
                } else if request > limit {
                    let why = format!("must be less than or equal to {name} limit of {limit}");
                    errors.push(FieldError::invalid(&requests_path, request.to_string(), why));
                }
            }
            (_, None) if !can_overcommit(name) => {
                let why = "Limit must be set for non overcommitable resources";
                errors.push(FieldError::required(&limits_path, why));
            }
            _ => {}
        }
    }
    if huge_pages && !compute {
        errors.push(FieldError::forbidden(path, "HugePages require cpu or memory"));
    }
    for (index, claim) in requirements.claims.iter().flatten().enumerate() {
        let path = path.child("claims").index(index);
        if claim.name.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else {
            let same = |other: &&ResourceClaim| other.name == claim.name && other.request == claim.request;
            if requirements.claims.iter().flatten().take(index).any(|other| same(&other)) {
                let request = check::text(&claim.request);
                let shown = if request.is_empty() { claim.name.clone() } else { format!("{}/{request}", claim.name) };
                errors.push(FieldError::duplicate(&path, shown));
            } else if !claims.contains(claim.name.as_str()) {
                errors.push(FieldError::not_found(&path, claim.name.as_str()));
            }
        }
    }
}
