//! What may change in the resources of a running pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as WireQuantity;

use super::restart::is_sidecar;
use super::{annotations, whole_pod};
use crate::field::{ErrorList, FieldError, Path};

/// Judges an update of the resources of a pod.
pub(in crate::validation) fn pod_resize(new: &Pod, old: &Pod, errors: &mut ErrorList) {
    let is_static = old.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(annotations::MIRROR));
    let is_windows = old.spec.iter().any(|spec| spec.os.as_ref().is_some_and(|os| os.name == "windows"));
    for (is, kind) in [(is_static, "static"), (is_windows, "windows")] {
        if is {
            errors.clear();
            errors.push(FieldError::forbidden(&Path::nameless(), format!("{kind} pods cannot be resized")));
            return;
        }
    }
    whole_pod(new, errors);
    let path = Path::new("spec");
    let (Some(new_spec), Some(old_spec)) = (&new.spec, &old.spec) else {
        return;
    };
    let before = quality(old_spec);
    if quality(new_spec) != before {
        let why = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid(&path, before, why));
    }
    if !is_supported(old) {
        errors.push(FieldError::forbidden(&path, "Pod running on node without support for resize"));
    }
    if has_own_resources(new_spec) || has_own_resources(old_spec) {
        let why = "resize of pods with pod-level resources is forbidden when InPlacePodLevelResourcesVerticalScalingEnabled feature gate is disabled";
        errors.push(FieldError::forbidden(&Path::nameless(), why));
        return;
    }
    if same_containers(new_spec, old_spec, &path, errors) {
        containers(new_spec, old_spec, &path, errors);
    }
}

/// A node that resizes says what its running containers have.
fn is_supported(pod: &Pod) -> bool {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let is_running = |status: &&ContainerStatus| status.state.as_ref().is_some_and(|state| state.running.is_some());
    statuses.into_iter().find(is_running).is_none_or(|status| status.resources.is_some())
}

fn has_own_resources(spec: &PodSpec) -> bool {
    let has = |amounts: &Amounts| amounts.as_ref().is_some_and(|amounts| !amounts.is_empty());
    spec.resources.as_ref().is_some_and(|resources| has(&resources.requests) || has(&resources.limits))
}

/// Of containers, and of init containers that run beside them, CPU and memory may change.
fn containers(new: &PodSpec, old: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let list = path.child("initContainers");
    for (index, (new, old)) in init(new).iter().zip(init(old)).enumerate().filter(|(_, (_, old))| is_sidecar(old)) {
        kept(new, old, &list.index(index).child("resources"), errors);
    }
    let list = path.child("containers");
    for (index, (new, old)) in new.containers.iter().zip(&old.containers).enumerate() {
        kept(new, old, &list.index(index).child("resources"), errors);
    }
    for (new, old) in new.containers.iter().zip(&old.containers) {
        if without_compute(new, old) != *old {
            errors.push(FieldError::forbidden(path, "only cpu and memory resources are mutable"));
        }
    }
    for (new, old) in init(new).iter().zip(init(old)) {
        let why = if !is_sidecar(new) {
            (new != old).then_some("resources for non-sidecar init containers are immutable")
        } else {
            let differs = without_compute(new, old) != *old;
            differs.then_some("only cpu and memory resources for sidecar containers are mutable")
        };
        errors.extend(why.map(|why| FieldError::forbidden(path, why)));
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
            errors.push(FieldError::forbidden(&path, format!("{list} may not be added or removed on resize")));
            continue;
        }
        for (index, _) in new.iter().zip(old).enumerate().filter(|(_, (new, old))| new.name != old.name) {
            let why = format!("{list} may not be renamed or reordered on resize");
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
    // What has claims cannot be resized.
    resources.claims = None;
    let is_nothing = resources == ResourceRequirements::default() && old.resources.is_none();
    container.resources = (!is_nothing).then_some(resources);
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
