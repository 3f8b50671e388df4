//! Claims of devices, their templates and classes; slices and what is allocated have modules of their own.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::resource::v1::{
    DeviceClaim, DeviceClass, DeviceConstraint, DeviceRequest, DeviceSelector, DeviceToleration, ExactDeviceRequest,
    OpaqueDeviceConfiguration, ResourceClaim, ResourceClaimSpec, ResourceClaimTemplate,
};
use serde_json::Value;

use super::storage::driver_name;
use super::{check, metadata, names, pods};
use crate::field::{ErrorList, FieldError, Path};

mod allocation;
mod slices;
mod taint_rules;

pub(super) use allocation::claim_status;
pub(super) use slices::{resource_slice, resource_slice_update};
pub(super) use taint_rules::{taint_rule, taint_rule_status, taint_rule_update};

const MAX_ENTRIES: usize = 32;
const MAX_ALTERNATIVES: usize = 8;
/// The most bytes in an expression that selects devices.
pub const MAX_EXPRESSION: usize = 10 * 1024;
const MAX_PARAMETERS: usize = 10 * 1024;
const MAX_IDENTIFIER: usize = 32;

const TAINT_EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];

/// Whether a list is short enough; upstream does not look into one that is not.
fn fits<T>(list: &[T], limit: usize, path: &Path, errors: &mut ErrorList) -> bool {
    if list.len() > limit {
        errors.push(FieldError::too_many(path, list.len(), limit));
    }
    list.len() <= limit
}

/// Judges a claim.
pub(super) fn claim(claim: &ResourceClaim, errors: &mut ErrorList) {
    claim_spec(&claim.spec, &Path::new("spec"), errors);
}

/// Judges an update of a claim.
pub(super) fn claim_update(new: &ResourceClaim, old: &ResourceClaim, errors: &mut ErrorList) {
    check::immutable(errors, &Path::new("spec"), &new.spec, &old.spec);
}

/// Judges a template of claims.
pub(super) fn template(template: &ResourceClaimTemplate, errors: &mut ErrorList) {
    let path = Path::new("spec");
    if let Some(meta) = &template.spec.metadata {
        metadata::template(meta, &path.child("metadata"), errors);
    }
    claim_spec(&template.spec.spec, &path.child("spec"), errors);
}

/// Judges an update of a template of claims.
pub(super) fn template_update(new: &ResourceClaimTemplate, old: &ResourceClaimTemplate, errors: &mut ErrorList) {
    check::immutable(errors, &Path::new("spec"), &new.spec, &old.spec);
}

/// The requests of a claim, with what each would be content with.
type Requests<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

fn requests_of(claim: &DeviceClaim) -> Requests<'_> {
    let requests = claim.requests.iter().flatten();
    requests
        .map(|request| {
            let alternatives = request.first_available.iter().flatten().map(|alternative| alternative.name.as_str());
            (request.name.as_str(), alternatives.collect())
        })
        .collect()
}

fn claim_spec(spec: &ResourceClaimSpec, path: &Path, errors: &mut ErrorList) {
    let Some(claim) = &spec.devices else {
        return;
    };
    let path = path.child("devices");
    let known = requests_of(claim);
    let requests = claim.requests.as_deref().unwrap_or_default();
    let list = path.child("requests");
    if fits(requests, MAX_ENTRIES, &list, errors) {
        for (index, request) in requests.iter().enumerate() {
            device_request(request, &list.index(index), errors);
        }
        let entries = requests.iter().enumerate();
        check::unique(errors, entries.map(|(index, request)| (list.index(index), request.name.as_str())));
    }
    let constraints = claim.constraints.as_deref().unwrap_or_default();
    let list = path.child("constraints");
    if fits(constraints, MAX_ENTRIES, &list, errors) {
        for (index, found) in constraints.iter().enumerate() {
            constraint(found, &known, &list.index(index), errors);
        }
    }
    let configurations = claim.config.as_deref().unwrap_or_default();
    let list = path.child("config");
    if fits(configurations, MAX_ENTRIES, &list, errors) {
        for (index, found) in configurations.iter().enumerate() {
            let path = list.index(index);
            references(found.requests.as_deref(), &known, &path.child("requests"), errors);
            configuration(found.opaque.as_ref(), &path, errors);
        }
    }
}

