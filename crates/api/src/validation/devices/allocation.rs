//! What a claim was given, and by whom it is used.

use std::collections::BTreeSet;

use k8s_openapi::api::resource::v1::{
    AllocatedDeviceStatus, AllocationResult, DeviceAllocationResult, DeviceRequestAllocationResult, NetworkDeviceData,
    ResourceClaim,
};

use super::{Requests, configuration, fits, pool_name, raw, reference, references, requests_of, tolerations};
use crate::field::{ErrorList, FieldError, Path};
use crate::validation::storage::driver_name;
use crate::validation::{check, names, pods};

const MAX_USERS: usize = 256;
const MAX_RESULTS: usize = 32;
const MAX_CONFIGURATIONS: usize = 64;
const MAX_CONDITIONS: usize = 8;
const MAX_BINDING_CONDITIONS: usize = 4;
const MAX_DATA: usize = 10 * 1024;
const MAX_ADDRESSES: usize = 16;

/// Judges an update of the status of a claim.
pub(in crate::validation) fn claim_status(new: &ResourceClaim, old: &ResourceClaim, errors: &mut ErrorList) {
    let path = Path::new("status");
    let deleting = new.metadata.deletion_timestamp.is_some();
    let known = new.spec.devices.as_ref().map(requests_of).unwrap_or_default();
    let (now, before) = (new.status.clone().unwrap_or_default(), old.status.clone().unwrap_or_default());
    let users = now.reserved_for.as_deref().unwrap_or_default();
    let users_path = path.child("reservedFor");
    if fits(users, MAX_USERS, &users_path, errors) {
        for (index, user) in users.iter().enumerate() {
            let path = users_path.index(index);
            for (field, value) in [("resource", &user.resource), ("name", &user.name), ("uid", &user.uid)] {
                check::required(errors, &path.child(field), value);
            }
        }
        let entries = users.iter().enumerate();
        check::unique(errors, entries.map(|(index, user)| (users_path.index(index), user.uid.as_str())));
    }
    let devices = now.devices.as_deref().unwrap_or_default();
    let list = path.child("devices");
    let allocated = now.allocation.as_ref().map(allocated).unwrap_or_default();
    for (index, device) in devices.iter().enumerate() {
        device_status(device, &allocated, &list.index(index), errors);
    }
    let ids: Vec<String> = devices.iter().map(id_of).collect();
    check::unique(errors, ids.iter().enumerate().map(|(index, id)| (list.index(index), id.as_str())));
    if !users.is_empty() {
        let had = before.reserved_for.as_deref().unwrap_or_default();
        if now.allocation.is_none() {
            let why = "may not be specified when `allocated` is not set";
            errors.push(FieldError::forbidden(&users_path, why));
        } else if deleting && users.iter().any(|user| !had.contains(user)) {
            let why = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            errors.push(FieldError::forbidden(&users_path, why));
        }
    }
    let path = path.child("allocation");
    match (&now.allocation, &before.allocation) {
        (Some(now), Some(before)) => check::immutable(errors, &path, now, before),
        (Some(now), None) => allocation(now, &known, &path, errors),
        (None, _) => {}
    }
}

fn id(driver: &str, pool: &str, device: &str, share: Option<&str>) -> String {
    let share = share.map(|share| format!("/{share}")).unwrap_or_default();
    format!("{driver}/{pool}/{device}{share}")
}

fn id_of(device: &AllocatedDeviceStatus) -> String {
    id(&device.driver, &device.pool, &device.device, device.share_id.as_deref())
}

fn allocated(allocation: &AllocationResult) -> BTreeSet<String> {
    let results = allocation.devices.iter().flat_map(|devices| devices.results.iter().flatten());
    results.map(|found| id(&found.driver, &found.pool, &found.device, found.share_id.as_deref())).collect()
}

fn allocation(allocation: &AllocationResult, known: &Requests<'_>, path: &Path, errors: &mut ErrorList) {
    if let Some(devices) = &allocation.devices {
        device_results(devices, known, &path.child("devices"), errors);
    }
    if let Some(selector) = &allocation.node_selector {
        pods::node_selector(selector, &path.child("nodeSelector"), errors);
    }
}

fn device_results(devices: &DeviceAllocationResult, known: &Requests<'_>, path: &Path, errors: &mut ErrorList) {
    let results = devices.results.as_deref().unwrap_or_default();
    let list = path.child("results");
    if fits(results, MAX_RESULTS, &list, errors) {
        for (index, found) in results.iter().enumerate() {
            result(found, known, &list.index(index), errors);
        }
    }
    let configurations = devices.config.as_deref().unwrap_or_default();
    let list = path.child("config");
    if fits(configurations, MAX_CONFIGURATIONS, &list, errors) {
        for (index, found) in configurations.iter().enumerate() {
            let path = list.index(index);
            let sources = ["FromClaim", "FromClass"];
            check::required_one_of(errors, &path.child("source"), &found.source, &sources);
            references(found.requests.as_deref(), known, &path.child("requests"), errors);
            configuration(found.opaque.as_ref(), &path, errors);
        }
    }
}

