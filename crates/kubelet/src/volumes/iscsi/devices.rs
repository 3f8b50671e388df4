//! The devices of a disk: one a path to it, and the one that multipath makes of several.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::Env;

use super::disk::Disk;
use crate::volumes::helper::{Programs, run};

/// Where devices are by the way to them.
const BY_PATH: &str = "/dev/disk/by-path";
/// Where the kernel tells of devices.
const BLOCK: &str = "/sys/block";
/// How often is looked for a device.
const LOOK: Duration = Duration::from_millis(200);
/// How long a device may take to be there.
const PATIENCE: Duration = Duration::from_secs(10);

/// The device of a disk at a portal, if it is there.
fn find(disk: &Disk, transport: &str, portal: &str) -> Option<PathBuf> {
    let name = format!("ip-{portal}-iscsi-{}-lun-{}", disk.iqn, disk.lun);
    if transport == "tcp" {
        return Some(Path::new(BY_PATH).join(name)).filter(|path| path.exists());
    }
    // Those of adapters have the adapter before.
    let paths = fs::read_dir(BY_PATH).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_it = |path: &PathBuf| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        file.starts_with("pci-") && file.ends_with(&format!("-{name}"))
    };
    paths.into_iter().find(is_it)
}

/// Waits for the device of a disk at a portal. An error is a message for the user.
pub async fn wait(env: &Env, disk: &Disk, transport: &str, portal: &str) -> Result<PathBuf, String> {
    let look = || find(disk, transport, portal);
    let found = poll(env, look).await;
    found.ok_or_else(|| format!("Could not attach disk: Timeout after {}s", PATIENCE.as_secs()))
}

async fn poll<T>(env: &Env, look: impl Fn() -> Option<T>) -> Option<T> {
    let end = env.instant() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if env.instant() >= end {
            return None;
        }
        env.sleep(LOOK).await;
    }
}

/// The device that is used: that of multipath where it makes one, which takes a while where paths are many.
pub async fn join(env: &Env, paths: Vec<PathBuf>, portals: usize) -> Option<PathBuf> {
    let look = || paths.iter().find_map(|path| mapped(path));
    let joined = if portals > 1 { poll(env, look).await } else { look() };
    joined.or_else(|| paths.into_iter().next())
}

/// The kernel's name of a device.
fn kernel_name(device: &Path) -> Option<String> {
    Some(fs::canonicalize(device).ok()?.file_name()?.to_string_lossy().into_owned())
}

/// The device of the device mapper that a device is part of.
fn mapped(device: &Path) -> Option<PathBuf> {
    let name = kernel_name(device)?;
    let maps = fs::read_dir(BLOCK).ok()?.flatten().map(|entry| entry.path());
    let is_of = |map: &PathBuf| {
        map.file_name().is_some_and(|map| map.to_string_lossy().starts_with("dm-"))
            && map.join("slaves").join(&name).exists()
    };
    let map = maps.into_iter().find(is_of)?;
    Some(Path::new("/dev").join(map.file_name()?))
}

/// Has the kernel forget the devices of a disk which nobody has any more. What cannot be forgotten goes with the session.
pub async fn forget(programs: &Programs, disk: &Disk) {
    let paths = disk.portals.iter().flat_map(|portal| ["tcp", "other"].map(|transport| find(disk, transport, portal)));
    let paths: Vec<PathBuf> = paths.flatten().collect();
    let mut maps: Vec<PathBuf> = paths.iter().filter_map(|path| mapped(path)).collect();
    maps.dedup();
    for map in maps {
        let flushed = match programs.find("multipath", "multipath-tools") {
            Ok(multipath) => run(&multipath, &["-f", &map.to_string_lossy()]).await.map(|_| ()),
            Err(err) => Err(err),
        };
        if let Err(err) = flushed {
            tracing::warn!(device = %map.display(), err, "multipath device cannot be flushed");
        }
    }
    for name in paths.iter().filter_map(|path| kernel_name(path)) {
        let file = Path::new(BLOCK).join(&name).join("device/delete");
        if file.exists()
            && let Err(err) = fs::write(&file, "1")
        {
            tracing::warn!(device = name, err = %err, "device of an iSCSI disk cannot be removed");
        }
    }
}
