//! Webhook configurations; the admission policies are in [`policies`].

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MutatingWebhookConfiguration, RuleWithOperations, ValidatingWebhookConfiguration,
    WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{check, names, urls};
use crate::field::{ErrorList, FieldError, Path};

mod policies;

pub(super) use policies::{
    mutating_policy, mutating_policy_binding, validating_policy, validating_policy_binding, validating_policy_status,
};

/// The versions of reviews that the server can send.
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];

const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
const WITHOUT_SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];
const SIDE_EFFECTS: [&str; 4] = ["None", "NoneOnDryRun", "Some", "Unknown"];
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const REINVOCATION_POLICIES: [&str; 2] = ["IfNeeded", "Never"];
const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];

/// What both kinds of webhook have.
struct Hook<'a> {
    name: &'a str,
    rules: &'a [RuleWithOperations],
    failure_policy: &'a Option<String>,
    match_policy: &'a Option<String>,
    reinvocation_policy: &'a Option<String>,
    side_effects: &'a str,
    timeout_seconds: Option<i32>,
    selectors: [(&'static str, Option<&'a LabelSelector>); 2],
    client_config: &'a WebhookClientConfig,
    review_versions: &'a [String],
    match_conditions: &'a [MatchCondition],
}

/// Which requests a webhook or policy is for.
struct Rule<'a> {
    operations: &'a [String],
    groups: &'a [String],
    versions: &'a [String],
    resources: &'a [String],
    scope: &'a Option<String>,
}

/// Views a rule of any kind that has one.
macro_rules! rule {
    ($rule:expr) => {
        Rule {
            operations: $rule.operations.as_deref().unwrap_or_default(),
            groups: $rule.api_groups.as_deref().unwrap_or_default(),
            versions: $rule.api_versions.as_deref().unwrap_or_default(),
            resources: $rule.resources.as_deref().unwrap_or_default(),
            scope: &$rule.scope,
        }
    };
}
use rule;

/// Views a webhook of either kind, and says when one that changes objects is called again.
macro_rules! hook {
    ($hook:expr, $reinvocation_policy:expr) => {
        Hook {
            name: &$hook.name,
            rules: $hook.rules.as_deref().unwrap_or_default(),
            failure_policy: &$hook.failure_policy,
            match_policy: &$hook.match_policy,
            reinvocation_policy: $reinvocation_policy,
            side_effects: &$hook.side_effects,
            timeout_seconds: $hook.timeout_seconds,
            selectors: [
                ("namespaceSelector", $hook.namespace_selector.as_ref()),
                ("objectSelector", $hook.object_selector.as_ref()),
            ],
            client_config: &$hook.client_config,
            review_versions: &$hook.admission_review_versions,
            match_conditions: $hook.match_conditions.as_deref().unwrap_or_default(),
        }
    };
}

/// What is asked of webhooks; objects from before a rule existed are not held to it.
struct Strictness {
    no_side_effects: bool,
    known_review_version: bool,
    unique_names: bool,
}

const STRICT: Strictness = Strictness { no_side_effects: true, known_review_version: true, unique_names: true };

impl Strictness {
    /// What an update of these is held to.
    fn of(old: &[Hook<'_>]) -> Self {
        let mut names = BTreeSet::new();
        Self {
            no_side_effects: old.iter().all(|hook| WITHOUT_SIDE_EFFECTS.contains(&hook.side_effects)),
            known_review_version: old.iter().all(|hook| hook.review_versions.is_empty() || knows_version(hook)),
            unique_names: old.iter().all(|hook| names.insert(hook.name)),
        }
    }
}

fn knows_version(hook: &Hook<'_>) -> bool {
    hook.review_versions.iter().any(|version| REVIEW_VERSIONS.contains(&version.as_str()))
}

fn validating_hooks(configuration: &ValidatingWebhookConfiguration) -> Vec<Hook<'_>> {
    configuration.webhooks.iter().flatten().map(|hook| hook!(hook, &None)).collect()
}

