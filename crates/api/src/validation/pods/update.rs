//! What may change in a pod.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec, Toleration};

use super::{active_deadline, whole_pod};
use crate::field::{ErrorList, FieldError, Path, quote};
use crate::validation::{check, names};

const MAY_CHANGE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Judges an update of a pod.
pub(in crate::validation) fn pod_update(new: &Pod, old: &Pod, errors: &mut ErrorList) {
    whole_pod(new, errors);
    let path = Path::new("spec");
    let (Some(new), Some(old)) = (&new.spec, &old.spec) else {
        return;
    };
    let init = |spec: &PodSpec| spec.init_containers.clone().unwrap_or_default();
    let added = same_count(&new.containers, &old.containers, &path.child("containers"), errors)
        | same_count(&init(new), &init(old), &path.child("initContainers"), errors);
    if added {
        return;
    }
    // Upstream tells of a removed image here and with the rest of the spec.
    for (index, container) in new.containers.iter().enumerate() {
        check::required(errors, &path.child("containers").index(index).child("image"), check::text(&container.image));
    }
    for (index, container) in new.init_containers.iter().flatten().enumerate() {
        check::required(
            errors,
            &path.child("initContainers").index(index).child("image"),
            check::text(&container.image),
        );
    }
    let deadline_path = path.child("activeDeadlineSeconds");
    match (new.active_deadline_seconds, old.active_deadline_seconds) {
        (Some(seconds), before) => {
            if before.is_none() {
                active_deadline(seconds, &path, errors);
            }
            if before.is_some_and(|before| seconds > before) {
                let why = "must be less than or equal to previous value";
                errors.push(FieldError::invalid(&deadline_path, seconds, why));
                return;
            }
        }
        (None, Some(_)) => {
            let why = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(&deadline_path, serde_json::Value::Null, why));
        }
        (None, None) => {}
    }
    let gated = old.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    gates_only_go(new, old, &path.child("schedulingGates"), errors);
    tolerations_only_come(new, old, &path.child("tolerations"), errors);
    // What may change is taken from the old spec; then nothing may differ.
    let mut rest = new.clone();
    images_of(&mut rest.containers, &old.containers);
    if let (Some(containers), Some(old)) = (&mut rest.init_containers, &old.init_containers) {
        images_of(containers, old);
    }
    rest.active_deadline_seconds = old.active_deadline_seconds;
    rest.scheduling_gates.clone_from(&old.scheduling_gates);
    rest.tolerations.clone_from(&old.tolerations);
    if old.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0)
        && rest.termination_grace_period_seconds == Some(1)
    {
        rest.termination_grace_period_seconds = old.termination_grace_period_seconds;
    }
    if gated {
        narrowed(&mut rest, old, &path, errors);
    }
    if rest != *old {
        errors.push(FieldError::forbidden(&path, MAY_CHANGE));
    }
}

fn same_count(new: &[Container], old: &[Container], path: &Path, errors: &mut ErrorList) -> bool {
    if new.len() != old.len() {
        errors.push(FieldError::forbidden(path, "pod updates may not add or remove containers"));
    }
    new.len() != old.len()
}

fn images_of(containers: &mut [Container], old: &[Container]) {
    for (container, old) in containers.iter_mut().zip(old) {
        container.image.clone_from(&old.image);
    }
}

fn gates_only_go(new: &PodSpec, old: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let before = old.scheduling_gates.as_deref().unwrap_or_default();
    for (index, gate) in new.scheduling_gates.iter().flatten().enumerate() {
        if !before.iter().any(|old| old.name == gate.name) {
            let why = format!("only deletion is allowed, but found new scheduling gate '{}'", gate.name);
            errors.push(FieldError::forbidden(&path.index(index), why));
        }
    }
}

fn tolerations_only_come(new: &PodSpec, old: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let without_seconds = |toleration: &Toleration| Toleration { toleration_seconds: None, ..toleration.clone() };
    let now = new.tolerations.as_deref().unwrap_or_default();
    for toleration in old.tolerations.iter().flatten() {
        if !now.iter().any(|new| without_seconds(new) == without_seconds(toleration)) {
            let why = "existing toleration can not be modified except its tolerationSeconds";
            errors.push(FieldError::forbidden(path, why));
        }
    }
}

