//! Limit ranges and resource quotas.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem, ResourceQuota, ResourceQuotaSpec, ScopeSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as WireQuantity;

use super::pods::resources;
use super::{check, names};
use crate::field::{ErrorList, FieldError, Path};
use crate::quantity::{Format, Quantity};

type Amounts = Option<BTreeMap<String, WireQuantity>>;

/// Judges a limit range.
pub(super) fn limit_range(range: &LimitRange, errors: &mut ErrorList) {
    let list = Path::new("spec").child("limits");
    let mut seen = BTreeSet::new();
    for (index, item) in range.spec.iter().flat_map(|spec| spec.limits.iter()).enumerate() {
        let path = list.index(index);
        let kind = item.type_.as_str();
        let judged = names::qualified_name(kind);
        let qualified = judged.is_empty();
        check::invalid(errors, &path.child("type"), kind, judged);
        if qualified && !kind.contains('/') && !["Container", "PersistentVolumeClaim", "Pod"].contains(&kind) {
            let why = "must be a standard limit type or fully qualified";
            errors.push(FieldError::invalid(&path.child("type"), kind, why));
        }
        if !seen.insert(kind) {
            errors.push(FieldError::duplicate(&path.child("type"), kind));
        }
        limits(item, &path, errors);
    }
}

/// Reads amounts, judging names and numbers.
fn amounts(amounts: &Amounts, path: &Path, errors: &mut ErrorList) -> BTreeMap<String, Quantity> {
    let mut read = BTreeMap::new();
    for (name, amount) in amounts.iter().flatten() {
        let path = path.key(name);
        resources::name(name, &path, errors);
        if let Some(amount) = resources::amount(name, amount, &path, errors) {
            read.insert(name.clone(), amount);
        }
    }
    read
}

fn limits(item: &LimitRangeItem, path: &Path, errors: &mut ErrorList) {
    let max = amounts(&item.max, &path.child("max"), errors);
    let min = amounts(&item.min, &path.child("min"), errors);
    let default_path = path.child("default");
    let request_path = path.child("defaultRequest");
    if item.type_ == "Pod" {
        for (path, field) in [(&default_path, &item.default), (&request_path, &item.default_request)] {
            if field.as_ref().is_some_and(|field| !field.is_empty()) {
                errors.push(FieldError::forbidden(path, "may not be specified when `type` is 'Pod'"));
            }
        }
    }
    let default = amounts(&item.default, &default_path, errors);
    let request = amounts(&item.default_request, &request_path, errors);
    if item.type_ == "PersistentVolumeClaim" && !max.contains_key("storage") && !min.contains_key("storage") {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(FieldError::required(&path.child("limits"), why));
    }
    let mut ordered = |low: Option<&Quantity>, high: Option<&Quantity>, told: Told<'_>| {
        if let (Some(low), Some(high)) = (low, high)
            && low > high
        {
            let why = format!("{} {low} is greater than {} {high}", told.low, told.high);
            let shown = if told.shows_low { low } else { high };
            errors.push(FieldError::invalid(&told.path, shown.to_string(), why));
        }
    };
    let keys: BTreeSet<&String> = max.keys().chain(min.keys()).chain(default.keys()).chain(request.keys()).collect();
    for key in keys {
        let (min, max, default, request) = (min.get(key), max.get(key), default.get(key), request.get(key));
        let told = |path: &Path, low, high, shows_low| Told { path: path.key(key), low, high, shows_low };
        ordered(min, max, told(&path.child("min"), "min value", "max value", true));
        ordered(min, request, told(&request_path, "min value", "default request value", false));
        ordered(request, max, told(&request_path, "default request value", "max value", true));
        ordered(request, default, told(&request_path, "default request value", "default limit value", true));
        ordered(min, default, told(&default_path, "min value", "default value", true));
        ordered(default, max, told(&default_path, "default value", "max value", true));
    }
    let ratio_path = path.child("maxLimitRequestRatio");
    for (key, ratio) in amounts(&item.max_limit_request_ratio, &ratio_path, errors) {
        let path = ratio_path.key(&key);
        if ratio < Quantity::new(1, Format::DecimalSi) {
            errors.push(FieldError::invalid(&path, ratio.to_string(), format!("ratio {ratio} is less than 1")));
        }
        if let (Some(min), Some(max)) = (min.get(&key), max.get(&key))
            && !min.is_zero()
        {
            let limit = max.as_f64() / min.as_f64();
            if ratio.as_f64() > limit {
                let why = format!("ratio {ratio} is greater than max/min = {limit:.6}");
                errors.push(FieldError::invalid(&path, ratio.to_string(), why));
            }
        }
    }
}

