//! What may become of the status of a job.

use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};

use super::{indexes, is_indexed};
use crate::field::{ErrorList, FieldError, Path};
use crate::validation::check;

fn has(status: &JobStatus, kind: &str) -> bool {
    status.conditions.iter().flatten().any(|condition| condition.type_ == kind && condition.status == "True")
}

fn is_finished(status: &JobStatus) -> bool {
    has(status, "Complete") || has(status, "Failed")
}

/// Judges an update of the status of a job. Faults that stood before are let be; what changes must be right.
pub(in crate::validation) fn job_status(new: &Job, old: &Job, errors: &mut ErrorList) {
    let path = Path::new("status");
    let spec = new.spec.clone().unwrap_or_default();
    let (now, before) = (new.status.clone().unwrap_or_default(), old.status.clone().unwrap_or_default());
    for (field, value) in [
        ("active", now.active),
        ("succeeded", now.succeeded),
        ("failed", now.failed),
        ("ready", now.ready),
        ("terminating", now.terminating),
    ] {
        check::optional_non_negative(errors, &path.child(field), value);
    }
    uncounted(&now, &path.child("uncountedTerminatedPods"), errors);
    // A job that somebody else manages tells what they want it to; the controller's own are held to more.
    conditions(&spec, &now, &before, &path.child("conditions"), errors);
    times(&spec, &now, &before, &path, errors);
    finished(&now, &before, &path, errors);
    index_lists(&spec, &now, &before, &path, errors);
    for (field, value, earlier) in
        [("failed", now.failed, before.failed), ("succeeded", now.succeeded, before.succeeded)]
    {
        let value = value.unwrap_or(0);
        if value < earlier.unwrap_or(0) {
            let why = format!("cannot decrease the {field} counter");
            errors.push(FieldError::invalid(&path.child(field), value, why));
        }
    }
}

fn uncounted(status: &JobStatus, path: &Path, errors: &mut ErrorList) {
    let Some(pods) = &status.uncounted_terminated_pods else {
        return;
    };
    let mut seen: Vec<&str> = Vec::new();
    for (field, list) in [("succeeded", &pods.succeeded), ("failed", &pods.failed)] {
        for (index, uid) in list.iter().flatten().enumerate() {
            let path = path.child(field).index(index);
            if uid.is_empty() {
                errors.push(FieldError::invalid(&path, "", "must not be empty"));
            } else if seen.contains(&uid.as_str()) {
                errors.push(FieldError::duplicate(&path, uid.as_str()));
            } else {
                seen.push(uid);
            }
        }
    }
}

fn conditions(spec: &JobSpec, now: &JobStatus, before: &JobStatus, path: &Path, errors: &mut ErrorList) {
    let is = |kind: &str| has(now, kind);
    let was = |kind: &str| has(before, kind);
    let newly = |kind: &str| is(kind) && !was(kind);
    let told = [
        (newly("Complete") && is("Failed"), "cannot set Complete=True and Failed=true conditions"),
        (newly("Complete") && is("FailureTarget"), "cannot set Complete=True and FailureTarget=true conditions"),
        (
            newly("Failed") && !is("FailureTarget"),
            "cannot set Failed=True condition without the FailureTarget=true condition",
        ),
        (
            newly("Complete") && !is("SuccessCriteriaMet"),
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
        ),
        (is("SuccessCriteriaMet") && is("Failed"), "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
        (
            is("SuccessCriteriaMet") && is("FailureTarget"),
            "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
        ),
        (
            spec.success_policy.is_some() && !is("SuccessCriteriaMet") && is("Complete"),
            "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
        ),
        (
            was("SuccessCriteriaMet") && !is("SuccessCriteriaMet"),
            "cannot disable the SuccessCriteriaMet=True condition",
        ),
        (
            was("Complete") && !was("SuccessCriteriaMet") && is("SuccessCriteriaMet"),
            "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions",
        ),
    ];
    for (_, why) in told.into_iter().filter(|(wrong, _)| *wrong) {
        errors.push(FieldError::invalid_omitted(path, why));
    }
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if was(kind) && !is(kind) {
            let why = format!("cannot disable the terminal {kind}=True condition");
            errors.push(FieldError::invalid_omitted(path, why));
        }
    }
}

