//! Horizontal pod autoscalers of both versions.

use serde_json::{Value, json};

use super::Object;
use super::edit::{child, is_empty, made, set, text};

pub(super) fn horizontal_pod_autoscaler(object: &mut Object) {
    let first = text(object, "apiVersion") == "autoscaling/v1";
    // The first version keeps metrics that it has no fields for in an annotation.
    let annotated = child(object, "metadata")
        .and_then(|metadata| child(metadata, "annotations"))
        .is_some_and(|annotations| annotations.contains_key("autoscaling.alpha.kubernetes.io/metrics"));
    let spec = made(object, "spec");
    set(spec, "minReplicas", 1);
    if first {
        if !annotated {
            set(spec, "targetCPUUtilizationPercentage", 80);
        }
        return;
    }
    if is_empty(spec, "metrics") {
        let metric = json!({
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
        });
        spec.insert("metrics".to_owned(), vec![metric].into());
    }
    if let Some(behavior) = child(spec, "behavior") {
        let up = json!([
            {"type": "Pods", "value": 4, "periodSeconds": 15},
            {"type": "Percent", "value": 100, "periodSeconds": 15},
        ]);
        scaling_rules(behavior, "scaleUp", Some(0), up);
        scaling_rules(behavior, "scaleDown", None, json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]));
    }
}

fn scaling_rules(behavior: &mut Object, key: &str, window: Option<i64>, policies: Value) {
    let rules = made(behavior, key);
    if let Some(seconds) = window {
        set(rules, "stabilizationWindowSeconds", seconds);
    }
    set(rules, "selectPolicy", "Max");
    set(rules, "policies", policies);
}
