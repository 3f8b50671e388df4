//! The cgroups of pods: `/<instance>/kubepods/{burstable,besteffort}/pod<uid>` in every hierarchy of the machine, or
//! slices of systemd with these names where the runtime leaves cgroups to it.
//!
//! Serves the unified hierarchy (v2), the separate ones (v1), and a machine that has both. The runtime makes the
//! containers' own cgroups below a pod's.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base::{Env, MountEntry};

use super::amounts::QosClass;
use super::driver::{CgroupDriver, CgroupSettings};
use super::slices::{SliceError, SliceLimits, Slices};
use crate::metrics::{CgroupMetrics, CgroupOperation};

/// What pods may be limited in; other controllers are left alone.
const V2_CONTROLLERS: [&str; 6] = ["cpu", "cpuset", "io", "memory", "pids", "hugetlb"];

/// A cgroup that could not be made, set or removed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// By the kernel's files.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was attempted.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// By systemd.
    #[error("systemd cannot {action} {slice}: {source}")]
    Slice {
        /// What was attempted.
        action: &'static str,
        /// Its path.
        slice: String,
        /// Why.
        source: SliceError,
    },
}

/// The hierarchies of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Hierarchies {
    /// One hierarchy with all controllers.
    V2(PathBuf),
    /// One hierarchy for a controller, or for several mounted together.
    V1(Vec<(BTreeSet<String>, PathBuf)>),
}

/// What a pod's cgroup is set to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodLimits {
    /// Share of the CPU in times of need.
    pub cpu_shares: i64,
    /// CPU time in each period, in microseconds.
    pub cpu_quota: Option<i64>,
    /// The period, in microseconds.
    pub cpu_period: i64,
    /// Bytes of memory.
    pub memory: Option<i64>,
    /// Number of processes.
    pub pids: Option<i64>,
    /// Bytes of huge pages, by the kernel's name of their size.
    pub huge_pages: Vec<(String, i64)>,
}

impl PodLimits {
    /// These limits, each as high as in `others` at least: room for who still has what he had.
    pub fn with_room_for(&self, others: &Self) -> Self {
        // None is no limit at all.
        let higher = |one: Option<i64>, other: Option<i64>| one.zip(other).map(|(one, other)| one.max(other));
        Self {
            cpu_quota: higher(self.cpu_quota, others.cpu_quota),
            memory: higher(self.memory, others.memory),
            ..self.clone()
        }
    }
}

/// Limits of a cgroup that is not a pod's. What is absent stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupLimits {
    /// Share of the CPU in times of need.
    pub cpu_shares: Option<i64>,
    /// Bytes of memory.
    pub memory: Option<i64>,
    /// Number of processes.
    pub pids: Option<i64>,
}

/// The cgroups of one node's pods.
#[derive(Clone, Debug)]
pub struct Cgroups {
    hierarchies: Hierarchies,
    /// Hierarchies of version 1 without a controller that matters here, of which one has only a name. Runtimes make
    /// cgroups for containers there as well.
    others: Vec<PathBuf>,
    instance: String,
    driver: CgroupDriver,
    slices: Option<Slices>,
    measured: Option<(CgroupMetrics, Env)>,
}

impl Cgroups {
    /// The cgroups of an instance on this machine, made by the kubelet itself.
    pub fn of_machine(instance: &str) -> Result<Self, CgroupError> {
        let mounts = MountEntry::all(|mount| mount.file_system.starts_with("cgroup"))
            .map_err(|source| error("read", Path::new(MountEntry::TABLE), source))?;
        let (instance, driver) = (instance.to_owned(), CgroupDriver::Cgroupfs);
        Ok(Self {
            hierarchies: hierarchies(&mounts),
            others: others(&mounts),
            instance,
            driver,
            slices: None,
            measured: None,
        })
    }

    /// The same made as the runtime has them. systemd is asked for its slices where it runs; where it does not (in a
    /// container that is a node), the kubelet makes directories that are called as they would be.
    pub fn driven_by(self, driver: CgroupDriver, settings: &CgroupSettings) -> Self {
        let slices = match driver {
            CgroupDriver::Cgroupfs => None,
            CgroupDriver::Systemd => Slices::find(settings, self.is_v2()),
        };
        if driver == CgroupDriver::Systemd && slices.is_none() {
            tracing::warn!("no systemd runs here, its slices are made as directories");
        }
        Self { driver, slices, ..self }
    }

    /// The same, counting what becomes of pods' cgroups.
    pub fn measured(self, metrics: CgroupMetrics, env: Env) -> Self {
        Self { measured: Some((metrics, env)), ..self }
    }

