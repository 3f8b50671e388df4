//! Admission policies written in CEL, and what binds them to resources.

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::{
    AuditAnnotation, MatchResources, ParamKind, ParamRef, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
    Validation, Variable,
};
use k8s_openapi::api::admissionregistration::v1beta1;
use serde::de::DeserializeOwned;

use super::{FAILURE_POLICIES, MATCH_POLICIES, REINVOCATION_POLICIES, Rule, match_conditions, rule};
use crate::field::{ErrorList, FieldError, Path};
use crate::meta;
use crate::validation::{check, names};

const MAX_AUDIT_ANNOTATIONS: usize = 20;
const MAX_AUDIT_EXPRESSION: usize = 5 * 1024;

/// Reads what the beta version calls by the same names as the stable one.
fn stable<T: DeserializeOwned>(beta: &impl serde::Serialize) -> Option<T> {
    serde_json::from_value(check::json(beta)).ok()
}

/// Judges a validating policy.
pub(in crate::validation) fn validating_policy(policy: &ValidatingAdmissionPolicy, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = policy.spec.clone().unwrap_or_default();
    check::required_one_of(errors, &path.child("failurePolicy"), check::text(&spec.failure_policy), &FAILURE_POLICIES);
    matched(spec.param_kind.as_ref(), spec.match_constraints.as_ref(), &path, errors);
    let conditions = spec.match_conditions.as_deref().unwrap_or_default();
    match_conditions(conditions, &path.child("matchConditions"), errors);
    variables(spec.variables.as_deref().unwrap_or_default(), &path.child("variables"), errors);
    let validations = spec.validations.as_deref().unwrap_or_default();
    let annotations = spec.audit_annotations.as_deref().unwrap_or_default();
    if validations.is_empty() && annotations.is_empty() {
        for field in ["validations", "auditAnnotations"] {
            let why = "validations or auditAnnotations must contain at least one item";
            errors.push(FieldError::required(&path.child(field), why));
        }
    }
    for (index, found) in validations.iter().enumerate() {
        validation(found, &path.child("validations").index(index), errors);
    }
    let name = check::text(&policy.metadata.name);
    audit_annotations(annotations, name, &path.child("auditAnnotations"), errors);
}

/// What a policy is about: the parameters it takes and the resources it is for.
fn matched(params: Option<&ParamKind>, resources: Option<&MatchResources>, path: &Path, errors: &mut ErrorList) {
    if let Some(params) = params {
        param_kind(params, &path.child("paramKind"), errors);
    }
    let path = path.child("matchConstraints");
    let Some(resources) = resources else {
        errors.push(FieldError::required(&path, ""));
        return;
    };
    match_resources(resources, &path, errors);
    if resources.resource_rules.as_ref().is_none_or(Vec::is_empty) {
        errors.push(FieldError::required(&path.child("resourceRules"), ""));
    }
}

fn param_kind(params: &ParamKind, path: &Path, errors: &mut ErrorList) {
    let api_version = check::text(&params.api_version);
    let version_path = path.child("apiVersion");
    if check::required(errors, &version_path, api_version) {
        if api_version.matches('/').count() > 1 {
            let why = format!("unexpected GroupVersion string: {api_version}");
            errors.push(FieldError::invalid(&version_path, api_version, why));
        } else {
            let (group, version) = meta::split_api_version(api_version);
            let judged = if group.is_empty() { Vec::new() } else { names::dns_subdomain(group) };
            check::joined(errors, &version_path, group, &judged, "", ",");
            if version.is_empty() {
                errors.push(FieldError::invalid(&version_path, api_version, "version must be specified"));
            } else {
                check::joined(errors, &version_path, version, &names::dns_1035_label(version), "", ",");
            }
        }
    }
    let kind = check::text(&params.kind);
    if check::required(errors, &path.child("kind"), kind) {
        let judged = names::dns_1035_label(&kind.to_lowercase());
        let prefix = "may have mixed case, but should otherwise match: ";
        check::joined(errors, &path.child("kind"), kind, &judged, prefix, ",");
    }
}

fn match_resources(resources: &MatchResources, path: &Path, errors: &mut ErrorList) {
    let policy = check::text(&resources.match_policy);
    check::required_one_of(errors, &path.child("matchPolicy"), policy, &MATCH_POLICIES);
    let selectors =
        [("namespaceSelector", &resources.namespace_selector), ("objectSelector", &resources.object_selector)];
    for (field, selector) in selectors {
        match selector {
            None => errors.push(FieldError::required(&path.child(field), "")),
            Some(selector) => check::label_selector(errors, &path.child(field), selector),
        }
    }
    for (field, rules) in
        [("resourceRules", &resources.resource_rules), ("excludeResourceRules", &resources.exclude_resource_rules)]
    {
        for (index, found) in rules.iter().flatten().enumerate() {
            let path = path.child(field).index(index);
            let names = found.resource_names.as_deref().unwrap_or_default();
            for (index, name) in names.iter().enumerate() {
                let path = path.child("resourceNames").index(index);
                check::invalid(errors, &path, name.as_str(), names::path_segment(name));
                if names[..index].contains(name) {
                    errors.push(FieldError::duplicate(&path, name.as_str()));
                }
            }
            rule!(found).judge(&path, errors);
        }
    }
}

