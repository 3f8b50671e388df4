//! The devices that a pod claims, and the resources of a pod as a whole.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, PodResourceClaim, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as WireQuantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{annotations, resources, restart};
use crate::field::{ErrorList, FieldError, Path};
use crate::quantity::{Format, Quantity};
use crate::validation::{check, names};

/// Judges the claims of a pod.
pub(super) fn claims(claims: &[PodResourceClaim], meta: Option<&ObjectMeta>, list: &Path, errors: &mut ErrorList) {
    let annotations = meta.and_then(|meta| meta.annotations.as_ref());
    if annotations.is_some_and(|annotations| annotations.contains_key(annotations::MIRROR)) {
        for _ in claims {
            errors.push(FieldError::forbidden(&Path::nameless(), "static pods do not support resource claims"));
        }
        return;
    }
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

/// Judges the resources of a pod as a whole, which its containers share.
pub(super) fn pod_resources(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let Some(found) = &spec.resources else {
        return;
    };
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        errors.push(FieldError::forbidden(path, "may not be set for a windows pod"));
        return;
    }
    if found.claims.is_some() {
        let why = "claims may not be set for Resources at pod-level";
        errors.push(FieldError::forbidden(&path.child("claims"), why));
    }
    resources::named_requirements(found, resources::pod_name, &super::resource_claims(spec), path, errors);
    for (name, wanted) in read(&found.requests) {
        let total = aggregate(spec, Amount::Request, &name);
        if wanted < total {
            let why = format!("must be greater than or equal to aggregate container requests of {total}");
            errors.push(FieldError::invalid(&path.child("requests").key(&name), wanted.to_string(), why));
        }
    }
    let limits = read(&found.limits);
    for (name, limit) in limits.iter().filter(|(name, _)| resources::is_huge_pages(name)) {
        let total = aggregate(spec, Amount::Limit, name);
        if *limit < total {
            let why = format!("must be greater than or equal to aggregate container limits of {total}");
            errors.push(FieldError::invalid(&path.child("limits").key(name), limit.to_string(), why));
        }
    }
    for (index, container) in spec.containers.iter().enumerate() {
        let own = container.resources.as_ref().map(|resources| read(&resources.limits)).unwrap_or_default();
        for (name, limit) in own {
            let of_pod = limits.iter().find(|(found, of_pod)| *found == name && limit > *of_pod);
            if let Some((_, of_pod)) = of_pod {
                // Upstream tells of the container as if it were in the pod's resources.
                let path = path.child("containers").index(index).key(&name).child("limits");
                let why = format!("must be less than or equal to pod limits of {of_pod}");
                errors.push(FieldError::invalid(&path, limit.to_string(), why));
            }
        }
    }
}

fn read(amounts: &Amounts) -> Vec<(String, Quantity)> {
    let entries = amounts.iter().flatten();
    entries.filter_map(|(name, wire)| Some((name.clone(), Quantity::from_k8s(wire).ok()?))).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Amount {
    Request,
    Limit,
}

fn of(container: &Container, amount: Amount, name: &str) -> Quantity {
    let amounts = container.resources.as_ref().and_then(|resources| match amount {
        Amount::Request => resources.requests.as_ref(),
        Amount::Limit => resources.limits.as_ref(),
    });
    let wire = amounts.and_then(|amounts| amounts.get(name));
    wire.and_then(|wire| Quantity::from_k8s(wire).ok()).unwrap_or(Quantity::new(0, Format::DecimalSi))
}

/// What all containers have together: those that run side by side are added up, those that run before are not.
fn aggregate(spec: &PodSpec, amount: Amount, name: &str) -> Quantity {
    let zero = Quantity::new(0, Format::DecimalSi);
    let (mut running, mut peak) = (zero, zero);
    for container in spec.init_containers.iter().flatten() {
        let mut together = running;
        together += of(container, amount, name);
        if restart::is_sidecar(container) {
            running = together;
        }
        peak = peak.max(together);
    }
    for container in &spec.containers {
        running += of(container, amount, name);
    }
    running.max(peak)
}
