//! Whether the kernel settings that a pod asks for are its own affair.

use k8s_openapi::api::core::v1::Pod;

use super::Refusal;
use crate::pods::spec;

/// Sysctls that only the pod itself feels.
const SAFE_SYSCTLS: [&str; 11] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
];

/// Whether the pod asks only for settings that nobody else feels.
pub fn check(pod: &Pod) -> Result<(), Refusal> {
    let security = spec::spec(pod).security_context.clone().unwrap_or_default();
    for sysctl in security.sysctls.iter().flatten() {
        let name = sysctl.name.replace('/', ".");
        if !SAFE_SYSCTLS.contains(&name.as_str()) && name != "net.ipv4.tcp_wmem" {
            return Err(Refusal::Sysctl(sysctl.name.clone()));
        }
        if name.starts_with("net.") && spec::host_network(pod) {
            return Err(Refusal::SysctlOfHost(sysctl.name.clone(), "hostNetwork"));
        }
        if name.starts_with("kernel.") && spec::spec(pod).host_ipc == Some(true) {
            return Err(Refusal::SysctlOfHost(sysctl.name.clone(), "hostIPC"));
        }
    }
    Ok(())
}
