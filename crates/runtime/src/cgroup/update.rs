//! Changing the limits of a cgroup.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cri::LinuxContainerResources;

use super::Cgroup;

/// A limit that could not be set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpdateError {
    /// The machine lacks the controller.
    #[error("no cgroup controller {0:?} on this machine")]
    NoController(&'static str),
    /// A name leads out of the cgroup.
    #[error("{0:?} is no file of a cgroup")]
    File(String),
    /// The kernel refused the value.
    #[error("cannot write {value:?} to {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The value.
        value: String,
        /// What the system said.
        source: io::Error,
    },
}

/// One file of a controller and what to write to it.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    controller: &'static str,
    file: String,
    value: String,
}

impl Setting {
    fn new(controller: &'static str, file: &str, value: impl ToString) -> Self {
        Self { controller, file: file.to_owned(), value: value.to_string() }
    }

    /// The file in the cgroup's directory.
    fn path(&self, dir: &Path) -> Result<PathBuf, UpdateError> {
        if self.file.contains('/') {
            return Err(UpdateError::File(self.file.clone()));
        }
        Ok(dir.join(&self.file))
    }
}

/// What version 2 takes for the shares of version 1: 2..262144 mapped to 1..10000.
pub(crate) fn shares_to_weight(shares: u64) -> u64 {
    if shares == 0 { 0 } else { 1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142 }
}

/// `together` is the present limit of memory and swap, where the kernel has one.
fn settings_v1(resources: &LinuxContainerResources, together: Option<i64>) -> Vec<Setting> {
    let mut settings = Vec::new();
    if resources.cpu_shares > 0 {
        settings.push(Setting::new("cpu", "cpu.shares", resources.cpu_shares));
    }
    if resources.cpu_period > 0 {
        settings.push(Setting::new("cpu", "cpu.cfs_period_us", resources.cpu_period));
    }
    if resources.cpu_quota != 0 {
        settings.push(Setting::new("cpu", "cpu.cfs_quota_us", resources.cpu_quota.max(-1)));
    }
    let first = settings.len();
    if resources.memory_limit_in_bytes != 0 {
        settings.push(Setting::new("memory", "memory.limit_in_bytes", resources.memory_limit_in_bytes));
    }
    if let Some(now) = together
        && resources.memory_swap_limit_in_bytes != 0
    {
        let wanted = resources.memory_swap_limit_in_bytes;
        // Memory alone may never have more than both together.
        let place = if wanted < 0 || wanted > now { first } else { settings.len() };
        settings.insert(place, Setting::new("memory", "memory.memsw.limit_in_bytes", wanted));
    }
    settings.extend(huge_pages(resources, "limit_in_bytes"));
    settings
}

/// `cpu` is what `cpu.max` has at present, and `swaps` whether the kernel counts swap.
fn settings_v2(resources: &LinuxContainerResources, cpu: &str, swaps: bool) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Ok(shares @ 1..) = u64::try_from(resources.cpu_shares) {
        settings.push(Setting::new("cpu", "cpu.weight", shares_to_weight(shares)));
    }
    if resources.cpu_quota != 0 || resources.cpu_period > 0 {
        // One file has both: what is not to change is written as it was.
        let (quota, period) = cpu.trim().split_once(' ').unwrap_or(("max", "100000"));
        let quota = match resources.cpu_quota {
            0 => quota.to_owned(),
            quota @ 1.. => quota.to_string(),
            _ => "max".to_owned(),
        };
        let period = if resources.cpu_period > 0 { resources.cpu_period.to_string() } else { period.to_owned() };
        settings.push(Setting::new("cpu", "cpu.max", format!("{quota} {period}")));
    }
    if resources.memory_limit_in_bytes != 0 {
        let limit = resources.memory_limit_in_bytes;
        let limit = if limit > 0 { limit.to_string() } else { "max".to_owned() };
        settings.push(Setting::new("memory", "memory.max", limit));
    }
    // Version 1, and CRI with it, limits memory and swap together; version 2 swap alone.
    let (memory, together) = (resources.memory_limit_in_bytes, resources.memory_swap_limit_in_bytes);
    if swaps && together < 0 {
        settings.push(Setting::new("memory", "memory.swap.max", "max"));
    } else if swaps && together > 0 && memory > 0 {
        settings.push(Setting::new("memory", "memory.swap.max", (together - memory).max(0)));
    }
    settings.extend(huge_pages(resources, "max"));
    for (file, value) in &resources.unified {
        settings.push(Setting::new("unified", file, value));
    }
    settings
}

/// The limits of huge pages, of each size in a file of its own.
fn huge_pages(resources: &LinuxContainerResources, ending: &str) -> impl Iterator<Item = Setting> {
    let limits = resources.hugepage_limits.iter();
    limits.map(move |limit| Setting::new("hugetlb", &format!("hugetlb.{}.{ending}", limit.page_size), limit.limit))
}

