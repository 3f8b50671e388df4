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

/// Reads amounts, judging their names; what runs in pods has the names of containers' resources.
fn amounts(kind: &str, amounts: &Amounts, path: &Path, errors: &mut ErrorList) -> BTreeMap<String, Quantity> {
    let mut read = BTreeMap::new();
    for (name, amount) in amounts.iter().flatten() {
        let path = path.key(name);
        if ["Container", "Pod"].contains(&kind) {
            resources::container_name(name, &path, errors);
        } else {
            resources::name(name, &path, errors);
        }
        if let Some(amount) = check::quantity(errors, &path, amount) {
            read.insert(name.clone(), amount);
        }
    }
    read
}

fn limits(item: &LimitRangeItem, path: &Path, errors: &mut ErrorList) {
    let kind = item.type_.as_str();
    let max = amounts(kind, &item.max, &path.child("max"), errors);
    let min = amounts(kind, &item.min, &path.child("min"), errors);
    let default_path = path.child("default");
    let request_path = path.child("defaultRequest");
    let mut default = BTreeMap::new();
    let mut request = BTreeMap::new();
    for (path, field, read) in
        [(&default_path, &item.default, &mut default), (&request_path, &item.default_request, &mut request)]
    {
        if kind != "Pod" {
            *read = amounts(kind, field, path, errors);
        } else if field.as_ref().is_some_and(|field| !field.is_empty()) {
            errors.push(FieldError::forbidden(path, "may not be specified when `type` is 'Pod'"));
        }
    }
    if kind == "PersistentVolumeClaim" && !max.contains_key("storage") && !min.contains_key("storage") {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(FieldError::required(&path.child("limits"), why));
    }
    let ratio_path = path.child("maxLimitRequestRatio");
    let ratios = amounts(kind, &item.max_limit_request_ratio, &ratio_path, errors);
    let keys: BTreeSet<&String> =
        max.keys().chain(min.keys()).chain(default.keys()).chain(request.keys()).chain(ratios.keys()).collect();
    for key in keys {
        let (min, max, default, request) = (min.get(key), max.get(key), default.get(key), request.get(key));
        let told = |path: &Path, low, high, shows_low| Told { path: path.key(key), low, high, shows_low };
        ordered(min, max, told(&path.child("min"), "min value", "max value", true), errors);
        ordered(min, request, told(&request_path, "min value", "default request value", false), errors);
        ordered(request, max, told(&request_path, "default request value", "max value", true), errors);
        ordered(request, default, told(&request_path, "default request value", "default limit value", true), errors);
        ordered(min, default, told(&default_path, "min value", "default value", true), errors);
        ordered(default, max, told(&default_path, "default value", "max value", false), errors);
        if let Some(ratio) = ratios.get(key) {
            self::ratio(ratio, min, max, &ratio_path.key(key), errors);
        }
        if let (Some(default), Some(request)) = (default, request)
            && default != request
            && !resources::can_overcommit(key)
        {
            let why = format!("default value {default} must equal to defaultRequest value {request} in {key}");
            errors.push(FieldError::invalid(&request_path.key(key), request.to_string(), why));
        }
    }
}

/// How much more than its request a limit may be.
fn ratio(ratio: &Quantity, min: Option<&Quantity>, max: Option<&Quantity>, path: &Path, errors: &mut ErrorList) {
    if *ratio < Quantity::new(1, Format::DecimalSi) {
        errors.push(FieldError::invalid(path, ratio.to_string(), format!("ratio {ratio} is less than 1")));
    }
    if let (Some(min), Some(max)) = (min, max)
        && !min.is_zero()
    {
        let limit = max.as_f64() / min.as_f64();
        if ratio.as_f64() > limit {
            let why = format!("ratio {ratio} is greater than max/min = {limit:.6}");
            errors.push(FieldError::invalid(path, ratio.to_string(), why));
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

fn ordered(low: Option<&Quantity>, high: Option<&Quantity>, told: Told<'_>, errors: &mut ErrorList) {
    if let (Some(low), Some(high)) = (low, high)
        && low > high
    {
        let why = format!("{} {low} is greater than {} {high}", told.low, told.high);
        let shown = if told.shows_low { low } else { high };
        errors.push(FieldError::invalid(&told.path, shown.to_string(), why));
    }
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

/// Scopes that a pod has or has not, without a value.
const EXISTING_SCOPES: [&str; 5] =
    ["BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "Terminating"];

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
        resources::name(name, &path, errors);
        if !name.contains('/') && !resources::is_standard_for_quota(name) {
            errors.push(FieldError::invalid(&path, name.as_str(), "must be a standard resource for quota"));
        }
        resources::amount(name, amount, &path, errors);
    }
}

/// Whether pods of a scope can be counted by a resource; of what is no standard resource nobody knows.
fn applies(scope: &str, resource: &str) -> bool {
    match scope {
        _ if !resources::is_standard_for_quota(resource) => true,
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
    for _ in conflicts(scopes.iter().map(String::as_str)) {
        refuse("conflicting scopes");
    }
}

/// The pairs of scopes that exclude each other and are both there.
fn conflicts<'a>(scopes: impl Iterator<Item = &'a str> + Clone) -> impl Iterator<Item = [&'static str; 2]> {
    let pairs = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];
    pairs.into_iter().filter(move |pair| pair.iter().all(|scope| scopes.clone().any(|found| found == *scope)))
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
        if EXISTING_SCOPES.contains(&scope) && operator != "Exists" {
            let why = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
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
    let names = selector.match_expressions.iter().flatten().map(|requirement| requirement.scope_name.as_str());
    for _ in conflicts(names) {
        errors.push(FieldError::invalid(path, check::json(&spec.scopes), "conflicting scopes"));
    }
}

/// Judges an update of a resource quota.
pub(super) fn resource_quota_update(new: &ResourceQuota, old: &ResourceQuota, errors: &mut ErrorList) {
    let set = |quota: &ResourceQuota| -> BTreeSet<String> {
        quota.spec.iter().flat_map(|spec| spec.scopes.clone().unwrap_or_default()).collect()
    };
    if set(new) != set(old) {
        let shown = check::json(&new.spec.as_ref().and_then(|spec| spec.scopes.clone()).unwrap_or_default());
        errors.push(FieldError::invalid(&Path::new("spec").child("scopes"), shown, check::IMMUTABLE));
    }
}

/// Judges an update of the status of a resource quota.
pub(super) fn resource_quota_status(new: &ResourceQuota, _: &ResourceQuota, errors: &mut ErrorList) {
    let path = Path::new("status");
    let status = new.status.clone().unwrap_or_default();
    hard(&status.hard, &path.child("hard"), errors);
    hard(&status.used, &path.child("used"), errors);
}
