//! Priority classes, runtime classes and workloads.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::api::scheduling::v1alpha1::{PodGroup, PodGroupPolicy, TypedLocalObjectReference, Workload};

use super::{check, names, pods};
use crate::field::{ErrorList, FieldError, Path};

/// User-defined priorities end here; the system's own lie above.
const HIGHEST_USER_PRIORITY: i32 = 1_000_000_000;

/// The priority classes of the system: name, value.
const SYSTEM_CLASSES: [(&str, i32); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

/// A workload has no more groups of pods.
const MAX_POD_GROUPS: usize = 8;

/// Judges a new priority class.
pub(super) fn priority_class(class: &PriorityClass, errors: &mut ErrorList) {
    let name = check::text(&class.metadata.name);
    if name.starts_with("system-") {
        let known = SYSTEM_CLASSES.iter().find(|(known, _)| *known == name);
        let why = match known {
            None => Some(format!("{name} is not a known system priority class")),
            Some((_, value)) if *value != class.value => Some(format!("value of {name} PriorityClass must be {value}")),
            Some(_) if class.global_default == Some(true) => Some(format!("globalDefault of {name} must be false")),
            Some(_) => None,
        };
        if let Some(why) = why {
            let why =
                format!("priority class names with 'system-' prefix are reserved for system use only. error: {why}");
            errors.push(FieldError::forbidden(&Path::new("metadata").child("name"), why));
        }
    } else if class.value > HIGHEST_USER_PRIORITY {
        let why = format!("maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}");
        errors.push(FieldError::forbidden(&Path::new("value"), why));
    }
    let policies = ["Never", "PreemptLowerPriority"];
    check::optional_one_of(errors, &Path::new("preemptionPolicy"), &class.preemption_policy, &policies);
}

/// Judges an update of a priority class.
pub(super) fn priority_class_update(new: &PriorityClass, old: &PriorityClass, errors: &mut ErrorList) {
    if new.value != old.value {
        errors.push(FieldError::forbidden(&Path::new("value"), "may not be changed in an update."));
    }
    check::immutable(errors, &Path::new("preemptionPolicy"), &new.preemption_policy, &old.preemption_policy);
}

/// Judges a runtime class.
pub(super) fn runtime_class(class: &RuntimeClass, errors: &mut ErrorList) {
    check::invalid(errors, &Path::new("handler"), class.handler.as_str(), names::dns_label(&class.handler));
    if let Some(overhead) = &class.overhead {
        let limits = ResourceRequirements { limits: overhead.pod_fixed.clone(), ..ResourceRequirements::default() };
        pods::resources::requirements(&limits, &BTreeSet::new(), &Path::new("overhead"), errors);
    }
    if let Some(scheduling) = &class.scheduling {
        let path = Path::new("scheduling");
        check::labels(errors, &path.child("nodeSelector"), scheduling.node_selector.as_ref());
        let tolerations = scheduling.tolerations.as_deref().unwrap_or_default();
        pods::tolerations(tolerations, &path.child("tolerations"), errors);
    }
}

/// Judges an update of a runtime class.
pub(super) fn runtime_class_update(new: &RuntimeClass, old: &RuntimeClass, errors: &mut ErrorList) {
    check::immutable(errors, &Path::new("handler"), &new.handler, &old.handler);
}

/// Judges a workload.
pub(super) fn workload(workload: &Workload, errors: &mut ErrorList) {
    let path = Path::new("spec");
    if let Some(reference) = &workload.spec.controller_ref {
        controller_reference(reference, &path.child("controllerRef"), errors);
    }
    let groups = &workload.spec.pod_groups;
    let list = path.child("podGroups");
    if groups.is_empty() {
        errors.push(FieldError::required(&list, "must have at least one item"));
    } else if groups.len() > MAX_POD_GROUPS {
        errors.push(FieldError::too_many(&list, groups.len(), MAX_POD_GROUPS));
    } else {
        groups.iter().enumerate().for_each(|(index, group)| pod_group(group, &list.index(index), errors));
        let entries = groups.iter().enumerate();
        check::unique(errors, entries.map(|(index, group)| (list.index(index).child("name"), group.name.as_str())));
    }
}

/// Judges an update of a workload. Upstream names the fields without their parent here.
pub(super) fn workload_update(new: &Workload, old: &Workload, errors: &mut ErrorList) {
    if old.spec.controller_ref.is_some() {
        check::immutable(errors, &Path::new("controllerRef"), &new.spec.controller_ref, &old.spec.controller_ref);
    }
    check::immutable(errors, &Path::new("podGroups"), &new.spec.pod_groups, &old.spec.pod_groups);
}

fn controller_reference(reference: &TypedLocalObjectReference, path: &Path, errors: &mut ErrorList) {
    check::optional_name(errors, &path.child("apiGroup"), check::text(&reference.api_group), names::dns_subdomain);
    check::required_name(errors, &path.child("kind"), &reference.kind, names::path_segment);
    check::required_name(errors, &path.child("name"), &reference.name, names::path_segment);
}

fn pod_group(group: &PodGroup, path: &Path, errors: &mut ErrorList) {
    check::invalid(errors, &path.child("name"), group.name.as_str(), names::dns_label(&group.name));
    let path = path.child("policy");
    match &group.policy {
        PodGroupPolicy { basic: None, gang: None } => {
            errors.push(FieldError::required(&path, "exactly one of `basic`, `gang` is required"));
        }
        PodGroupPolicy { basic: Some(_), gang: Some(_) } => {
            let why = "exactly one of `basic`, `gang` is required, but multiple fields are set";
            errors.push(FieldError::invalid(&path, "{`basic`, `gang`}", why));
        }
        PodGroupPolicy { gang: Some(gang), .. } if gang.min_count <= 0 => {
            let path = path.child("gang").child("minCount");
            errors.push(FieldError::invalid(&path, gang.min_count, "must be greater than 0"));
        }
        PodGroupPolicy { .. } => {}
    }
}
