//! Namespaces that live without a process: they are bound to files.

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cri::{NamespaceMode, PodSandboxConfig};
use nix::sched::CloneFlags;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};

use super::{SandboxPaths, UserNamespaceError, namespace_options, userns};

/// Why a sandbox has no namespaces.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NamespaceError {
    /// A system call failed.
    #[error("cannot {action}: {source}")]
    System {
        /// What was attempted.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A kernel parameter cannot be set.
    #[error("cannot set sysctl {name}={value}: {source}")]
    Sysctl {
        /// The parameter.
        name: String,
        /// The value.
        value: String,
        /// What the system said.
        source: io::Error,
    },
    /// A kernel parameter would be set for the whole machine.
    #[error("sysctl {0} is not of a namespace that the pod has of its own")]
    NotNamespaced(String),
    /// A user namespace that is not offered.
    #[error(transparent)]
    User(#[from] UserNamespaceError),
}

fn system<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> NamespaceError {
    move |err| NamespaceError::System { action, source: err.into() }
}

/// Parameters that pods have unless they say otherwise: ports below 1024 and ping for everyone, as other runtimes do.
const DEFAULT_SYSCTLS: &[(&str, &str)] =
    &[("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")];

/// Makes and binds the namespaces that `config` asks for. Blocks.
pub(super) fn make(config: &PodSandboxConfig, paths: &SandboxPaths, program: &Path) -> Result<(), NamespaceError> {
    let map = userns::id_map(config)?;
    let mut flags = CloneFlags::empty();
    let mut kinds = Vec::new();
    if namespace_options(config).network() != NamespaceMode::Node {
        flags |= CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS;
        kinds.extend(["net", "uts"]);
    }
    if namespace_options(config).ipc() != NamespaceMode::Node {
        flags |= CloneFlags::CLONE_NEWIPC;
        kinds.push("ipc");
    }
    let dir = paths.run().join("ns");
    fs::create_dir_all(&dir).map_err(system("make the namespaces' directory"))?;
    if let Some(map) = map {
        userns::make(map, &kinds, program, paths).map_err(system("make a user namespace"))?;
    }
    let work = || {
        if map.is_some() {
            userns::enter(&kinds, paths).map_err(system("enter namespaces"))?;
        } else {
            nix::sched::unshare(flags).map_err(system("make namespaces"))?;
        }
        for kind in kinds.iter().filter(|_| map.is_none()) {
            let target = paths.namespace(kind);
            fs::write(&target, "").map_err(system("make a namespace's file"))?;
            let source = format!("/proc/thread-self/ns/{kind}");
            mount_bind(source, &target).map_err(system("bind a namespace"))?;
        }
        if kinds.contains(&"uts") && !config.hostname.is_empty() {
            nix::unistd::sethostname(&config.hostname).map_err(system("set the hostname"))?;
        }
        set_sysctls(config, &kinds)
    };
    // A thread of its own, which ends with its namespaces: no other work must ever run in them.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("namespaces".to_owned());
        let thread = thread.spawn_scoped(scope, work).map_err(system("start a thread"))?;
        thread.join().unwrap_or_else(|_| Err(system("make namespaces")(io::Error::other("the thread panicked"))))
    })
}

fn set_sysctls(config: &PodSandboxConfig, kinds: &[&str]) -> Result<(), NamespaceError> {
    let wanted = config.linux.as_ref().map(|linux| &linux.sysctls);
    if kinds.contains(&"net") {
        for (name, value) in DEFAULT_SYSCTLS {
            // A kernel without the parameter has no need for it.
            let _ = fs::write(sysctl_file(name), value);
        }
    }
    for (name, value) in wanted.into_iter().flatten() {
        if !is_namespaced(name, kinds) {
            return Err(NamespaceError::NotNamespaced(name.clone()));
        }
        fs::write(sysctl_file(name), value).map_err(|source| NamespaceError::Sysctl {
            name: name.clone(),
            value: value.clone(),
            source,
        })?;
    }
    Ok(())
}

fn is_namespaced(name: &str, kinds: &[&str]) -> bool {
    let name = name.replace('/', ".");
    if name.starts_with("net.") {
        return kinds.contains(&"net");
    }
    let of_ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|prefix| name.starts_with(prefix));
    (of_ipc || name == "kernel.sem") && kinds.contains(&"ipc")
}

/// `net.ipv4.x` and `net/ipv4/x` are both in use; the latter for names with dots in a part.
fn sysctl_file(name: &str) -> PathBuf {
    let relative = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
    Path::new("/proc/sys").join(relative.trim_start_matches('/').replace("..", ""))
}

/// Mounts the sandbox's `/dev/shm`.
pub(super) fn mount_shm(config: &PodSandboxConfig, paths: &SandboxPaths) -> Result<(), NamespaceError> {
    let target = paths.shm();
    fs::create_dir_all(&target).map_err(system("make the directory of /dev/shm"))?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    let root = userns::id_map(config)?.map_or(0, |map| map.host_id);
    let options = CString::new(format!("mode=1777,size=65536k,uid={root},gid={root}"));
    let options = options.map_err(|err| system("mount /dev/shm")(io::Error::from(err)))?;
    mount("shm", &target, "tmpfs", flags, options.as_c_str()).map_err(system("mount /dev/shm"))
}

/// Unbinds the network namespace, and with it, unless a process is left in it, its interfaces.
pub(super) fn release_network(paths: &SandboxPaths) -> Result<(), NamespaceError> {
    let path = paths.namespace("net");
    match unmount(&path, UnmountFlags::DETACH) {
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
        Err(err) => return Err(system("unbind the network namespace")(err)),
    }
    crate::disk::remove_file(&path)
        .map_err(|err| system("remove the network namespace")(io::Error::other(err.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parameters_of_own_namespaces_are_set() {
        assert!(is_namespaced("net.core.somaxconn", &["net", "ipc"]));
        assert!(!is_namespaced("net.core.somaxconn", &["ipc"]));
        assert!(is_namespaced("kernel.shm_rmid_forced", &["ipc"]));
        assert!(is_namespaced("kernel.sem", &["ipc"]));
        assert!(!is_namespaced("kernel.pid_max", &["net", "ipc"]));
        assert!(!is_namespaced("vm.swappiness", &["net", "ipc"]));
    }

    #[test]
    fn parameters_are_files() {
        assert_eq!(sysctl_file("net.ipv4.ip_forward"), Path::new("/proc/sys/net/ipv4/ip_forward"));
        assert_eq!(sysctl_file("net/ipv4/conf/eth0.1/x"), Path::new("/proc/sys/net/ipv4/conf/eth0.1/x"));
    }
}
