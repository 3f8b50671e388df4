//! What is mounted in a container.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cri::{LinuxContainerSecurityContext, Mount, MountPropagation, NamespaceMode};
use serde_json::{Value, json};

use super::SpecInput;
use crate::cgroup::Hierarchy;

/// Why a mount cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MountError {
    /// Its source is not there and cannot be made.
    #[error("cannot use {} for mount {container_path}: {source}", host_path.display())]
    Source {
        /// In the container.
        container_path: String,
        /// On the machine.
        host_path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It asks for what contradicts itself.
    #[error("recursive read-only mount {container_path} must be {must_be}")]
    RecursiveReadOnly {
        /// In the container.
        container_path: String,
        /// What it is not.
        must_be: &'static str,
    },
}

fn mount(destination: &str, kind: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": kind, "source": kind, "options": options})
}

fn bind(destination: &str, source: &Path, options: &[&str]) -> Value {
    json!({"destination": destination, "type": "bind", "source": source, "options": options})
}

/// All mounts in the order in which they are made.
pub(super) fn mounts(input: &SpecInput<'_>, context: &LinuxContainerSecurityContext) -> Result<Vec<Value>, MountError> {
    let access = if context.privileged { "rw" } else { "ro" };
    let mut mounts = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", access]),
    ];
    mounts.extend(cgroup_mounts(input.cgroup, access));
    let shm = if input.sandbox_options.ipc() == NamespaceMode::Node {
        PathBuf::from("/dev/shm")
    } else {
        input.sandbox.shm()
    };
    let etc = if context.readonly_rootfs { "ro" } else { "rw" };
    let own = [
        ("/dev/shm", shm, vec!["rbind", "rprivate", "nosuid", "noexec", "nodev", "rw"]),
        ("/etc/resolv.conf", input.sandbox.resolv_conf(), vec!["rbind", "rprivate", etc]),
        ("/etc/hostname", input.sandbox.hostname(), vec!["rbind", "rprivate", etc]),
        ("/etc/hosts", input.sandbox.hosts(), vec!["rbind", "rprivate", etc]),
    ];
    let given =
        |path: &str| input.config.mounts.iter().any(|mount| Path::new(&mount.container_path) == Path::new(path));
    mounts.extend(
        own.iter().filter(|(path, ..)| !given(path)).map(|(path, source, options)| bind(path, source, options)),
    );
    mounts.retain(|mount| {
        !mount["destination"].as_str().is_some_and(|path| path != "/dev" && path != "/proc" && given(path))
    });
    let mut wanted = Vec::new();
    for (mount, prepared) in input.config.mounts.iter().zip(input.prepared) {
        wanted.push((depth(&mount.container_path), user_mount(mount, prepared.as_deref())?));
    }
    // What is mounted deeper comes later, or it would be hidden.
    wanted.sort_by_key(|(depth, _)| *depth);
    mounts.extend(wanted.into_iter().map(|(_, mount)| mount));
    Ok(mounts)
}

/// The container's own cgroup.
///
/// For version 1 the mounts are spelled out, because libcontainer looks up the cgroups of a process number of the
/// container among the machine's processes when it makes them itself.
fn cgroup_mounts(cgroup: &Path, access: &str) -> Vec<Value> {
    let options = ["nosuid", "noexec", "nodev", "relatime", access];
    let hierarchy = Hierarchy::of_machine();
    if hierarchy.is_v2() {
        return vec![mount("/sys/fs/cgroup", "cgroup", &options)];
    }
    let mut mounts = vec![mount("/sys/fs/cgroup", "tmpfs", &["nosuid", "noexec", "nodev", "mode=755"])];
    let relative = cgroup.strip_prefix("/").unwrap_or(cgroup);
    for root in hierarchy.container_mount_points() {
        let Some(name) = root.file_name() else { continue };
        let target = Path::new("/sys/fs/cgroup").join(name);
        mounts.push(bind(
            &target.to_string_lossy(),
            &root.join(relative),
            &[&["rbind", "rprivate"], &options[..]].concat(),
        ));
    }
    mounts
}

fn depth(path: &str) -> usize {
    Path::new(path).components().count()
}

