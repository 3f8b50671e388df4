//! Ways out of the pod to its node: namespaces, ports, addresses, kernel parameters, processes on Windows.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::Violation;
use super::super::pod::{Container, Pod, containers, plural, quoted, setters};

pub(super) fn namespaces(pod: &Pod<'_>) -> Option<Violation> {
    let shared: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|field| pod.get(&format!("/{field}")) == Some(&Value::Bool(true)))
        .map(|field| format!("{field}=true"))
        .collect();
    (!shared.is_empty()).then(|| Violation::new("host namespaces", shared.join(", ")))
}

pub(super) fn ports(pod: &Pod<'_>) -> Option<Violation> {
    // Upstream sorts them as texts.
    let mut taken = BTreeSet::new();
    let names = pod.names(|container| {
        let ports = container.list("/ports").filter_map(|port| port.get("hostPort")?.as_i64());
        let mut is_bad = false;
        for port in ports.filter(|port| *port != 0) {
            taken.insert(port.to_string());
            is_bad = true;
        }
        is_bad
    });
    let taken: Vec<String> = taken.into_iter().collect();
    (!names.is_empty()).then(|| {
        let (uses, noun) = (plural(names.len(), "uses", "use"), plural(taken.len(), "hostPort", "hostPorts"));
        Violation::new("hostPort", format!("{} {uses} {noun} {}", containers(&names), taken.join(", ")))
    })
}

/// Where probes and hooks have an address that need not be the pod's.
const HANDLERS: [&str; 5] =
    ["/livenessProbe", "/readinessProbe", "/startupProbe", "/lifecycle/postStart", "/lifecycle/preStop"];

pub(super) fn probes(pod: &Pod<'_>) -> Option<Violation> {
    let (mut names, mut hosts) = (BTreeSet::new(), BTreeSet::new());
    for container in pod.containers() {
        let found: Vec<&str> = hosts_of(container).collect();
        if !found.is_empty() {
            names.insert(container.name());
            hosts.extend(found);
        }
    }
    let names: Vec<&str> = names.into_iter().collect();
    (!names.is_empty()).then(|| {
        let uses = plural(names.len(), "uses", "use");
        let noun = plural(hosts.len(), "probe or lifecycle host", "probe or lifecycle hosts");
        Violation::new("probe or lifecycle host", format!("{} {uses} {noun} {}", containers(&names), quoted(&hosts)))
    })
}

fn hosts_of(container: Container<'_>) -> impl Iterator<Item = &str> {
    let all = HANDLERS.into_iter().flat_map(|handler| ["httpGet", "tcpSocket"].map(|action| (handler, action)));
    let hosts = all.filter_map(move |(handler, action)| container.get(&format!("{handler}/{action}/host"))?.as_str());
    hosts.filter(|host| !host.is_empty())
}

/// Kernel parameters that every pod has its own of, with the minor version since which they are allowed.
const SYSCTLS: [(i64, &str); 12] = [
    (0, "kernel.shm_rmid_forced"),
    (0, "net.ipv4.ip_local_port_range"),
    (0, "net.ipv4.tcp_syncookies"),
    (0, "net.ipv4.ping_group_range"),
    (0, "net.ipv4.ip_unprivileged_port_start"),
    (27, "net.ipv4.ip_local_reserved_ports"),
    (29, "net.ipv4.tcp_keepalive_time"),
    (29, "net.ipv4.tcp_fin_timeout"),
    (29, "net.ipv4.tcp_keepalive_intvl"),
    (29, "net.ipv4.tcp_keepalive_probes"),
    (32, "net.ipv4.tcp_rmem"),
    (32, "net.ipv4.tcp_wmem"),
];

fn sysctls(pod: &Pod<'_>, version: i64) -> Option<Violation> {
    let names = pod.list("/securityContext/sysctls").filter_map(|sysctl| sysctl.get("name")?.as_str());
    let is_allowed = |name: &str| SYSCTLS.iter().any(|(since, allowed)| *since <= version && *allowed == name);
    let forbidden: Vec<&str> = names.filter(|name| !is_allowed(name)).collect();
    (!forbidden.is_empty()).then(|| Violation::new("forbidden sysctls", forbidden.join(", ")))
}

pub(super) fn sysctls_1_0(pod: &Pod<'_>) -> Option<Violation> {
    sysctls(pod, 0)
}

pub(super) fn sysctls_1_27(pod: &Pod<'_>) -> Option<Violation> {
    sysctls(pod, 27)
}

pub(super) fn sysctls_1_29(pod: &Pod<'_>) -> Option<Violation> {
    sysctls(pod, 29)
}

pub(super) fn sysctls_1_32(pod: &Pod<'_>) -> Option<Violation> {
    sysctls(pod, 32)
}

pub(super) fn windows_process(pod: &Pod<'_>) -> Option<Violation> {
    let is_set = |found: Option<&Value>| found == Some(&Value::Bool(true));
    let field = "/windowsOptions/hostProcess";
    let names = pod.names(|container| is_set(container.context(field)));
    let who = setters(is_set(pod.context(field)), &names)?;
    Some(Violation::new("hostProcess", format!("{who} must not set securityContext.windowsOptions.hostProcess=true")))
}
