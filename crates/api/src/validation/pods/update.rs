//! What may change in a pod.

use k8s_openapi::api::core::v1::{Affinity, Container, NodeAffinity, NodeSelectorTerm, Pod, PodSpec, Toleration};

use super::{annotations, containers, scheduling, whole_pod};
use crate::field::{ErrorList, FieldError, Path, quote};
use crate::validation::{check, names};

const MAY_CHANGE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Judges an update of a pod.
pub(in crate::validation) fn pod_update(new: &Pod, old: &Pod, errors: &mut ErrorList) {
    whole_pod(new, errors);
    annotation_update(new, old, errors);
    let path = Path::new("spec");
    let (Some(new), Some(old)) = (&new.spec, &old.spec) else {
        return;
    };
    let lists = [
        ("containers", Some(&new.containers), Some(&old.containers)),
        ("initContainers", new.init_containers.as_ref(), old.init_containers.as_ref()),
    ];
    for (list, new, old) in lists {
        if !images(new, old, &path.child(list), errors) {
            return;
        }
    }
    if !deadline(new, old, &path.child("activeDeadlineSeconds"), errors) {
        return;
    }
    let gated = old.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    tolerations_only_come(new, old, &path.child("tolerations"), errors);
    gates_only_go(new, old, &path.child("schedulingGates"), errors);
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

/// Judges what changes in the annotations of a pod.
pub(super) fn annotation_update(new: &Pod, old: &Pod, errors: &mut ErrorList) {
    let path = Path::new("metadata").child("annotations");
    let default = PodSpec::default();
    let spec = new.spec.as_ref().unwrap_or(&default);
    annotations::update(&new.metadata.annotations, &old.metadata.annotations, spec, &path, errors);
}

/// Upstream tells of wrong images here and with the rest of the spec; tells whether the rest can be compared.
fn images(new: Option<&Vec<Container>>, old: Option<&Vec<Container>>, list: &Path, errors: &mut ErrorList) -> bool {
    let new = new.map(Vec::as_slice).unwrap_or_default();
    if new.len() != old.map_or(0, Vec::len) {
        errors.push(FieldError::forbidden(list, "pod updates may not add or remove containers"));
        return false;
    }
    for (index, container) in new.iter().enumerate() {
        let path = list.index(index);
        check::required(errors, &path.child("image"), check::text(&container.image));
        containers::trimmed_image(&container.image, &path, errors);
    }
    true
}

/// A deadline may come, and come nearer; tells whether the rest is judged.
fn deadline(new: &PodSpec, old: &PodSpec, path: &Path, errors: &mut ErrorList) -> bool {
    match (new.active_deadline_seconds, old.active_deadline_seconds) {
        (Some(seconds), before) => {
            let highest = i64::from(i32::MAX);
            let why = if !(0..=highest).contains(&seconds) {
                names::in_range(0, highest)
            } else if before.is_some_and(|before| seconds > before) {
                "must be less than or equal to previous value".to_owned()
            } else {
                return true;
            };
            errors.push(FieldError::invalid(path, seconds, why));
            return false;
        }
        (None, Some(_)) => {
            let why = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(path, serde_json::Value::Null, why));
        }
        (None, None) => {}
    }
    true
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
            errors.push(FieldError::forbidden(&path.index(index).child("name"), why));
        }
    }
}

/// Upstream tells of wrong tolerations here and with the rest of the spec.
fn tolerations_only_come(new: &PodSpec, old: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let without_seconds = |toleration: &Toleration| Toleration { toleration_seconds: None, ..toleration.clone() };
    let now = new.tolerations.as_deref().unwrap_or_default();
    let is_there = |toleration: &Toleration| now.iter().any(|new| without_seconds(new) == without_seconds(toleration));
    if old.tolerations.iter().flatten().all(is_there) {
        scheduling::tolerations(now, path, errors);
    } else {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden(path, why));
    }
}

/// A pod that is not yet scheduled may ask for fewer nodes than before.
fn narrowed(rest: &mut PodSpec, old: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let now = rest.node_selector.clone().unwrap_or_default();
    if !old.node_selector.iter().flatten().all(|(key, value)| now.get(key) == Some(value)) {
        let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.push(FieldError::invalid(&path.child("nodeSelector"), check::json(&now), why));
    }
    rest.node_selector.clone_from(&old.node_selector);
    let of_nodes = |spec: &PodSpec| spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.clone());
    let (new_nodes, old_nodes) = (of_nodes(rest), of_nodes(old));
    if new_nodes == old_nodes {
        return;
    }
    terms_only_narrow(new_nodes.as_ref(), old_nodes.as_ref(), &path.child("affinity").child("nodeAffinity"), errors);
    let mut affinity = rest.affinity.take().unwrap_or_default();
    affinity.node_affinity = old_nodes;
    // Without anything else it is the same as none.
    let is_nothing = affinity == Affinity::default() && old.affinity.is_none();
    rest.affinity = (!is_nothing).then_some(affinity);
}

fn terms(affinity: Option<&NodeAffinity>) -> &[NodeSelectorTerm] {
    let required = affinity.and_then(|found| found.required_during_scheduling_ignored_during_execution.as_ref());
    required.map(|selector| selector.node_selector_terms.as_slice()).unwrap_or_default()
}

/// The terms that nodes must match may get more requirements, at their ends.
fn terms_only_narrow(new: Option<&NodeAffinity>, old: Option<&NodeAffinity>, path: &Path, errors: &mut ErrorList) {
    let list = path.child("requiredDuringSchedulingIgnoredDuringExecution").child("nodeSelectorTerms");
    let (now, before) = (terms(new), terms(old));
    if !before.is_empty() && now.len() != before.len() {
        let why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.push(FieldError::invalid(&list, check::json(now), why));
        return;
    }
    for (index, (now, before)) in now.iter().zip(before).enumerate() {
        let parts = |term: &NodeSelectorTerm| {
            (term.match_expressions.clone().unwrap_or_default(), term.match_fields.clone().unwrap_or_default())
        };
        let (before, after) = (parts(before), parts(now));
        let was_nothing = before.0.is_empty() && before.1.is_empty();
        let is_more = after.0.starts_with(&before.0) && after.1.starts_with(&before.1);
        if !is_more || (was_nothing && before != after) {
            let why = "only additions are allowed (no mutations or deletions)";
            errors.push(FieldError::invalid(&list.index(index), check::json(now), why));
        }
    }
}

/// Judges an update of the ephemeral containers of a pod.
pub(in crate::validation) fn ephemeral_containers_update(new: &Pod, old: &Pod, errors: &mut ErrorList) {
    if old.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(annotations::MIRROR)) {
        errors.clear();
        errors.push(FieldError::forbidden(&Path::nameless(), "static pods do not support ephemeral containers"));
        return;
    }
    whole_pod(new, errors);
    annotation_update(new, old, errors);
    let path = Path::new("spec").child("ephemeralContainers");
    let list = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.ephemeral_containers.clone()).unwrap_or_default();
    let now = list(new);
    for container in list(old) {
        let what = match now.iter().find(|new| new.name == container.name) {
            None => "removed\n",
            Some(found) if *found != container => "changed",
            Some(_) => continue,
        };
        let why = format!("existing ephemeral containers {} may not be {what}", quote(&container.name));
        errors.push(FieldError::forbidden(&path, why));
    }
}
