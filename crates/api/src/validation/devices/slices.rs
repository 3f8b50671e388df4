//! What drivers publish about the devices of nodes.

use std::collections::BTreeMap;

use k8s_openapi::api::resource::v1::{
    CapacityRequestPolicy, Counter, Device, DeviceAttribute, DeviceTaint, ResourcePool, ResourceSlice,
    ResourceSliceSpec,
};
use serde_json::Value;

use super::{TAINT_EFFECTS, allocation, fits, pool_name, qualified};
use crate::field::{ErrorList, FieldError, Path};
use crate::quantity::Quantity;
use crate::validation::semver::Version;
use crate::validation::storage::driver_name;
use crate::validation::{check, names, pods};

const MAX_DEVICES: usize = 128;
const MAX_ADVANCED_DEVICES: usize = 64;
const MAX_COUNTER_SETS: usize = 8;
const MAX_COUNTERS: usize = 32;
const MAX_CONSUMED_SETS: usize = 2;
const MAX_FACTS: usize = 32;
const MAX_TAINTS: usize = 16;
const MAX_TEXT: usize = 64;

/// Judges a new slice.
pub(in crate::validation) fn resource_slice(slice: &ResourceSlice, errors: &mut ErrorList) {
    slice_spec(&slice.spec, None, errors);
}

/// Judges an update of a slice.
pub(in crate::validation) fn resource_slice_update(new: &ResourceSlice, old: &ResourceSlice, errors: &mut ErrorList) {
    slice_spec(&new.spec, Some(&old.spec), errors);
    let path = Path::new("spec");
    let (new, old) = (&new.spec, &old.spec);
    check::immutable(errors, &path.child("pool").child("name"), &new.pool.name, &old.pool.name);
    check::immutable(errors, &path.child("driver"), &new.driver, &old.driver);
    check::immutable(errors, &path.child("nodeName"), &new.node_name, &old.node_name);
}

fn slice_spec(spec: &ResourceSliceSpec, old: Option<&ResourceSliceSpec>, errors: &mut ErrorList) {
    let path = Path::new("spec");
    driver_name(&spec.driver, &path.child("driver"), errors);
    pool(&spec.pool, &path.child("pool"), errors);
    nodes(spec, &path, errors);
    let devices = spec.devices.as_deref().unwrap_or_default();
    let sets = spec.shared_counters.as_deref().unwrap_or_default();
    if spec.shared_counters.is_some() && spec.devices.is_some() {
        errors.push(FieldError::invalid(&path, "", "only one of `sharedCounters` or `devices` is allowed"));
    }
    let is_advanced = |device: &Device| {
        device.taints.as_ref().is_some_and(|taints| !taints.is_empty())
            || device.consumes_counters.as_ref().is_some_and(|counters| !counters.is_empty())
    };
    let limit = if devices.iter().any(is_advanced) { MAX_ADVANCED_DEVICES } else { MAX_DEVICES };
    let list = path.child("devices");
    if fits(devices, limit, &list, errors) {
        for (index, found) in devices.iter().enumerate() {
            let before = old.and_then(|old| old.devices.iter().flatten().find(|device| device.name == found.name));
            device(found, before, spec.per_device_node_selection == Some(true), &list.index(index), errors);
        }
        let entries = devices.iter().enumerate();
        check::unique(errors, entries.map(|(index, device)| (list.index(index), device.name.as_str())));
    }
    let list = path.child("sharedCounters");
    if fits(sets, MAX_COUNTER_SETS, &list, errors) {
        for (index, set) in sets.iter().enumerate() {
            let path = list.index(index);
            check::required_name(errors, &path.child("name"), &set.name, names::dns_label);
            counters(&set.counters, &path.child("counters"), errors);
        }
        check::unique(errors, sets.iter().enumerate().map(|(index, set)| (list.index(index), set.name.as_str())));
    }
}

fn pool(pool: &ResourcePool, path: &Path, errors: &mut ErrorList) {
    pool_name(&pool.name, &path.child("name"), errors);
    if pool.resource_slice_count <= 0 {
        let path = path.child("resourceSliceCount");
        errors.push(FieldError::invalid(&path, pool.resource_slice_count, "must be greater than zero"));
    }
    if pool.generation < 0 {
        let why = "must be greater than or equal to zero";
        errors.push(FieldError::invalid(&path.child("generation"), pool.generation, why));
    }
}

