//! Priority classes and runtime classes.

use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::api::scheduling::v1::PriorityClass;

use super::{check, names, pods};
use crate::field::{ErrorList, FieldError, Path};

/// User-defined priorities end here; the system's own lie above.
const HIGHEST_USER_PRIORITY: i32 = 1_000_000_000;

/// The priority classes of the system: name, value.
const SYSTEM_CLASSES: [(&str, i32); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

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
        let path = Path::new("overhead").child("podFixed");
        for (name, amount) in overhead.pod_fixed.iter().flatten() {
            pods::resources::name(name, &path.key(name), errors);
            pods::resources::amount(name, amount, &path.key(name), errors);
        }
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
