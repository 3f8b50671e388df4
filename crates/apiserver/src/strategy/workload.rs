//! Workloads: the selector and labels that tie pods to jobs, the template generation of daemon sets.

use serde_json::{Value, json};

/// Labels of a job's pods; the two without prefix are upstream's older names.
const UID_LABELS: [&str; 2] = ["batch.kubernetes.io/controller-uid", "controller-uid"];
const NAME_LABELS: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];

/// Gives a job without a selector of its own one by its UID, and its pods the labels that go with it.
pub(super) fn prepare_job(object: &mut Value) {
    let is_manual = object.pointer("/spec/manualSelector").and_then(Value::as_bool).unwrap_or(false);
    if is_manual {
        return;
    }
    let uid = api::meta::uid(object).unwrap_or_default().to_owned();
    let name = api::meta::name(object).to_owned();
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let template = spec.entry("template").or_insert_with(|| json!({}));
    let labels = &mut api::meta::metadata_mut(template);
    let labels = labels.entry("labels").or_insert_with(|| json!({}));
    if !labels.is_object() {
        *labels = json!({});
    }
    // What the client says stays; where it is something else, validation refuses it.
    if let Some(labels) = labels.as_object_mut() {
        for (of, value) in [(UID_LABELS, &uid), (NAME_LABELS, &name)] {
            for label in of {
                labels.entry(label).or_insert_with(|| value.clone().into());
            }
        }
    }
    let selector = spec.entry("selector").or_insert_with(|| json!({}));
    if !selector.is_object() {
        *selector = json!({});
    }
    let match_labels = &mut selector["matchLabels"];
    if !match_labels.is_object() {
        *match_labels = json!({});
    }
    if match_labels.get(UID_LABELS[0]).is_none() {
        match_labels[UID_LABELS[0]] = uid.into();
    }
    show_labels(object);
}

/// A job without labels shows those of its pods.
fn show_labels(object: &mut Value) {
    let labels = object.pointer("/spec/template/metadata/labels").cloned();
    let metadata = api::meta::metadata_mut(object);
    let has_some = metadata.get("labels").and_then(Value::as_object).is_some_and(|labels| !labels.is_empty());
    if let Some(labels) = labels.filter(|_| !has_some) {
        metadata.insert("labels".to_owned(), labels);
    }
}

/// Counts the templates of a daemon set, for controllers from before `controllerrevisions`.
pub(crate) const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// Sets the count of templates: one more than before if the template has changed.
pub(super) fn prepare_daemon_set(object: &mut Value, old: Option<&Value>) {
    let count = |object: &Value| -> i64 {
        api::meta::annotation(object, TEMPLATE_GENERATION).and_then(|count| count.parse().ok()).unwrap_or(0)
    };
    let generation = match old {
        None => 1,
        Some(old) => {
            let has_changed = object.pointer("/spec/template") != old.pointer("/spec/template");
            count(old) + i64::from(has_changed)
        }
    };
    api::meta::set_annotation(object, TEMPLATE_GENERATION, &generation.to_string());
}
