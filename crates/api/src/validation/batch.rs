//! Jobs; their policies, their status and the jobs of schedules have modules of their own.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;

use super::{apps, check, names, pods};
use crate::field::{ErrorList, FieldError, Path};
use crate::selector::LabelSelector;

mod cron_job;
mod indexes;
mod policies;
mod status;

pub(super) use cron_job::{cron_job, cron_job_create, cron_job_update};
pub(super) use status::job_status;

/// The labels that tie pods to a job: by its UID, by its name; the second of each pair is older.
const LABELS: [(&str, &str); 4] = [
    ("batch.kubernetes.io/controller-uid", "uid"),
    ("controller-uid", "uid"),
    ("batch.kubernetes.io/job-name", "name"),
    ("job-name", "name"),
];

/// Bounds that keep the lists of indexes in the status short.
const MAX_PARALLELISM: i32 = 100_000;
const MAX_FAILED_INDEXES: i32 = 100_000;
const MANY_COMPLETIONS: i32 = 100_000;
const LIMIT_FOR_MANY: i32 = 10_000;

const MAX_MANAGED_BY: usize = 63;

/// Judges a new job.
pub(super) fn job(job: &Job, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = job.spec.clone().unwrap_or_default();
    generated_selector(job, &spec, &path, errors);
    with_selector(&spec, &path, errors);
    let completions = spec.completions.unwrap_or(0);
    if is_indexed(&spec) && completions > 0 {
        // Pods of indexed jobs are named after their index.
        let name = check::text(&job.metadata.name);
        let longest = format!("{name}-{}", completions - 1);
        if !names::dns_label(&longest).is_empty() {
            let why = format!("will not able to create pod with invalid DNS label: {longest}");
            errors.push(FieldError::invalid(&Path::new("metadata").child("name"), name, why));
        }
    }
}

fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

/// Unless the client takes care of it, selector and labels must be those that upstream makes from UID and name.
fn generated_selector(job: &Job, spec: &JobSpec, path: &Path, errors: &mut ErrorList) {
    let Some(selector) = &spec.selector else {
        return;
    };
    if spec.manual_selector == Some(true) {
        return;
    }
    let (uid, name) = (check::text(&job.metadata.uid), check::text(&job.metadata.name));
    check::required(errors, &Path::new("metadata").child("uid"), uid);
    let expected = LABELS.map(|(label, what)| (label.to_owned(), (if what == "uid" { uid } else { name }).to_owned()));
    let labels = apps::labels_of(&spec.template);
    let labels_path = path.child("template").child("metadata").child("labels");
    for (label, value) in &expected {
        match labels.get(label) {
            None => {
                let why = format!("must be '{value}'");
                errors.push(FieldError::required(&labels_path.key(label), why));
            }
            Some(found) if found != value => {
                let why = format!("must be '{value}'");
                errors.push(FieldError::invalid(&labels_path.key(label), check::json(&labels), why));
            }
            Some(_) => {}
        }
    }
    if LabelSelector::from_k8s(selector).is_ok_and(|selector| !selector.matches(&expected.into_iter().collect())) {
        let why = "`selector` not auto-generated";
        errors.push(FieldError::invalid(&path.child("selector"), check::json(selector), why));
    }
}

fn with_selector(spec: &JobSpec, path: &Path, errors: &mut ErrorList) {
    job_spec(spec, path, errors);
    let selector_path = path.child("selector");
    let Some(selector) = &spec.selector else {
        errors.push(FieldError::required(&selector_path, ""));
        // Nothing selects nothing.
        apps::labels_do_not_match(&apps::labels_of(&spec.template), &path.child("template"), errors);
        return;
    };
    check::label_selector(errors, &selector_path, selector);
    let labels = apps::labels_of(&spec.template);
    if LabelSelector::from_k8s(selector).is_ok_and(|selector| !selector.matches(&labels)) {
        apps::labels_do_not_match(&labels, &path.child("template"), errors);
    }
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
    if spec.max_failed_indexes.is_some() && spec.backoff_limit_per_index.is_none() {
        let why = "when maxFailedIndexes is specified";
        errors.push(FieldError::required(&path.child("backoffLimitPerIndex"), why));
    }
    if let Some(manager) = &spec.managed_by {
        let path = path.child("managedBy");
        check::required_name(errors, &path, manager, names::domain_prefixed_path);
        if manager.len() > MAX_MANAGED_BY {
            errors.push(FieldError::too_long(&path, MAX_MANAGED_BY));
        }
    }
    check::optional_one_of(errors, &path.child("completionMode"), &spec.completion_mode, &["NonIndexed", "Indexed"]);
    match is_indexed(spec) {
        true => indexed(spec, path, errors),
        false => not_indexed(spec, path, errors),
    }
    if let Some(policy) = &spec.pod_failure_policy {
        policies::failure(policy, spec, &path.child("podFailurePolicy"), errors);
    }
    let replacement: &[&str] =
        if spec.pod_failure_policy.is_some() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    check::optional_one_of(errors, &path.child("podReplacementPolicy"), &spec.pod_replacement_policy, replacement);
    let template_path = path.child("template");
    pods::template_spec(&spec.template, &template_path, errors);
    restart_policy(spec, &template_path.child("spec").child("restartPolicy"), errors);
}

