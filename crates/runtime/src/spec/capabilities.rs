//! What a container's root may do.

use std::collections::BTreeSet;
use std::fs;
use std::sync::OnceLock;

use cri::LinuxContainerSecurityContext;
use oci_spec::runtime::Capability;
use serde_json::{Value, json};

/// What every container has, as other runtimes give it. Nodes of devices do no harm: its cgroup says which it may open.
const DEFAULT: &[&str] = &[
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// All capabilities in the order of their numbers.
const ALL: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// How many there are.
pub(crate) const COUNT: u32 = ALL.len() as u32;

/// The number of a capability by its whole name.
pub(crate) fn number(name: &str) -> Option<u32> {
    ALL.iter().position(|known| *known == name).and_then(|number| u32::try_from(number).ok())
}

/// A capability that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("unknown capability {0:?}")]
pub(crate) struct UnknownCapability(String);

/// The sets of a container.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Capabilities {
    has: BTreeSet<&'static str>,
    ambient: BTreeSet<&'static str>,
    /// What it has until its program runs.
    lent: BTreeSet<&'static str>,
}

impl Capabilities {
    /// What the container's programs have.
    pub(super) fn has(&self) -> &BTreeSet<&'static str> {
        &self.has
    }

    /// Gives further capabilities for the time before the container's program runs: the numbers of those that it must
    /// not keep.
    pub(super) fn lend(&mut self, names: &[&'static str]) -> Vec<u32> {
        self.lent.extend(names.iter().filter(|name| !self.has.contains(*name)));
        self.lent.iter().filter_map(|name| number(name)).collect()
    }

    pub(super) fn to_json(&self) -> Value {
        let first: BTreeSet<_> = self.has.union(&self.lent).collect();
        json!({
            "bounding": first,
            "effective": first,
            "permitted": first,
            "inheritable": self.ambient,
            "ambient": self.ambient,
        })
    }
}

/// The capabilities that a security context asks for, as far as this process has them to give.
pub(super) fn capabilities(context: &LinuxContainerSecurityContext) -> Result<Capabilities, UnknownCapability> {
    let mut wanted = wanted(context)?;
    wanted.has.retain(|name| available().contains(name));
    wanted.ambient.retain(|name| wanted.has.contains(name));
    Ok(wanted)
}

fn wanted(context: &LinuxContainerSecurityContext) -> Result<Capabilities, UnknownCapability> {
    if context.privileged {
        return Ok(Capabilities { has: ALL.iter().copied().collect(), ..Capabilities::default() });
    }
    let changes = context.capabilities.clone().unwrap_or_default();
    let is_all = |name: &String| name.eq_ignore_ascii_case("ALL");
    let mut has: BTreeSet<&str> = DEFAULT.iter().copied().collect();
    if changes.drop_capabilities.iter().any(is_all) {
        has.clear();
    }
    if changes.add_capabilities.iter().any(is_all) {
        has.extend(ALL);
    }
    for name in changes.add_capabilities.iter().filter(|name| !is_all(name)) {
        has.insert(find(name)?);
    }
    for name in changes.drop_capabilities.iter().filter(|name| !is_all(name)) {
        has.remove(find(name)?);
    }
    let ambient = changes.add_ambient_capabilities.iter().map(|name| find(name));
    let ambient: BTreeSet<&str> = ambient.collect::<Result<_, _>>()?;
    has.extend(&ambient);
    Ok(Capabilities { has, ambient, ..Capabilities::default() })
}

fn find(name: &str) -> Result<&'static str, UnknownCapability> {
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    ALL.iter().copied().find(|known| *known == full).ok_or_else(|| UnknownCapability(name.to_owned()))
}

/// What this process may give: its bounding set, for nothing beyond it can be set.
fn available() -> &'static BTreeSet<&'static str> {
    static AVAILABLE: OnceLock<BTreeSet<&str>> = OnceLock::new();
    AVAILABLE.get_or_init(|| {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let bits = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
        let bits = bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0);
        let known = |name: &&str| serde_json::from_value::<Capability>(json!(name)).is_ok();
        let numbered = ALL.iter().enumerate().filter(|(number, _)| bits & (1 << number) != 0);
        numbered.map(|(_, name)| *name).filter(known).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(add: &[&str], drop: &[&str]) -> LinuxContainerSecurityContext {
        let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let capabilities = cri::Capability {
            add_capabilities: strings(add),
            drop_capabilities: strings(drop),
            add_ambient_capabilities: Vec::new(),
        };
        LinuxContainerSecurityContext { capabilities: Some(capabilities), ..Default::default() }
    }

    #[track_caller]
    fn check(add: &[&str], drop: &[&str], has: &[&str], has_not: &[&str]) {
        let made = wanted(&context(add, drop)).expect("all names exist");
        for name in has {
            assert!(made.has.contains(name), "{name} is missing");
        }
        for name in has_not {
            assert!(!made.has.contains(name), "{name} is there");
        }
    }

    #[test]
    fn additions_and_drops_work_on_the_default() {
        check(&[], &[], &["CAP_CHOWN", "CAP_MKNOD"], &["CAP_SYS_ADMIN"]);
        check(&["NET_ADMIN"], &["CHOWN"], &["CAP_NET_ADMIN"], &["CAP_CHOWN"]);
        check(&["net_bind_service"], &["ALL"], &["CAP_NET_BIND_SERVICE"], &["CAP_CHOWN"]);
        check(&["ALL"], &["CAP_SYS_ADMIN"], &["CAP_NET_ADMIN"], &["CAP_SYS_ADMIN"]);
        assert!(wanted(&context(&["SOME_THING"], &[])).is_err());
    }

    #[test]
    fn what_is_lent_is_taken_back() {
        let mut made = wanted(&context(&[], &[])).expect("all names exist");
        assert_eq!(made.lend(&["CAP_SYS_ADMIN", "CAP_SETPCAP"]), [21]);
        assert!(!made.has().contains("CAP_SYS_ADMIN"));
        let permitted = made.to_json()["permitted"].to_string();
        assert!(permitted.contains("CAP_SYS_ADMIN") && !made.to_json()["inheritable"].to_string().contains("ADMIN"));
    }
}