    /// Makes the cgroups above those of pods.
    pub async fn prepare(&self) -> Result<(), CgroupError> {
        let above = self.driver.path(&[&self.instance]);
        for path in [above, self.root(), self.class_path(QosClass::Burstable)] {
            self.ensure(&path, &SliceLimits::default()).await?;
        }
        // Pods that ask for nothing get what the others leave.
        let limits = GroupLimits { cpu_shares: Some(2), ..GroupLimits::default() };
        let best_effort = self.class_path(QosClass::BestEffort);
        self.ensure(&best_effort, &SliceLimits::from(&limits)).await?;
        self.limit(&best_effort, &limits)
    }

    /// Whether the instance has slices, whoever made them.
    pub fn has_slices(&self) -> bool {
        let path = CgroupDriver::Systemd.path(&[&self.instance]);
        self.roots().iter().any(|root| join(root, &path).is_dir())
    }

    /// Removes all cgroups of the instance.
    pub async fn remove_all(&self) -> Result<(), CgroupError> {
        self.remove(&self.driver.path(&[&self.instance])).await
    }

    /// Limits all pods together.
    pub async fn limit_pods(&self, limits: &GroupLimits) -> Result<(), CgroupError> {
        self.limit_group(&self.root(), limits).await
    }

    /// Gives the pods that ask for something, but not for all they may use, their share of the CPU.
    pub async fn share_burstable(&self, cpu_shares: i64) -> Result<(), CgroupError> {
        let limits = GroupLimits { cpu_shares: Some(cpu_shares), ..GroupLimits::default() };
        self.limit_group(&self.class_path(QosClass::Burstable), &limits).await
    }

    /// Limits a cgroup that somebody else has made.
    pub async fn limit_existing(&self, configured: &str, limits: &GroupLimits) -> Result<(), CgroupError> {
        let path = self.driver.path_of(configured);
        if !self.roots().iter().any(|root| join(root, &path).is_dir()) {
            return Err(error("find", Path::new(&path), io::ErrorKind::NotFound.into()));
        }
        self.limit_group(&path, limits).await
    }

    async fn limit_group(&self, path: &str, limits: &GroupLimits) -> Result<(), CgroupError> {
        if let Some(slices) = &self.slices {
            let set = slices.set(path, &SliceLimits::from(limits)).await;
            set.map_err(|source| refused("limit", path, source))?;
        }
        self.limit(path, limits)
    }

    fn limit(&self, path: &str, limits: &GroupLimits) -> Result<(), CgroupError> {
        let GroupLimits { cpu_shares, memory, pids } = *limits;
        let weight = cpu_shares.map(weight);
        for (controller, v1, v2, value) in [
            ("cpu", "cpu.shares", None, cpu_shares),
            ("cpu", "", Some("cpu.weight"), weight),
            ("memory", "memory.limit_in_bytes", Some("memory.max"), memory),
            ("pids", "pids.max", Some("pids.max"), pids),
        ] {
            let file = if self.is_v2() { v2 } else { Some(v1).filter(|name| !name.is_empty()) };
            let (Some(file), Some(value), Some(dir)) = (file, value, self.dir(controller, path)) else { continue };
            write_if_there(&dir.join(file), &value.to_string())?;
        }
        Ok(())
    }

    /// The cgroup of a pod, as CRI's `cgroup_parent`.
    pub fn pod_path(&self, class: QosClass, uid: &str) -> String {
        let pod = format!("pod{uid}");
        let mut names = self.class_names(class);
        names.push(&pod);
        self.driver.path(&names)
    }

    /// Makes a pod's cgroup, or sets the limits of the one that is there.
    pub async fn ensure_pod(&self, path: &str, limits: &PodLimits) -> Result<(), CgroupError> {
        let is_there = self.roots().iter().all(|root| join(root, path).exists());
        let began = self.measured.as_ref().map(|(_, env)| env.instant());
        let made = self.ensure(path, &SliceLimits::from(limits)).await.and_then(|()| self.set(path, limits));
        self.done(if is_there { CgroupOperation::Update } else { CgroupOperation::Create }, began);
        made
    }

    fn done(&self, operation: CgroupOperation, began: Option<tokio::time::Instant>) {
        if let (Some((metrics, _)), Some(began)) = (&self.measured, began) {
            metrics.done(operation, began.elapsed());
        }
    }

    /// Removes a pod's cgroup with everything below; what is gone already is no error.
    pub async fn remove_pod(&self, path: &str) -> Result<(), CgroupError> {
        let began = self.measured.as_ref().map(|(_, env)| env.instant());
        let removed = self.remove(path).await;
        self.done(CgroupOperation::Destroy, began);
        removed
    }

