//! Autoscalers: what the first version has no fields for stands in annotations there, as JSON.

use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

/// A field of a metric: where it lies in the second version, its name in the first.
type Field = (&'static [&'static str], &'static str);

/// A source of metrics: its member, its fields as they are wanted, its fields as they are measured.
struct Source {
    member: &'static str,
    wanted: &'static [Field],
    measured: &'static [Field],
}

const SOURCES: [Source; 5] = [
    Source {
        member: "object",
        wanted: &[
            (&["describedObject"], "target"),
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["target", "value"], "targetValue"),
            (&["target", "averageValue"], "averageValue"),
        ],
        measured: &[
            (&["describedObject"], "target"),
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["current", "value"], "currentValue"),
            (&["current", "averageValue"], "averageValue"),
        ],
    },
    Source {
        member: "pods",
        wanted: &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["target", "averageValue"], "targetAverageValue"),
        ],
        measured: &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
    },
    Source {
        member: "resource",
        wanted: &[
            (&["name"], "name"),
            (&["target", "averageUtilization"], "targetAverageUtilization"),
            (&["target", "averageValue"], "targetAverageValue"),
        ],
        measured: &[
            (&["name"], "name"),
            (&["current", "averageUtilization"], "currentAverageUtilization"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
    },
    Source {
        member: "containerResource",
        wanted: &[
            (&["name"], "name"),
            (&["container"], "container"),
            (&["target", "averageUtilization"], "targetAverageUtilization"),
            (&["target", "averageValue"], "targetAverageValue"),
        ],
        measured: &[
            (&["name"], "name"),
            (&["container"], "container"),
            (&["current", "averageUtilization"], "currentAverageUtilization"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
    },
    Source {
        member: "external",
        wanted: &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "metricSelector"),
            (&["target", "value"], "targetValue"),
            (&["target", "averageValue"], "targetAverageValue"),
        ],
        measured: &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "metricSelector"),
            (&["current", "value"], "currentValue"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
    },
];

/// Whether metrics say what is wanted or what is.
#[derive(Clone, Copy)]
enum Side {
    Wanted,
    Measured,
}

impl Source {
    fn fields(&self, side: Side) -> &'static [Field] {
        match side {
            Side::Wanted => self.wanted,
            Side::Measured => self.measured,
        }
    }
}

/// A metric in the form of the first version.
fn first_form(metric: &Value, side: Side) -> Value {
    let mut converted = json!({"type": metric["type"]});
    for source in SOURCES.iter().filter(|source| metric[source.member].is_object()) {
        let member = &metric[source.member];
        let fields = source.fields(side).iter().filter_map(|(path, name)| {
            let value = path.iter().try_fold(member, |value, key| value.get(key))?;
            Some(((*name).to_owned(), value.clone()))
        });
        converted[source.member] = Value::Object(fields.collect());
    }
    converted
}

/// A metric of the first version's form in the form of the second.
fn second_form(metric: &Value, side: Side) -> Value {
    let mut converted = json!({"type": metric["type"]});
    for source in SOURCES.iter().filter(|source| metric[source.member].is_object()) {
        let mut member = json!({});
        for (path, name) in source.fields(side) {
            if let Some(value) = metric[source.member].get(name) {
                let mut at = &mut member;
                for key in *path {
                    at = &mut at[*key];
                }
                *at = value.clone();
            }
        }
        if matches!(side, Side::Wanted) {
            let target = &mut member["target"];
            let kind = match () {
                () if !target["averageUtilization"].is_null() => "Utilization",
                () if !target["value"].is_null() => "Value",
                () => "AverageValue",
            };
            target["type"] = kind.into();
            target.as_object_mut().expect("its type was set just now").retain(|_, value| !value.is_null());
        }
        converted[source.member] = member;
    }
    converted
}

/// The utilization of the CPU that a metric of the second version wants or measures.
fn cpu_utilization<'a>(metric: &'a Value, side: &str) -> Option<&'a Value> {
    let resource = &metric["resource"];
    let is_cpu = metric["type"] == "Resource" && resource["name"] == "cpu";
    resource[side].get("averageUtilization").filter(|value| is_cpu && !value.is_null())
}

fn list(object: &mut Object, key: &str) -> Vec<Value> {
    match object.remove(key) {
        Some(Value::Array(values)) => values,
        _ => Vec::new(),
    }
}

fn section<'a>(object: &'a mut Object, key: &str) -> Option<&'a mut Object> {
    object.get_mut(key).and_then(Value::as_object_mut)
}

