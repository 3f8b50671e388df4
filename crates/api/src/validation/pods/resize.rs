//! What may change in the resources of a running pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as WireQuantity;

use super::{MIRROR_ANNOTATION, whole_pod};
use crate::field::{ErrorList, FieldError, Path};

/// Judges an update of the resources of a pod. `qos` tells the class of service that a pod would have.
pub(in crate::validation) fn pod_resize(new: &Pod, old: &Pod, errors: &mut ErrorList) {
    whole_pod(new, errors);
    let path = Path::new("spec");
    let (Some(new_spec), Some(old_spec)) = (&new.spec, &old.spec) else {
        return;
    };
    let nowhere = Path::new("<nil>");
    if old.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(MIRROR_ANNOTATION)) {
        errors.clear();
        errors.push(FieldError::forbidden(&nowhere, "static pods cannot be resized"));
        return;
    }
    if old_spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        errors.clear();
        errors.push(FieldError::forbidden(&nowhere, "windows pods cannot be resized"));
        return;
    }
    if old_spec.resources.is_some() {
        errors.push(FieldError::forbidden(&path, "pods with pod-level resources cannot be resized"));
    }
    let (class, before) = (quality(new_spec), quality(old_spec));
    if class != before {
        let why = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid(&path, before, why));
    }
    if !same_containers(new_spec, old_spec, &path, errors) {
        return;
    }
    let lists = [
        ("containers", new_spec.containers.as_slice(), old_spec.containers.as_slice()),
        ("initContainers", init(new_spec), init(old_spec)),
    ];
    for (list, new, old) in lists {
        let is_init = list == "initContainers";
        for (index, (new, old)) in new.iter().zip(old).enumerate() {
            let is_sidecar = old.restart_policy.as_deref() == Some("Always");
            if is_init && !is_sidecar {
                if new != old {
                    let why = "only cpu and memory resources for sidecar containers are mutable";
                    errors.push(FieldError::forbidden(&path, why));
                }
                continue;
            }
            kept(new, old, &path.child(list).index(index).child("resources"), errors);
            if without_compute(new, old) != *old {
                let whose = if is_init { " for sidecar containers" } else { "" };
                let why = format!("only cpu and memory resources{whose} are mutable");
                errors.push(FieldError::forbidden(&path, why));
            }
        }
    }
}

fn init(spec: &PodSpec) -> &[Container] {
    spec.init_containers.as_deref().unwrap_or_default()
}

fn same_containers(new: &PodSpec, old: &PodSpec, path: &Path, errors: &mut ErrorList) -> bool {
    let before = errors.len();
    let lists = [
        ("containers", new.containers.as_slice(), old.containers.as_slice()),
        ("initContainers", init(new), init(old)),
    ];
    for (list, new, old) in lists {
        let path = path.child(list);
        if new.len() != old.len() {
            errors.push(FieldError::forbidden(&path, "containers may not be added or removed on resize"));
            continue;
        }
        for (index, _) in new.iter().zip(old).enumerate().filter(|(_, (new, old))| new.name != old.name) {
            let why = "containers may not be renamed or reordered on resize";
            errors.push(FieldError::forbidden(&path.index(index).child("name"), why));
        }
    }
    errors.len() == before
}

type Amounts = Option<BTreeMap<String, WireQuantity>>;

/// What was asked for may be more or less, but it stays asked for.
fn kept(new: &Container, old: &Container, path: &Path, errors: &mut ErrorList) {
    let of = |container: &Container| container.resources.clone().unwrap_or_default();
    let (new, old) = (of(new), of(old));
    let removed = |new: &Amounts, old: &Amounts| {
        old.iter().flatten().any(|(name, _)| new.as_ref().is_none_or(|new| !new.contains_key(name)))
    };
    for (field, what, gone) in [
        ("requests", "resource requests", removed(&new.requests, &old.requests)),
        ("limits", "resource limits", removed(&new.limits, &old.limits)),
    ] {
        if gone {
            errors.push(FieldError::forbidden(&path.child(field), format!("{what} cannot be removed")));
        }
    }
}

/// The new container with the old CPU and memory.
fn without_compute(new: &Container, old: &Container) -> Container {
    let mut container = new.clone();
    let before = old.resources.clone().unwrap_or_default();
    let mut resources: ResourceRequirements = container.resources.clone().unwrap_or_default();
    let restore = |new: &mut Amounts, old: &Amounts| {
        for name in ["cpu", "memory"] {
            match old.as_ref().and_then(|old| old.get(name)) {
                Some(amount) => {
                    new.get_or_insert_default().insert(name.to_owned(), amount.clone());
                }
                None => {
                    if let Some(new) = new {
                        new.remove(name);
                    }
                }
            }
        }
        if new.as_ref().is_some_and(BTreeMap::is_empty) && old.is_none() {
            *new = None;
        }
    };
    restore(&mut resources.requests, &before.requests);
    restore(&mut resources.limits, &before.limits);
    let is_nothing = resources == ResourceRequirements::default() && old.resources.is_none();
    container.resources = (!is_nothing).then_some(resources);
    container.resize_policy.clone_from(&old.resize_policy);
    container
}

/// The class of service that a pod's resources give it.
fn quality(spec: &PodSpec) -> &'static str {
    let containers: Vec<ResourceRequirements> = spec
        .containers
        .iter()
        .chain(init(spec))
        .map(|container| container.resources.clone().unwrap_or_default())
        .collect();
    let amount = |amounts: &Amounts, name: &str| {
        let wire = amounts.as_ref()?.get(name)?;
        crate::quantity::Quantity::from_k8s(wire).ok().filter(|amount| amount.sign() > 0)
    };
    let mut any = false;
    let mut guaranteed = true;
    for resources in &containers {
        for name in ["cpu", "memory"] {
            let (request, limit) = (amount(&resources.requests, name), amount(&resources.limits, name));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
