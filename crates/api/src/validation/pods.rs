//! Pods and pod templates.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Pod, PodDNSConfig, PodSpec, PodTemplate, PodTemplateSpec};

use super::{check, metadata, names};
use crate::field::{ErrorList, FieldError, Path, quote};

mod affinity;
mod claims;
mod containers;
pub(super) mod drivers;
mod env;
mod mounts;
mod probes;
mod resize;
pub(super) mod resources;
mod restart;
mod scheduling;
mod security;
mod update;
mod volumes;
mod windows;

pub(super) use affinity::node_selector;
pub(super) use resize::pod_resize;
pub(super) use scheduling::{taint_effect, tolerations};
pub(super) use update::{ephemeral_containers_update, pod_status, pod_update};
pub(super) use volumes::{host_path, nfs, token_lifetime};

const APP_ARMOR_PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Judges a new pod.
pub(super) fn pod(pod: &Pod, errors: &mut ErrorList) {
    let path = Path::new("spec");
    if pod.spec.as_ref().is_some_and(|spec| spec.ephemeral_containers.as_ref().is_some_and(|list| !list.is_empty())) {
        errors.push(FieldError::forbidden(&path.child("ephemeralContainers"), "cannot be set on create"));
    }
    whole_pod(pod, errors);
}

/// Judges what every pod must be, new or updated.
fn whole_pod(pod: &Pod, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let default = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&default);
    annotations(pod.metadata.annotations.iter().flatten(), spec, &Path::new("metadata").child("annotations"), errors);
    pod_spec(spec, &path, errors);
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        volumes::of_named_pod(volume, pod.metadata.name.as_deref(), &path.child("volumes").index(index), errors);
    }
    // Templates may refer to a service account that admission fills in; pods have it by now.
    if check::text(&spec.service_account_name).is_empty() {
        for (index, volume) in spec.volumes.iter().flatten().enumerate() {
            let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
            for (source_index, _) in sources.enumerate().filter(|(_, source)| source.service_account_token.is_some()) {
                let path = path.child("volumes").index(index).child("projected").child("sources").index(source_index);
                let why = "must not be specified when serviceAccountName is not set";
                errors.push(FieldError::forbidden(&path.child("serviceAccountToken"), why));
            }
        }
    }
    let images = |list: &str, index: usize, image: &Option<String>| {
        let image = check::text(image);
        let path = path.child(list).index(index).child("image");
        let why = "must not have leading or trailing whitespace";
        (image.trim() != image).then(|| FieldError::invalid(&path, image, why))
    };
    for (index, container) in spec.containers.iter().enumerate() {
        errors.extend(images("containers", index, &container.image));
    }
    for (index, container) in spec.init_containers.iter().flatten().enumerate() {
        errors.extend(images("initContainers", index, &container.image));
    }
}

/// Judges a stored pod template.
pub(super) fn pod_template(template: &PodTemplate, errors: &mut ErrorList) {
    if let Some(template) = &template.template {
        template_spec(template, &Path::new("template"), errors);
    }
}

/// Judges the template of a workload.
pub(super) fn template_spec(template: &PodTemplateSpec, path: &Path, errors: &mut ErrorList) {
    let default = PodSpec::default();
    let spec = template.spec.as_ref().unwrap_or(&default);
    if let Some(meta) = &template.metadata {
        metadata::template(meta, &path.child("metadata"), errors);
        // Upstream leaves "metadata" out of this path.
        annotations(meta.annotations.iter().flatten(), spec, &path.child("annotations"), errors);
    }
    pod_spec(spec, &path.child("spec"), errors);
    if spec.ephemeral_containers.as_ref().is_some_and(|list| !list.is_empty()) {
        let path = path.child("spec").child("ephemeralContainers");
        errors.push(FieldError::forbidden(&path, "ephemeral containers not allowed in pod template"));
    }
}

fn annotations<'a>(
    annotations: impl Iterator<Item = (&'a String, &'a String)>,
    spec: &PodSpec,
    path: &Path,
    errors: &mut ErrorList,
) {
    for (key, value) in annotations {
        if key == MIRROR_ANNOTATION && check::text(&spec.node_name).is_empty() {
            let why = "must set spec.nodeName if mirror pod annotation is set";
            errors.push(FieldError::invalid(&path.key(key), value.as_str(), why));
        }
        if key == DELETION_COST && !is_deletion_cost(value) {
            errors.push(FieldError::invalid(&path.key(key), value.as_str(), "must be a 32bit integer"));
        }
        let Some(container) = key.strip_prefix(APP_ARMOR_PREFIX) else {
            continue;
        };
        let names =
            spec.containers.iter().chain(spec.init_containers.iter().flatten()).map(|container| &container.name);
        if !names.into_iter().any(|name| name == container) {
            errors.push(FieldError::invalid(&path.key(key), container, "container not found"));
        }
        let known = ["", "runtime/default", "unconfined"].contains(&value.as_str()) || value.starts_with("localhost/");
        if !known {
            let why = format!("invalid AppArmor profile name: {}", quote(value));
            errors.push(FieldError::invalid(&path.key(key), value.as_str(), why));
        }
    }
}

/// A number in its one form: without a plus or leading zeros.
fn is_deletion_cost(text: &str) -> bool {
    text.parse::<i32>().is_ok_and(|cost| cost.to_string() == text)
}