/// Judges for which nodes a slice is; it must say so in one way.
fn nodes(spec: &ResourceSliceSpec, path: &Path, errors: &mut ErrorList) {
    let mut set: Vec<&str> = Vec::new();
    if let Some(name) = &spec.node_name {
        let path = path.child("nodeName");
        if name.is_empty() {
            errors.push(FieldError::invalid(&path, "", "must be either unset or set to a non-empty string"));
        } else {
            set.push("`nodeName`");
            check::invalid(errors, &path, name.as_str(), names::dns_subdomain(name));
        }
    }
    if let Some(selector) = &spec.node_selector {
        set.push("`nodeSelector`");
        let path = path.child("nodeSelector");
        pods::node_selector(selector, &path, errors);
        if selector.node_selector_terms.len() != 1 {
            let shown = check::json(&selector.node_selector_terms);
            let why = "must have exactly one node selector term";
            errors.push(FieldError::invalid(&path.child("nodeSelectorTerms"), shown, why));
        }
    }
    for (field, shown, value) in [
        ("allNodes", "`allNodes`", spec.all_nodes),
        ("perDeviceNodeSelection", "`perDeviceNodeSelection`", spec.per_device_node_selection),
    ] {
        if only_true(value, &path.child(field), errors) {
            set.push(shown);
        }
    }
    let why = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match set.len() {
        0 => errors.push(FieldError::required(path, why)),
        1 => {}
        _ => {
            let shown = format!("{{{}}}", set.join(", "));
            errors.push(FieldError::invalid(path, shown, format!("{why}, but multiple fields are set")));
        }
    }
}

fn only_true(value: Option<bool>, path: &Path, errors: &mut ErrorList) -> bool {
    if value == Some(false) {
        errors.push(FieldError::invalid(path, false, "must be either unset or set to true"));
    }
    value == Some(true)
}

fn device(device: &Device, old: Option<&Device>, chooses_nodes: bool, path: &Path, errors: &mut ErrorList) {
    check::invalid(errors, &path.child("name"), device.name.as_str(), names::dns_label(&device.name));
    let facts = device.attributes.as_ref().map_or(0, BTreeMap::len) + device.capacity.as_ref().map_or(0, BTreeMap::len);
    if facts > MAX_FACTS {
        let why = format!("the total number of attributes and capacities must not exceed {MAX_FACTS}");
        errors.push(FieldError::invalid(path, facts, why));
    }
    let list = path.child("attributes");
    for (name, found) in device.attributes.iter().flatten() {
        qualified(name, &list, errors);
        attribute(found, &list.key(name), errors);
    }
    if old.is_none_or(|old| old.capacity != device.capacity) {
        let list = path.child("capacity");
        for (name, found) in device.capacity.iter().flatten() {
            qualified(name, &list, errors);
            let path = list.key(name).child("requestPolicy");
            match &found.request_policy {
                Some(_) if device.allow_multiple_allocations != Some(true) => {
                    errors.push(FieldError::forbidden(&path, "allowMultipleAllocations must be true"));
                }
                Some(policy) => {
                    if let Some(capacity) = check::quantity(errors, &list.key(name).child("value"), &found.value) {
                        request_policy(policy, capacity, &path, errors);
                    }
                }
                None => {}
            }
        }
    }
    if old.is_none_or(|old| old.taints != device.taints) {
        taints(device.taints.as_deref().unwrap_or_default(), &path.child("taints"), errors);
    }
    let consumed = device.consumes_counters.as_deref().unwrap_or_default();
    let list = path.child("consumesCounters");
    if fits(consumed, MAX_CONSUMED_SETS, &list, errors) {
        for (index, found) in consumed.iter().enumerate() {
            let path = list.index(index);
            check::required_name(errors, &path.child("counterSet"), &found.counter_set, names::dns_label);
            counters(&found.counters, &path.child("counters"), errors);
        }
        let entries = consumed.iter().enumerate();
        check::unique(errors, entries.map(|(index, found)| (list.index(index), found.counter_set.as_str())));
    }
    device_nodes(device, chooses_nodes, path, errors);
    allocation::binding(
        device.binding_conditions.as_deref().unwrap_or_default(),
        device.binding_failure_conditions.as_deref().unwrap_or_default(),
        path,
        errors,
    );
}

/// Judges for which nodes a single device is, which only some slices leave open.
fn device_nodes(device: &Device, chooses_nodes: bool, path: &Path, errors: &mut ErrorList) {
    if !chooses_nodes {
        if device.node_name.is_some() || device.node_selector.is_some() || device.all_nodes.is_some() {
            let why = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
            errors.push(FieldError::invalid(path, Value::Null, why));
        }
        return;
    }
    let mut set: Vec<&str> = Vec::new();
    if let Some(name) = &device.node_name {
        let path = path.child("nodeName");
        if name.is_empty() {
            errors.push(FieldError::invalid(&path, "", "must not be empty"));
        } else {
            set.push("`nodeName`");
            check::invalid(errors, &path, name.as_str(), names::dns_subdomain(name));
        }
    }
    if let Some(selector) = &device.node_selector {
        set.push("`nodeSelector`");
        pods::node_selector(selector, &path.child("nodeSelector"), errors);
    }
    if only_true(device.all_nodes, &path.child("allNodes"), errors) {
        set.push("`allNodes`");
    }
    let why = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    match set.len() {
        0 => errors.push(FieldError::required(path, why)),
        1 => {}
        _ => errors.push(FieldError::invalid(path, format!("{{{}}}", set.join(", ")), why)),
    }
}