    async fn remove(&self, path: &str) -> Result<(), CgroupError> {
        if let Some(slices) = &self.slices {
            slices.remove(path).await.map_err(|source| refused("remove", path, source))?;
        }
        for root in self.all_roots() {
            remove_tree(&join(&root, path))?;
        }
        Ok(())
    }

    /// UIDs of the pods that have a cgroup, with its path.
    pub fn pods(&self) -> Vec<(String, String)> {
        let mut found = BTreeSet::new();
        for root in self.all_roots() {
            for class in [QosClass::Guaranteed, QosClass::Burstable, QosClass::BestEffort] {
                let path = self.class_path(class);
                let Ok(entries) = fs::read_dir(join(&root, &path)) else { continue };
                for entry in entries.flatten() {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    if let Some(uid) = self.driver.pod_uid(&path, &name) {
                        found.insert((uid, format!("{path}/{name}")));
                    }
                }
            }
        }
        found.into_iter().collect()
    }

    pub(super) fn class_path(&self, class: QosClass) -> String {
        self.driver.path(&self.class_names(class))
    }

    fn class_names(&self, class: QosClass) -> Vec<&str> {
        let all = [self.instance.as_str(), "kubepods"];
        let own = match class {
            QosClass::Guaranteed => None,
            QosClass::Burstable => Some("burstable"),
            QosClass::BestEffort => Some("besteffort"),
        };
        all.into_iter().chain(own).collect()
    }

    /// Whether the machine has one hierarchy with all controllers.
    pub fn is_v2(&self) -> bool {
        matches!(self.hierarchies, Hierarchies::V2(_))
    }

    /// The directory of a cgroup in the hierarchy of a controller, if the machine has that.
    pub(super) fn dir(&self, controller: &str, path: &str) -> Option<PathBuf> {
        let root = match &self.hierarchies {
            Hierarchies::V2(root) => root,
            Hierarchies::V1(list) => &list.iter().find(|(controllers, _)| controllers.contains(controller))?.1,
        };
        Some(join(root, path))
    }

    /// The cgroup above all pods.
    pub(super) fn root(&self) -> String {
        self.class_path(QosClass::Guaranteed)
    }

    fn roots(&self) -> Vec<PathBuf> {
        match &self.hierarchies {
            Hierarchies::V2(root) => vec![root.clone()],
            Hierarchies::V1(list) => list.iter().map(|(_, root)| root.clone()).collect(),
        }
    }

    /// Where cgroups of pods may be left, whoever made them.
    fn all_roots(&self) -> Vec<PathBuf> {
        let mut roots = self.roots();
        roots.extend_from_slice(&self.others);
        roots
    }

    /// Makes a cgroup, by systemd where it has them, and sees that it is there with all that the kernel has for it.
    async fn ensure(&self, path: &str, limits: &SliceLimits) -> Result<(), CgroupError> {
        if let Some(slices) = &self.slices {
            slices.ensure(path, limits).await.map_err(|source| refused("make", path, source))?;
        }
        self.make(path)
    }

    /// Makes a cgroup and those above it, each able to hold processes.
    fn make(&self, path: &str) -> Result<(), CgroupError> {
        for root in self.roots() {
            let mut dir = root.clone();
            for part in path.split('/').filter(|part| !part.is_empty()) {
                if matches!(self.hierarchies, Hierarchies::V2(_)) {
                    delegate(&dir)?;
                }
                let parent = dir.clone();
                dir.push(part);
                match fs::create_dir(&dir) {
                    Err(err) if err.kind() != io::ErrorKind::AlreadyExists => return Err(error("create", &dir, err)),
                    _ => {}
                }
                inherit_cpuset(&parent, &dir)?;
            }
            if matches!(self.hierarchies, Hierarchies::V2(_)) {
                delegate(&dir)?;
            }
        }
        Ok(())
    }

    fn set(&self, path: &str, limits: &PodLimits) -> Result<(), CgroupError> {
        match &self.hierarchies {
            Hierarchies::V2(root) => set_v2(&join(root, path), limits),
            Hierarchies::V1(list) => {
                for (controllers, root) in list {
                    set_v1(controllers, &join(root, path), limits)?;
                }
                Ok(())
            }
        }
    }
}

fn error(action: &'static str, path: &Path, source: io::Error) -> CgroupError {
    CgroupError::File { action, path: path.to_owned(), source }
}

fn refused(action: &'static str, path: &str, source: SliceError) -> CgroupError {
    CgroupError::Slice { action, slice: path.to_owned(), source }
}

