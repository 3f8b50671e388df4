//! Jobs and cron jobs.

use k8s_openapi::api::batch::v1::{CronJob, Job, JobSpec, PodFailurePolicy};
use k8s_openapi::api::core::v1::PodTemplateSpec;

use super::{apps, check, cron, pods};
use crate::field::{ErrorList, FieldError, Path};
use crate::selector::LabelSelector;

/// The labels by which a job finds its pods; the second is older.
const UID_LABELS: [&str; 2] = ["batch.kubernetes.io/controller-uid", "controller-uid"];

/// Names of jobs end with eleven characters that the controller adds.
const CRON_JOB_NAME_LIMIT: usize = 52;

/// Judges a new job.
pub(super) fn job(job: &Job, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = job.spec.clone().unwrap_or_default();
    generated_selector(job, &spec, &path, errors);
    with_selector(&spec, &path, errors);
}

/// Unless the client takes care of it, the selector must be the one that upstream makes from the UID.
fn generated_selector(job: &Job, spec: &JobSpec, path: &Path, errors: &mut ErrorList) {
    let uid = check::text(&job.metadata.uid);
    let Some(selector) = &spec.selector else {
        return;
    };
    if spec.manual_selector == Some(true) || uid.is_empty() {
        return;
    }
    let generated = UID_LABELS.iter().any(|label| {
        let labels = selector.match_labels.as_ref();
        labels.is_some_and(|labels| labels.get(*label).is_some_and(|value| value == uid))
    });
    if !generated {
        let why = "`selector` not auto-generated";
        errors.push(FieldError::invalid(&path.child("selector"), check::json(selector), why));
    }
}

fn with_selector(spec: &JobSpec, path: &Path, errors: &mut ErrorList) {
    let selector_path = path.child("selector");
    match &spec.selector {
        None => errors.push(FieldError::required(&selector_path, "")),
        Some(selector) => {
            check::label_selector(errors, &selector_path, selector);
            let labels = apps::labels_of(&spec.template);
            if LabelSelector::from_k8s(selector).is_ok_and(|selector| !selector.matches(&labels)) {
                apps::labels_do_not_match(&labels, &path.child("template"), errors);
            }
        }
    }
    job_spec(spec, path, errors);
}

/// Judges everything but the selector.
fn job_spec(spec: &JobSpec, path: &Path, errors: &mut ErrorList) {
    for (field, value) in [
        ("parallelism", spec.parallelism.map(i64::from)),
        ("completions", spec.completions.map(i64::from)),
        ("activeDeadlineSeconds", spec.active_deadline_seconds),
        ("backoffLimit", spec.backoff_limit.map(i64::from)),
        ("backoffLimitPerIndex", spec.backoff_limit_per_index.map(i64::from)),
        ("maxFailedIndexes", spec.max_failed_indexes.map(i64::from)),
        ("ttlSecondsAfterFinished", spec.ttl_seconds_after_finished.map(i64::from)),
    ] {
        check::optional_non_negative(errors, &path.child(field), value);
    }
    check::optional_one_of(errors, &path.child("completionMode"), &spec.completion_mode, &["Indexed", "NonIndexed"]);
    let indexed = spec.completion_mode.as_deref() == Some("Indexed");
    if indexed && spec.completions.is_none() {
        errors.push(FieldError::required(&path.child("completions"), "when completion mode is Indexed"));
    }
    if !indexed && spec.backoff_limit_per_index.is_some() {
        let why = "requires indexed completion mode";
        let shown = check::json(&spec.backoff_limit_per_index);
        errors.push(FieldError::invalid(&path.child("backoffLimitPerIndex"), shown, why));
    }
    let replacement = ["Failed", "TerminatingOrFailed"];
    check::optional_one_of(errors, &path.child("podReplacementPolicy"), &spec.pod_replacement_policy, &replacement);
    let template_path = path.child("template");
    pods::template_spec(&spec.template, &template_path, errors);
    let policy_path = template_path.child("spec").child("restartPolicy");
    let policy = spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or_default();
    match policy {
        "" | "Always" => {
            errors.push(FieldError::required(&policy_path, "valid values: \"OnFailure\", \"Never\""));
        }
        "Never" | "OnFailure" => {}
        other => errors.push(FieldError::not_supported(&policy_path, other, &["Never", "OnFailure"])),
    }
    if let Some(failure) = &spec.pod_failure_policy {
        if policy != "Never" {
            let why = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.push(FieldError::invalid(&policy_path, policy, why));
        }
        failure_policy(failure, spec, &path.child("podFailurePolicy"), errors);
    }
}

