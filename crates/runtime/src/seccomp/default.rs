//! The runtime's own profile (`RuntimeDefault`).
//!
//! Everything that the kernel offered when this was built is allowed, except what reaches beyond the container: other
//! processes' memory, the machine's clock, modules, keys, mounts and the like. Some of that is opened by the capability
//! that guards it in the kernel. What the kernel has learned since looks as if it did not exist.

use std::collections::BTreeSet;

use oci_spec::runtime::LinuxSeccomp;
use serde_json::{Value, json};

use super::table::Table;

/// System calls that are refused, unless the container has one of these capabilities.
const REFUSED: &[(&[&str], &[&str])] = &[
    // Leftovers that the kernel answers for compatibility or not at all.
    (
        &[],
        &[
            "_sysctl",
            "afs_syscall",
            "bdflush",
            "break",
            "create_module",
            "epoll_ctl_old",
            "epoll_wait_old",
            "ftime",
            "get_kernel_syms",
            "getpmsg",
            "gtty",
            "idle",
            "lock",
            "mpx",
            "nfsservctl",
            "prof",
            "profil",
            "putpmsg",
            "query_module",
            "security",
            "stty",
            "sysfs",
            "tuxcall",
            "ulimit",
            "uselib",
            "ustat",
            "vm86",
            "vm86old",
            "vserver",
        ],
    ),
    // Keys belong to users of the machine, and know no namespaces.
    (&[], &["add_key", "keyctl", "request_key"]),
    // Ways around what else is filtered, or with a history of holes in the kernel.
    (&[], &["io_uring_enter", "io_uring_register", "io_uring_setup", "userfaultfd"]),
    // The machine itself.
    (&[], &["kexec_file_load", "kexec_load", "pivot_root", "swapoff", "swapon"]),
    (&["CAP_SYS_BOOT"], &["reboot"]),
    (&["CAP_SYS_MODULE"], &["delete_module", "finit_module", "init_module"]),
    (&["CAP_SYS_PACCT"], &["acct"]),
    (&["CAP_SYS_RAWIO"], &["ioperm", "iopl"]),
    (&["CAP_SYS_TIME"], &["clock_settime", "clock_settime64", "settimeofday", "stime"]),
    (&["CAP_SYS_TTY_CONFIG"], &["vhangup"]),
    (&["CAP_SYSLOG", "CAP_SYS_ADMIN"], &["syslog"]),
    // Other processes.
    (&["CAP_SYS_PTRACE"], &["kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev"]),
    (&["CAP_SYS_NICE"], &["get_mempolicy", "mbind", "migrate_pages", "move_pages", "set_mempolicy"]),
    (&["CAP_SYS_NICE"], &["set_mempolicy_home_node"]),
    // Files by handles are found across mounts.
    (&["CAP_DAC_READ_SEARCH"], &["open_by_handle_at"]),
    (&["CAP_SYS_CHROOT"], &["chroot"]),
    // Programs in the kernel.
    (&["CAP_BPF", "CAP_SYS_ADMIN"], &["bpf"]),
    (&["CAP_PERFMON", "CAP_SYS_ADMIN"], &["perf_event_open"]),
    // Mounts, namespaces, names.
    (
        &["CAP_SYS_ADMIN"],
        &[
            "fanotify_init",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "lookup_dcookie",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "open_tree_attr",
            "quotactl",
            "quotactl_fd",
            "setdomainname",
            "sethostname",
            "setns",
            "umount",
            "umount2",
            "unshare",
        ],
    ),
];

/// The flags of clone(2) that make namespaces.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;

