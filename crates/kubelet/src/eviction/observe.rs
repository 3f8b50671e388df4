//! What there is of memory, disks and process numbers.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cri as v1;

use super::threshold::Signal;
use crate::context::Context;
use crate::resources::Cgroups;

/// How much of something there is, and how much is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// What is left.
    pub available: i64,
    /// What there is.
    pub capacity: i64,
}

/// What was seen.
pub type Observations = BTreeMap<Signal, Observation>;

/// Where things lie: volumes and logs, images, and what containers write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filesystems {
    node: PathBuf,
    images: Option<PathBuf>,
    containers: Option<PathBuf>,
    /// Which of them share a disk.
    pub layout: Layout,
}

/// Which things share a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Everything.
    Shared,
    /// Images and what containers write are on a disk of their own.
    ImagesApart,
    /// Only images are.
    ImagesAlone,
}

impl Filesystems {
    /// Asks the runtime where it keeps things. Of one that does not say, nothing is known but the kubelet's own.
    pub async fn find(context: &Context) -> Self {
        let node = context.config.kubelet_dir();
        let answer = context.images.clone().image_fs_info(v1::ImageFsInfoRequest {}).await;
        let info = answer.map(|answer| answer.into_inner()).unwrap_or_default();
        let place = |usages: &[v1::FilesystemUsage]| {
            usages.first().and_then(|usage| usage.fs_id.as_ref()).map(|id| PathBuf::from(&id.mountpoint))
        };
        let images = place(&info.image_filesystems);
        let containers = place(&info.container_filesystems).or_else(|| images.clone());
        let layout = layout(device(&node), images.as_deref().and_then(device), containers.as_deref().and_then(device));
        Self { node, images, containers, layout }
    }

    /// Asks again where it is not known where images are, or they are there no more: a runtime may not answer at first,
    /// and may be replaced by another one.
    pub async fn refresh(&mut self, context: &Context) {
        if self.images.as_ref().is_some_and(|path| path.exists()) {
            return;
        }
        let found = Self::find(context).await;
        if found.images.is_some() && found != *self {
            tracing::info!(images = ?found.images, layout = ?found.layout, "the runtime says where images are");
            *self = found;
        }
    }
}

fn layout(node: Option<u64>, images: Option<u64>, containers: Option<u64>) -> Layout {
    match (images, containers) {
        (None, _) => Layout::Shared,
        (images, _) if images == node => Layout::Shared,
        (images, containers) if containers.is_some() && containers != images => Layout::ImagesAlone,
        _ => Layout::ImagesApart,
    }
}

/// The disk on which a path is, or the nearest directory above it that exists.
fn device(path: &Path) -> Option<u64> {
    path.ancestors().find_map(|path| fs::metadata(path).ok()).map(|metadata| metadata.dev())
}

/// Looks at the machine.
pub fn observe(cgroups: &Cgroups, filesystems: &Filesystems) -> Observations {
    let mut seen = Observations::new();
    let mut see = |signal, observation: Option<Observation>| {
        if let Some(observation) = observation {
            seen.insert(signal, observation);
        }
    };
    see(Signal::MemoryAvailable, cgroups.machine_memory().map(memory));
    see(Signal::AllocatableMemoryAvailable, cgroups.pods_memory().map(memory));
    for (path, room, inodes) in [
        (Some(&filesystems.node), Signal::NodeFsAvailable, Signal::NodeFsInodesFree),
        (filesystems.images.as_ref(), Signal::ImageFsAvailable, Signal::ImageFsInodesFree),
        (filesystems.containers.as_ref(), Signal::ContainerFsAvailable, Signal::ContainerFsInodesFree),
    ] {
        let Some((disk, files)) = path.and_then(|path| disk(path)) else { continue };
        see(room, Some(disk));
        see(inodes, files);
    }
    see(
        Signal::PidAvailable,
        process_numbers().map(|(used, most)| Observation { available: most - used, capacity: most }),
    );
    seen
}

fn memory((used, limit): (i64, i64)) -> Observation {
    Observation { available: (limit - used).max(0), capacity: limit }
}

/// Room and inodes of the disk on which a path is. Some file systems have no fixed number of inodes and say 0.
fn disk(path: &Path) -> Option<(Observation, Option<Observation>)> {
    let stat = path.ancestors().find_map(|path| rustix::fs::statvfs(path).ok())?;
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let room = Observation {
        available: number(stat.f_bavail * stat.f_frsize),
        capacity: number(stat.f_blocks * stat.f_frsize),
    };
    let files = Observation { available: number(stat.f_favail), capacity: number(stat.f_files) };
    Some((room, Some(files).filter(|files| files.capacity > 0)))
}

/// How many process numbers are in use, and how many there are.
pub fn process_numbers() -> Option<(i64, i64)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let limit = |path: &str| read(path).trim().parse::<i64>().ok();
    let most =
        [limit("/proc/sys/kernel/pid_max"), limit("/proc/sys/kernel/threads-max")].into_iter().flatten().min()?;
    // The fourth field is "running/all".
    let load = read("/proc/loadavg");
    let used = load.split_whitespace().nth(3)?.split('/').nth(1)?.parse().ok()?;
    Some((used, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_told_apart() {
        for (node, images, containers, expected) in [
            (Some(1), None, None, Layout::Shared),
            (Some(1), Some(1), Some(1), Layout::Shared),
            (Some(1), Some(2), Some(2), Layout::ImagesApart),
            (Some(1), Some(2), None, Layout::ImagesApart),
            (Some(1), Some(2), Some(1), Layout::ImagesAlone),
        ] {
            assert_eq!(layout(node, images, containers), expected, "{node:?} {images:?} {containers:?}");
        }
    }

    #[test]
    fn this_machine_has_disk_and_process_numbers_left() {
        let (room, _) = disk(Path::new("/proc/self/none/such")).expect("something above exists");
        assert!(room.available <= room.capacity);
        let (used, most) = process_numbers().expect("the kernel says");
        assert!(used > 0 && used < most);
    }
}
