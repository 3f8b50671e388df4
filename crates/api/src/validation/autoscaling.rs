//! Horizontal pod autoscalers.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingRules, HorizontalPodAutoscaler, MetricIdentifier, MetricSpec, MetricTarget,
};

use super::{check, names};
use crate::field::{ErrorList, FieldError, Path};

const METRIC_TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];

/// Judges an autoscaler.
pub(super) fn autoscaler(autoscaler: &HorizontalPodAutoscaler, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = autoscaler.spec.clone().unwrap_or_default();
    let metrics = spec.metrics.as_deref().unwrap_or_default();
    let metrics_path = path.child("metrics");
    if let Some(min) = spec.min_replicas {
        if min < 1 {
            let why = "must be greater than or equal to 1";
            errors.push(FieldError::invalid(&path.child("minReplicas"), min, why));
        }
        let outside = metrics.iter().any(|metric| ["Object", "External"].contains(&metric.type_.as_str()));
        if min == 0 && !outside {
            let why = "must specify at least one Object or External metric to support scaling to zero replicas";
            errors.push(FieldError::forbidden(&metrics_path, why));
        }
    }
    let max_path = path.child("maxReplicas");
    if spec.max_replicas < 1 {
        errors.push(FieldError::invalid(&max_path, spec.max_replicas, "must be greater than 0"));
    }
    if spec.min_replicas.is_some_and(|min| min > spec.max_replicas) {
        let why = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid(&max_path, spec.max_replicas, why));
    }
    reference(&spec.scale_target_ref, &path.child("scaleTargetRef"), errors);
    for (index, found) in metrics.iter().enumerate() {
        metric(found, &metrics_path.index(index), errors);
    }
    if let Some(behavior) = &spec.behavior {
        let path = path.child("behavior");
        for (field, rules) in [("scaleUp", &behavior.scale_up), ("scaleDown", &behavior.scale_down)] {
            if let Some(rules) = rules {
                scaling_rules(rules, &path.child(field), errors);
            }
        }
    }
}

/// Judges an update of the status of an autoscaler.
pub(super) fn autoscaler_status(new: &HorizontalPodAutoscaler, _: &HorizontalPodAutoscaler, errors: &mut ErrorList) {
    let path = Path::new("status");
    let status = new.status.clone().unwrap_or_default();
    check::optional_non_negative(errors, &path.child("currentReplicas"), status.current_replicas);
    check::non_negative(errors, &path.child("desiredReplicas"), status.desired_replicas);
}

fn reference(reference: &CrossVersionObjectReference, path: &Path, errors: &mut ErrorList) {
    check::required_name(errors, &path.child("kind"), &reference.kind, names::path_segment);
    check::required_name(errors, &path.child("name"), &reference.name, names::path_segment);
}

fn metric(metric: &MetricSpec, path: &Path, errors: &mut ErrorList) {
    if metric.type_.is_empty() {
        errors.push(FieldError::required(&path.child("type"), "must specify a metric source type"));
        return;
    }
    if !METRIC_TYPES.contains(&metric.type_.as_str()) {
        // Upstream notices it twice and says so twice.
        check::one_of(errors, &path.child("type"), &metric.type_, &METRIC_TYPES);
        check::one_of(errors, &path.child("type"), &metric.type_, &METRIC_TYPES);
        return;
    }
    let sources = [
        ("Object", "object", metric.object.is_some()),
        ("Pods", "pods", metric.pods.is_some()),
        ("Resource", "resource", metric.resource.is_some()),
        ("ContainerResource", "containerResource", metric.container_resource.is_some()),
        ("External", "external", metric.external.is_some()),
    ];
    for (kind, field, set) in sources {
        if kind == metric.type_ && !set {
            let why = "must populate information for the given metric source";
            errors.push(FieldError::required(&path.child(field), why));
        } else if kind != metric.type_ && set {
            errors.push(FieldError::forbidden(&path.child(field), "must populate the given metric source only"));
        }
    }
    if let Some(object) = &metric.object {
        let path = path.child("object");
        reference(&object.described_object, &path.child("describedObject"), errors);
        identifier(&object.metric, &path.child("metric"), errors);
        target(&object.target, &path.child("target"), errors);
        if object.target.value.is_none() && object.target.average_value.is_none() {
            let path = path.child("target").child("averageValue");
            errors.push(FieldError::required(&path, "must set either a target value or averageValue"));
        }
    }
    if let Some(pods) = &metric.pods {
        let path = path.child("pods");
        identifier(&pods.metric, &path.child("metric"), errors);
        target(&pods.target, &path.child("target"), errors);
        if pods.target.average_value.is_none() {
            let path = path.child("target").child("averageValue");
            errors.push(FieldError::required(&path, "must specify a positive target averageValue"));
        }
    }
    if let Some(external) = &metric.external {
        let path = path.child("external");
        identifier(&external.metric, &path.child("metric"), errors);
        target(&external.target, &path.child("target"), errors);
        match (&external.target.value, &external.target.average_value) {
            (None, None) => {
                let path = path.child("target").child("averageValue");
                let why = "must set either a target value for metric or a per-pod target";
                errors.push(FieldError::required(&path, why));
            }
            (Some(_), Some(_)) => {
                let path = path.child("target").child("value");
                let why = "may not set both a target value for metric and a per-pod target";
                errors.push(FieldError::forbidden(&path, why));
            }
            _ => {}
        }
    }
    if let Some(resource) = &metric.resource {
        resource_metric(&resource.name, &resource.target, &path.child("resource"), errors);
    }
    if let Some(resource) = &metric.container_resource {
        let path = path.child("containerResource");
        if resource.container.is_empty() {
            errors.push(FieldError::required(&path.child("container"), "must specify a container"));
        }
        resource_metric(&resource.name, &resource.target, &path, errors);
    }
}

