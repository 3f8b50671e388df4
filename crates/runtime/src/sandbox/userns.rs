//! The user namespace of a pod whose users are not the machine's (`hostUsers: false`).

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cri::{IdMapping, NamespaceMode, NamespaceOption, PodSandboxConfig};
use rustix::mount::mount_bind;

use super::{SandboxPaths, namespace_options};

/// A user namespace that is not offered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserNamespaceError {
    /// There is no such thing as a user namespace of a container alone or of a target.
    #[error("user namespace mode {0} is not supported")]
    Mode(&'static str),
    /// Root must be somebody, and nobody may be two.
    #[error("user namespaces need exactly one mapping of users and the same of groups, from container ID 0 on")]
    Mappings,
    /// The kernel gives no sysfs of a network that belongs to others.
    #[error("user namespaces cannot be used with the host network")]
    HostNetwork,
}

/// Which users of the machine a pod's users are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdMap {
    /// The pod's root.
    pub host_id: u32,
    /// How many.
    pub length: u32,
}

/// The users of a sandbox, if they are not the machine's.
pub(crate) fn id_map(config: &PodSandboxConfig) -> Result<Option<IdMap>, UserNamespaceError> {
    of_options(&namespace_options(config))
}

fn of_options(options: &NamespaceOption) -> Result<Option<IdMap>, UserNamespaceError> {
    let Some(wanted) = &options.userns_options else { return Ok(None) };
    match wanted.mode() {
        NamespaceMode::Node => return Ok(None),
        NamespaceMode::Pod => {}
        mode @ (NamespaceMode::Container | NamespaceMode::Target) => {
            return Err(UserNamespaceError::Mode(mode.as_str_name()));
        }
    }
    let ([users], [groups]) = (wanted.uids.as_slice(), wanted.gids.as_slice()) else {
        return Err(UserNamespaceError::Mappings);
    };
    let IdMapping { host_id, container_id, length } = *users;
    if users != groups || container_id != 0 || length == 0 || host_id.checked_add(length).is_none() {
        return Err(UserNamespaceError::Mappings);
    }
    if options.network() == NamespaceMode::Node {
        return Err(UserNamespaceError::HostNetwork);
    }
    Ok(Some(IdMap { host_id, length }))
}

/// Makes a user namespace and others that belong to it, and binds them all. Blocks.
///
/// A process of several threads cannot enter a user namespace, so another one makes them and waits until they are bound.
pub(super) fn make(map: IdMap, kinds: &[&'static str], program: &Path, paths: &SandboxPaths) -> io::Result<()> {
    let mut command = Command::new(program);
    command.arg0("skiff").args(["shim", "namespaces", "user"]).args(kinds);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    base::restore_open_files(&mut command);
    let mut child = command.spawn()?;
    let mut bind = || -> io::Result<()> {
        let mut ready = [0];
        let stdout = child.stdout.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        if stdout.read(&mut ready)? == 0 {
            let mut problem = String::new();
            child.stderr.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.read_to_string(&mut problem)?;
            return Err(io::Error::other(problem.trim().to_owned()));
        }
        let process = PathBuf::from(format!("/proc/{}", child.id()));
        let text = format!("0 {} {}\n", map.host_id, map.length);
        fs::write(process.join("uid_map"), &text)?;
        fs::write(process.join("gid_map"), &text)?;
        for kind in ["user"].iter().chain(kinds) {
            let target = paths.namespace(kind);
            fs::write(&target, "")?;
            mount_bind(process.join("ns").join(kind), &target)?;
        }
        Ok(())
    };
    let result = bind();
    // Its input's end is its end.
    drop(child.stdin.take());
    child.wait()?;
    result
}

/// Moves the calling thread into namespaces that [`make`] bound.
pub(super) fn enter(kinds: &[&'static str], paths: &SandboxPaths) -> io::Result<()> {
    for kind in kinds {
        let namespace = File::open(paths.namespace(kind))?;
        rustix::thread::move_into_link_name_space(namespace.as_fd(), None)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use cri::UserNamespace;

    use super::*;

    fn options(mode: NamespaceMode, mappings: &[(u32, u32, u32)]) -> NamespaceOption {
        let mapping = |&(container_id, host_id, length)| IdMapping { container_id, host_id, length };
        let uids: Vec<IdMapping> = mappings.iter().map(mapping).collect();
        let userns = UserNamespace { mode: mode.into(), gids: uids.clone(), uids };
        NamespaceOption { userns_options: Some(userns), ..Default::default() }
    }

    #[test]
    fn only_whole_mappings_are_taken() {
        let check = |mode, mappings: &[(u32, u32, u32)]| of_options(&options(mode, mappings));
        let map = IdMap { host_id: 1000, length: 65536 };
        assert_eq!(check(NamespaceMode::Pod, &[(0, 1000, 65536)]).ok(), Some(Some(map)));
        assert_eq!(check(NamespaceMode::Node, &[]).ok(), Some(None));
        assert_eq!(of_options(&NamespaceOption::default()).ok(), Some(None));
        for wrong in [&[][..], &[(1, 1000, 10)], &[(0, 1000, 10), (0, 2000, 10)], &[(0, 1000, 0)], &[(0, u32::MAX, 2)]]
        {
            assert!(matches!(check(NamespaceMode::Pod, wrong), Err(UserNamespaceError::Mappings)), "{wrong:?}");
        }
        for mode in [NamespaceMode::Container, NamespaceMode::Target] {
            assert!(matches!(check(mode, &[(0, 1000, 10)]), Err(UserNamespaceError::Mode(_))));
        }
        let mut of_host = options(NamespaceMode::Pod, &[(0, 1000, 10)]);
        of_host.network = NamespaceMode::Node.into();
        assert!(matches!(of_options(&of_host), Err(UserNamespaceError::HostNetwork)));
    }
}
