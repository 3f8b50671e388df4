//! Tolerations, topology spread and scheduling gates.

use k8s_openapi::api::core::v1::{PodSpec, Toleration, TopologySpreadConstraint};

use super::affinity;
use crate::field::{ErrorList, FieldError, Path};
use crate::validation::{check, names};

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Judges what tells the scheduler when a pod may go somewhere and beside which others.
pub(super) fn pod(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let gates_path = path.child("schedulingGates");
    let gates = spec.scheduling_gates.as_deref().unwrap_or_default();
    for (index, gate) in gates.iter().enumerate() {
        let path = gates_path.index(index);
        check::invalid(errors, &path, gate.name.as_str(), names::qualified_name(&gate.name));
        if gates[..index].iter().any(|earlier| earlier.name == gate.name) {
            errors.push(FieldError::duplicate(&path, gate.name.as_str()));
        }
    }
    let constraints = spec.topology_spread_constraints.as_deref().unwrap_or_default();
    spread(constraints, &path.child("topologySpreadConstraints"), errors);
}

/// Judges tolerations, of a pod or of a runtime class.
pub(in crate::validation) fn tolerations(tolerations: &[Toleration], path: &Path, errors: &mut ErrorList) {
    for (index, toleration) in tolerations.iter().enumerate() {
        let path = path.index(index);
        let key = check::text(&toleration.key);
        let operator = check::text(&toleration.operator);
        let value = check::text(&toleration.value);
        let effect = check::text(&toleration.effect);
        let operator_path = path.child("operator");
        check::optional_name(errors, &path.child("key"), key, names::label_key);
        if key.is_empty() && operator != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid(&operator_path, operator, why));
        }
        if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid(&path.child("effect"), effect, why));
        }
        match operator {
            "" | "Equal" => {
                let judged = names::label_value(value);
                if !judged.is_empty() {
                    errors.push(FieldError::invalid(&operator_path, value, judged.join(";")));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    let why = "value must be empty when `operator` is 'Exists'";
                    errors.push(FieldError::invalid(&operator_path, check::json(toleration), why));
                }
            }
            // These are of a feature that is off.
            "Lt" | "Gt" => {
                let supported = ["Equal", "Exists", "Lt", "Gt"];
                errors.push(FieldError::not_supported(&operator_path, operator, &supported));
            }
            _ => errors.push(FieldError::not_supported(&operator_path, operator, &["Equal", "Exists"])),
        }
        if !effect.is_empty() {
            taint_effect(effect, &path.child("effect"), errors);
        }
    }
}

/// Judges the effect of a taint or a toleration.
pub(in crate::validation) fn taint_effect(effect: &str, path: &Path, errors: &mut ErrorList) {
    check::one_of(errors, path, effect, &EFFECTS);
}

fn spread(constraints: &[TopologySpreadConstraint], list: &Path, errors: &mut ErrorList) {
    for (index, constraint) in constraints.iter().enumerate() {
        let path = list.index(index);
        if constraint.max_skew <= 0 {
            let why = "must be greater than zero";
            errors.push(FieldError::invalid(&path.child("maxSkew"), constraint.max_skew, why));
        }
        if constraint.topology_key.is_empty() {
            errors.push(FieldError::required(&path.child("topologyKey"), "can not be empty"));
        }
        let when = constraint.when_unsatisfiable.as_str();
        check::one_of(errors, &path.child("whenUnsatisfiable"), when, &["DoNotSchedule", "ScheduleAnyway"]);
        let same = |other: &TopologySpreadConstraint| {
            other.topology_key == constraint.topology_key && other.when_unsatisfiable == when
        };
        if constraints[index + 1..].iter().any(same) {
            let path = path.child("{topologyKey, whenUnsatisfiable}");
            errors.push(FieldError::duplicate(&path, format!("{{{}, {when}}}", constraint.topology_key)));
        }
        if let Some(domains) = constraint.min_domains {
            let path = path.child("minDomains");
            if domains <= 0 {
                errors.push(FieldError::invalid(&path, domains, "must be greater than zero"));
            }
            if when != "DoNotSchedule" {
                let why = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}");
                errors.push(FieldError::invalid(&path, domains, why));
            }
        }
        let policies = ["Honor", "Ignore"];
        check::optional_one_of(errors, &path.child("nodeAffinityPolicy"), &constraint.node_affinity_policy, &policies);
        check::optional_one_of(errors, &path.child("nodeTaintsPolicy"), &constraint.node_taints_policy, &policies);
        let keys = constraint.match_label_keys.as_deref();
        affinity::label_keys(keys, None, constraint.label_selector.as_ref(), &path, errors);
        if let Some(selector) = &constraint.label_selector {
            check::label_selector(errors, &path.child("labelSelector"), selector);
        }
    }
}