fn counters(counters: &BTreeMap<String, Counter>, path: &Path, errors: &mut ErrorList) {
    if counters.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if counters.len() > MAX_COUNTERS {
        errors.push(FieldError::too_many(path, counters.len(), MAX_COUNTERS));
    } else {
        for name in counters.keys() {
            check::invalid(errors, path, name.as_str(), names::dns_label(name));
        }
    }
}

fn attribute(attribute: &DeviceAttribute, path: &Path, errors: &mut ErrorList) {
    if check::text(&attribute.string).len() > MAX_TEXT {
        errors.push(FieldError::too_long(&path.child("string"), MAX_TEXT));
    }
    if let Some(version) = &attribute.version {
        let path = path.child("version");
        if Version::parse(version).is_none() {
            let why = "must be a string compatible with semver.org spec 2.0.0";
            errors.push(FieldError::invalid(&path, version.as_str(), why));
        }
        if version.len() > MAX_TEXT {
            errors.push(FieldError::too_long(&path, MAX_TEXT));
        }
    }
    let set =
        [attribute.bool.is_some(), attribute.int.is_some(), attribute.string.is_some(), attribute.version.is_some()];
    let why = "exactly one value must be specified";
    match set.into_iter().filter(|set| *set).count() {
        0 => errors.push(FieldError::invalid(path, "", why)),
        1 => {}
        _ => errors.push(FieldError::invalid(path, check::json(attribute), why)),
    }
}

fn taints(taints: &[DeviceTaint], list: &Path, errors: &mut ErrorList) {
    if !fits(taints, MAX_TAINTS, list, errors) {
        return;
    }
    for (index, taint) in taints.iter().enumerate() {
        let path = list.index(index);
        check::invalid(errors, &path.child("key"), taint.key.as_str(), names::label_key(&taint.key));
        let value = check::text(&taint.value);
        check::invalid(errors, &path.child("value"), value, names::label_value(value));
        check::required_one_of(errors, &path.child("effect"), &taint.effect, &TAINT_EFFECTS);
    }
}

/// Judges which parts of a capacity can be asked for.
fn request_policy(policy: &CapacityRequestPolicy, capacity: Quantity, path: &Path, errors: &mut ErrorList) {
    let values = policy.valid_values.as_deref().unwrap_or_default();
    if !values.is_empty() && policy.valid_range.is_some() {
        let why =
            "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
        errors.push(FieldError::forbidden(path, why));
        return;
    }
    let default = policy.default.as_ref().and_then(|wire| Quantity::from_k8s(wire).ok());
    let field = match (values.is_empty(), &policy.valid_range) {
        (true, None) => return,
        (false, _) => "validValues",
        (true, Some(_)) => "validRange",
    };
    let Some(default) = default else {
        let why = format!("required when {field} is defined");
        errors.push(FieldError::required(&path.child("default"), why));
        return;
    };
    let path = path.child(field);
    let read: Vec<Quantity> = values.iter().filter_map(|wire| Quantity::from_k8s(wire).ok()).collect();
    for (index, value) in read.iter().enumerate().filter(|(_, value)| **value > capacity) {
        let why = format!("option is larger than capacity value: {capacity}");
        errors.push(FieldError::invalid(&path.index(index), value.to_string(), why));
    }
    if !values.is_empty() && !read.contains(&default) {
        let why = "default value is not valid according to the requestPolicy";
        errors.push(FieldError::invalid(&path, default.to_string(), why));
    }
    let Some(range) = &policy.valid_range else {
        return;
    };
    let Ok(min) = Quantity::from_k8s(&range.min) else {
        errors.push(FieldError::required(&path.child("min"), "required when validRange is defined"));
        return;
    };
    let max = range.max.as_ref().and_then(|wire| Quantity::from_k8s(wire).ok());
    let mut refuse = |field: &str, shown: Quantity, why: String| {
        errors.push(FieldError::invalid(&path.child(field), shown.to_string(), why));
    };
    if min > capacity {
        refuse("min", min, format!("min is larger than capacity value: {capacity}"));
    }
    if default < min {
        refuse("default", default, format!("default is less than min: {min}"));
    }
    if let Some(max) = max {
        if min > max {
            refuse("max", min, format!("min is larger than max: {max}"));
        }
        if max > capacity {
            refuse("max", max, format!("max is larger than capacity value: {capacity}"));
        }
        if default > max {
            refuse("default", default, format!("default is more than max: {max}"));
        }
    }
}
