//! How much memory the machine uses, and how much all pods together.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::amounts::QosClass;
use super::cgroups::Cgroups;
use super::swap::SwapControl;
use crate::node::meminfo;

/// Limits as high as this mean that there is none.
const NO_LIMIT: i64 = 1 << 60;

impl Cgroups {
    /// Bytes that cannot easily be taken back, and all there are, of the machine.
    pub fn machine_memory(&self) -> Option<(i64, i64)> {
        let text = fs::read_to_string("/proc/meminfo").ok()?;
        let total = meminfo(&text, "MemTotal")?;
        let dir = self.dir("memory", "/")?;
        // The first cgroup of version 2 does not count what it uses.
        let used = || Some(total - meminfo(&text, "MemFree")?);
        let used = usage(&dir, self.is_v2()).or_else(used)?;
        Some((used - inactive(&dir, self.is_v2()), total))
    }

    /// The same of what all pods may have together; nothing where that is not limited.
    pub fn pods_memory(&self) -> Option<(i64, i64)> {
        let dir = self.pods_memory_dir()?;
        let limit = number(&dir.join(if self.is_v2() { "memory.max" } else { "memory.limit_in_bytes" }))?;
        let used = usage(&dir, self.is_v2())? - inactive(&dir, self.is_v2());
        (limit < NO_LIMIT).then_some((used, limit))
    }

    /// Bytes that a pod uses, whatever of it could be taken back; nothing where the kernel does not say.
    pub fn pod_memory(&self, path: &str) -> Option<i64> {
        usage(&self.dir("memory", path)?, self.is_v2())
    }

    /// Holds the pods of a class to so many bytes together, or lifts that. What they use already is not taken from them.
    pub fn limit_class_memory(&self, class: QosClass, bytes: Option<i64>) -> io::Result<()> {
        let Some(dir) = self.dir("memory", &self.class_path(class)) else { return Ok(()) };
        let (file, none) = if self.is_v2() { ("memory.max", "max") } else { ("memory.limit_in_bytes", "-1") };
        let bytes = bytes.map(|bytes| bytes.max(usage(&dir, self.is_v2()).unwrap_or(0)));
        fs::write(dir.join(file), bytes.map_or_else(|| none.to_owned(), |bytes| bytes.to_string()))
    }

    /// What the kernel lets the kubelet do about the swap of containers.
    pub fn swap_control(&self) -> SwapControl {
        let has = |name: &str| self.pods_memory_dir().is_some_and(|dir| dir.join(name).exists());
        match self.is_v2() {
            true if has("memory.swap.max") => SwapControl::Apart,
            false if has("memory.memsw.limit_in_bytes") => SwapControl::Together,
            _ => SwapControl::Absent,
        }
    }

    /// The first cgroup of the hierarchy that counts memory.
    pub fn machine_memory_dir(&self) -> Option<PathBuf> {
        self.dir("memory", "/")
    }

    /// The cgroup there that is above all pods.
    pub fn pods_memory_dir(&self) -> Option<PathBuf> {
        self.dir("memory", &self.root())
    }
}

fn number(file: &Path) -> Option<i64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn usage(dir: &Path, is_v2: bool) -> Option<i64> {
    number(&dir.join(if is_v2 { "memory.current" } else { "memory.usage_in_bytes" }))
}

/// The page cache that nothing has looked at lately.
fn inactive(dir: &Path, is_v2: bool) -> i64 {
    let text = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
    let name = if is_v2 { "inactive_file " } else { "total_inactive_file " };
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_uses_some_of_its_memory() {
        let cgroups = Cgroups::of_machine("skiff-none").expect("there are cgroups");
        let (used, total) = cgroups.machine_memory().expect("the kernel says");
        assert!(used > 0 && used < total, "{used} of {total}");
        assert_eq!(cgroups.pods_memory(), None, "there are no pods");
    }
}
