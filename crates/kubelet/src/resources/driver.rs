//! Who makes cgroups, and so what they are called: directories as they are named, or the slices of systemd.
//!
//! A slice carries the names of all above it: `burstable` in `kubepods` is `kubepods-burstable.slice` in
//! `kubepods.slice`. A dash within a name would be one more level and becomes an underscore.

use std::path::PathBuf;

/// How the kubelet comes to its cgroups.
#[derive(Clone, Debug)]
pub struct CgroupSettings {
    /// `cgroupDriver`: who makes them where the runtime does not say.
    pub driver: CgroupDriver,
    /// A directory that is there where systemd runs the machine, as `sd_booted(3)` has it.
    pub systemd_runs: PathBuf,
    /// Where the machine's bus listens.
    pub bus_socket: PathBuf,
}

impl Default for CgroupSettings {
    fn default() -> Self {
        Self {
            driver: CgroupDriver::default(),
            systemd_runs: PathBuf::from("/run/systemd/system"),
            bus_socket: PathBuf::from("/run/dbus/system_bus_socket"),
        }
    }
}

/// Who makes cgroups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupDriver {
    /// The kubelet itself, through the kernel's files.
    #[default]
    Cgroupfs,
    /// systemd.
    Systemd,
}

const SLICE: &str = ".slice";

impl CgroupDriver {
    /// As `cgroupDriver` says it.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "cgroupfs" => Some(Self::Cgroupfs),
            "systemd" => Some(Self::Systemd),
            _ => None,
        }
    }

    /// The path of the cgroup that has these names from the top down.
    pub fn path(self, names: &[&str]) -> String {
        if self == Self::Cgroupfs {
            return format!("/{}", names.join("/"));
        }
        let (mut path, mut slice) = (String::new(), String::new());
        for name in names {
            if !slice.is_empty() {
                slice.push('-');
            }
            slice.push_str(&name.replace('-', "_"));
            path = format!("{path}/{slice}{SLICE}");
        }
        path
    }

    /// The path of a cgroup that somebody names in a configuration: a slice by its own name suffices.
    pub fn path_of(self, configured: &str) -> String {
        let name = configured.rsplit('/').next().unwrap_or_default();
        match self {
            Self::Cgroupfs => configured.to_owned(),
            Self::Systemd => self.path(&name.trim_end_matches(SLICE).split('-').collect::<Vec<_>>()),
        }
    }

    /// The UID of the pod to which a directory below that of a class belongs.
    pub fn pod_uid(self, class_path: &str, directory: &str) -> Option<String> {
        match self {
            Self::Cgroupfs => directory.strip_prefix("pod").map(str::to_owned),
            Self::Systemd => {
                let class = class_path.rsplit('/').next()?.strip_suffix(SLICE)?;
                let own = directory.strip_suffix(SLICE)?.strip_prefix(class)?;
                Some(own.strip_prefix("-pod")?.replace('_', "-"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_are_called_as_their_maker_does() {
        let names = ["skiff-1", "kubepods", "burstable", "pod12-ab"];
        assert_eq!(CgroupDriver::Cgroupfs.path(&names), "/skiff-1/kubepods/burstable/pod12-ab");
        let slices = "/skiff_1.slice/skiff_1-kubepods.slice/skiff_1-kubepods-burstable.slice\
                      /skiff_1-kubepods-burstable-pod12_ab.slice";
        assert_eq!(CgroupDriver::Systemd.path(&names), slices);
    }

    #[test]
    fn a_slice_in_a_configuration_needs_no_path() {
        for (configured, expected) in [
            ("/system.slice", "/system.slice"),
            ("system", "/system.slice"),
            ("kube-reserved.slice", "/kube.slice/kube-reserved.slice"),
            ("/kube.slice/kube-reserved.slice", "/kube.slice/kube-reserved.slice"),
        ] {
            assert_eq!(CgroupDriver::Systemd.path_of(configured), expected, "{configured}");
        }
        assert_eq!(CgroupDriver::Cgroupfs.path_of("/kube-reserved"), "/kube-reserved");
    }

    #[test]
    fn pods_are_known_by_their_cgroups() {
        let class = CgroupDriver::Systemd.path(&["skiff", "kubepods"]);
        for (directory, expected) in [
            ("skiff-kubepods-pod12_ab.slice", Some("12-ab")),
            ("skiff-kubepods-besteffort.slice", None),
            ("skiff-kubepods-pod12_ab", None),
            ("crio-12.scope", None),
        ] {
            let found = CgroupDriver::Systemd.pod_uid(&class, directory);
            assert_eq!(found.as_deref(), expected, "{directory}");
        }
        assert_eq!(CgroupDriver::Cgroupfs.pod_uid("/skiff/kubepods", "pod12-ab").as_deref(), Some("12-ab"));
        assert_eq!(CgroupDriver::Cgroupfs.pod_uid("/skiff/kubepods", "burstable"), None);
    }
}
