//! Which cgroup file systems the machine has mounted.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use base::MountEntry;

/// The usual place of them all.
const ROOT: &str = "/sys/fs/cgroup";

/// The controllers of version 1 that libcontainer uses.
const CONTAINER_CONTROLLERS: &[&str] = &[
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
];

/// The mounted hierarchies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hierarchy {
    /// One for all controllers.
    V2,
    /// Mount points with their controllers (`name=systemd` among them).
    V1(Vec<(PathBuf, Vec<String>)>),
}

impl Hierarchy {
    /// Those of this machine, which it has from its start.
    pub(crate) fn of_machine() -> &'static Self {
        static FOUND: OnceLock<Hierarchy> = OnceLock::new();
        FOUND.get_or_init(Self::detect)
    }

    fn detect() -> Self {
        if Path::new(ROOT).join("cgroup.controllers").exists() {
            return Self::V2;
        }
        Self::V1(of_version_1(MountEntry::all(is_version_1).unwrap_or_default()))
    }

    /// Whether this is version 2.
    pub(crate) fn is_v2(&self) -> bool {
        matches!(self, Self::V2)
    }

    /// Whether the machine has `controller`.
    pub(crate) fn has(&self, controller: &str) -> bool {
        match self {
            Self::V2 => {
                let names = fs::read_to_string(Path::new(ROOT).join("cgroup.controllers")).unwrap_or_default();
                names.split_whitespace().any(|name| name == controller)
            }
            Self::V1(_) => self.mount_point(controller).is_some(),
        }
    }

    /// Where `controller` is mounted.
    pub(super) fn mount_point(&self, controller: &str) -> Option<PathBuf> {
        match self {
            Self::V2 => Some(PathBuf::from(ROOT)),
            Self::V1(mounts) => {
                let has = |names: &Vec<String>| names.iter().any(|name| name == controller);
                mounts.iter().find(|(_, names)| has(names)).map(|(path, _)| path.clone())
            }
        }
    }

    /// The mount points of version 1 in which libcontainer makes cgroups for containers.
    pub(crate) fn container_mount_points(&self) -> Vec<PathBuf> {
        let Self::V1(mounts) = self else { return Vec::new() };
        let of_containers =
            |names: &Vec<String>| names.iter().any(|name| CONTAINER_CONTROLLERS.contains(&name.as_str()));
        mounts.iter().filter(|(_, names)| of_containers(names)).map(|(path, _)| path.clone()).collect()
    }

    /// The hierarchy of version 2 that a hybrid host has beside those of version 1: no controller is there, but other
    /// runtimes make cgroups in it.
    pub(super) fn beside(&self) -> Option<PathBuf> {
        let unified = Path::new(ROOT).join("unified");
        (!self.is_v2() && unified.join("cgroup.procs").exists()).then_some(unified)
    }

    /// All mount points.
    pub(super) fn mount_points(&self) -> Vec<PathBuf> {
        match self {
            Self::V2 => vec![PathBuf::from(ROOT)],
            Self::V1(mounts) => mounts.iter().map(|(path, _)| path.clone()).collect(),
        }
    }
}

fn is_version_1(mount: &MountEntry) -> bool {
    mount.file_system == "cgroup" && mount.point.starts_with(ROOT)
}

/// The version 1 hierarchies among mounts.
fn of_version_1(mounts: impl IntoIterator<Item = MountEntry>) -> Vec<(PathBuf, Vec<String>)> {
    let mut found: Vec<(PathBuf, Vec<String>)> = Vec::new();
    for mount in mounts.into_iter().filter(is_version_1) {
        let options = mount.options.split(',').filter(|option| !matches!(*option, "rw" | "ro" | "xattr"));
        let names: Vec<String> = options.map(str::to_owned).collect();
        // The same hierarchy may be mounted again elsewhere.
        if !found.iter().any(|(_, known)| *known == names) {
            found.push((mount.point, names));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_mounts_are_found_by_controller() {
        let table = b"30 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
                    31 25 0:28 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
                    32 25 0:28 / /elsewhere rw,relatime shared:9 - cgroup cgroup rw,memory\n\
                    33 25 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                    34 25 0:30 / /proc rw - proc proc rw\n";
        let hierarchy = Hierarchy::V1(of_version_1(MountEntry::in_table(table)));
        assert_eq!(hierarchy.mount_point("cpuacct"), Some(PathBuf::from("/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(hierarchy.mount_point("memory"), Some(PathBuf::from("/sys/fs/cgroup/memory")));
        assert_eq!(hierarchy.mount_point("pids"), None);
        assert_eq!(hierarchy.mount_points().len(), 2);
    }
}
