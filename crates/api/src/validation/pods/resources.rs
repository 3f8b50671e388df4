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
const QUOTA_RESOURCES: [&str; 10] = [
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "cpu",
    "memory",
    "ephemeral-storage",
];

pub(super) fn is_huge_pages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Whether a name without a domain is known.
fn is_standard(name: &str) -> bool {
    name == "storage" || is_standard_for_quota(name)
}

/// Whether a quota may limit it without a domain or `count/`.
pub(in crate::validation) fn is_standard_for_quota(name: &str) -> bool {
    QUOTA_RESOURCES.contains(&name)
        || INTEGER_RESOURCES.contains(&name)
        || is_huge_pages(name)
        || name.strip_prefix("requests.").is_some_and(is_huge_pages)
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

/// The name of a resource that a pod as a whole can have.
pub(super) fn pod_name(name: &str, path: &Path, errors: &mut ErrorList) {
    let before = errors.len();
    self::name(name, path, errors);
    if errors.len() == before && !["cpu", "memory"].contains(&name) && !is_huge_pages(name) {
        errors.push(FieldError::not_supported(path, name, &["cpu", "hugepages-", "memory"]));
    }
}

/// Huge pages come whole.
fn whole_pages(name: &str, amount: Option<Quantity>, path: &Path, errors: &mut ErrorList) {
    let (Some(size), Some(amount)) = (name.strip_prefix("hugepages-"), amount) else {
        return;
    };
    let size = Quantity::parse(size).ok().filter(|size| size.sign() > 0 && size.is_integer());
    if size.is_none_or(|size| amount.value() % size.value() != 0) {
        let why = format!("{amount} is not positive integer multiple of {name}");
        errors.push(FieldError::invalid(path, amount.to_string(), why));
    }
}

/// Whether more of it can be promised than there is.
pub(in crate::validation) fn can_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge_pages(name)
}

/// Judges limits, requests and claims of a container.
pub(in crate::validation) fn requirements(
    requirements: &ResourceRequirements,
    claims: &BTreeSet<&str>,
    path: &Path,
    errors: &mut ErrorList,
) {
    named_requirements(requirements, container_name, claims, path, errors);
}

/// Judges limits, requests and claims of something whose resources `rule` names.
pub(super) fn named_requirements(
    requirements: &ResourceRequirements,
    rule: fn(&str, &Path, &mut ErrorList),
    claims: &BTreeSet<&str>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let limits_path = path.child("limits");
    let requests_path = path.child("requests");
    for (name, wire) in requirements.limits.iter().flatten() {
        let path = limits_path.key(name);
        rule(name, &path, errors);
        let limit = amount(name, wire, &path, errors);
        whole_pages(name, limit, &path, errors);
    }
    for (name, wire) in requirements.requests.iter().flatten() {
        let path = requests_path.key(name);
        rule(name, &path, errors);
        let request = amount(name, wire, &path, errors);
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
        whole_pages(name, request, &path, errors);
    }
    let mut all = requirements.limits.iter().chain(&requirements.requests).flatten().map(|(name, _)| name.as_str());
    if all.clone().any(is_huge_pages) && !all.any(|name| ["cpu", "memory"].contains(&name)) {
        errors.push(FieldError::forbidden(path, "HugePages require cpu or memory"));
    }
    used_claims(requirements.claims.as_deref().unwrap_or_default(), claims, &path.child("claims"), errors);
}

/// Judges which of the pod's claims something uses, or which requests of them.
fn used_claims(used: &[ResourceClaim], claims: &BTreeSet<&str>, list: &Path, errors: &mut ErrorList) {
    // Whole claims have no request.
    let mut seen: BTreeSet<(&str, &str)> = BTreeSet::new();
    for (index, claim) in used.iter().enumerate() {
        let path = list.index(index);
        let (name, request) = (claim.name.as_str(), check::text(&claim.request));
        if !check::required(errors, &path, name) {
            continue;
        }
        if seen.contains(&(name, "")) {
            errors.push(FieldError::duplicate(&path, name));
        } else {
            check::optional_name(errors, &path.child("request"), request, names::dns_label);
            if request.is_empty() {
                for _ in seen.iter().filter(|(other, _)| *other == name) {
                    errors.push(FieldError::duplicate(&path, name));
                }
            } else if seen.contains(&(name, request)) {
                errors.push(FieldError::duplicate(&path, format!("{name}/{request}")));
            }
            seen.insert((name, request));
        }
        if !claims.contains(name) {
            let mut error = FieldError::not_found(&path, name);
            let there = claims.iter().copied().collect::<Vec<_>>().join(", ");
            let there = if there.is_empty() { " which is empty".to_owned() } else { format!(": {there}") };
            error.detail = format!("must be one of the names in pod.spec.resourceClaims{there}");
            errors.push(error);
        }
    }
}