/// How far mounts must propagate in a container's mount namespace: as far as that of its mounts which needs most.
pub(crate) fn root_propagation(mounts: &[Mount]) -> MountPropagation {
    let of_hosts = mounts.iter().filter(|mount| mount.image.is_none()).map(Mount::propagation);
    of_hosts.max_by_key(|propagation| *propagation as i32).unwrap_or_default()
}

/// The same in the words of the specification. libcontainer always includes the mounts below, and does not know the
/// words that say so; other runtimes do.
pub(super) fn root_propagation_name(mounts: &[Mount], is_for_program: bool) -> &'static str {
    match (root_propagation(mounts), is_for_program) {
        (MountPropagation::PropagationPrivate, false) => "private",
        (MountPropagation::PropagationHostToContainer, false) => "slave",
        (MountPropagation::PropagationBidirectional, false) => "shared",
        (MountPropagation::PropagationPrivate, true) => "rprivate",
        (MountPropagation::PropagationHostToContainer, true) => "rslave",
        (MountPropagation::PropagationBidirectional, true) => "rshared",
    }
}

fn user_mount(mount: &Mount, prepared: Option<&Path>) -> Result<Value, MountError> {
    let propagation = match mount.propagation() {
        MountPropagation::PropagationPrivate => "rprivate",
        MountPropagation::PropagationHostToContainer => "rslave",
        MountPropagation::PropagationBidirectional => "rshared",
    };
    let source = match prepared {
        Some(prepared) => prepared.to_owned(),
        None => source(mount)?,
    };
    let destination = Path::new("/").join(&mount.container_path);
    Ok(bind(&destination.to_string_lossy(), &source, &["rbind", propagation, access(mount)?]))
}

fn access(mount: &Mount) -> Result<&'static str, MountError> {
    let contradiction =
        |must_be| MountError::RecursiveReadOnly { container_path: mount.container_path.clone(), must_be };
    match (mount.recursive_read_only, mount.readonly) {
        (false, true) => Ok("ro"),
        (false, false) => Ok("rw"),
        (true, false) => Err(contradiction("read-only")),
        // What appears below it later could be written to.
        (true, true) if mount.propagation() != MountPropagation::PropagationPrivate => Err(contradiction("private")),
        (true, true) => Ok("rro"),
    }
}

/// The source with its symbolic links followed; a directory is made where there is nothing, as other runtimes do.
pub(crate) fn source(mount: &Mount) -> Result<PathBuf, MountError> {
    let path = Path::new(&mount.host_path);
    let error = |source| MountError::Source {
        container_path: mount.container_path.clone(),
        host_path: path.to_owned(),
        source,
    };
    match fs::canonicalize(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound && path.is_absolute() => {
            fs::create_dir_all(path).map_err(error)?;
            fs::canonicalize(path).map_err(error)
        }
        other => other.map_err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(propagation: MountPropagation) -> Mount {
        Mount { propagation: propagation.into(), ..Default::default() }
    }

    #[test]
    fn the_root_propagates_what_any_mount_needs() {
        let [private, slave, shared] = [
            MountPropagation::PropagationPrivate,
            MountPropagation::PropagationHostToContainer,
            MountPropagation::PropagationBidirectional,
        ]
        .map(mount);
        assert_eq!(root_propagation_name(&[], false), "private");
        assert_eq!(root_propagation_name(&[private.clone(), slave.clone()], false), "slave");
        assert_eq!(root_propagation_name(&[slave, shared, private], true), "rshared");
    }

    #[track_caller]
    fn check_access(change: impl FnOnce(&mut Mount), expected: Option<&str>) {
        let mut mount = mount(MountPropagation::PropagationPrivate);
        change(&mut mount);
        assert_eq!(access(&mount).ok(), expected);
    }

    #[test]
    fn recursive_read_only_needs_read_only_and_private() {
        check_access(|_| {}, Some("rw"));
        check_access(|mount| mount.readonly = true, Some("ro"));
        check_access(|mount| mount.recursive_read_only = true, None);
        check_access(|mount| (mount.readonly, mount.recursive_read_only) = (true, true), Some("rro"));
        let slave = MountPropagation::PropagationHostToContainer.into();
        check_access(
            |mount| (mount.readonly, mount.recursive_read_only, mount.propagation) = (true, true, slave),
            None,
        );
    }
}