fn mutating_hooks(configuration: &MutatingWebhookConfiguration) -> Vec<Hook<'_>> {
    configuration.webhooks.iter().flatten().map(|hook| hook!(hook, &hook.reinvocation_policy)).collect()
}

/// Judges a new validating configuration.
pub(super) fn validating_webhooks(new: &ValidatingWebhookConfiguration, errors: &mut ErrorList) {
    hooks(&validating_hooks(new), &STRICT, errors);
}

/// Judges an update of a validating configuration.
pub(super) fn validating_webhooks_update(
    new: &ValidatingWebhookConfiguration,
    old: &ValidatingWebhookConfiguration,
    errors: &mut ErrorList,
) {
    hooks(&validating_hooks(new), &Strictness::of(&validating_hooks(old)), errors);
}

/// Judges a new mutating configuration.
pub(super) fn mutating_webhooks(new: &MutatingWebhookConfiguration, errors: &mut ErrorList) {
    hooks(&mutating_hooks(new), &STRICT, errors);
}

/// Judges an update of a mutating configuration.
pub(super) fn mutating_webhooks_update(
    new: &MutatingWebhookConfiguration,
    old: &MutatingWebhookConfiguration,
    errors: &mut ErrorList,
) {
    hooks(&mutating_hooks(new), &Strictness::of(&mutating_hooks(old)), errors);
}

fn hooks(hooks: &[Hook<'_>], strictness: &Strictness, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (index, hook) in hooks.iter().enumerate() {
        let path = Path::new("webhooks").index(index);
        hook.judge(strictness, &path, errors);
        if strictness.unique_names && !hook.name.is_empty() && !seen.insert(hook.name) {
            errors.push(FieldError::duplicate(&path.child("name"), hook.name));
        }
    }
}

impl Hook<'_> {
    fn judge(&self, strictness: &Strictness, path: &Path, errors: &mut ErrorList) {
        check::fully_qualified_name(errors, &path.child("name"), self.name);
        for (index, found) in self.rules.iter().enumerate() {
            rule!(found).judge(&path.child("rules").index(index), errors);
        }
        check::optional_one_of(errors, &path.child("failurePolicy"), self.failure_policy, &FAILURE_POLICIES);
        check::optional_one_of(errors, &path.child("matchPolicy"), self.match_policy, &MATCH_POLICIES);
        let reinvocation = path.child("reinvocationPolicy");
        check::optional_one_of(errors, &reinvocation, self.reinvocation_policy, &REINVOCATION_POLICIES);
        let allowed: &[&str] = if strictness.no_side_effects { &WITHOUT_SIDE_EFFECTS } else { &SIDE_EFFECTS };
        let effects_path = path.child("sideEffects");
        if self.side_effects.is_empty() {
            let why = format!("must specify one of {}", allowed.join(", "));
            errors.push(FieldError::required(&effects_path, why));
        } else {
            check::one_of(errors, &effects_path, self.side_effects, allowed);
        }
        if let Some(seconds) = self.timeout_seconds.filter(|seconds| !(1..=30).contains(seconds)) {
            let why = "the timeout value must be between 1 and 30 seconds";
            errors.push(FieldError::invalid(&path.child("timeoutSeconds"), seconds, why));
        }
        for (field, selector) in self.selectors {
            if let Some(selector) = selector {
                check::label_selector(errors, &path.child(field), selector);
            }
        }
        client_config(self.client_config, &path.child("clientConfig"), errors);
        match_conditions(self.match_conditions, &path.child("matchConditions"), errors);
        self.review_versions(strictness, &path.child("admissionReviewVersions"), errors);
    }

    fn review_versions(&self, strictness: &Strictness, path: &Path, errors: &mut ErrorList) {
        let known = REVIEW_VERSIONS.join(", ");
        if self.review_versions.is_empty() {
            errors.push(FieldError::required(path, format!("must specify one of {known}")));
            return;
        }
        let mut seen = BTreeSet::new();
        for (index, version) in self.review_versions.iter().enumerate() {
            let path = path.index(index);
            if seen.insert(version) {
                check::invalid(errors, &path, version.as_str(), names::dns_1035_label(version));
            } else {
                errors.push(FieldError::invalid(&path, version.as_str(), "duplicate version"));
            }
        }
        if strictness.known_review_version && !knows_version(self) {
            let why = format!("must include at least one of {known}");
            errors.push(FieldError::invalid(path, self.review_versions.to_vec(), why));
        }
    }
}

