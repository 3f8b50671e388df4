//! Containers of all three kinds, and their ports.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, EphemeralContainer, PodSpec, ResourceRequirements, SecurityContext,
};

use super::volumes::Kind;
use super::{env, mounts, probes, resources, restart, security};
use crate::field::{ErrorList, FieldError, Path};
use crate::validation::{check, names};

/// What the containers of one pod share.
pub(super) struct Context<'a> {
    /// The volumes that have nothing wrong with them, by name.
    pub(super) volumes: &'a BTreeMap<String, Kind>,
    /// The names of the resource claims.
    pub(super) claims: BTreeSet<&'a str>,
    /// How long the pod may take to end.
    pub(super) grace_period: i64,
    /// When containers are started again.
    pub(super) restart_policy: &'a str,
    /// Whether users of the pod are those of the node.
    pub(super) host_users: bool,
    /// The operating system that the pod says it is for.
    pub(super) os: Option<&'a str>,
}

/// What some rules look at in a container of any kind.
pub(super) struct Any<'a> {
    list: &'static str,
    index: usize,
    pub(super) name: &'a str,
    pub(super) security: Option<&'a SecurityContext>,
    pub(super) env: &'a [EnvVar],
    pub(super) has_devices: bool,
}

impl Any<'_> {
    /// Where the container is, below the spec.
    pub(super) fn path(&self, spec: &Path) -> Path {
        spec.child(self.list).index(self.index)
    }
}

/// The containers of all kinds, in upstream's order.
pub(super) fn every<'a>(spec: &'a PodSpec) -> impl Iterator<Item = Any<'a>> {
    let any = |list: &'static str| {
        move |(index, container): (usize, &'a Container)| Any {
            list,
            index,
            name: &container.name,
            security: container.security_context.as_ref(),
            env: container.env.as_deref().unwrap_or_default(),
            has_devices: container.volume_devices.as_ref().is_some_and(|devices| !devices.is_empty()),
        }
    };
    let init = spec.init_containers.iter().flatten().enumerate();
    let regular = spec.containers.iter().enumerate();
    let ephemeral = spec.ephemeral_containers.iter().flatten().enumerate().map(|(index, container)| Any {
        list: "ephemeralContainers",
        index,
        name: &container.name,
        security: container.security_context.as_ref(),
        env: container.env.as_deref().unwrap_or_default(),
        has_devices: container.volume_devices.as_ref().is_some_and(|devices| !devices.is_empty()),
    });
    init.map(any("initContainers")).chain(regular.map(any("containers"))).chain(ephemeral)
}

/// Judges the containers, init containers and ephemeral containers of a pod.
pub(super) fn all(spec: &PodSpec, volumes: &BTreeMap<String, Kind>, path: &Path, errors: &mut ErrorList) {
    let context = Context {
        volumes,
        claims: super::resource_claims(spec),
        grace_period: spec.termination_grace_period_seconds.unwrap_or(30),
        restart_policy: check::text(&spec.restart_policy),
        host_users: spec.host_users != Some(false),
        os: spec.os.as_ref().map(|os| os.name.as_str()),
    };
    let mut seen = BTreeSet::new();
    let list = path.child("containers");
    if spec.containers.is_empty() {
        errors.push(FieldError::required(&list, ""));
    }
    for (index, container) in spec.containers.iter().enumerate() {
        let path = list.index(index);
        common(container, &context, &path, errors);
        unique(&mut seen, &container.name, &path, errors);
        probes::container(container, &context, &path, errors);
        restart::container(container, &path, errors);
    }
    host_port_conflicts(&spec.containers, &list, errors);
    let list = path.child("initContainers");
    for (index, container) in spec.init_containers.iter().flatten().enumerate() {
        let path = list.index(index);
        common(container, &context, &path, errors);
        restart::init_container(container, &path, errors);
        unique(&mut seen, &container.name, &path, errors);
        host_port_conflicts(std::slice::from_ref(container), &list, errors);
        init_container(container, &context, &path, errors);
    }
    let list = path.child("ephemeralContainers");
    for (index, container) in spec.ephemeral_containers.iter().flatten().enumerate() {
        let path = list.index(index);
        common(&as_container(container), &context, &path, errors);
        trimmed_image(&container.image, &path, errors);
        unique(&mut seen, &container.name, &path, errors);
        ephemeral_container(container, spec, &path, errors);
    }
}

