//! Pods and pod templates.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Pod, PodSpec, PodTemplate, PodTemplateSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{check, metadata, names};
use crate::field::{ErrorList, FieldError, Path};

mod affinity;
mod annotations;
mod claims;
mod containers;
mod dns;
pub(super) mod drivers;
mod env;
mod mounts;
mod probes;
mod projected;
mod resize;
pub(super) mod resources;
mod restart;
mod scheduling;
mod security;
mod status;
mod update;
mod volumes;
mod windows;

pub(super) use affinity::node_selector;
pub(super) use projected::token_lifetime;
pub(super) use resize::pod_resize;
pub(super) use scheduling::{taint_effect, tolerations};
pub(super) use status::pod_status;
pub(super) use update::{ephemeral_containers_update, pod_update};
pub(super) use volumes::{host_path, nfs};

/// Judges a new pod.
pub(super) fn pod(pod: &Pod, errors: &mut ErrorList) {
    whole_pod(pod, errors);
    let path = Path::new("spec");
    let Some(spec) = &pod.spec else {
        return;
    };
    if spec.ephemeral_containers.as_ref().is_some_and(|list| !list.is_empty()) {
        errors.push(FieldError::forbidden(&path.child("ephemeralContainers"), "cannot be set on create"));
    }
    let is_gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    if is_gated && !check::text(&spec.node_name).is_empty() {
        let why = "cannot be set until all schedulingGates have been cleared";
        errors.push(FieldError::forbidden(&path.child("nodeName"), why));
    }
    annotations::profiles(&pod.metadata.annotations, spec, &path, errors);
}

/// Judges what every pod must be, new or updated.
fn whole_pod(pod: &Pod, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let default = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&default);
    let annotations_path = Path::new("metadata").child("annotations");
    annotations::annotations(&pod.metadata.annotations, spec, &annotations_path, errors);
    pod_spec(spec, Some(&pod.metadata), &path, errors);
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
    for (index, container) in spec.containers.iter().enumerate() {
        containers::trimmed_image(&container.image, &path.child("containers").index(index), errors);
    }
    for (index, container) in spec.init_containers.iter().flatten().enumerate() {
        containers::trimmed_image(&container.image, &path.child("initContainers").index(index), errors);
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
    let found = template.metadata.as_ref().and_then(|meta| meta.annotations.clone());
    if let Some(meta) = &template.metadata {
        metadata::template(meta, &path.child("metadata"), errors);
    }
    // Upstream leaves "metadata" out of this path.
    annotations::annotations(&found, spec, &path.child("annotations"), errors);
    let spec_path = path.child("spec");
    pod_spec(spec, None, &spec_path, errors);
    annotations::profiles(&found, spec, &spec_path, errors);
    if spec.ephemeral_containers.as_ref().is_some_and(|list| !list.is_empty()) {
        let path = spec_path.child("ephemeralContainers");
        errors.push(FieldError::forbidden(&path, "ephemeral containers not allowed in pod template"));
    }
}

/// Judges a pod spec in upstream's order; pods have metadata, and templates have none that counts here.
fn pod_spec(spec: &PodSpec, meta: Option<&ObjectMeta>, path: &Path, errors: &mut ErrorList) {
    let volumes = volumes::volumes(spec.volumes.as_deref().unwrap_or_default(), meta, &path.child("volumes"), errors);
    let claims = spec.resource_claims.as_deref().unwrap_or_default();
    claims::claims(claims, meta, &path.child("resourceClaims"), errors);
    containers::all(spec, &volumes, path, errors);
    claims::pod_resources(spec, &path.child("resources"), errors);
    containers::host_network_ports(spec, meta.is_some(), path, errors);
    let policies = ["Always", "OnFailure", "Never"];
    check::required_one_of(errors, &path.child("restartPolicy"), check::text(&spec.restart_policy), &policies);
    dns::policy(spec, &path.child("dnsPolicy"), errors);
    check::labels(errors, &path.child("nodeSelector"), spec.node_selector.as_ref());
    security::pod(spec, &path.child("securityContext"), errors);
    if let Some(affinity) = &spec.affinity {
        affinity::affinity(affinity, &path.child("affinity"), errors);
    }
    dns::config(spec, &path.child("dnsConfig"), errors);
    readiness_gates(spec, path, errors);
    scheduling::pod(spec, path, errors);
    windows::host_processes(spec, path, errors);
    security::host_users(spec, path, errors);
    dns::host_name(spec, &path.child("hostnameOverride"), errors);
    for (field, value) in [("serviceAccountName", &spec.service_account_name), ("nodeName", &spec.node_name)] {
        check::optional_name(errors, &path.child(field), check::text(value), names::dns_subdomain);
    }
    if let Some(seconds) = spec.active_deadline_seconds {
        let highest = i64::from(i32::MAX);
        if !(1..=highest).contains(&seconds) {
            let path = path.child("activeDeadlineSeconds");
            errors.push(FieldError::invalid(&path, seconds, names::in_range(1, highest)));
        }
    }
    for (field, value) in [("hostname", &spec.hostname), ("subdomain", &spec.subdomain)] {
        check::optional_name(errors, &path.child(field), check::text(value), names::dns_label);
    }
    scheduling::tolerations(spec.tolerations.as_deref().unwrap_or_default(), &path.child("tolerations"), errors);
    dns::host_aliases(spec.host_aliases.as_deref().unwrap_or_default(), &path.child("hostAliases"), errors);
    classes(spec, path, errors);
    if let Some(os) = &spec.os {
        windows::os(os, spec, path, errors);
    }
    env::files(spec, path, errors);
}

/// What other objects say of how the pod runs.
fn classes(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let priority = check::text(&spec.priority_class_name);
    check::optional_name(errors, &path.child("priorityClassName"), priority, names::dns_subdomain);
    if let Some(name) = &spec.runtime_class_name {
        check::invalid(errors, &path.child("runtimeClassName"), name.as_str(), names::dns_subdomain(name));
    }
    if let Some(policy) = &spec.preemption_policy {
        let policies = ["PreemptLowerPriority", "Never"];
        check::required_one_of(errors, &path.child("preemptionPolicy"), policy, &policies);
    }
    if let Some(overhead) = &spec.overhead {
        // Upstream judges it as what a container is limited to.
        let limits = ResourceRequirements { limits: Some(overhead.clone()), ..ResourceRequirements::default() };
        resources::requirements(&limits, &BTreeSet::new(), &path.child("overhead"), errors);
    }
}

fn readiness_gates(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    for (index, gate) in spec.readiness_gates.iter().flatten().enumerate() {
        let path = path.child("readinessGates").index(index).child("conditionType");
        check::invalid(errors, &path, gate.condition_type.as_str(), names::qualified_name(&gate.condition_type));
    }
}

/// The names of the claims that a pod's containers may use.
fn resource_claims(spec: &PodSpec) -> BTreeSet<&str> {
    let claims = spec.resource_claims.iter().flatten();
    claims.map(|claim| claim.name.as_str()).filter(|name| !name.is_empty()).collect()
}