/// Ways of execution that harm nobody: Linux of both word sizes, without and with the old order of addresses, and the
/// question which it is.
const PERSONALITIES: &[u64] = &[0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Sockets to the machine that this one runs on.
const AF_VSOCK: u64 = 40;

/// The profile of a container with these capabilities.
pub(crate) fn profile(capabilities: &BTreeSet<&str>) -> LinuxSeccomp {
    let tables: Vec<Table> =
        Table::native().into_iter().flat_map(|native| [Some(native), native.compatible()]).flatten().collect();
    let is_admin = capabilities.contains("CAP_SYS_ADMIN");
    let refused: BTreeSet<&str> = REFUSED
        .iter()
        .filter(|(unless, _)| !unless.iter().any(|capability| capabilities.contains(capability)))
        .flat_map(|(_, names)| names.iter().copied())
        .collect();
    let mut conditional = vec!["personality", "socket"];
    if !is_admin {
        conditional.extend(["clone", "clone3"]);
    }
    let allowed: BTreeSet<&str> = tables
        .iter()
        .flat_map(|table| table.names())
        .filter(|name| !refused.contains(name) && !conditional.contains(name))
        .collect();
    let mut syscalls = vec![json!({"names": allowed, "action": "SCMP_ACT_ALLOW"})];
    let allow_if =
        |name: &str, argument: Value| json!({"names": [name], "action": "SCMP_ACT_ALLOW", "args": [argument]});
    for personality in PERSONALITIES {
        let argument = json!({"index": 0, "value": personality, "op": "SCMP_CMP_EQ"});
        syscalls.push(allow_if("personality", argument));
    }
    syscalls.push(allow_if("socket", json!({"index": 0, "value": AF_VSOCK, "op": "SCMP_CMP_NE"})));
    if !is_admin {
        let no_namespace = json!({"index": 0, "value": NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"});
        syscalls.push(allow_if("clone", no_namespace));
        // Its flags are in memory, where no filter looks. C libraries fall back on clone.
        syscalls.push(json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS}));
    }
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": libc::EPERM,
        "architectures": tables.iter().map(|table| table.arch()).collect::<Vec<_>>(),
        "syscalls": syscalls,
    });
    serde_json::from_value(profile).expect("the profile is written down above, in the OCI form")
}

#[cfg(test)]
mod tests {
    use super::super::{bpf, program};
    use super::*;

    const ALLOW: u32 = 0x7fff_0000;
    const ERRNO: u32 = 0x0005_0000;

    #[track_caller]
    fn check(capabilities: &[&str], name: &str, arguments: &[u64], expected: u32) {
        let profile = profile(&capabilities.iter().copied().collect());
        let program = program::compile(&profile).expect("it can be done");
        let native = Table::native().expect("known");
        let number = native.number(name).expect("it exists");
        assert_eq!(bpf::run(&program, native.audit_arch(), number, arguments), expected, "{name} {arguments:?}");
        let compatible = native.compatible().expect("there is one");
        if let Some(number) = compatible.number(name) {
            assert_eq!(bpf::run(&program, compatible.audit_arch(), number, arguments), expected, "32 bits: {name}");
        }
    }

    #[test]
    fn programs_do_what_they_need() {
        for name in ["read", "openat", "execve", "futex", "ptrace", "fchmodat", "prctl", "seccomp", "memfd_create"] {
            check(&[], name, &[], ALLOW);
        }
        check(&[], "socket", &[2, 1, 0], ALLOW);
        check(&[], "clone", &[0x1200011], ALLOW);
        check(&[], "personality", &[0x2_0008], ALLOW);
    }

    #[test]
    fn what_reaches_beyond_the_container_is_refused() {
        let eperm = ERRNO | libc::EPERM as u32;
        for name in ["mount", "unshare", "keyctl", "bpf", "sethostname", "init_module", "io_uring_setup", "reboot"] {
            check(&[], name, &[], eperm);
        }
        check(&[], "clone", &[0x1000_0000], eperm);
        check(&[], "clone3", &[], ERRNO | libc::ENOSYS as u32);
        check(&[], "socket", &[40, 1, 0], eperm);
        check(&[], "personality", &[0x40_0000], eperm);
    }

    #[test]
    fn capabilities_open_what_they_guard() {
        for name in ["mount", "unshare", "sethostname", "bpf", "clone3"] {
            check(&["CAP_SYS_ADMIN"], name, &[], ALLOW);
        }
        check(&["CAP_SYS_ADMIN"], "clone", &[0x1000_0000], ALLOW);
        check(&["CAP_SYS_BOOT"], "reboot", &[], ALLOW);
        check(&["CAP_SYS_ADMIN"], "keyctl", &[], ERRNO | libc::EPERM as u32);
    }
}