fn client_config(config: &WebhookClientConfig, path: &Path, errors: &mut ErrorList) {
    match (&config.url, &config.service) {
        (Some(url), None) => urls::webhook_url(url, &path.child("url"), errors),
        (None, Some(service)) => {
            let target = urls::Service {
                name: &service.name,
                namespace: &service.namespace,
                path: service.path.as_deref(),
                port: service.port.unwrap_or(443),
            };
            urls::webhook_service(&target, &path.child("service"), errors);
        }
        _ => errors.push(FieldError::required(path, "exactly one of url or service is required")),
    }
}

fn match_conditions(conditions: &[MatchCondition], list: &Path, errors: &mut ErrorList) {
    if conditions.len() > 64 {
        errors.push(FieldError::too_many(list, conditions.len(), 64));
    }
    let mut seen = BTreeSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = list.index(index);
        check::required(errors, &path.child("expression"), condition.expression.trim());
        check::required_name(errors, &path.child("name"), &condition.name, names::qualified_name);
        if !condition.name.is_empty() && !seen.insert(condition.name.as_str()) {
            errors.push(FieldError::duplicate(&path.child("name"), condition.name.as_str()));
        }
    }
}

impl Rule<'_> {
    fn judge(&self, path: &Path, errors: &mut ErrorList) {
        alone(self.operations, "operations", &path.child("operations"), errors);
        for (index, operation) in self.operations.iter().enumerate() {
            check::one_of(errors, &path.child("operations").index(index), operation, &OPERATIONS);
        }
        alone(self.groups, "API groups", &path.child("apiGroups"), errors);
        alone(self.versions, "API versions", &path.child("apiVersions"), errors);
        for (index, version) in self.versions.iter().enumerate() {
            check::required(errors, &path.child("apiVersions").index(index), version);
        }
        resources(self.resources, &path.child("resources"), errors);
        check::optional_one_of(errors, &path.child("scope"), self.scope, &SCOPES);
    }
}

/// There must be one at least, and `*` must be the only one.
fn alone(values: &[String], what: &str, path: &Path, errors: &mut ErrorList) {
    if values.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    if values.len() > 1 && values.iter().any(|value| value == "*") {
        let why = format!("if '*' is present, must not specify other {what}");
        errors.push(FieldError::invalid(path, values.to_vec(), why));
    }
}

fn resources(resources: &[String], path: &Path, errors: &mut ErrorList) {
    if resources.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    let mut all_below = BTreeSet::new();
    let mut everywhere = BTreeSet::new();
    let mut is_plain = false;
    for (index, resource) in resources.iter().enumerate() {
        let path = path.index(index);
        let Some((above, below)) = resource.split_once('/') else {
            if check::required(errors, &path, resource) {
                // Upstream only remembers the last one.
                is_plain = resource != "*";
            }
            continue;
        };
        if all_below.contains(above) {
            let why = format!("if '{above}/*' is present, must not specify {resource}");
            errors.push(FieldError::invalid(&path, resource.as_str(), why));
        }
        if everywhere.contains(below) {
            let why = format!("if '*/{below}' is present, must not specify {resource}");
            errors.push(FieldError::invalid(&path, resource.as_str(), why));
        }
        if below == "*" {
            all_below.insert(above);
        }
        if above == "*" {
            everywhere.insert(below);
        }
    }
    let has = |wanted: &str| resources.iter().any(|resource| resource == wanted);
    if resources.len() > 1 && has("*/*") {
        let why = "if '*/*' is present, must not specify other resources";
        errors.push(FieldError::invalid(path, resources.to_vec(), why));
    }
    if has("*") && is_plain {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.push(FieldError::invalid(path, resources.to_vec(), why));
    }
}