fn join(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// The hierarchies among this machine's mounts. Version 1 is in use where any controller is mounted on its own.
const CONTROLLERS: [&str; 9] = ["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "hugetlb"];

fn others(mounts: &[MountEntry]) -> Vec<PathBuf> {
    let matters = |mount: &MountEntry| mount.options.split(',').any(|option| CONTROLLERS.contains(&option));
    let others = mounts.iter().filter(|mount| mount.file_system == "cgroup" && !matters(mount));
    others.map(|mount| mount.point.clone()).collect()
}

fn hierarchies(mounts: &[MountEntry]) -> Hierarchies {
    let mut v1: Vec<(BTreeSet<String>, PathBuf)> = Vec::new();
    let mut v2 = None;
    for mount in mounts {
        match &*mount.file_system {
            "cgroup2" => v2 = v2.or(Some(mount.point.clone())),
            "cgroup" => {
                let options = mount.options.split(',');
                let controllers: BTreeSet<String> =
                    options.filter(|option| CONTROLLERS.contains(option)).map(str::to_owned).collect();
                // Another mount of the same hierarchy shows the same cgroups.
                if !controllers.is_empty() && !v1.iter().any(|(seen, _)| *seen == controllers) {
                    v1.push((controllers, mount.point.clone()));
                }
            }
            _ => {}
        }
    }
    match v2 {
        Some(root) if v1.is_empty() => Hierarchies::V2(root),
        None if v1.is_empty() => Hierarchies::V2(PathBuf::from("/sys/fs/cgroup")),
        _ => Hierarchies::V1(v1),
    }
}

/// Lets the cgroups below use the controllers that are there.
fn delegate(dir: &Path) -> Result<(), CgroupError> {
    let available = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    let file = dir.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&file).unwrap_or_default();
    for controller in V2_CONTROLLERS {
        let has = |list: &str| list.split_whitespace().any(|one| one == controller);
        if has(&available) && !has(&enabled) {
            write(&file, &format!("+{controller}"))?;
        }
    }
    Ok(())
}

/// A version 1 cpuset takes no process until it is told its CPUs and memory nodes.
fn inherit_cpuset(parent: &Path, dir: &Path) -> Result<(), CgroupError> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let file = dir.join(name);
        let Ok(current) = fs::read_to_string(&file) else { continue };
        // In version 2 an empty value means "as above".
        if current.trim().is_empty() && !dir.join("cgroup.controllers").exists() {
            let value = fs::read_to_string(parent.join(name)).unwrap_or_default();
            write(&file, value.trim())?;
        }
    }
    Ok(())
}

fn write(file: &Path, value: &str) -> Result<(), CgroupError> {
    fs::write(file, value).map_err(|source| error("write", file, source))
}

/// Writes where the file exists: a controller may be missing on this machine.
fn write_if_there(file: &Path, value: &str) -> Result<(), CgroupError> {
    if file.exists() { write(file, value) } else { Ok(()) }
}

fn set_v1(controllers: &BTreeSet<String>, dir: &Path, limits: &PodLimits) -> Result<(), CgroupError> {
    if controllers.contains("cpu") {
        write_if_there(&dir.join("cpu.shares"), &limits.cpu_shares.to_string())?;
        if limits.cpu_period > 0 {
            write_if_there(&dir.join("cpu.cfs_period_us"), &limits.cpu_period.to_string())?;
        }
        write_if_there(&dir.join("cpu.cfs_quota_us"), &limits.cpu_quota.unwrap_or(-1).to_string())?;
    }
    if controllers.contains("memory") {
        write_if_there(&dir.join("memory.limit_in_bytes"), &limits.memory.unwrap_or(-1).to_string())?;
    }
    if controllers.contains("hugetlb") {
        set_huge_pages(dir, limits, "limit_in_bytes")?;
    }
    if controllers.contains("pids") {
        write_if_there(&dir.join("pids.max"), &or_max(limits.pids))?;
    }
    Ok(())
}

fn set_v2(dir: &Path, limits: &PodLimits) -> Result<(), CgroupError> {
    write_if_there(&dir.join("cpu.weight"), &weight(limits.cpu_shares).to_string())?;
    let period = if limits.cpu_period > 0 { limits.cpu_period } else { 100_000 };
    write_if_there(&dir.join("cpu.max"), &format!("{} {period}", or_max(limits.cpu_quota)))?;
    write_if_there(&dir.join("memory.max"), &or_max(limits.memory))?;
    set_huge_pages(dir, limits, "max")?;
    write_if_there(&dir.join("pids.max"), &or_max(limits.pids))
}

