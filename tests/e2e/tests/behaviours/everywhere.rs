//! The core of the behaviours, which is held to over container runtimes of others too: what a runtime does, or what a
//! kubelet does because of what the runtime tells it. The rest is the kubelet's and the API server's alone.

use skiff_e2e::Cluster;

use crate::{Behaviour, behaviours, run};

/// Names of rows.
const CORE: &[&str] = &[
    // Containers that start, run and end.
    "Kubelet when scheduling a busybox command in a pod should print the output to logs",
    "Kubelet when scheduling a busybox command that always fails in a pod should have an terminated reason",
    "Kubelet when scheduling a read only busybox container should not write to root filesystem",
    "Kubelet when scheduling an agnhost Pod with hostAliases should write entries to /etc/hosts",
    "KubeletManagedEtcHosts should test kubelet managed /etc/hosts file",
    "Container Runtime blackbox test when starting a container that exits should run with the expected status",
    "Containers should use the image defaults if command and args are blank",
    "Containers should be able to override the image's default command and arguments",
    "InitContainer should invoke init containers on a RestartNever pod",
    "InitContainer should not start app containers and fail the pod if init containers fail on a RestartNever pod",
    "a sidecar starts before the containers that it serves, and ends after them",
    "Ephemeral Containers will start an ephemeral container in an existing pod",
    "containers that share their processes see each other",
    "a pod has the host name and the domain that it asks for",
    "resolver options are merged into those of the policy",
    "Downward API should provide pod name, namespace and IP address as env vars",
    // Pods and their ends.
    "Pods should be submitted and removed",
    "Pods should allow activeDeadlineSeconds to be updated",
    "Pods should support remote command execution over websockets",
    "Pods should support retrieving logs from the container over websockets",
    "Container Lifecycle Hook when create a pod with lifecycle hook should execute prestop exec hook properly",
    "Probing container should be restarted with a exec \"cat /tmp/health\" liveness probe",
    "Probing container with readiness probe that fails should never be ready and never restart",
    // Users, privileges, the kernel's settings.
    "Security Context When creating a container with runAsUser should run the container with uid 65534",
    "Security Context When creating a pod with privileged should run the container as unprivileged when false",
    "Security Context when creating containers with AllowPrivilegeEscalation should not allow privilege escalation \
     when false",
    "Sysctls should support sysctls",
    // Volumes.
    "EmptyDir volumes pod should support shared volumes between containers",
    "EmptyDir volumes volume on default medium should have the correct mode",
    "EmptyDir volumes volume on tmpfs should have the correct mode",
    "EmptyDir wrapper volumes should not conflict",
    "ConfigMap binary data should be reflected in volume",
    "ConfigMap updates should be reflected in volume",
    "Projected combined should project all components that make up the projection API",
    "Projected downwardAPI should update labels on modification",
    "Secrets should be consumable from pods in volume as non-root with defaultMode and fsGroup set",
    "Subpath Atomic writer volumes should support subpaths with configmap pod",
    "Variable Expansion should succeed in writing subpaths in container",
];

/// Starts a cluster whose containers are another runtime's, as some options say, and holds its node to the core.
pub fn hold(cluster: &mut Cluster, options: &[(&str, String)]) {
    let options: Vec<(&str, &str)> = options.iter().map(|(name, value)| (*name, value.as_str())).collect();
    cluster.start_prepared(&options);
    let failures = run(cluster, "c", super::chosen(core()));
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}

fn core() -> Vec<Behaviour> {
    let mut all = behaviours();
    let unknown: Vec<_> = CORE.iter().filter(|name| !all.iter().any(|one| one.name == **name)).collect();
    assert!(unknown.is_empty(), "rows that are not there: {unknown:#?}");
    all.retain(|one| CORE.contains(&one.name));
    all
}
