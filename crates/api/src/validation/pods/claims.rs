//! The devices that a pod claims, and the resources of a pod as a whole.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, PodResourceClaim, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as WireQuantity;

use super::resources;
use crate::field::{ErrorList, FieldError, Path};
use crate::quantity::{Format, Quantity};
use crate::validation::{check, names};

/// Judges the claims of a pod.
pub(super) fn claims(claims: &[PodResourceClaim], list: &Path, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (index, claim) in claims.iter().enumerate() {
        let path = list.index(index);
        let name = claim.name.as_str();
        if check::required(errors, &path.child("name"), name) {
            if seen.insert(name) {
                check::invalid(errors, &path.child("name"), name, names::dns_label(name));
            } else {
                errors.push(FieldError::duplicate(&path.child("name"), name));
            }
        }
        let sources = [
            ("resourceClaimName", &claim.resource_claim_name),
            ("resourceClaimTemplateName", &claim.resource_claim_template_name),
        ];
        let why = match sources.iter().filter(|(_, source)| source.is_some()).count() {
            0 => Some("must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"),
            1 => None,
            _ => Some("at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"),
        };
        if let Some(why) = why {
            errors.push(FieldError::invalid(&path, check::json(claim), why));
        }
        for (field, source) in sources {
            if let Some(source) = source {
                check::invalid(errors, &path.child(field), source.as_str(), names::dns_subdomain(source));
            }
        }
    }
}

type Amounts = Option<BTreeMap<String, WireQuantity>>;

fn is_for_pods(name: &str) -> bool {
    ["cpu", "memory"].contains(&name) || name.starts_with("hugepages-")
}

/// Judges the resources of a pod as a whole, which its containers share.
pub(super) fn pod_resources(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let Some(found) = &spec.resources else {
        return;
    };
    if found.claims.as_ref().is_some_and(|claims| !claims.is_empty()) {
        let why = "claims cannot be set for Resources at pod-level";
        errors.push(FieldError::forbidden(&path.child("claims"), why));
    }
    for (field, amounts) in [("limits", &found.limits), ("requests", &found.requests)] {
        for name in amounts.iter().flatten().map(|(name, _)| name).filter(|name| !is_for_pods(name)) {
            let supported = ["cpu", "hugepages-", "memory"];
            errors.push(FieldError::not_supported(&path.child(field).key(name), name.as_str(), &supported));
        }
    }
    resources::requirements(found, &super::resource_claims(spec), path, errors);
    for (name, wanted) in read(&found.requests) {
        let total = aggregate(spec, &name);
        if wanted < total {
            let why = format!("must be greater than or equal to aggregate container requests of {total}");
            errors.push(FieldError::invalid(&path.child("requests").key(&name), wanted.to_string(), why));
        }
    }
    let limits = read(&found.limits);
    for (list, containers) in
        [("containers", spec.containers.as_slice()), ("initContainers", spec.init_containers.as_deref().unwrap_or(&[]))]
    {
        for (index, container) in containers.iter().enumerate() {
            container_limits(container, &limits, path, list, index, errors);
        }
    }
}

fn read(amounts: &Amounts) -> Vec<(String, Quantity)> {
    let entries = amounts.iter().flatten();
    entries.filter_map(|(name, wire)| Some((name.clone(), Quantity::from_k8s(wire).ok()?))).collect()
}

fn container_limits(
    container: &Container,
    limits: &[(String, Quantity)],
    path: &Path,
    list: &str,
    index: usize,
    errors: &mut ErrorList,
) {
    let Some(own) = &container.resources else {
        return;
    };
    for (name, limit) in read(&own.limits) {
        let of_pod = limits.iter().find(|(found, _)| *found == name);
        if let Some((_, of_pod)) = of_pod.filter(|(_, of_pod)| limit > *of_pod) {
            // The path begins at the pod's spec, not at its resources.
            let spec = path.to_string();
            let spec = Path::new(spec.strip_suffix(".resources").unwrap_or(&spec));
            let path = spec.child(list).index(index).child("resources").child("limits").key(&name);
            let why = format!("must be less than or equal to pod limits of {of_pod}");
            errors.push(FieldError::invalid(&path, limit.to_string(), why));
        }
    }
}

fn request(container: &Container, name: &str) -> Quantity {
    let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let wire = requests.and_then(|requests| requests.get(name));
    wire.and_then(|wire| Quantity::from_k8s(wire).ok()).unwrap_or(Quantity::new(0, Format::DecimalSi))
}

/// What all containers ask for together: those that run side by side are added up, those that run before are not.
fn aggregate(spec: &PodSpec, name: &str) -> Quantity {
    let zero = Quantity::new(0, Format::DecimalSi);
    let (mut running, mut peak) = (zero, zero);
    for container in spec.init_containers.iter().flatten() {
        let mut together = running;
        together += request(container, name);
        if container.restart_policy.as_deref() == Some("Always") {
            running = together;
        }
        peak = peak.max(together);
    }
    for container in &spec.containers {
        running += request(container, name);
    }
    running.max(peak)
}