fn times(spec: &JobSpec, now: &JobStatus, before: &JobStatus, path: &Path, errors: &mut ErrorList) {
    let end_path = path.child("completionTime");
    let start_path = path.child("startTime");
    let shown = check::json(&now.completion_time);
    let end_changes = now.completion_time != before.completion_time;
    let completes = has(now, "Complete");
    let became_complete = completes && !has(before, "Complete");
    if now.completion_time.is_some() && !completes && end_changes {
        let why = "cannot set completionTime when there is no Complete=True condition";
        errors.push(FieldError::invalid(&end_path, shown.clone(), why));
    }
    if now.completion_time.is_none() && completes && (became_complete || end_changes) {
        errors.push(FieldError::required(&end_path, "completionTime is required for Complete jobs"));
    }
    if let (Some(start), Some(end)) = (&now.start_time, &now.completion_time)
        && end.0 < start.0
        && (end_changes || now.start_time != before.start_time)
    {
        errors.push(FieldError::invalid(&end_path, shown.clone(), "must be equal to or after `startTime`"));
    }
    if now.completion_time.is_some() && before.completion_time.is_some() && end_changes && has(before, "Complete") {
        errors.push(FieldError::invalid(&end_path, shown, check::IMMUTABLE));
    }
    let became_finished = is_finished(now) && !is_finished(before);
    if now.start_time.is_none() && is_finished(now) && (became_finished || before.start_time.is_some()) {
        errors.push(FieldError::required(&start_path, "startTime is required for finished job"));
    }
    if before.start_time.is_some() && now.start_time != before.start_time && spec.suspend != Some(true) {
        errors.push(FieldError::required(&start_path, "startTime cannot be removed for unsuspended job"));
    }
}

fn finished(now: &JobStatus, before: &JobStatus, path: &Path, errors: &mut ErrorList) {
    let became_finished = is_finished(now) && !is_finished(before);
    for (field, value, earlier) in
        [("active", now.active, before.active), ("terminating", now.terminating, before.terminating)]
    {
        let value = value.unwrap_or(0);
        if value > 0 && is_finished(now) && (became_finished || earlier.unwrap_or(0) != value) {
            let why = format!("{field}>0 is invalid for finished job");
            errors.push(FieldError::invalid(&path.child(field), value, why));
        }
    }
    let uncounted = now.uncounted_terminated_pods.as_ref().is_some_and(|pods| {
        pods.failed.as_ref().is_some_and(|list| !list.is_empty())
            || pods.succeeded.as_ref().is_some_and(|list| !list.is_empty())
    });
    let changes = now.uncounted_terminated_pods != before.uncounted_terminated_pods;
    if is_finished(now) && uncounted && (became_finished || changes) {
        let shown = check::json(&now.uncounted_terminated_pods);
        let why = "must be empty for finished job";
        errors.push(FieldError::invalid(&path.child("uncountedTerminatedPods"), shown, why));
    }
    let ready = now.ready.unwrap_or(0);
    if ready > now.active.unwrap_or(0) && now.ready != before.ready {
        errors.push(FieldError::invalid(&path.child("ready"), ready, "cannot set more ready pods than active"));
    }
}

fn index_lists(spec: &JobSpec, now: &JobStatus, before: &JobStatus, path: &Path, errors: &mut ErrorList) {
    let completed = check::text(&now.completed_indexes);
    let completed_changes = completed != check::text(&before.completed_indexes);
    let failed_changes = now.failed_indexes != before.failed_indexes;
    let completed_path = path.child("completedIndexes");
    let failed_path = path.child("failedIndexes");
    if completed_changes && !completed.is_empty() && !is_indexed(spec) {
        let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.push(FieldError::invalid(&completed_path, completed, why));
    }
    if let Some(failed) = now.failed_indexes.as_deref().filter(|_| failed_changes)
        && spec.backoff_limit_per_index.is_none()
    {
        let why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.push(FieldError::invalid(&failed_path, failed, why));
    }
    let Some(completions) = spec.completions else {
        return;
    };
    if completed_changes
        && is_indexed(spec)
        && let Err(why) = indexes::parse(completed, completions)
    {
        let why = format!("error parsing completedIndexes: {why}");
        errors.push(FieldError::invalid(&completed_path, completed, why));
    }
    let Some(failed) = now.failed_indexes.as_deref().filter(|_| spec.backoff_limit_per_index.is_some()) else {
        return;
    };
    if failed_changes && let Err(why) = indexes::parse(failed, completions) {
        errors.push(FieldError::invalid(&failed_path, failed, format!("error parsing failedIndexes: {why}")));
    }
    if (completed_changes || failed_changes)
        && let Some(index) = indexes::overlap(completed, failed, completions)
    {
        let why = format!("failedIndexes and completedIndexes overlap at index: {index}");
        errors.push(FieldError::invalid(&failed_path, failed, why));
    }
}