fn device_request(request: &DeviceRequest, path: &Path, errors: &mut ErrorList) {
    check::invalid(errors, &path.child("name"), request.name.as_str(), names::dns_label(&request.name));
    let alternatives = request.first_available.as_deref().unwrap_or_default();
    match (&request.exactly, alternatives.is_empty()) {
        (None, true) => {
            let why = "exactly one of `exactly` or `firstAvailable` is required";
            errors.push(FieldError::required(path, why));
        }
        (Some(_), false) => {
            let why = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.push(FieldError::invalid(path, Value::Null, why));
        }
        (Some(exactly), true) => exact(exactly, &path.child("exactly"), errors),
        (None, false) => {
            let list = path.child("firstAvailable");
            if !fits(alternatives, MAX_ALTERNATIVES, &list, errors) {
                return;
            }
            for (index, found) in alternatives.iter().enumerate() {
                let path = list.index(index);
                check::invalid(errors, &path.child("name"), found.name.as_str(), names::dns_label(&found.name));
                let request = ExactDeviceRequest {
                    allocation_mode: found.allocation_mode.clone(),
                    count: found.count,
                    device_class_name: found.device_class_name.clone(),
                    selectors: found.selectors.clone(),
                    tolerations: found.tolerations.clone(),
                    ..ExactDeviceRequest::default()
                };
                exact(&request, &path, errors);
            }
            let entries = alternatives.iter().enumerate();
            check::unique(errors, entries.map(|(index, found)| (list.index(index), found.name.as_str())));
        }
    }
}

fn exact(request: &ExactDeviceRequest, path: &Path, errors: &mut ErrorList) {
    check::required_name(errors, &path.child("deviceClassName"), &request.device_class_name, names::dns_subdomain);
    selectors(request.selectors.as_deref().unwrap_or_default(), &path.child("selectors"), errors);
    let count = request.count.unwrap_or(0);
    match check::text(&request.allocation_mode) {
        "All" if count != 0 => {
            let why = "must not be specified when allocationMode is 'All'";
            errors.push(FieldError::invalid(&path.child("count"), count, why));
        }
        "ExactCount" if count <= 0 => {
            errors.push(FieldError::invalid(&path.child("count"), count, "must be greater than zero"));
        }
        mode => check::one_of(errors, &path.child("allocationMode"), mode, &["All", "ExactCount"]),
    }
    tolerations(request.tolerations.as_deref().unwrap_or_default(), &path.child("tolerations"), errors);
}

fn selectors(selectors: &[DeviceSelector], list: &Path, errors: &mut ErrorList) {
    if !fits(selectors, MAX_ENTRIES, list, errors) {
        return;
    }
    for (index, selector) in selectors.iter().enumerate() {
        let path = list.index(index).child("cel");
        match &selector.cel {
            None => errors.push(FieldError::required(&path, "")),
            Some(cel) if cel.expression.len() > MAX_EXPRESSION => {
                errors.push(FieldError::too_long(&path.child("expression"), MAX_EXPRESSION));
            }
            Some(_) => {}
        }
    }
}

fn tolerations(tolerations: &[DeviceToleration], list: &Path, errors: &mut ErrorList) {
    for (index, toleration) in tolerations.iter().enumerate() {
        let path = list.index(index);
        check::optional_name(errors, &path.child("key"), check::text(&toleration.key), names::label_key);
        let value = check::text(&toleration.value);
        match check::text(&toleration.operator) {
            "Exists" => {
                if !value.is_empty() {
                    let why = "must be empty for operator `Exists`";
                    errors.push(FieldError::invalid(&path.child("value"), value, why));
                }
            }
            "Equal" => check::invalid(errors, &path.child("value"), value, names::label_value(value)),
            operator => check::required_one_of(errors, &path.child("operator"), operator, &["Equal", "Exists"]),
        }
        let effect = check::text(&toleration.effect);
        if !effect.is_empty() {
            check::one_of(errors, &path.child("effect"), effect, &TAINT_EFFECTS);
        }
    }
}

fn constraint(constraint: &DeviceConstraint, known: &Requests<'_>, path: &Path, errors: &mut ErrorList) {
    references(constraint.requests.as_deref(), known, &path.child("requests"), errors);
    match (&constraint.match_attribute, &constraint.distinct_attribute) {
        (Some(attribute), _) => fully_qualified(attribute, &path.child("matchAttribute"), errors),
        (None, Some(attribute)) => fully_qualified(attribute, &path.child("distinctAttribute"), errors),
        (None, None) => errors.push(FieldError::required(&path.child("matchAttribute"), "")),
    }
}

