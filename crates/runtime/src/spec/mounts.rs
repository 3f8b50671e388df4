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
    /// It asks for something that is not offered.
    #[error("mount {container_path} asks for recursive read-only, which this runtime does not offer")]
    RecursiveReadOnly {
        /// In the container.
        container_path: String,
    },
}

/// The mounts and what they mean for the root.
pub(super) struct Mounts {
    pub mounts: Vec<Value>,
    pub rootfs_propagation: Option<&'static str>,
}

fn mount(destination: &str, kind: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": kind, "source": kind, "options": options})
}

fn bind(destination: &str, source: &Path, options: &[&str]) -> Value {
    json!({"destination": destination, "type": "bind", "source": source, "options": options})
}

/// All mounts in the order in which they are made.
pub(super) fn mounts(input: &SpecInput<'_>, context: &LinuxContainerSecurityContext) -> Result<Mounts, MountError> {
    let access = if context.privileged { "rw" } else { "ro" };
    let mut mounts = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", access]),
    ];
    mounts.extend(cgroup_mounts(input.cgroup, access));
    let options = context.namespace_options.clone().unwrap_or_default();
    let shm = if options.ipc() == NamespaceMode::Node { PathBuf::from("/dev/shm") } else { input.sandbox.shm() };
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
    let mut rootfs_propagation = None;
    let mut image_mounts = input.image_mounts.iter();
    let mut wanted = Vec::new();
    for mount in &input.config.mounts {
        let image = mount.image.as_ref().and_then(|_| image_mounts.next());
        let propagation = if image.is_some() { MountPropagation::PropagationPrivate } else { mount.propagation() };
        match propagation {
            MountPropagation::PropagationBidirectional => rootfs_propagation = Some("rshared"),
            MountPropagation::PropagationHostToContainer if rootfs_propagation.is_none() => {
                rootfs_propagation = Some("rslave");
            }
            _ => {}
        }
        wanted.push((depth(&mount.container_path), user_mount(mount, image.map(PathBuf::as_path))?));
    }
    // What is mounted deeper comes later, or it would be hidden.
    wanted.sort_by_key(|(depth, _)| *depth);
    mounts.extend(wanted.into_iter().map(|(_, mount)| mount));
    Ok(Mounts { mounts, rootfs_propagation })
}

/// The container's own cgroup.
///
/// For version 1 the mounts are spelled out, because libcontainer looks up the cgroups of a process number of the
/// container among the machine's processes when it makes them itself.
fn cgroup_mounts(cgroup: &Path, access: &str) -> Vec<Value> {
    let options = ["nosuid", "noexec", "nodev", "relatime", access];
    let hierarchy = Hierarchy::detect();
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

fn user_mount(mount: &Mount, image: Option<&Path>) -> Result<Value, MountError> {
    if mount.recursive_read_only {
        return Err(MountError::RecursiveReadOnly { container_path: mount.container_path.clone() });
    }
    let propagation = match mount.propagation() {
        MountPropagation::PropagationPrivate => "rprivate",
        MountPropagation::PropagationHostToContainer => "rslave",
        MountPropagation::PropagationBidirectional => "rshared",
    };
    let (source, access) = match image {
        Some(image) => (image.to_owned(), "ro"),
        None => (host_path(mount)?, if mount.readonly { "ro" } else { "rw" }),
    };
    let destination = Path::new("/").join(&mount.container_path);
    Ok(bind(&destination.to_string_lossy(), &source, &["rbind", propagation, access]))
}

/// The source with its symbolic links followed; a directory is made where there is nothing, as other runtimes do.
fn host_path(mount: &Mount) -> Result<PathBuf, MountError> {
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