fn variables(variables: &[Variable], list: &Path, errors: &mut ErrorList) {
    for (index, variable) in variables.iter().enumerate() {
        let path = list.index(index);
        if variable.name.trim().is_empty() {
            errors.push(FieldError::required(&path.child("name"), "name is not specified"));
        } else if !names::is_cel_identifier(&variable.name) {
            let why = "name is not a valid CEL identifier";
            errors.push(FieldError::invalid(&path.child("name"), variable.name.as_str(), why));
        }
        expression(&variable.expression, &path.child("expression"), errors);
    }
}

fn expression(text: &str, path: &Path, errors: &mut ErrorList) {
    if text.trim().is_empty() {
        errors.push(FieldError::required(path, "expression is not specified"));
    }
}

fn validation(validation: &Validation, path: &Path, errors: &mut ErrorList) {
    expression(&validation.expression, &path.child("expression"), errors);
    let blank = |text: &str| !text.is_empty() && text.trim().is_empty();
    let by_expression = check::text(&validation.message_expression);
    if blank(by_expression) {
        let why = "must be non-empty if specified";
        errors.push(FieldError::invalid(&path.child("messageExpression"), by_expression, why));
    }
    let message = check::text(&validation.message);
    let why = match blank(message) {
        true => Some("message must be non-empty if specified"),
        false => message.trim().contains(['\n', '\r']).then_some("message must not contain line breaks"),
    };
    if let Some(why) = why {
        errors.push(FieldError::invalid(&path.child("message"), message, why));
    }
    let reasons = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
    check::optional_one_of(errors, &path.child("reason"), &validation.reason, &reasons);
}

fn audit_annotations(annotations: &[AuditAnnotation], policy: &str, list: &Path, errors: &mut ErrorList) {
    if annotations.len() > MAX_AUDIT_ANNOTATIONS {
        let why = format!("must not have more than {MAX_AUDIT_ANNOTATIONS} auditAnnotations");
        errors.push(FieldError::invalid(list, check::json(annotations), why));
    }
    let mut seen = BTreeSet::new();
    for (index, annotation) in annotations.iter().enumerate() {
        let path = list.index(index);
        let key = annotation.key.as_str();
        // The policy's name is the domain under which audit events show it.
        let shown = format!("{policy}/{key}");
        check::invalid(errors, &path.child("key"), shown.as_str(), names::qualified_name(&shown));
        let value_path = path.child("valueExpression");
        let value = annotation.value_expression.trim();
        if value.is_empty() {
            errors.push(FieldError::required(&value_path, "valueExpression is not specified"));
        } else if value.len() > MAX_AUDIT_EXPRESSION {
            let why = format!("must not exceed {MAX_AUDIT_EXPRESSION} bytes in length");
            errors.push(FieldError::required(&value_path, why));
        }
        if !seen.insert(key) {
            errors.push(FieldError::duplicate(&path.child("key"), key));
        }
    }
}

/// Judges an update of the status of a validating policy.
pub(in crate::validation) fn validating_policy_status(
    new: &ValidatingAdmissionPolicy,
    _: &ValidatingAdmissionPolicy,
    errors: &mut ErrorList,
) {
    let path = Path::new("status");
    let status = new.status.clone().unwrap_or_default();
    let warnings = status.type_checking.as_ref().and_then(|checking| checking.expression_warnings.as_deref());
    for (index, warning) in warnings.unwrap_or_default().iter().enumerate() {
        let path = path.child("typeChecking").child("expressionWarnings").index(index);
        check::required(errors, &path.child("warning"), &warning.warning);
        check::required(errors, &path.child("fieldRef"), warning.field_ref.trim());
    }
    check::conditions(errors, &path.child("conditions"), status.conditions.as_deref().unwrap_or_default());
}

/// Judges a binding of a validating policy.
pub(in crate::validation) fn validating_policy_binding(
    binding: &ValidatingAdmissionPolicyBinding,
    errors: &mut ErrorList,
) {
    let path = Path::new("spec");
    let spec = binding.spec.clone().unwrap_or_default();
    bound(check::text(&spec.policy_name), spec.param_ref.as_ref(), spec.match_resources.as_ref(), &path, errors);
    let path = path.child("validationActions");
    let actions = spec.validation_actions.as_deref().unwrap_or_default();
    for (index, action) in actions.iter().enumerate() {
        check::one_of(errors, &path.index(index), action, &["Audit", "Deny", "Warn"]);
        if actions[..index].contains(action) {
            errors.push(FieldError::duplicate(&path.index(index), action.as_str()));
        }
    }
    let has = |wanted: &str| actions.iter().any(|action| action == wanted);
    if has("Deny") && has("Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.push(FieldError::invalid(&path, actions.to_vec(), why));
    }
    if actions.is_empty() {
        errors.push(FieldError::required(&path, "at least one validation action is required"));
    }
}