/// Names of requests, or of what they would be content with.
fn references(list: Option<&[String]>, known: &Requests<'_>, path: &Path, errors: &mut ErrorList) {
    let list = list.unwrap_or_default();
    if !fits(list, MAX_ENTRIES, path, errors) {
        return;
    }
    for (index, name) in list.iter().enumerate() {
        reference(name, known, &path.index(index), errors);
    }
    check::unique(errors, list.iter().enumerate().map(|(index, name)| (path.index(index), name.as_str())));
}

fn reference(name: &str, known: &Requests<'_>, path: &Path, errors: &mut ErrorList) {
    let why = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
    let parts: Vec<&str> = name.split('/').collect();
    let found = match parts.as_slice() {
        [request] => known.contains_key(request),
        [request, alternative] => known.get(request).is_some_and(|all| all.contains(alternative)),
        _ => {
            errors.push(FieldError::invalid(path, name, why));
            return;
        }
    };
    for part in &parts {
        check::invalid(errors, path, *part, names::dns_label(part));
    }
    if !found {
        errors.push(FieldError::invalid(path, name, why));
    }
}

fn configuration(opaque: Option<&OpaqueDeviceConfiguration>, path: &Path, errors: &mut ErrorList) {
    let path = path.child("opaque");
    let Some(opaque) = opaque else {
        errors.push(FieldError::required(&path, ""));
        return;
    };
    driver_name(&opaque.driver, &path.child("driver"), errors);
    raw(&opaque.parameters.0, MAX_PARAMETERS, &path.child("parameters"), errors);
}

/// An object of which only the driver knows the fields.
fn raw(value: &Value, limit: usize, path: &Path, errors: &mut ErrorList) {
    match value {
        Value::Null => errors.push(FieldError::required(path, "")),
        _ if value.to_string().len() > limit => errors.push(FieldError::too_long(path, limit)),
        Value::Object(_) => {}
        _ => errors.push(FieldError::invalid(path, "<value omitted>", "must be a valid JSON object")),
    }
}

/// The name of an attribute or a capacity; without a domain it is the driver's.
fn qualified(name: &str, path: &Path, errors: &mut ErrorList) {
    let identifier = |name: &str, errors: &mut ErrorList| {
        if name.len() > MAX_IDENTIFIER {
            errors.push(FieldError::too_long(path, MAX_IDENTIFIER));
        }
        check::invalid(errors, path, name, names::c_identifier(name));
    };
    match name.split('/').collect::<Vec<_>>().as_slice() {
        [name] => identifier(name, errors),
        [domain, name] => {
            if domain.is_empty() {
                errors.push(FieldError::invalid(path, "", "the domain must not be empty"));
            } else {
                driver_name(domain, path, errors);
            }
            if name.is_empty() {
                errors.push(FieldError::invalid(path, "", "the name must not be empty"));
            } else {
                identifier(name, errors);
            }
        }
        _ => {}
    }
}

fn fully_qualified(name: &str, path: &Path, errors: &mut ErrorList) {
    qualified(name, path, errors);
    if !name.contains('/') {
        let why = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(FieldError::invalid(path, name, why));
    }
}

/// The name of a pool: domains separated by slashes.
fn pool_name(name: &str, path: &Path, errors: &mut ErrorList) {
    if !check::required(errors, path, name) {
        return;
    }
    if name.len() > 253 {
        errors.push(FieldError::too_long(path, 253));
    }
    for part in name.split('/') {
        check::invalid(errors, path, part, names::dns_subdomain(part));
    }
}

/// Judges a class of devices.
pub(super) fn device_class(class: &DeviceClass, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = &class.spec;
    selectors(spec.selectors.as_deref().unwrap_or_default(), &path.child("selectors"), errors);
    let configurations = spec.config.as_deref().unwrap_or_default();
    let list = path.child("config");
    if fits(configurations, MAX_ENTRIES, &list, errors) {
        for (index, found) in configurations.iter().enumerate() {
            configuration(found.opaque.as_ref(), &list.index(index), errors);
        }
    }
    if let Some(name) = spec.extended_resource_name.as_deref().filter(|name| !pods::resources::is_extended(name)) {
        let why = "must be a valid extended resource name";
        errors.push(FieldError::invalid(&path.child("extendedResourceName"), name, why));
    }
}