/// Pages count when they are used, and where the kernel can tell when they are reserved, too.
fn set_huge_pages(dir: &Path, limits: &PodLimits, file: &str) -> Result<(), CgroupError> {
    for (size, limit) in &limits.huge_pages {
        for name in [format!("hugetlb.{size}.{file}"), format!("hugetlb.{size}.rsvd.{file}")] {
            write_if_there(&dir.join(name), &limit.to_string())?;
        }
    }
    Ok(())
}

/// The range of shares (2 to 262144) laid onto that of weights (1 to 10000).
pub(super) fn weight(cpu_shares: i64) -> i64 {
    1 + (cpu_shares.max(2) - 2) * 9_999 / 262_142
}

fn or_max(value: Option<i64>) -> String {
    value.map_or_else(|| "max".to_owned(), |value| value.to_string())
}

fn remove_tree(dir: &Path) -> Result<(), CgroupError> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(dir) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(error("remove", dir, err)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_found_among_mounts() {
        let v2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let in_table = |text: &str| MountEntry::in_table(text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(hierarchies(&in_table(v2)), Hierarchies::V2(PathBuf::from("/sys/fs/cgroup")));
        let hybrid = "31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                      33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let cpu = ["cpu", "cpuacct"].map(str::to_owned).into();
        assert_eq!(
            hierarchies(&in_table(hybrid)),
            Hierarchies::V1(vec![(cpu, PathBuf::from("/sys/fs/cgroup/cpu,cpuacct"))])
        );
        assert_eq!(others(&in_table(hybrid)), [PathBuf::from("/sys/fs/cgroup/systemd")]);
        assert_eq!(others(&in_table(v2)), Vec::<PathBuf>::new());
    }

    #[tokio::test]
    async fn what_a_runtime_made_elsewhere_goes_with_the_pod() {
        let dir = tempfile::tempdir().expect("a directory");
        let [memory, named] = ["memory", "systemd"].map(|name| dir.path().join(name));
        let cgroups = Cgroups {
            hierarchies: Hierarchies::V1(vec![(["memory".to_owned()].into(), memory)]),
            others: vec![named.clone()],
            instance: "skiff".to_owned(),
            driver: CgroupDriver::Cgroupfs,
            slices: None,
            measured: None,
        };
        let path = cgroups.pod_path(QosClass::BestEffort, "1-2");
        let made = join(&named, &path);
        fs::create_dir_all(made.join("container")).expect("made");
        assert_eq!(cgroups.pods(), [("1-2".to_owned(), path.clone())]);
        cgroups.remove_pod(&path).await.expect("removed");
        assert!(!made.exists());
    }

    #[test]
    fn a_pod_has_a_cgroup_in_every_hierarchy_with_its_limits() {
        let dir = tempfile::tempdir().expect("a directory");
        let [cpu, memory, huge] = ["cpu", "memory", "hugetlb"].map(|name| dir.path().join(name));
        let cgroups = Cgroups {
            hierarchies: Hierarchies::V1(vec![
                (["cpu".to_owned()].into(), cpu.clone()),
                (["memory".to_owned()].into(), memory.clone()),
                (["hugetlb".to_owned()].into(), huge.clone()),
            ]),
            others: Vec::new(),
            instance: "skiff".to_owned(),
            driver: CgroupDriver::Cgroupfs,
            slices: None,
            measured: None,
        };
        for root in [&cpu, &memory, &huge] {
            fs::create_dir_all(root).expect("made");
        }
        let path = cgroups.pod_path(QosClass::Burstable, "1-2");
        assert_eq!(path, "/skiff/kubepods/burstable/pod1-2");
        cgroups.make(&path).expect("made");
        // The kernel provides these files.
        fs::write(join(&memory, &path).join("memory.limit_in_bytes"), "").expect("written");
        fs::write(join(&huge, &path).join("hugetlb.2MB.limit_in_bytes"), "").expect("written");
        let huge_pages = vec![("2MB".to_owned(), 2 << 20), ("1GB".to_owned(), 0)];
        cgroups.set(&path, &PodLimits { memory: Some(4096), huge_pages, ..PodLimits::default() }).expect("set");
        let of_huge = fs::read_to_string(join(&huge, &path).join("hugetlb.2MB.limit_in_bytes")).expect("read");
        assert_eq!(of_huge, "2097152");
        assert_eq!(fs::read_to_string(join(&memory, &path).join("memory.limit_in_bytes")).expect("read"), "4096");
        assert_eq!(cgroups.pods(), [("1-2".to_owned(), path)]);
    }
}
