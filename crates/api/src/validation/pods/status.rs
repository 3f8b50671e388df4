//! What a node or a scheduler may say about a pod.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{
    Container, ContainerStatus, Pod, PodExtendedResourceClaimStatus, PodSpec, PodStatus, ResourceStatus,
};
use serde::Serialize;

use super::update::annotation_update;
use crate::field::{ErrorList, FieldError, Path};
use crate::validation::{check, names};

/// Conditions that are Kubernetes' own.
const SYSTEM_CONDITIONS: [&str; 3] = ["Initialized", "PodScheduled", "Ready"];
const HEALTH: [&str; 3] = ["Healthy", "Unhealthy", "Unknown"];

const NO_RESTART: &str = "may not be transitioned to non-terminated state";

/// Judges an update of the status of a pod.
pub(in crate::validation) fn pod_status(new: &Pod, old: &Pod, errors: &mut ErrorList) {
    annotation_update(new, old, errors);
    let path = Path::new("status");
    let (spec, before) = (new.spec.clone().unwrap_or_default(), old.status.clone().unwrap_or_default());
    let was_bound = old.spec.as_ref().is_some_and(|spec| !check::text(&spec.node_name).is_empty());
    let Some(status) = &new.status else {
        return;
    };
    conditions(status, &path.child("conditions"), errors);
    nomination(status, &before, was_bound, &path.child("nominatedNodeName"), errors);
    generation(status.observed_generation, &path, errors);
    check::immutable(errors, &path.child("qosClass"), check::text(&status.qos_class), check::text(&before.qos_class));
    restarts(status, &before, &spec, &path, errors);
    claims(status, &spec, &path.child("resourceClaimStatuses"), errors);
    if let Some(found) = &status.extended_resource_claim_status {
        extended_claim(found, &spec, &path.child("extendedResourceClaimStatus"), errors);
    }
    let ips: Vec<&str> = status.pod_ips.iter().flatten().map(|found| found.ip.as_str()).collect();
    addresses(&ips, &status.pod_ips, &path.child("podIPs"), errors);
    let ips: Vec<&str> = status.host_ips.iter().flatten().map(|found| found.ip.as_str()).collect();
    let ips_path = path.child("hostIPs");
    if let Some(first) = ips.first().filter(|first| **first != check::text(&status.host_ip)) {
        errors.push(FieldError::invalid(&ips_path.index(0).child("ip"), *first, "must be equal to `hostIP`"));
    }
    addresses(&ips, &status.host_ips, &ips_path, errors);
    let lists = [
        ("containerStatuses", &status.container_statuses),
        ("initContainerStatuses", &status.init_container_statuses),
        ("ephemeralContainerStatuses", &status.ephemeral_container_statuses),
    ];
    for (list, statuses) in lists {
        users(statuses.as_deref(), &spec, &path.child(list), errors);
    }
    let containers = [Some(&spec.containers), spec.init_containers.as_ref(), None];
    for ((list, statuses), containers) in lists.into_iter().zip(containers) {
        for (index, status) in statuses.iter().flatten().enumerate() {
            let path = path.child(list).index(index).child("allocatedResourcesStatus");
            let found = status.allocated_resources_status.as_deref().unwrap_or_default();
            match containers {
                Some(containers) => {
                    let container = containers.iter().find(|container| container.name == status.name);
                    allocated(found, container, &path, errors);
                }
                None if !found.is_empty() => {
                    errors.push(FieldError::forbidden(&path, "must not be specified in container status"));
                }
                None => {}
            }
        }
    }
}

fn generation(generation: Option<i64>, path: &Path, errors: &mut ErrorList) {
    if let Some(generation) = generation.filter(|generation| *generation < 0) {
        let why = "must be a non-negative integer";
        errors.push(FieldError::invalid(&path.child("observedGeneration"), generation, why));
    }
}

fn conditions(status: &PodStatus, list: &Path, errors: &mut ErrorList) {
    for (index, condition) in status.conditions.iter().flatten().enumerate() {
        let path = list.index(index);
        generation(condition.observed_generation, &path, errors);
        if !SYSTEM_CONDITIONS.contains(&condition.type_.as_str()) {
            // The capital letter is upstream's.
            let judged = names::qualified_name(&condition.type_);
            check::invalid(errors, &path.child("Type"), condition.type_.as_str(), judged);
        }
    }
}