fn failure_policy(policy: &PodFailurePolicy, spec: &JobSpec, path: &Path, errors: &mut ErrorList) {
    if policy.rules.len() > 20 {
        errors.push(FieldError::too_many(&path.child("rules"), policy.rules.len(), 20));
    }
    let containers: Vec<&str> = spec
        .template
        .spec
        .iter()
        .flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()))
        .map(|container| container.name.as_str())
        .collect();
    for (index, rule) in policy.rules.iter().enumerate() {
        let path = path.child("rules").index(index);
        let actions = ["Count", "FailIndex", "FailJob", "Ignore"];
        check::required_one_of(errors, &path.child("action"), &rule.action, &actions);
        let conditions = rule.on_pod_conditions.as_deref().unwrap_or_default();
        match (&rule.on_exit_codes, conditions.is_empty()) {
            (Some(_), false) => {
                let why = "specifying both OnExitCodes and OnPodConditions is not supported";
                errors.push(FieldError::invalid(&path, check::json(rule), why));
            }
            (None, true) => {
                let why = "specifying one of OnExitCodes and OnPodConditions is required";
                errors.push(FieldError::invalid(&path, check::json(rule), why));
            }
            _ => {}
        }
        if let Some(codes) = &rule.on_exit_codes {
            let path = path.child("onExitCodes");
            check::required_one_of(errors, &path.child("operator"), &codes.operator, &["In", "NotIn"]);
            if codes.values.is_empty() {
                let why = "at least one value is required";
                errors.push(FieldError::invalid(&path.child("values"), check::json(&codes.values), why));
            }
            let name = check::text(&codes.container_name);
            if !name.is_empty() && !containers.contains(&name) {
                let why = "must be one of the container or initContainer names in the pod template";
                errors.push(FieldError::invalid(&path.child("containerName"), name, why));
            }
        }
        for (index, condition) in conditions.iter().enumerate() {
            let path = path.child("onPodConditions").index(index).child("status");
            let statuses = ["False", "True", "Unknown"];
            check::one_of(errors, &path, condition.status.as_deref().unwrap_or("True"), &statuses);
        }
    }
}

/// Judges an update of a job.
pub(super) fn job_update(new: &Job, old: &Job, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let started = old.status.as_ref().is_some_and(|status| status.start_time.is_some());
    let (new, old) = (new.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
    job_spec(&new, &path, errors);
    let elastic = new.completion_mode.as_deref() == Some("Indexed")
        && new.completions == new.parallelism
        && old.completions == old.parallelism;
    if !elastic {
        check::immutable(errors, &path.child("completions"), &new.completions, &old.completions);
    }
    check::immutable(errors, &path.child("selector"), &new.selector, &old.selector);
    check::immutable(errors, &path.child("completionMode"), &new.completion_mode, &old.completion_mode);
    check::immutable(errors, &path.child("podFailurePolicy"), &new.pod_failure_policy, &old.pod_failure_policy);
    let limit_path = path.child("backoffLimitPerIndex");
    check::immutable(errors, &limit_path, &new.backoff_limit_per_index, &old.backoff_limit_per_index);
    check::immutable(errors, &path.child("managedBy"), &new.managed_by, &old.managed_by);
    check::immutable(errors, &path.child("successPolicy"), &new.success_policy, &old.success_policy);
    let template = if old.suspend == Some(true) && !started {
        // Nothing runs yet, so where it will run may still be changed.
        without_scheduling(&new.template, &old.template)
    } else {
        new.template
    };
    check::immutable(errors, &path.child("template"), &template, &old.template);
}

fn without_scheduling(new: &PodTemplateSpec, old: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = new.clone();
    template.metadata.clone_from(&old.metadata);
    if let (Some(spec), Some(old)) = (&mut template.spec, &old.spec) {
        spec.affinity.clone_from(&old.affinity);
        spec.node_selector.clone_from(&old.node_selector);
        spec.tolerations.clone_from(&old.tolerations);
        spec.scheduling_gates.clone_from(&old.scheduling_gates);
    }
    template
}

/// Judges an update of the status of a job.
pub(super) fn job_status(new: &Job, _: &Job, errors: &mut ErrorList) {
    let path = Path::new("status");
    let status = new.status.clone().unwrap_or_default();
    for (field, value) in [
        ("active", status.active),
        ("succeeded", status.succeeded),
        ("failed", status.failed),
        ("ready", status.ready),
        ("terminating", status.terminating),
    ] {
        check::optional_non_negative(errors, &path.child(field), value);
    }
}

/// Judges a cron job.
pub(super) fn cron_job(job: &CronJob, errors: &mut ErrorList) {
    let name = check::text(&job.metadata.name);
    if name.len() > CRON_JOB_NAME_LIMIT {
        let why = format!("must be no more than {CRON_JOB_NAME_LIMIT} bytes");
        errors.push(FieldError::invalid(&Path::new("metadata").child("name"), name, why));
    }
    let path = Path::new("spec");
    let spec = job.spec.clone().unwrap_or_default();
    let schedule = spec.schedule.as_str();
    let schedule_path = path.child("schedule");
    if check::required(errors, &schedule_path, schedule) {
        if schedule.contains("TZ") {
            let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
            errors.push(FieldError::invalid(&schedule_path, schedule, why));
        } else if let Err(why) = cron::check(schedule) {
            errors.push(FieldError::invalid(&schedule_path, schedule, why));
        }
    }
    if spec.time_zone.as_deref() == Some("") {
        let why = "timeZone must be nil or non-empty string";
        errors.push(FieldError::invalid(&path.child("timeZone"), "", why));
    }
    check::optional_non_negative(errors, &path.child("startingDeadlineSeconds"), spec.starting_deadline_seconds);
    let policies = ["Allow", "Forbid", "Replace"];
    check::required_one_of(errors, &path.child("concurrencyPolicy"), check::text(&spec.concurrency_policy), &policies);
    check::optional_non_negative(errors, &path.child("successfulJobsHistoryLimit"), spec.successful_jobs_history_limit);
    check::optional_non_negative(errors, &path.child("failedJobsHistoryLimit"), spec.failed_jobs_history_limit);
    let path = path.child("jobTemplate").child("spec");
    let template = spec.job_template.spec.unwrap_or_default();
    if let Some(selector) = &template.selector {
        let why = "`selector` will be auto-generated";
        errors.push(FieldError::invalid(&path.child("selector"), check::json(selector), why));
    }
    if template.manual_selector == Some(true) {
        errors.push(FieldError::not_supported(&path.child("manualSelector"), true, &[]));
    }
    job_spec(&template, &path, errors);
}
