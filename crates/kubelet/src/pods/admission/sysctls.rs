//! Whether the kernel settings that a pod asks for are its own affair.
//!
//! Upstream: <https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/>.

use k8s_openapi::api::core::v1::Pod;

use super::Refusal;
use crate::pods::spec;

/// Settings that only the pod itself feels.
const SAFE: [&str; 12] = [
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
    "net.ipv4.tcp_wmem",
];

/// What a namespace has of its own, by the beginnings of names, and what shares it with the node.
const NAMESPACES: [(&str, Namespace); 5] = [
    ("kernel.sem", Namespace::Ipc),
    ("kernel.shm", Namespace::Ipc),
    ("kernel.msg", Namespace::Ipc),
    ("fs.mqueue.", Namespace::Ipc),
    ("net.", Namespace::Net),
];

/// The longest name of a setting.
const MAX_LENGTH: usize = 253;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Namespace {
    Ipc,
    Net,
}

/// What pods may set: the safe settings, and those that the node's owner allows beside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedSysctls(Vec<String>);

/// An entry of `allowedUnsafeSysctls` that cannot be.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidSysctl {
    /// It is no name, nor the beginning of names.
    #[error("{0:?} is no name of a sysctl, nor the beginning of names with * at its end")]
    Name(String),
    /// Other pods would feel it, however it is set.
    #[error("the sysctl {0:?} is not known to be namespaced")]
    NotNamespaced(String),
}

impl AllowedSysctls {
    /// Names, and beginnings of names that end in `*`.
    pub fn new(unsafe_ones: &[String]) -> Result<Self, InvalidSysctl> {
        let parse = |entry: &String| {
            let name = entry.strip_suffix('*').unwrap_or(entry);
            let is_prefix = name.len() < entry.len();
            if !is_name(name, is_prefix) {
                return Err(InvalidSysctl::Name(entry.clone()));
            }
            let dotted = dotted(entry);
            match namespace(dotted.trim_end_matches('*')) {
                Some(_) => Ok(dotted),
                None => Err(InvalidSysctl::NotNamespaced(entry.clone())),
            }
        };
        unsafe_ones.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    fn has(&self, name: &str) -> bool {
        SAFE.contains(&name)
            || self.0.iter().any(|entry| match entry.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => entry == name,
            })
    }

    /// Whether the pod asks only for settings that it may have.
    pub fn check(&self, pod: &Pod) -> Result<(), Refusal> {
        let security = spec::spec(pod).security_context.as_ref();
        for sysctl in security.and_then(|security| security.sysctls.as_ref()).into_iter().flatten() {
            let name = dotted(&sysctl.name);
            if !self.has(&name) {
                return Err(Refusal::Sysctl(name));
            }
            match namespace(&name) {
                Some(Namespace::Net) if spec::host_network(pod) => return Err(Refusal::SysctlOfHost(name, "net")),
                Some(Namespace::Ipc) if spec::spec(pod).host_ipc == Some(true) => {
                    return Err(Refusal::SysctlOfHost(name, "ipc"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A name with dots between its parts: `net/ipv4/conf/eth0.1/x` is `net.ipv4.conf.eth0/1.x`.
fn dotted(name: &str) -> String {
    if name.find(['.', '/']).is_none_or(|first| name.as_bytes()[first] == b'.') {
        return name.to_owned();
    }
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    name.chars().map(swap).collect()
}

fn namespace(name: &str) -> Option<Namespace> {
    let mut known = NAMESPACES.iter();
    known
        .find(|(prefix, _)| name == *prefix || *prefix != "kernel.sem" && name.starts_with(prefix))
        .map(|found| found.1)
}

/// Whether a text is a name, or what names begin with, which may end in a separator.
fn is_name(name: &str, is_prefix: bool) -> bool {
    let name = if is_prefix { name.strip_suffix(['.', '/']).unwrap_or(name) } else { name };
    let is_edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_part = |part: &str| {
        // In a prefix the last part may be cut off anywhere.
        part.starts_with(is_edge)
            && (is_prefix || part.ends_with(is_edge))
            && part.chars().all(|c| is_edge(c) || c == '_' || c == '-')
    };
    name.len() <= MAX_LENGTH && name.split(['.', '/']).all(is_part)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(allowed: &[&str], spec: serde_json::Value, name: &str, expected: Option<&str>) {
        let allowed: Vec<String> = allowed.iter().map(|entry| (*entry).to_owned()).collect();
        let allowed = AllowedSysctls::new(&allowed).expect("they can be allowed");
        let pod = testkit::pod("web").container("a", "i").with(|pod| {
            let own = pod.spec.as_mut().expect("there");
            let sysctls = json!({"sysctls": [{"name": name, "value": "1"}]});
            own.security_context = Some(serde_json::from_value(sysctls).expect("a security context"));
            own.host_network = spec["hostNetwork"].as_bool();
            own.host_ipc = spec["hostIPC"].as_bool();
        });
        let refusal = allowed.check(&pod.build()).err();
        assert!(refusal.iter().all(|refusal| refusal.reason() == "SysctlForbidden"));
        assert_eq!(refusal.map(|refusal| refusal.to_string()).as_deref(), expected);
    }

    #[test]
    fn pods_have_what_is_safe_and_what_is_allowed_beside() {
        check(&[], json!({}), "net.ipv4.tcp_rmem", None);
        check(&[], json!({}), "net/ipv4/tcp_wmem", None);
        let refused = Some("forbidden sysctl: \"net.core.somaxconn\" not allowlisted");
        check(&[], json!({}), "net.core.somaxconn", refused);
        check(&["net.core.*"], json!({}), "net.core.somaxconn", None);
        check(&["net/core/somaxconn"], json!({}), "net.core.somaxconn", None);
        check(&["net.core.somaxconn"], json!({}), "net/core/somaxconn", None);
        check(&["net.ipv4.*", "kernel.msg*"], json!({}), "net.core.somaxconn", refused);
        check(&["kernel.msg*"], json!({}), "kernel.msgmax", None);
        check(&["net.ipv4.conf.eno2/100.*"], json!({}), "net/ipv4/conf/eno2.100/rp_filter", None);
    }

    #[test]
    fn what_belongs_to_the_node_is_not_set_by_who_shares_it() {
        let net = json!({"hostNetwork": true});
        let refused = Some("forbidden sysctl: \"net.core.somaxconn\" not allowed with host net enabled");
        check(&["net.*"], net.clone(), "net.core.somaxconn", refused);
        check(&["kernel.sem"], net, "kernel.sem", None);
        let ipc = json!({"hostIPC": true});
        let refused = Some("forbidden sysctl: \"kernel.shm_rmid_forced\" not allowed with host ipc enabled");
        check(&[], ipc, "kernel.shm_rmid_forced", refused);
    }

    #[test]
    fn only_settings_that_namespaces_have_can_be_allowed() {
        for (entry, is_name) in
            [("kernel.panic", true), ("vm.*", true), ("*", false), ("net..core", false), ("Net.core", false)]
        {
            let err = AllowedSysctls::new(&[entry.to_owned()]).expect_err(entry);
            assert_eq!(matches!(err, InvalidSysctl::NotNamespaced(_)), is_name, "{err}");
        }
    }
}