fn indexed(spec: &JobSpec, path: &Path, errors: &mut ErrorList) {
    let completions_path = path.child("completions");
    if spec.completions.is_none() {
        errors.push(FieldError::required(&completions_path, "when completion mode is Indexed"));
    }
    let failed = spec.max_failed_indexes;
    let mut at_most = |field: &str, value: Option<i32>, limit: i32, rest: &str| {
        if let Some(value) = value.filter(|value| *value > limit) {
            let why = format!("must be less than or equal to {limit}{rest}");
            errors.push(FieldError::invalid(&path.child(field), value, why));
        }
    };
    at_most("parallelism", spec.parallelism, MAX_PARALLELISM, " when completion mode is Indexed");
    at_most("maxFailedIndexes", failed, MAX_FAILED_INDEXES, "");
    if spec.completions.is_some_and(|completions| completions > MANY_COMPLETIONS)
        && spec.backoff_limit_per_index.is_some()
    {
        let rest = format!(" when completions are above {MANY_COMPLETIONS} and used with backoff limit per index");
        at_most("parallelism", spec.parallelism, LIMIT_FOR_MANY, &rest);
        at_most("maxFailedIndexes", failed, LIMIT_FOR_MANY, &rest);
        if failed.is_none() {
            let why = format!("must be specified when completions is above {MANY_COMPLETIONS}");
            errors.push(FieldError::required(&path.child("maxFailedIndexes"), why));
        }
    }
    if let (Some(failed), Some(completions)) = (failed, spec.completions)
        && failed > completions
    {
        let why = "must be less than or equal to completions";
        errors.push(FieldError::invalid(&path.child("maxFailedIndexes"), failed, why));
    }
    if let Some(policy) = &spec.success_policy {
        policies::success(policy, spec, &path.child("successPolicy"), errors);
    }
}

fn not_indexed(spec: &JobSpec, path: &Path, errors: &mut ErrorList) {
    let why = "requires indexed completion mode";
    for (field, value) in
        [("backoffLimitPerIndex", spec.backoff_limit_per_index), ("maxFailedIndexes", spec.max_failed_indexes)]
    {
        if let Some(value) = value {
            errors.push(FieldError::invalid(&path.child(field), value, why));
        }
    }
    if let Some(policy) = &spec.success_policy {
        errors.push(FieldError::invalid(&path.child("successPolicy"), check::json(policy), why));
    }
}

fn restart_policy(spec: &JobSpec, path: &Path, errors: &mut ErrorList) {
    let policy = spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or_default();
    match policy {
        "" | "Always" => {
            errors.push(FieldError::required(path, "valid values: \"OnFailure\", \"Never\""));
        }
        "Never" => {}
        "OnFailure" if spec.pod_failure_policy.is_some() => {
            let why = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.push(FieldError::invalid(path, policy, why));
        }
        "OnFailure" => {}
        other => errors.push(FieldError::not_supported(path, other, &["OnFailure", "Never"])),
    }
}

/// Judges an update of a job.
pub(super) fn job_update(new: &Job, old: &Job, errors: &mut ErrorList) {
    let path = Path::new("spec");
    // Nothing runs yet, so where it will run may still be changed.
    let never_ran = old.status.as_ref().is_none_or(|status| status.start_time.is_none());
    let (new, old) = (new.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
    with_selector(&new, &path, errors);
    let completions_path = path.child("completions");
    if !is_indexed(&new) {
        check::immutable(errors, &completions_path, &new.completions, &old.completions);
    } else if new.completions != old.completions && new.completions.is_some() && new.completions != new.parallelism {
        let why = format!("can only be modified in tandem with {}", path.child("parallelism"));
        errors.push(FieldError::invalid(&completions_path, check::json(&new.completions), why));
    }
    check::immutable(errors, &path.child("selector"), &new.selector, &old.selector);
    let may_move = old.suspend == Some(true) && never_ran;
    let template = if may_move { without_scheduling(&new.template, &old.template) } else { new.template };
    check::immutable(errors, &path.child("template"), &template, &old.template);
    check::immutable(errors, &path.child("completionMode"), &new.completion_mode, &old.completion_mode);
    check::immutable(errors, &path.child("podFailurePolicy"), &new.pod_failure_policy, &old.pod_failure_policy);
    let limit_path = path.child("backoffLimitPerIndex");
    check::immutable(errors, &limit_path, &new.backoff_limit_per_index, &old.backoff_limit_per_index);
    check::immutable(errors, &path.child("managedBy"), &new.managed_by, &old.managed_by);
    check::immutable(errors, &path.child("successPolicy"), &new.success_policy, &old.success_policy);
}

/// The new template with all that may change before a job has run put back.
fn without_scheduling(new: &PodTemplateSpec, old: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = new.clone();
    if let (Some(metadata), Some(old)) = (&mut template.metadata, &old.metadata) {
        metadata.labels.clone_from(&old.labels);
        metadata.annotations.clone_from(&old.annotations);
    } else {
        template.metadata.clone_from(&old.metadata);
    }
    if let (Some(spec), Some(old)) = (&mut template.spec, &old.spec) {
        spec.node_selector.clone_from(&old.node_selector);
        spec.tolerations.clone_from(&old.tolerations);
        spec.scheduling_gates.clone_from(&old.scheduling_gates);
        // Of affinities only the one to nodes.
        let before = old.affinity.as_ref().and_then(|affinity| affinity.node_affinity.clone());
        let mut affinity = spec.affinity.clone().unwrap_or_default();
        affinity.node_affinity = before;
        let is_empty = affinity == Default::default();
        spec.affinity = (!is_empty || old.affinity.is_some()).then_some(affinity);
    }
    template
}