impl Cgroup {
    /// Applies what is set in `resources`; zero and empty mean unchanged.
    pub(crate) fn update(&self, resources: &LinuxContainerResources) -> Result<(), UpdateError> {
        let mut settings = if self.hierarchy.is_v2() {
            let cpu = self.read("cpu", "cpu.max").unwrap_or_default();
            settings_v2(resources, &cpu, self.read("memory", "memory.swap.max").is_some())
        } else {
            let together = self.read("memory", "memory.memsw.limit_in_bytes");
            settings_v1(resources, together.and_then(|text| text.trim().parse().ok()))
        };
        if !resources.cpuset_cpus.is_empty() {
            settings.push(Setting::new("cpuset", "cpuset.cpus", &resources.cpuset_cpus));
        }
        if !resources.cpuset_mems.is_empty() {
            settings.push(Setting::new("cpuset", "cpuset.mems", &resources.cpuset_mems));
        }
        // A machine that does not limit huge pages runs containers without such limits.
        settings.retain(|setting| setting.controller != "hugetlb" || self.hierarchy.has("hugetlb"));
        for setting in settings {
            let dir = self.dir(setting.controller).ok_or(UpdateError::NoController(setting.controller))?;
            let (path, value) = (setting.path(&dir)?, setting.value);
            if let Err(source) = fs::write(&path, &value) {
                return Err(UpdateError::Write { path, value, source });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use cri::HugepageLimit;

    use super::*;

    #[test]
    fn shares_map_to_weights() {
        assert_eq!([2, 1024, 262_144].map(shares_to_weight), [1, 39, 10_000]);
    }

    #[test]
    fn memory_and_swap_together_are_never_less_than_memory() {
        let resources =
            LinuxContainerResources { memory_limit_in_bytes: 10, memory_swap_limit_in_bytes: 10, ..Default::default() };
        let (alone, together) = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes");
        for (now, expected) in
            [(None, vec![alone]), (Some(5), vec![together, alone]), (Some(20), vec![alone, together])]
        {
            let files: Vec<String> = settings_v1(&resources, now).into_iter().map(|setting| setting.file).collect();
            assert_eq!(files, expected, "{now:?}");
        }
    }

    #[test]
    fn only_what_is_set_is_written() {
        let resources = LinuxContainerResources { cpu_quota: 50_000, ..Default::default() };
        assert_eq!(settings_v1(&resources, None), [Setting::new("cpu", "cpu.cfs_quota_us", 50_000)]);
        assert!(settings_v2(&LinuxContainerResources::default(), "max 100000", true).is_empty());
    }

    #[test]
    fn what_shares_a_file_with_what_changes_stays_as_it_was() {
        let cpu = |cpu_quota, cpu_period| LinuxContainerResources { cpu_quota, cpu_period, ..Default::default() };
        for (change, expected) in [
            (cpu(20_000, 0), "20000 50000"),
            (cpu(0, 80_000), "25000 80000"),
            (cpu(-1, 0), "max 50000"),
            (cpu(20_000, 80_000), "20000 80000"),
        ] {
            let expected = [Setting::new("cpu", "cpu.max", expected)];
            assert_eq!(settings_v2(&change, "25000 50000\n", true), expected);
        }
    }

    #[test]
    fn huge_pages_are_limited_by_their_size() {
        let hugepage_limits = [("2MB", 4 << 20), ("1GB", 0)]
            .map(|(page_size, limit)| HugepageLimit { page_size: page_size.to_owned(), limit })
            .to_vec();
        let resources = LinuxContainerResources { hugepage_limits, ..Default::default() };
        let expected = |ending: &str| {
            [("2MB", 4 << 20), ("1GB", 0)]
                .map(|(size, limit)| Setting::new("hugetlb", &format!("hugetlb.{size}.{ending}"), limit))
        };
        assert_eq!(settings_v1(&resources, None), expected("limit_in_bytes"));
        assert_eq!(settings_v2(&resources, "", true), expected("max"));
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let unified = [("../../memory.max".to_owned(), "0".to_owned())].into();
        let resources = LinuxContainerResources { unified, ..Default::default() };
        let settings = settings_v2(&resources, "", true);
        assert!(
            matches!(settings[0].path(Path::new("/x")), Err(UpdateError::File(name)) if name == "../../memory.max")
        );
    }

    #[test]
    fn swap_is_limited_by_itself_in_version_2() {
        let limits = |memory_limit_in_bytes, memory_swap_limit_in_bytes| LinuxContainerResources {
            memory_limit_in_bytes,
            memory_swap_limit_in_bytes,
            ..Default::default()
        };
        let (memory, swap) =
            (Setting::new("memory", "memory.max", 100), |value: &str| Setting::new("memory", "memory.swap.max", value));
        assert_eq!(settings_v2(&limits(100, 130), "", true), [memory, swap("30")]);
        assert_eq!(settings_v2(&limits(0, -1), "", true), [swap("max")]);
        assert!(settings_v2(&limits(0, -1), "", false).is_empty(), "the kernel does not count swap");
    }
}