/// Turns an autoscaler of the second version into one of the first.
pub(super) fn to_first(object: &mut Object) {
    let mut kept = Vec::new();
    if let Some(spec) = section(object, "spec") {
        let metrics = list(spec, "metrics");
        let (cpu, others): (Vec<_>, Vec<_>) =
            metrics.iter().partition(|metric| cpu_utilization(metric, "target").is_some());
        if let Some(percent) = cpu.first().and_then(|metric| cpu_utilization(metric, "target")) {
            spec.insert("targetCPUUtilizationPercentage".to_owned(), percent.clone());
        }
        if !others.is_empty() {
            let others: Vec<Value> = others.into_iter().map(|metric| first_form(metric, Side::Wanted)).collect();
            kept.push((METRICS, Value::Array(others)));
        }
        kept.extend(spec.remove("behavior").map(|behavior| (BEHAVIOR, behavior)));
    }
    if let Some(status) = section(object, "status") {
        let current = list(status, "currentMetrics");
        if let Some(percent) = current.iter().find_map(|metric| cpu_utilization(metric, "current")) {
            status.insert("currentCPUUtilizationPercentage".to_owned(), percent.clone());
        }
        if !current.is_empty() {
            let current: Vec<Value> = current.iter().map(|metric| first_form(metric, Side::Measured)).collect();
            kept.push((CURRENT_METRICS, Value::Array(current)));
        }
        let conditions = list(status, "conditions");
        if !conditions.is_empty() {
            kept.push((CONDITIONS, Value::Array(conditions)));
        }
        for count in ["currentReplicas", "desiredReplicas"] {
            status.entry(count).or_insert_with(|| 0.into());
        }
    }
    if kept.is_empty() {
        return;
    }
    let metadata = object.entry("metadata").or_insert_with(|| json!({}));
    for (annotation, value) in kept {
        metadata["annotations"][annotation] = value.to_string().into();
    }
}

/// Takes the annotations that stand for fields out of an object.
fn take_annotations(object: &mut Object) -> impl Fn(&str) -> Option<Value> + use<> {
    let mut taken = Object::new();
    if let Some(metadata) = section(object, "metadata")
        && let Some(annotations) = section(metadata, "annotations")
    {
        for name in [METRICS, BEHAVIOR, CURRENT_METRICS, CONDITIONS] {
            taken.extend(annotations.remove(name).map(|text| (name.to_owned(), text)));
        }
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
    move |name| serde_json::from_str(taken.get(name)?.as_str()?).ok()
}

/// Turns an autoscaler of the first version into one of the second.
pub(super) fn to_second(object: &mut Object) {
    let annotation = take_annotations(object);
    let metrics = |name: &str, side: Side| {
        let metrics = annotation(name).and_then(|metrics| metrics.as_array().cloned());
        metrics.map(|metrics| metrics.iter().map(|metric| second_form(metric, side)).collect::<Vec<Value>>())
    };
    if let Some(spec) = section(object, "spec") {
        let mut wanted = metrics(METRICS, Side::Wanted).unwrap_or_default();
        if let Some(percent) = spec.remove("targetCPUUtilizationPercentage").filter(|percent| !percent.is_null()) {
            let target = json!({"type": "Utilization", "averageUtilization": percent});
            wanted.push(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
        }
        if !wanted.is_empty() {
            spec.insert("metrics".to_owned(), wanted.into());
        }
        if let Some(behavior) = annotation(BEHAVIOR) {
            spec.insert("behavior".to_owned(), behavior);
        }
    }
    if let Some(status) = section(object, "status") {
        let percent = status.remove("currentCPUUtilizationPercentage").filter(|percent| !percent.is_null());
        let measured = metrics(CURRENT_METRICS, Side::Measured).or_else(|| {
            let current = json!({"averageUtilization": percent?, "averageValue": "0"});
            Some(vec![json!({"type": "Resource", "resource": {"name": "cpu", "current": current}})])
        });
        // The second version always has this field.
        status.insert("currentMetrics".to_owned(), measured.map_or(Value::Null, Value::Array));
        if let Some(conditions) = annotation(CONDITIONS) {
            status.insert("conditions".to_owned(), conditions);
        }
        if status.get("currentReplicas").is_some_and(|count| *count == 0) {
            status.remove("currentReplicas");
        }
        status.entry("desiredReplicas").or_insert_with(|| 0.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(second: Value, first: Value) {
        let mut object = second.as_object().cloned().expect("an object");
        to_first(&mut object);
        assert_eq!(Value::Object(object.clone()), first);
        to_second(&mut object);
        assert_eq!(Value::Object(object), second);
    }

    #[test]
    fn what_the_first_version_lacks_is_annotated() {
        check(
            json!({"metadata": {"name": "a"}, "spec": {"metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 42}}}]}}),
            json!({"metadata": {"name": "a"}, "spec": {"targetCPUUtilizationPercentage": 42}}),
        );
        check(
            json!({"metadata": {"name": "a"}, "spec": {"behavior": {"scaleUp": {"selectPolicy": "Max"}}, "metrics": [
                {"type": "Pods", "pods": {"metric": {"name": "q"}, "target": {"type": "AverageValue", "averageValue": "2"}}}]}}),
            json!({"metadata": {"name": "a", "annotations": {
                METRICS: r#"[{"pods":{"metricName":"q","targetAverageValue":"2"},"type":"Pods"}]"#,
                BEHAVIOR: r#"{"scaleUp":{"selectPolicy":"Max"}}"#}}, "spec": {}}),
        );
    }

    #[test]
    fn the_cpu_comes_after_what_is_annotated() {
        let object = json!({"metadata": {"annotations": {"x": "y",
            METRICS: r#"[{"type":"External","external":{"metricName":"m","targetValue":"3"}}]"#}},
            "spec": {"targetCPUUtilizationPercentage": 5}});
        let mut object = object.as_object().cloned().expect("an object");
        to_second(&mut object);
        assert_eq!(
            Value::Object(object),
            json!({"metadata": {"annotations": {"x": "y"}}, "spec": {"metrics": [
                {"type": "External", "external": {"metric": {"name": "m"}, "target": {"type": "Value", "value": "3"}}},
                {"type": "Resource", "resource": {"name": "cpu",
                    "target": {"type": "Utilization", "averageUtilization": 5}}}]}})
        );
    }
}