/// What is bound has no other node to wait for.
fn nomination(new: &PodStatus, old: &PodStatus, was_bound: bool, path: &Path, errors: &mut ErrorList) {
    let name = check::text(&new.nominated_node_name);
    if name.is_empty() || name == check::text(&old.nominated_node_name) {
        return;
    }
    check::invalid(errors, path, name, names::dns_subdomain(name));
    if was_bound {
        errors.push(FieldError::forbidden(path, "may not be set on pods that are already bound to a node"));
    }
}

/// Judges which containers run again after their end.
fn restarts(new: &PodStatus, old: &PodStatus, spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let of_pod = check::text(&spec.restart_policy);
    let none: &[Container] = &[];
    let lists = [
        ("containerStatuses", &new.container_statuses, &old.container_statuses, spec.containers.as_slice()),
        (
            "initContainerStatuses",
            &new.init_container_statuses,
            &old.init_container_statuses,
            spec.init_containers.as_deref().unwrap_or_default(),
        ),
        ("ephemeralContainerStatuses", &new.ephemeral_container_statuses, &old.ephemeral_container_statuses, none),
    ];
    for (list, new, old, containers) in lists {
        let terminated = |status: &ContainerStatus| status.state.as_ref().and_then(|state| state.terminated.clone());
        for (index, before) in old.iter().flatten().enumerate() {
            let Some(ended) = terminated(before) else { continue };
            let now = new.iter().flatten().find(|now| now.name == before.name && terminated(now).is_none());
            let container = containers.iter().find(|container| container.name == before.name);
            if now.is_some() && !container.is_some_and(|container| may_restart(container, of_pod, ended.exit_code)) {
                errors.push(FieldError::forbidden(&path.child(list).index(index).child("state"), NO_RESTART));
            }
        }
    }
}

/// Whether a container that ended so is started again: its own rules go before its policy and that of the pod.
fn may_restart(container: &Container, of_pod: &str, exit_code: i32) -> bool {
    let policy = match &container.restart_policy {
        Some(own) => {
            let fits = |rule: &k8s_openapi::api::core::v1::ContainerRestartRule| {
                let codes = rule.exit_codes.as_ref();
                codes.is_some_and(|codes| {
                    let is_in = codes.values.iter().flatten().any(|code| *code == exit_code);
                    rule.action == "Restart" && is_in == (codes.operator == "In")
                })
            };
            if container.restart_policy_rules.iter().flatten().any(fits) {
                return true;
            }
            own.as_str()
        }
        None => of_pod,
    };
    policy == "Always" || (policy == "OnFailure" && exit_code != 0)
}