fn unique<'a>(seen: &mut BTreeSet<&'a str>, name: &'a str, path: &Path, errors: &mut ErrorList) {
    if !seen.insert(name) {
        errors.push(FieldError::duplicate(&path.child("name"), name));
    }
}

/// What holds for a container of any kind.
fn common(container: &Container, context: &Context<'_>, path: &Path, errors: &mut ErrorList) {
    check::required_name(errors, &path.child("name"), &container.name, names::dns_label);
    check::required(errors, &path.child("image"), check::text(&container.image));
    let policy = check::text(&container.termination_message_policy);
    let policy_path = path.child("terminationMessagePolicy");
    if check::required(errors, &policy_path, policy) && !["File", "FallbackToLogsOnError"].contains(&policy) {
        let why = "must be 'File' or 'FallbackToLogsOnError'";
        errors.push(FieldError::invalid(&policy_path, policy, why));
    }
    ports(container.ports.as_deref().unwrap_or_default(), &path.child("ports"), errors);
    env::env(container.env.as_deref().unwrap_or_default(), &path.child("env"), errors);
    env::env_from(container.env_from.as_deref().unwrap_or_default(), &path.child("envFrom"), errors);
    mounts::mounts(container, context, &path.child("volumeMounts"), errors);
    mounts::devices(container, context, &path.child("volumeDevices"), errors);
    let policies = ["Always", "IfNotPresent", "Never"];
    let policy = check::text(&container.image_pull_policy);
    check::required_one_of(errors, &path.child("imagePullPolicy"), policy, &policies);
    if let Some(requirements) = &container.resources {
        resources::requirements(requirements, &context.claims, &path.child("resources"), errors);
    }
    resize_policy(container, context, &path.child("resizePolicy"), errors);
    if let Some(security) = &container.security_context {
        security::container(security, context.host_users, &path.child("securityContext"), errors);
    }
}

/// Templates may have images that something else replaces; what runs may not.
pub(super) fn trimmed_image(image: &Option<String>, path: &Path, errors: &mut ErrorList) {
    let image = check::text(image);
    if image.trim() != image {
        let why = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(&path.child("image"), image, why));
    }
}

/// Upstream tells only repeated resources with their index.
fn resize_policy(container: &Container, context: &Context<'_>, path: &Path, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (index, policy) in container.resize_policy.iter().flatten().enumerate() {
        if !seen.insert(policy.resource_name.as_str()) {
            errors.push(FieldError::duplicate(&path.index(index), policy.resource_name.as_str()));
        }
        check::required_one_of(errors, path, &policy.resource_name, &["cpu", "memory"]);
        check::required_one_of(errors, path, &policy.restart_policy, &["NotRequired", "RestartContainer"]);
        if context.restart_policy == "Never" && policy.restart_policy != "NotRequired" {
            let why = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(path, policy.restart_policy.as_str(), why));
        }
    }
}

fn ports(ports: &[ContainerPort], path: &Path, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = check::text(&port.name);
        if !name.is_empty() {
            let judged = names::port_name(name);
            if judged.is_empty() && !seen.insert(name) {
                errors.push(FieldError::duplicate(&path.child("name"), name));
            }
            check::invalid(errors, &path.child("name"), name, judged);
        }
        let number_path = path.child("containerPort");
        if port.container_port == 0 {
            errors.push(FieldError::required(&number_path, ""));
        } else {
            let judged = names::port_number(i64::from(port.container_port));
            check::invalid(errors, &number_path, port.container_port, judged);
        }
        let host_port = port.host_port.unwrap_or(0);
        if host_port != 0 {
            check::invalid(errors, &path.child("hostPort"), host_port, names::port_number(i64::from(host_port)));
        }
        let protocols = ["SCTP", "TCP", "UDP"];
        check::required_one_of(errors, &path.child("protocol"), check::text(&port.protocol), &protocols);
    }
}