/// A pod that is not yet scheduled may ask for fewer nodes than before.
fn narrowed(rest: &mut PodSpec, old: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let now = rest.node_selector.clone().unwrap_or_default();
    let kept = old.node_selector.iter().flatten().all(|(key, value)| now.get(key) == Some(value));
    if kept {
        rest.node_selector.clone_from(&old.node_selector);
    } else {
        let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.push(FieldError::invalid(&path.child("nodeSelector"), check::json(&now), why));
        rest.node_selector.clone_from(&old.node_selector);
    }
    let required = |spec: &PodSpec| {
        let node = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.clone());
        node.and_then(|node| node.required_during_scheduling_ignored_during_execution)
    };
    match (required(rest), required(old)) {
        (Some(new), Some(old_selector)) => {
            let same_terms = new.node_selector_terms.len() == old_selector.node_selector_terms.len();
            let extended = new.node_selector_terms.iter().zip(&old_selector.node_selector_terms).all(|(new, old)| {
                let holds = |new: &Option<Vec<_>>, old: &Option<Vec<_>>| {
                    let new = new.as_deref().unwrap_or_default();
                    old.iter().flatten().all(|requirement| new.contains(requirement))
                };
                holds(&new.match_expressions, &old.match_expressions) && holds(&new.match_fields, &old.match_fields)
            });
            if same_terms && extended {
                rest.affinity.clone_from(&old.affinity);
            }
        }
        (_, None) => rest.affinity.clone_from(&old.affinity),
        (None, Some(_)) => {}
    }
}

/// Judges an update of the ephemeral containers of a pod.
pub(in crate::validation) fn ephemeral_containers_update(new: &Pod, old: &Pod, errors: &mut ErrorList) {
    whole_pod(new, errors);
    let path = Path::new("spec").child("ephemeralContainers");
    let list = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.ephemeral_containers.clone()).unwrap_or_default();
    let now = list(new);
    for container in list(old) {
        let what = match now.iter().find(|new| new.name == container.name) {
            None => "removed",
            Some(found) if *found != container => "changed",
            Some(_) => continue,
        };
        let why = format!("existing ephemeral containers {} may not be {what}", quote(&container.name));
        errors.push(FieldError::forbidden(&path, why));
    }
}

/// Judges an update of the status of a pod.
pub(in crate::validation) fn pod_status(new: &Pod, old: &Pod, errors: &mut ErrorList) {
    let path = Path::new("status");
    let restart = new.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always").to_owned();
    let (Some(new), Some(old)) = (&new.status, &old.status) else {
        return;
    };
    if new.nominated_node_name != old.nominated_node_name {
        let name = check::text(&new.nominated_node_name);
        check::optional_name(errors, &path.child("nominatedNodeName"), name, names::dns_subdomain);
    }
    for (index, condition) in new.conditions.iter().flatten().enumerate() {
        let path = path.child("conditions").index(index).child("type");
        check::invalid(errors, &path, condition.type_.as_str(), names::qualified_name(&condition.type_));
    }
    for (index, address) in new.pod_ips.iter().flatten().enumerate() {
        check::ip(errors, &path.child("podIPs").index(index), &address.ip);
    }
    if restart != "Always" {
        let lists = [
            ("containerStatuses", &new.container_statuses, &old.container_statuses),
            ("ephemeralContainerStatuses", &new.ephemeral_container_statuses, &old.ephemeral_container_statuses),
        ];
        for (field, new, old) in lists {
            no_resurrection(new.as_deref(), old.as_deref(), &restart, &path.child(field), errors);
        }
    }
}

fn no_resurrection(
    new: Option<&[ContainerStatus]>,
    old: Option<&[ContainerStatus]>,
    restart: &str,
    path: &Path,
    errors: &mut ErrorList,
) {
    let terminated = |status: &ContainerStatus| status.state.as_ref().and_then(|state| state.terminated.clone());
    for (index, status) in old.unwrap_or_default().iter().enumerate() {
        let Some(ended) = terminated(status) else {
            continue;
        };
        // A container that failed is started again on failure.
        if restart == "OnFailure" && ended.exit_code != 0 {
            continue;
        }
        let now = new.unwrap_or_default().iter().find(|new| new.name == status.name);
        if now.is_some_and(|now| now.state.is_some() && terminated(now).is_none()) {
            let why = "may not be transitioned to non-terminated state";
            errors.push(FieldError::forbidden(&path.index(index).child("state"), why));
        }
    }
}