fn resource_metric(name: &str, found: &MetricTarget, path: &Path, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), "must specify a resource name"));
    }
    let target_path = path.child("target");
    target(found, &target_path, errors);
    match (found.average_utilization, &found.average_value) {
        (None, None) => {
            let why = "must set either a target raw value or a target utilization";
            errors.push(FieldError::required(&target_path.child("averageUtilization"), why));
        }
        (Some(_), Some(_)) => {
            let why = "may not set both a target raw value and a target utilization";
            errors.push(FieldError::forbidden(&target_path.child("averageValue"), why));
        }
        _ => {}
    }
}

fn identifier(metric: &MetricIdentifier, path: &Path, errors: &mut ErrorList) {
    if metric.name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), "must specify a metric name"));
    } else {
        check::invalid(errors, &path.child("name"), metric.name.as_str(), names::path_segment(&metric.name));
    }
}

fn target(target: &MetricTarget, path: &Path, errors: &mut ErrorList) {
    if target.type_.is_empty() {
        errors.push(FieldError::required(&path.child("type"), "must specify a metric target type"));
    } else {
        check::one_of(errors, &path.child("type"), &target.type_, &["AverageValue", "Utilization", "Value"]);
    }
    for (field, amount) in [("value", &target.value), ("averageValue", &target.average_value)] {
        let amount = amount.as_ref().and_then(|amount| check::quantity(errors, &path.child(field), amount));
        if let Some(amount) = amount.filter(|amount| amount.sign() <= 0) {
            errors.push(FieldError::invalid(&path.child(field), amount.to_string(), "must be positive"));
        }
    }
    if let Some(utilization) = target.average_utilization.filter(|utilization| *utilization < 1) {
        let path = path.child("averageUtilization");
        errors.push(FieldError::invalid(&path, utilization, "must be greater than 0"));
    }
}

fn scaling_rules(rules: &HPAScalingRules, path: &Path, errors: &mut ErrorList) {
    if let Some(seconds) = rules.stabilization_window_seconds {
        let path = path.child("stabilizationWindowSeconds");
        if seconds < 0 {
            errors.push(FieldError::invalid(&path, seconds, "must be greater than or equal to zero"));
        }
        if seconds > 3600 {
            errors.push(FieldError::invalid(&path, seconds, "must be less than or equal to 3600"));
        }
    }
    let tolerance_path = path.child("tolerance");
    let tolerance = rules.tolerance.as_ref().and_then(|amount| check::quantity(errors, &tolerance_path, amount));
    if let Some(amount) = tolerance.filter(|amount| amount.sign() < 0) {
        errors.push(FieldError::invalid(&tolerance_path, amount.to_string(), "must be greater than or equal to 0"));
    }
    let choices = ["Disabled", "Max", "Min"];
    check::optional_one_of(errors, &path.child("selectPolicy"), &rules.select_policy, &choices);
    let list = path.child("policies");
    let policies = rules.policies.as_deref().unwrap_or_default();
    if policies.is_empty() {
        errors.push(FieldError::required(&list, "must specify at least one Policy"));
    }
    for (index, policy) in policies.iter().enumerate() {
        let path = list.index(index);
        check::one_of(errors, &path.child("type"), &policy.type_, &["Percent", "Pods"]);
        for (field, value) in [("value", policy.value), ("periodSeconds", policy.period_seconds)] {
            if value <= 0 {
                errors.push(FieldError::invalid(&path.child(field), value, "must be greater than zero"));
            }
        }
        if policy.period_seconds > 1800 {
            let path = path.child("periodSeconds");
            let why = "must be less than or equal to 1800";
            errors.push(FieldError::invalid(&path, policy.period_seconds, why));
        }
    }
}