fn bound(
    policy: &str,
    params: Option<&ParamRef>,
    resources: Option<&MatchResources>,
    path: &Path,
    errors: &mut ErrorList,
) {
    check::required_name(errors, &path.child("policyName"), policy, names::dns_subdomain);
    if let Some(params) = params {
        param_ref(params, &path.child("paramRef"), errors);
    }
    if let Some(resources) = resources {
        // Upstream spells the path like this.
        match_resources(resources, &path.child("matchResouces"), errors);
    }
}

fn param_ref(params: &ParamRef, path: &Path, errors: &mut ErrorList) {
    let name = check::text(&params.name);
    check::optional_name(errors, &path.child("name"), name, names::path_segment);
    match (name.is_empty(), &params.selector) {
        (true, None) => errors.push(FieldError::required(path, "one of name or selector must be specified")),
        (false, Some(_)) => {
            for field in ["name", "selector"] {
                let why = "name and selector are mutually exclusive";
                errors.push(FieldError::forbidden(&path.child(field), why));
            }
        }
        _ => {}
    }
    if let Some(selector) = &params.selector {
        check::label_selector(errors, &path.child("selector"), selector);
    }
    let action = check::text(&params.parameter_not_found_action);
    check::required_one_of(errors, &path.child("parameterNotFoundAction"), action, &["Deny", "Allow"]);
}

/// Judges a mutating policy.
pub(in crate::validation) fn mutating_policy(policy: &v1beta1::MutatingAdmissionPolicy, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = policy.spec.clone().unwrap_or_default();
    check::required_one_of(errors, &path.child("failurePolicy"), check::text(&spec.failure_policy), &FAILURE_POLICIES);
    let params = spec.param_kind.as_ref().and_then(stable::<ParamKind>);
    let constraints = spec.match_constraints.as_ref().and_then(stable::<MatchResources>);
    matched(params.as_ref(), constraints.as_ref(), &path, errors);
    let conditions = spec.match_conditions.as_ref().and_then(stable::<Vec<_>>).unwrap_or_default();
    match_conditions(&conditions, &path.child("matchConditions"), errors);
    let found = spec.variables.as_ref().and_then(stable::<Vec<_>>).unwrap_or_default();
    variables(&found, &path.child("variables"), errors);
    let mutations = spec.mutations.as_deref().unwrap_or_default();
    if mutations.is_empty() {
        errors.push(FieldError::required(&path.child("mutations"), "mutations must contain at least one item"));
    }
    for (index, found) in mutations.iter().enumerate() {
        mutation(found, &path.child("mutations").index(index), errors);
    }
    let reinvocation = check::text(&spec.reinvocation_policy);
    check::required_one_of(errors, &path.child("reinvocationPolicy"), reinvocation, &REINVOCATION_POLICIES);
}

fn mutation(mutation: &v1beta1::Mutation, path: &Path, errors: &mut ErrorList) {
    let apply = mutation.apply_configuration.as_ref().map(|patch| check::text(&patch.expression));
    let json = mutation.json_patch.as_ref().map(|patch| check::text(&patch.expression));
    let types = ["ApplyConfiguration", "JSONPatch"];
    let kind = mutation.patch_type.as_str();
    if !check::required(errors, &path.child("patchType"), kind) {
        return;
    }
    let (wanted, other) = match kind {
        "ApplyConfiguration" => (("applyConfiguration", apply), ("jsonPatch", json)),
        "JSONPatch" => (("jsonPatch", json), ("applyConfiguration", apply)),
        _ => {
            check::one_of(errors, &path.child("patchType"), kind, &types);
            return;
        }
    };
    match wanted {
        (field, None) => {
            let why = format!("must be specified when patchType is {kind}");
            errors.push(FieldError::required(&path.child(field), why));
        }
        (field, Some(text)) => {
            check::required(errors, &path.child(field).child("expression"), text.trim());
        }
    }
    if let (field, Some(_)) = other {
        let why = format!("must not be specified when patchType is {kind}");
        errors.push(FieldError::invalid(&path.child(field), format!("{{{field}}}"), why));
    }
}

/// Judges a binding of a mutating policy.
pub(in crate::validation) fn mutating_policy_binding(
    binding: &v1beta1::MutatingAdmissionPolicyBinding,
    errors: &mut ErrorList,
) {
    let spec = binding.spec.clone().unwrap_or_default();
    let params = spec.param_ref.as_ref().and_then(stable::<ParamRef>);
    let resources = spec.match_resources.as_ref().and_then(stable::<MatchResources>);
    bound(check::text(&spec.policy_name), params.as_ref(), resources.as_ref(), &Path::new("spec"), errors);
}
