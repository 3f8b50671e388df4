//! When a job fails before its time, and when it has succeeded enough.

use k8s_openapi::api::batch::v1::{
    JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule, SuccessPolicy,
    SuccessPolicyRule,
};

use super::indexes;
use crate::field::{ErrorList, FieldError, Path, quote};
use crate::validation::{check, names};

const MAX_RULES: usize = 20;
const MAX_EXIT_CODES: usize = 255;
const MAX_PATTERNS: usize = 20;
const MAX_INDEXES: usize = 64 * 1024;

const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: [&str; 2] = ["In", "NotIn"];
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];

/// One of a list, and if nothing is said the list is.
fn one_of(value: &str, supported: &[&str], path: &Path, errors: &mut ErrorList) {
    if value.is_empty() {
        let list: Vec<String> = supported.iter().map(|value| quote(value)).collect();
        errors.push(FieldError::required(path, format!("valid values: [{}]", list.join(" "))));
    } else {
        check::one_of(errors, path, value, supported);
    }
}

/// Judges what failures of pods mean for their job.
pub(super) fn failure(policy: &PodFailurePolicy, spec: &JobSpec, path: &Path, errors: &mut ErrorList) {
    let path = path.child("rules");
    if policy.rules.len() > MAX_RULES {
        errors.push(FieldError::too_many(&path, policy.rules.len(), MAX_RULES));
    }
    for (index, rule) in policy.rules.iter().enumerate() {
        failure_rule(rule, spec, &path.index(index), errors);
    }
}

fn failure_rule(rule: &PodFailurePolicyRule, spec: &JobSpec, path: &Path, errors: &mut ErrorList) {
    let action_path = path.child("action");
    match rule.action.as_str() {
        "FailIndex" if spec.backoff_limit_per_index.is_none() => {
            let why = "requires the backoffLimitPerIndex to be set";
            errors.push(FieldError::invalid(&action_path, "FailIndex", why));
        }
        action => one_of(action, &ACTIONS, &action_path, errors),
    }
    if let Some(codes) = &rule.on_exit_codes {
        exit_codes(codes, spec, &path.child("onExitCodes"), errors);
    }
    let patterns = rule.on_pod_conditions.as_deref().unwrap_or_default();
    let patterns_path = path.child("onPodConditions");
    if patterns.len() > MAX_PATTERNS {
        errors.push(FieldError::too_many(&patterns_path, patterns.len(), MAX_PATTERNS));
    }
    for (index, pattern) in patterns.iter().enumerate() {
        let path = patterns_path.index(index);
        check::invalid(errors, &path.child("type"), pattern.type_.as_str(), names::qualified_name(&pattern.type_));
        one_of(check::text(&pattern.status), &STATUSES, &path.child("status"), errors);
    }
    let why = match (&rule.on_exit_codes, patterns.is_empty()) {
        (Some(_), false) => "specifying both OnExitCodes and OnPodConditions is not supported",
        (None, true) => "specifying one of OnExitCodes and OnPodConditions is required",
        _ => return,
    };
    errors.push(FieldError::invalid_omitted(path, why));
}

fn exit_codes(codes: &PodFailurePolicyOnExitCodesRequirement, spec: &JobSpec, path: &Path, errors: &mut ErrorList) {
    one_of(&codes.operator, &OPERATORS, &path.child("operator"), errors);
    if let Some(name) = &codes.container_name {
        let template = spec.template.spec.iter();
        let mut containers =
            template.flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
        if !containers.any(|container| container.name == *name) {
            let why = "must be one of the container or initContainer names in the pod template";
            errors.push(FieldError::invalid(&path.child("containerName"), name.as_str(), why));
        }
    }
    let path = path.child("values");
    let values = codes.values.as_slice();
    if values.is_empty() {
        errors.push(FieldError::invalid(&path, check::json(values), "at least one value is required"));
    } else if values.len() > MAX_EXIT_CODES {
        errors.push(FieldError::too_many(&path, values.len(), MAX_EXIT_CODES));
    }
    for (index, code) in values.iter().enumerate() {
        if codes.operator == "In" && *code == 0 {
            let why = "must not be 0 for the In operator";
            errors.push(FieldError::invalid(&path.index(index), *code, why));
        }
        if values[..index].contains(code) {
            errors.push(FieldError::duplicate(&path.index(index), *code));
        }
    }
    if !values.is_sorted() {
        errors.push(FieldError::invalid(&path, values.to_vec(), "must be ordered"));
    }
}

/// Judges when an indexed job has succeeded enough.
pub(super) fn success(policy: &SuccessPolicy, spec: &JobSpec, path: &Path, errors: &mut ErrorList) {
    let path = path.child("rules");
    if policy.rules.is_empty() {
        let why = "at least one rules must be specified when the successPolicy is specified";
        errors.push(FieldError::required(&path, why));
    }
    if policy.rules.len() > MAX_RULES {
        errors.push(FieldError::too_many(&path, policy.rules.len(), MAX_RULES));
    }
    for (index, rule) in policy.rules.iter().enumerate() {
        success_rule(rule, spec.completions.unwrap_or(0), &path.index(index), errors);
    }
}

fn success_rule(rule: &SuccessPolicyRule, completions: i32, path: &Path, errors: &mut ErrorList) {
    if rule.succeeded_count.is_none() && rule.succeeded_indexes.is_none() {
        let why = "at least one of succeededCount or succeededIndexes must be specified";
        errors.push(FieldError::required(path, why));
    }
    let mut total = None;
    if let Some(text) = &rule.succeeded_indexes {
        let path = path.child("succeededIndexes");
        if text.len() > MAX_INDEXES {
            errors.push(FieldError::too_long(&path, MAX_INDEXES));
        }
        let parsed = indexes::parse(text, completions);
        if let Err(why) = &parsed {
            let why = format!("error parsing succeededIndexes: {why}");
            errors.push(FieldError::invalid(&path, text.as_str(), why));
        }
        total = Some(parsed.map_or(0, |intervals| indexes::count(&intervals)));
    }
    if let Some(count) = rule.succeeded_count {
        let path = path.child("succeededCount");
        check::non_negative(errors, &path, count);
        let limits =
            [(Some(completions), "specified completions"), (total, "indexes in the specified succeededIndexes field")];
        for (limit, what) in limits {
            if let Some(limit) = limit.filter(|limit| count > *limit) {
                let why = format!("must be less than or equal to {limit} (the number of {what})");
                errors.push(FieldError::invalid(&path, count, why));
            }
        }
    }
}