fn claims(status: &PodStatus, spec: &PodSpec, list: &Path, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (index, found) in status.resource_claim_statuses.iter().flatten().enumerate() {
        let path = list.index(index).child("name");
        let name = found.name.as_str();
        if !spec.resource_claims.iter().flatten().any(|claim| claim.name == name) {
            let why = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(FieldError::invalid(&path, name, why));
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
        if let Some(claim) = &found.resource_claim_name {
            check::invalid(errors, &path, claim.as_str(), names::dns_subdomain(claim));
        }
    }
}

fn extended_claim(found: &PodExtendedResourceClaimStatus, spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let list = path.child("requestMappings");
    if found.request_mappings.is_empty() {
        errors.push(FieldError::required(&list, "at least one request mapping is required"));
    }
    let mut seen = BTreeSet::new();
    for (index, mapping) in found.request_mappings.iter().enumerate() {
        let entry = list.index(index);
        let (container, resource) = (mapping.container_name.as_str(), mapping.resource_name.as_str());
        let request = mapping.request_name.as_str();
        let all = spec.init_containers.iter().flatten().chain(&spec.containers);
        match all.rev().find(|found| found.name == container) {
            None => {
                let why = "must match the name of an entry in spec.initContainers.name or spec.containers.name";
                errors.push(FieldError::invalid(&entry.child("containerName"), container, why));
            }
            Some(found) if !requests(found, resource) => {
                let why = "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests";
                errors.push(FieldError::invalid(&entry.child("resourceName"), resource, why));
            }
            Some(_) => {}
        }
        check::invalid(errors, &path.child("requestName"), request, names::dns_label(request));
        if !seen.insert((container, resource, request)) {
            for (field, value) in [("containerName", container), ("resourceName", resource), ("requestName", request)] {
                errors.push(FieldError::duplicate(&entry.child(field), value));
            }
        }
    }
    let claim = found.resource_claim_name.as_str();
    check::required_name(errors, &path.child("resourceClaimName"), claim, names::dns_subdomain);
}

fn requests(container: &Container, resource: &str) -> bool {
    let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    requests.is_some_and(|requests| requests.contains_key(resource))
}

/// One address of each family.
fn addresses<T: Serialize>(ips: &[&str], shown: &T, path: &Path, errors: &mut ErrorList) {
    for (index, ip) in ips.iter().enumerate() {
        check::ip(errors, &path.index(index), ip);
    }
    if ips.len() < 2 {
        return;
    }
    let read: Vec<Option<IpAddr>> = ips.iter().map(|ip| names::sloppy_ip(ip)).collect();
    if let Some(index) = read.iter().position(Option::is_none) {
        let why = format!("failed to check for dual stack with error:invalid IP[{index}]: {}", ips[index]);
        errors.push(FieldError::internal(path, why));
    }
    let families: BTreeSet<bool> = read.iter().flatten().map(IpAddr::is_ipv6).collect();
    if read.contains(&None) || families.len() < 2 || ips.len() > 2 {
        let why = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid(path, check::json(shown), why));
    }
}

/// Judges as whom containers run.
fn users(statuses: Option<&[ContainerStatus]>, spec: &PodSpec, list: &Path, errors: &mut ErrorList) {
    let os = spec.os.as_ref().map_or("linux", |os| os.name.as_str());
    for (index, status) in statuses.unwrap_or_default().iter().enumerate() {
        let Some(user) = status.user.as_ref().and_then(|user| user.linux.as_ref()) else { continue };
        let path = list.index(index).child("user").child("linux");
        match os {
            "windows" => errors.push(FieldError::forbidden(&path, "cannot be set for a windows pod")),
            "linux" => {
                let groups = user.supplemental_groups.iter().flatten().enumerate();
                let groups = groups.map(|(index, group)| (path.child("supplementalGroups").index(index), *group));
                let ids = [(path.child("uid"), user.uid), (path.child("gid"), user.gid)];
                for (path, id) in ids.into_iter().chain(groups) {
                    check::invalid(errors, &path, id, names::user_or_group_id(id));
                }
            }
            _ => {}
        }
    }
}

/// Judges what is said about the health of a container's devices.
fn allocated(found: &[ResourceStatus], container: Option<&Container>, list: &Path, errors: &mut ErrorList) {
    for (index, resource) in found.iter().enumerate() {
        let path = list.index(index);
        let name = resource.name.as_str();
        if let Some(container) = container {
            let claims = container.resources.as_ref().and_then(|resources| resources.claims.as_deref());
            let (is_there, why) = match name.strip_prefix("claim:") {
                Some(claim) => (
                    claims.unwrap_or_default().iter().any(|used| match check::text(&used.request) {
                        "" => used.name == claim,
                        request => format!("{}/{request}", used.name) == claim,
                    }),
                    "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty",
                ),
                None => (requests(container, name), "must match one of the container's resource requests"),
            };
            if !is_there {
                errors.push(FieldError::invalid(&path.child("name"), name, why));
            }
        }
        let mut seen = BTreeSet::new();
        for (index, device) in resource.resources.iter().flatten().enumerate() {
            let path = path.child("resources").index(index);
            check::one_of(errors, &path.child("health"), check::text(&device.health), &HEALTH);
            if !seen.insert(device.resource_id.as_str()) {
                errors.push(FieldError::duplicate(&path.child("resourceID"), device.resource_id.as_str()));
            }
        }
    }
}