/// Judges a pod spec, of a pod or of a template.
fn pod_spec(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let volumes = volumes::volumes(spec.volumes.as_deref().unwrap_or_default(), &path.child("volumes"), errors);
    claims::claims(spec.resource_claims.as_deref().unwrap_or_default(), &path.child("resourceClaims"), errors);
    containers::all(spec, &volumes, path, errors);
    claims::pod_resources(spec, &path.child("resources"), errors);
    let policies = ["Always", "Never", "OnFailure"];
    check::required_one_of(errors, &path.child("restartPolicy"), check::text(&spec.restart_policy), &policies);
    dns(spec, path, errors);
    check::labels(errors, &path.child("nodeSelector"), spec.node_selector.as_ref());
    security::pod(spec, path, errors);
    if let Some(affinity) = &spec.affinity {
        affinity::affinity(affinity, &path.child("affinity"), errors);
    }
    readiness_gates(spec, path, errors);
    scheduling::pod(spec, path, errors);
    let subdomain_name = names::dns_subdomain as fn(&str) -> Vec<String>;
    for (field, value, rule) in [
        ("serviceAccountName", &spec.service_account_name, subdomain_name),
        ("nodeName", &spec.node_name, subdomain_name),
        ("hostname", &spec.hostname, names::dns_label),
        ("subdomain", &spec.subdomain, names::dns_label),
        ("priorityClassName", &spec.priority_class_name, subdomain_name),
        ("runtimeClassName", &spec.runtime_class_name, subdomain_name),
    ] {
        check::optional_name(errors, &path.child(field), check::text(value), rule);
    }
    if let Some(seconds) = spec.active_deadline_seconds {
        active_deadline(seconds, path, errors);
    }
    let aliases = path.child("hostAliases");
    for alias in spec.host_aliases.iter().flatten() {
        check::ip(errors, &aliases.child("ip"), &alias.ip);
        for hostname in alias.hostnames.iter().flatten() {
            check::invalid(errors, &aliases.child("hostnames"), hostname.as_str(), names::dns_subdomain(hostname));
        }
    }
    let preemption = ["Never", "PreemptLowerPriority"];
    check::optional_one_of(errors, &path.child("preemptionPolicy"), &spec.preemption_policy, &preemption);
    for (name, quantity) in spec.overhead.iter().flatten() {
        resources::resource(name, quantity, &path.child("overhead").key(name), errors);
    }
    if let Some(name) = &spec.hostname_override {
        host_name(name, spec, &path.child("hostnameOverride"), errors);
    }
    windows::host_processes(spec, path, errors);
    if let Some(os) = &spec.os {
        windows::os(os, spec, path, errors);
    }
}

/// Judges a name that the pod has instead of that of its host or its own.
fn host_name(name: &str, spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    check::invalid(errors, path, name, names::dns_subdomain(name));
    if name.len() > 64 {
        errors.push(FieldError::too_long(path, 64));
    }
    for (field, set) in [("setHostnameAsFQDN", spec.set_hostname_as_fqdn), ("hostNetwork", spec.host_network)] {
        if set == Some(true) {
            errors.push(FieldError::forbidden(path, format!("cannot be set when `{field}` is true")));
        }
    }
}

fn active_deadline(seconds: i64, path: &Path, errors: &mut ErrorList) {
    let highest = i64::from(i32::MAX);
    if !(1..=highest).contains(&seconds) {
        let path = path.child("activeDeadlineSeconds");
        errors.push(FieldError::invalid(&path, seconds, names::in_range(1, highest)));
    }
}

fn readiness_gates(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    for (index, gate) in spec.readiness_gates.iter().flatten().enumerate() {
        let path = path.child("readinessGates").index(index).child("conditionType");
        check::invalid(errors, &path, gate.condition_type.as_str(), names::qualified_name(&gate.condition_type));
    }
}

fn dns(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let policy = check::text(&spec.dns_policy);
    let policies = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
    check::required_one_of(errors, &path.child("dnsPolicy"), policy, &policies);
    let path = path.child("dnsConfig");
    if policy == "None" {
        match &spec.dns_config {
            None => errors.push(FieldError::required(&path, "must provide `dnsConfig` when `dnsPolicy` is None")),
            Some(config) if config.nameservers.as_ref().is_none_or(Vec::is_empty) => {
                let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
                errors.push(FieldError::required(&path.child("nameservers"), why));
            }
            Some(_) => {}
        }
    }
    if let Some(config) = &spec.dns_config {
        dns_config(config, &path, errors);
    }
}

fn dns_config(config: &PodDNSConfig, path: &Path, errors: &mut ErrorList) {
    let servers = config.nameservers.as_deref().unwrap_or_default();
    let servers_path = path.child("nameservers");
    if servers.len() > 3 {
        let why = "must not have more than 3 nameservers";
        errors.push(FieldError::invalid(&servers_path, servers.to_vec(), why));
    }
    for (index, server) in servers.iter().enumerate() {
        check::ip(errors, &servers_path.index(index), server);
    }
    let searches = config.searches.as_deref().unwrap_or_default();
    let searches_path = path.child("searches");
    if searches.len() > 32 {
        let why = "must not have more than 32 search paths";
        errors.push(FieldError::invalid(&searches_path, searches.to_vec(), why));
    }
    if searches.join(" ").len() > 2048 {
        let why = "must not have more than 2048 characters (including spaces) in the search list";
        errors.push(FieldError::invalid(&searches_path, searches.to_vec(), why));
    }
    for (index, search) in searches.iter().enumerate().filter(|(_, search)| *search != ".") {
        let name = search.strip_suffix('.').unwrap_or(search);
        let judged = names::dns_subdomain_with_underscore(name);
        check::invalid(errors, &searches_path.index(index), name, judged);
    }
    for (index, option) in config.options.iter().flatten().enumerate() {
        if check::text(&option.name).is_empty() {
            errors.push(FieldError::required(&path.child("options").index(index), "must not be empty"));
        }
    }
}

/// The names of the claims that a pod's containers may use.
fn resource_claims(spec: &PodSpec) -> BTreeSet<&str> {
    spec.resource_claims.iter().flatten().map(|claim| claim.name.as_str()).collect()
}