fn result(result: &DeviceRequestAllocationResult, known: &Requests<'_>, path: &Path, errors: &mut ErrorList) {
    reference(&result.request, known, &path.child("request"), errors);
    driver_name(&result.driver, &path.child("driver"), errors);
    pool_name(&result.pool, &path.child("pool"), errors);
    check::invalid(errors, &path.child("device"), result.device.as_str(), names::dns_label(&result.device));
    binding(
        result.binding_conditions.as_deref().unwrap_or_default(),
        result.binding_failure_conditions.as_deref().unwrap_or_default(),
        path,
        errors,
    );
    tolerations(result.tolerations.as_deref().unwrap_or_default(), &path.child("tolerations"), errors);
    share_id(result.share_id.as_deref(), path, errors);
}

fn share_id(share: Option<&str>, path: &Path, errors: &mut ErrorList) {
    let Some(share) = share else {
        return;
    };
    let path = path.child("shareID");
    let has_form = share.len() == 36
        && share.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    if !has_form {
        errors.push(FieldError::invalid(&path, share, "error validating uid: invalid UUID format"));
    } else if share != share.to_lowercase() {
        let why = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters";
        errors.push(FieldError::invalid(&path, share, why));
    }
}

/// Conditions that must be there, or must not, before a pod is bound.
pub(super) fn binding(conditions: &[String], failures: &[String], path: &Path, errors: &mut ErrorList) {
    let (conditions_path, failures_path) = (path.child("bindingConditions"), path.child("bindingFailureConditions"));
    for (list, path) in [(conditions, &conditions_path), (failures, &failures_path)] {
        if fits(list, MAX_BINDING_CONDITIONS, path, errors) {
            for (index, name) in list.iter().enumerate() {
                check::invalid(errors, &path.index(index), name.as_str(), names::label_key(name));
            }
        }
        check::unique(errors, list.iter().enumerate().map(|(index, name)| (path.index(index), name.as_str())));
    }
    for (index, name) in failures.iter().enumerate().filter(|(_, name)| conditions.contains(name)) {
        let why = "bindingFailureConditions must not overlap with bindingConditions";
        errors.push(FieldError::invalid(&failures_path.index(index), name.as_str(), why));
    }
    if conditions.is_empty() && !failures.is_empty() {
        let why = "bindingConditions are required to use bindingFailureConditions";
        errors.push(FieldError::invalid(&conditions_path, conditions.to_vec(), why));
    }
    if failures.is_empty() && !conditions.is_empty() {
        let why = "bindingFailureConditions are required to use bindingConditions";
        errors.push(FieldError::invalid(&failures_path, failures.to_vec(), why));
    }
}

fn device_status(device: &AllocatedDeviceStatus, allocated: &BTreeSet<String>, path: &Path, errors: &mut ErrorList) {
    driver_name(&device.driver, &path.child("driver"), errors);
    pool_name(&device.pool, &path.child("pool"), errors);
    check::invalid(errors, &path.child("device"), device.device.as_str(), names::dns_label(&device.device));
    share_id(device.share_id.as_deref(), path, errors);
    let id = id_of(device);
    if !allocated.contains(&id) {
        errors.push(FieldError::invalid(path, id, "must be an allocated device in the claim"));
    }
    let conditions = device.conditions.as_deref().unwrap_or_default();
    fits(conditions, MAX_CONDITIONS, &path.child("conditions"), errors);
    check::conditions(errors, &path.child("conditions"), conditions);
    if let Some(data) = &device.data {
        raw(&data.0, MAX_DATA, &path.child("data"), errors);
    }
    if let Some(data) = &device.network_data {
        network_data(data, &path.child("networkData"), errors);
    }
}

fn network_data(data: &NetworkDeviceData, path: &Path, errors: &mut ErrorList) {
    for (field, text, limit) in
        [("interfaceName", &data.interface_name, 256), ("hardwareAddress", &data.hardware_address, 128)]
    {
        if check::text(text).len() > limit {
            errors.push(FieldError::too_long(&path.child(field), limit));
        }
    }
    let addresses = data.ips.as_deref().unwrap_or_default();
    let list = path.child("ips");
    if !fits(addresses, MAX_ADDRESSES, &list, errors) {
        return;
    }
    for (index, address) in addresses.iter().enumerate() {
        let judged = names::interface_address(address);
        check::invalid(errors, &list.index(index), address.as_str(), judged);
    }
    check::unique(errors, addresses.iter().enumerate().map(|(index, address)| (list.index(index), address.as_str())));
}
