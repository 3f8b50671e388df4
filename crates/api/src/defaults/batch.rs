//! Jobs and cron jobs.

use serde_json::Value;

use super::Object;
use super::edit::{child, each, is_empty, is_unset, made, set};
use super::pod::template;

pub(super) fn job(object: &mut Object) {
    let spec = made(object, "spec");
    if is_unset(spec, "completions") && is_unset(spec, "parallelism") {
        set(spec, "completions", 1);
    }
    set(spec, "parallelism", 1);
    let back_off = if is_unset(spec, "backoffLimitPerIndex") { 6 } else { i32::MAX };
    set(spec, "backoffLimit", back_off);
    set(spec, "completionMode", "NonIndexed");
    set(spec, "suspend", false);
    let has_policy = !is_unset(spec, "podFailurePolicy");
    set(spec, "podReplacementPolicy", if has_policy { "Failed" } else { "TerminatingOrFailed" });
    pod_failure_policy(spec);
    template(spec, "template");
    let labels = spec.get("template").and_then(|template| template.get("metadata")?.get("labels")).cloned();
    if let Some(labels @ Value::Object(_)) = labels {
        let metadata = made(object, "metadata");
        if is_empty(metadata, "labels") {
            metadata.insert("labels".to_owned(), labels);
        }
    }
}

pub(super) fn cron_job(object: &mut Object) {
    let spec = made(object, "spec");
    set(spec, "concurrencyPolicy", "Allow");
    set(spec, "suspend", false);
    set(spec, "successfulJobsHistoryLimit", 3);
    set(spec, "failedJobsHistoryLimit", 1);
    if let Some(job) = child(spec, "jobTemplate").and_then(|template| child(template, "spec")) {
        pod_failure_policy(job);
        template(job, "template");
    }
}

fn pod_failure_policy(spec: &mut Object) {
    let Some(policy) = child(spec, "podFailurePolicy") else { return };
    for rule in each(policy, "rules") {
        for pattern in each(rule, "onPodConditions") {
            set(pattern, "status", "True");
        }
    }
}