/// How two amounts in the wrong order are told.
struct Told<'a> {
    path: Path,
    low: &'a str,
    high: &'a str,
    shows_low: bool,
}

const SCOPES: [&str; 7] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];

const POD_RESOURCES: [&str; 7] =
    ["pods", "cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];

/// Judges a resource quota.
pub(super) fn resource_quota(quota: &ResourceQuota, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = quota.spec.clone().unwrap_or_default();
    hard(&spec.hard, &path.child("hard"), errors);
    scopes(&spec, &path.child("scopes"), errors);
    if let Some(selector) = &spec.scope_selector {
        scope_selector(selector, &spec, &path.child("scopeSelector").child("matchExpressions"), errors);
    }
}

fn hard(amounts: &Amounts, path: &Path, errors: &mut ErrorList) {
    for (name, amount) in amounts.iter().flatten() {
        let path = path.key(name);
        let qualified = resources::name(name, &path, errors);
        if qualified && !name.contains('/') && !resources::is_standard_for_quota(name) {
            errors.push(FieldError::invalid(&path, name.as_str(), "must be a standard resource for quota"));
        }
        resources::amount(name, amount, &path, errors);
    }
}

/// Whether pods of a scope can be counted by a resource.
fn applies(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "NotBestEffort" | "Terminating" | "NotTerminating" | "PriorityClass" | "CrossNamespacePodAffinity" => {
            POD_RESOURCES.contains(&resource)
        }
        _ => true,
    }
}

fn scopes(spec: &ResourceQuotaSpec, path: &Path, errors: &mut ErrorList) {
    let scopes = spec.scopes.as_deref().unwrap_or_default();
    let mut refuse = |why: &str| errors.push(FieldError::invalid(path, scopes.to_vec(), why));
    for scope in scopes {
        if !SCOPES.contains(&scope.as_str()) {
            refuse("unsupported scope");
        }
        if spec.hard.iter().flatten().any(|(resource, _)| !applies(scope, resource)) {
            refuse("unsupported scope applied to resource");
        }
    }
    let has = |scope: &str| scopes.iter().any(|found| found == scope);
    if has("BestEffort") && has("NotBestEffort") || has("Terminating") && has("NotTerminating") {
        refuse("conflicting scopes");
    }
}

fn scope_selector(selector: &ScopeSelector, spec: &ResourceQuotaSpec, path: &Path, errors: &mut ErrorList) {
    for requirement in selector.match_expressions.iter().flatten() {
        let scope = requirement.scope_name.as_str();
        let operator = requirement.operator.as_str();
        let values = requirement.values.as_deref().unwrap_or_default();
        if !SCOPES.contains(&scope) {
            errors.push(FieldError::invalid(&path.child("scopeName"), scope, "unsupported scope"));
        }
        if spec.hard.iter().flatten().any(|(resource, _)| !applies(scope, resource)) {
            let why = "unsupported scope applied to resource";
            errors.push(FieldError::invalid(path, check::json(selector), why));
        }
        if !["PriorityClass", "VolumeAttributesClass"].contains(&scope) && operator != "Exists" {
            let why = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.push(FieldError::invalid(&path.child("operator"), operator, why));
        }
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(FieldError::required(&path.child("values"), why));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.push(FieldError::invalid(&path.child("values"), values.to_vec(), why));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => {
                let why = "not a valid selector operator";
                errors.push(FieldError::invalid(&path.child("operator"), operator, why));
            }
        }
    }
}

/// Judges an update of a resource quota.
pub(super) fn resource_quota_update(new: &ResourceQuota, old: &ResourceQuota, errors: &mut ErrorList) {
    let set = |quota: &ResourceQuota| -> BTreeSet<String> {
        quota.spec.iter().flat_map(|spec| spec.scopes.clone().unwrap_or_default()).collect()
    };
    check::immutable(errors, &Path::new("spec").child("scopes"), &set(new), &set(old));
}

/// Judges an update of the status of a resource quota.
pub(super) fn resource_quota_status(new: &ResourceQuota, _: &ResourceQuota, errors: &mut ErrorList) {
    let path = Path::new("status");
    let status = new.status.clone().unwrap_or_default();
    hard(&status.hard, &path.child("hard"), errors);
    hard(&status.used, &path.child("used"), errors);
}