/// On the node's network a container's port is the node's; templates may leave that to the pods.
pub(super) fn host_network_ports(spec: &PodSpec, is_pod: bool, path: &Path, errors: &mut ErrorList) {
    if spec.host_network != Some(true) {
        return;
    }
    for (index, container) in spec.containers.iter().enumerate() {
        for (port_index, port) in container.ports.iter().flatten().enumerate() {
            let host_port = port.host_port.unwrap_or(0);
            if (is_pod || host_port != 0) && host_port != port.container_port {
                let path = path.child("containers").index(index).child("ports").index(port_index);
                let why = "must match `hostPort` when `hostNetwork` is true";
                errors.push(FieldError::invalid(&path.child("containerPort"), port.container_port, why));
            }
        }
    }
}

fn host_port_conflicts(containers: &[Container], path: &Path, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        for (port_index, port) in container.ports.iter().flatten().enumerate() {
            let host_port = port.host_port.unwrap_or(0);
            if host_port == 0 {
                continue;
            }
            let key = format!("{}/{}/{host_port}", check::text(&port.protocol), check::text(&port.host_ip));
            if !seen.insert(key.clone()) {
                let path = path.index(index).child("ports").index(port_index).child("hostPort");
                errors.push(FieldError::duplicate(&path, key));
            }
        }
    }
}

fn init_container(container: &Container, context: &Context<'_>, path: &Path, errors: &mut ErrorList) {
    if restart::is_sidecar(container) {
        // It runs beside the containers and is probed like them.
        probes::container(container, context, path, errors);
        return;
    }
    let set = [
        ("lifecycle", container.lifecycle.is_some()),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
    ];
    for (field, _) in set.into_iter().filter(|(_, set)| *set) {
        let why = "may not be set for init containers without restartPolicy=Always";
        errors.push(FieldError::forbidden(&path.child(field), why));
    }
}

fn ephemeral_container(container: &EphemeralContainer, spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let target = check::text(&container.target_container_name);
    let mut names = spec.containers.iter().chain(spec.init_containers.iter().flatten()).map(|found| &found.name);
    if !target.is_empty() && !names.any(|name| name == target) {
        errors.push(FieldError::not_found(&path.child("targetContainerName"), target));
    }
    let resources = container.resources.as_ref();
    let has_resources = |resources: &ResourceRequirements| {
        resources.limits.is_some() || resources.requests.is_some() || resources.claims.is_some()
    };
    let set = [
        ("ports", container.ports.is_some()),
        ("resources", resources.is_some_and(has_resources)),
        ("resizePolicy", container.resize_policy.is_some()),
        ("restartPolicy", container.restart_policy.is_some()),
        ("restartPolicyRules", container.restart_policy_rules.is_some()),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
        ("lifecycle", container.lifecycle.is_some()),
    ];
    let why = "cannot be set for an Ephemeral Container";
    for (field, _) in set.into_iter().filter(|(_, set)| *set) {
        errors.push(FieldError::forbidden(&path.child(field), why));
    }
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let path = path.child("volumeMounts").index(index);
        if !check::text(&mount.sub_path).is_empty() {
            errors.push(FieldError::forbidden(&path.child("subPath"), why));
        }
        if !check::text(&mount.sub_path_expr).is_empty() {
            errors.push(FieldError::forbidden(&path.child("subPathExpr"), why));
        }
    }
}

/// The fields that ephemeral containers share with the others.
fn as_container(container: &EphemeralContainer) -> Container {
    Container {
        name: container.name.clone(),
        image: container.image.clone(),
        env: container.env.clone(),
        env_from: container.env_from.clone(),
        image_pull_policy: container.image_pull_policy.clone(),
        ports: container.ports.clone(),
        resize_policy: container.resize_policy.clone(),
        resources: container.resources.clone(),
        security_context: container.security_context.clone(),
        termination_message_policy: container.termination_message_policy.clone(),
        volume_devices: container.volume_devices.clone(),
        volume_mounts: container.volume_mounts.clone(),
        ..Container::default()
    }
}
