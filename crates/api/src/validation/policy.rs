//! Pod disruption budgets.

use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use super::check;
use crate::field::{ErrorList, FieldError, Path};

/// Judges a disruption budget.
pub(super) fn disruption_budget(budget: &PodDisruptionBudget, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = budget.spec.clone().unwrap_or_default();
    if spec.min_available.is_some() && spec.max_unavailable.is_some() {
        let why = "minAvailable and maxUnavailable cannot be both set";
        errors.push(FieldError::invalid(&path, check::json(&spec), why));
    }
    for (field, value) in [("minAvailable", &spec.min_available), ("maxUnavailable", &spec.max_unavailable)] {
        if let Some(value) = value {
            check::count_or_percent(errors, &path.child(field), value);
            check::at_most_all(errors, &path.child(field), value);
        }
    }
    if let Some(selector) = &spec.selector {
        check::label_selector(errors, &path.child("selector"), selector);
    }
    let policies = ["AlwaysAllow", "IfHealthyBudget"];
    let policy_path = path.child("unhealthyPodEvictionPolicy");
    check::optional_one_of(errors, &policy_path, &spec.unhealthy_pod_eviction_policy, &policies);
}

/// Judges an update of the status of a disruption budget.
pub(super) fn disruption_budget_status(new: &PodDisruptionBudget, _: &PodDisruptionBudget, errors: &mut ErrorList) {
    let path = Path::new("status");
    let status = new.status.clone().unwrap_or_default();
    for (field, value) in [
        ("disruptionsAllowed", status.disruptions_allowed),
        ("currentHealthy", status.current_healthy),
        ("desiredHealthy", status.desired_healthy),
        ("expectedPods", status.expected_pods),
    ] {
        check::non_negative(errors, &path.child(field), value);
    }
    check::conditions(errors, &path.child("conditions"), status.conditions.as_deref().unwrap_or_default());
}
