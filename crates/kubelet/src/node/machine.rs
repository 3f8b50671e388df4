//! The machine: what it has and what it is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{NodeSwapStatus, NodeSystemInfo};

use super::identity::Identity;
use crate::config::Config;
use crate::resources::{Amounts, Cgroups, NodeMemory, NodeSwap, SwapBehavior, SwapControl, huge_page_resource};

/// What the machine has.
#[derive(Clone, Debug)]
pub struct Machine {
    /// CPUs, in thousandths.
    pub cpu_milli: i64,
    /// Bytes of memory.
    pub memory_bytes: i64,
    /// Bytes of swap.
    pub swap_bytes: i64,
    /// Bytes of the disk on which pods write.
    pub disk_bytes: i64,
    /// Bytes set aside as huge pages, by page size in kilobytes.
    pub huge_pages: Vec<(u64, i64)>,
}

/// The machine cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}: {source}", path.display())]
pub struct MachineError {
    path: PathBuf,
    source: io::Error,
}

impl Machine {
    /// Looks at this machine; `dir` is on the disk on which pods write.
    pub fn look(dir: &Path) -> Result<Self, MachineError> {
        let path = Path::new("/proc/meminfo");
        let error = |source| MachineError { path: path.to_owned(), source };
        let memory = fs::read_to_string(path).map_err(error)?;
        let cpus = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN).ok().flatten().unwrap_or(1);
        let total = meminfo(&memory, "MemTotal").ok_or_else(|| error(io::ErrorKind::InvalidData.into()))?;
        Ok(Self {
            cpu_milli: cpus.max(1) * 1000,
            memory_bytes: total,
            swap_bytes: meminfo(&memory, "SwapTotal").unwrap_or(0),
            disk_bytes: disk_usage(dir).map_or(0, |(_, total)| i64::try_from(total).unwrap_or(i64::MAX)),
            huge_pages: huge_pages(),
        })
    }

    /// How many pods there can be, of which each CPU takes so many at most; 0 for no such limit.
    pub fn max_pods(&self, all: u32, per_core: u32) -> u32 {
        let cores = u32::try_from(self.cpu_milli / 1000).unwrap_or(u32::MAX);
        if per_core == 0 { all } else { all.min(per_core.saturating_mul(cores)) }
    }

    /// What the machine has.
    pub fn capacity(&self, max_pods: u32) -> Amounts {
        let mut amounts = Amounts::from([
            ("cpu".to_owned(), self.cpu_milli),
            ("memory".to_owned(), self.memory_bytes),
            ("ephemeral-storage".to_owned(), self.disk_bytes),
            ("pods".to_owned(), i64::from(max_pods)),
        ]);
        for (size, bytes) in &self.huge_pages {
            amounts.insert(huge_page_resource(*size), *bytes);
        }
        amounts
    }

    /// Bytes that are set aside as huge pages.
    pub fn huge_page_bytes(&self) -> u64 {
        self.huge_pages.iter().filter_map(|(_, bytes)| u64::try_from(*bytes).ok()).sum()
    }

    /// The sizes of huge pages that there are, in kilobytes.
    pub fn huge_page_sizes(&self) -> impl Iterator<Item = u64> {
        self.huge_pages.iter().map(|(size, _)| *size)
    }

    /// What pods can ask for: not what is kept back, nor that without which the node would be short.
    pub fn allocatable(&self, config: &Config) -> Amounts {
        let mut amounts = config.reserved.rest(&self.capacity(config.max_pods));
        // CPUs that are reserved by their numbers are all that is reserved of CPUs, whatever else says how many.
        let cpus = i64::try_from(config.managers.cpu.reserved.len()).unwrap_or(i64::MAX);
        if cpus > 0 {
            amounts.insert("cpu".to_owned(), (self.cpu_milli - cpus.saturating_mul(1000)).max(0));
        }
        let huge = i64::try_from(self.huge_page_bytes()).unwrap_or(i64::MAX);
        let (memory, disk) = config.eviction.reserved(self.memory_bytes, self.disk_bytes);
        for (name, kept) in [("memory", memory + huge), ("ephemeral-storage", disk)] {
            let amount = amounts.entry(name.to_owned()).or_default();
            *amount = (*amount - kept).max(0);
        }
        amounts
    }
}

/// What the machine has and does about the memory of containers.
pub fn memory(config: &Config, machine: &Machine, cgroups: &Cgroups) -> NodeMemory {
    let (behavior, control) = (config.swap_behavior, cgroups.swap_control());
    if behavior == SwapBehavior::LimitedSwap && control != SwapControl::Apart {
        tracing::warn!("swap behaviour LimitedSwap needs cgroups of version 2 that limit swap, so that nothing swaps");
    }
    let (total, memory) = (machine.swap_bytes, machine.memory_bytes);
    NodeMemory {
        capacity: memory,
        swap: NodeSwap { behavior, control, total, memory },
        kills_groups: cgroups.is_v2() && !config.single_process_oom_kill,
    }
}

/// A value of `/proc/meminfo` in bytes.
pub fn meminfo(text: &str, key: &str) -> Option<i64> {
    let line = text.lines().find(|line| line.split(':').next() == Some(key))?;
    let kilobytes: i64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// Bytes used and in all of the file system that holds a path, or the nearest directory above it that exists.
pub fn disk_usage(path: &Path) -> Option<(u64, u64)> {
    let stat = path.ancestors().find_map(|path| rustix::fs::statvfs(path).ok())?;
    let total = stat.f_blocks * stat.f_frsize;
    // As df counts: what is kept for root is not available.
    Some((total.saturating_sub(stat.f_bavail * stat.f_frsize), total))
}

fn huge_pages() -> Vec<(u64, i64)> {
    let entries = fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let mut pages: Vec<(u64, i64)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let size: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let count: u64 = fs::read_to_string(entry.path().join("nr_hugepages")).ok()?.trim().parse().ok()?;
            Some((size, i64::try_from(count * size * 1024).ok()?))
        })
        .collect();
    pages.sort_unstable();
    pages
}

/// What the machine is whose files are below a directory.
pub fn system_info(root: &Path, runtime_version: String, swap_bytes: i64) -> NodeSystemInfo {
    let identity = Identity::below(root);
    let uname = rustix::system::uname();
    let release =
        ["etc/os-release", "usr/lib/os-release"].iter().find_map(|file| fs::read_to_string(root.join(file)).ok());
    let release = release.unwrap_or_default();
    let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    NodeSystemInfo {
        architecture: architecture().to_owned(),
        boot_id: identity.boot,
        container_runtime_version: runtime_version,
        kernel_version: uname.release().to_string_lossy().into_owned(),
        kube_proxy_version: String::new(),
        kubelet_version: kubelet_version(),
        machine_id: identity.machine,
        operating_system: "linux".to_owned(),
        os_image: pretty.map_or_else(|| "Unknown".to_owned(), |name| name.trim_matches('"').to_owned()),
        swap: Some(NodeSwapStatus { capacity: Some(swap_bytes) }).filter(|_| swap_bytes > 0),
        system_uuid: identity.system,
    }
}

/// The Kubernetes version that this kubelet speaks.
pub fn kubelet_version() -> String {
    format!("v1.35.0+skiff-{}", env!("CARGO_PKG_VERSION"))
}

/// The machine's architecture in Go's words.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
