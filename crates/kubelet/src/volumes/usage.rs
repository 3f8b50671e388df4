//! How full the volumes of pods are: for those who ask, and for what the node does about it.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use base::TreeEntry;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod, Volume};
use rustix::fs::FileType;

use super::table::is_mount_point;
use super::{Bound, volume_dir};
use crate::context::Context;
use crate::csi;
use crate::pods::spec;

/// How full a volume is. What is not known is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes in all, left and used.
    pub capacity: Option<u64>,
    /// Bytes that are left.
    pub available: Option<u64>,
    /// Bytes that are used.
    pub used: Option<u64>,
    /// Inodes in all.
    pub inodes: Option<u64>,
    /// Inodes that are left.
    pub inodes_free: Option<u64>,
    /// Inodes that are used.
    pub inodes_used: Option<u64>,
}

/// A pod's volume and how full it is.
#[derive(Clone, Debug)]
pub struct VolumeUsage {
    /// Its name in the pod.
    pub name: String,
    /// Its claim, if it has one.
    pub claim: Option<String>,
    /// How full it is.
    pub usage: Usage,
}

/// How full the volumes of a pod are. Those of which that cannot be said are left out.
pub async fn of_pod(context: &Context, pod: &Pod) -> Vec<VolumeUsage> {
    let mut all = Vec::new();
    if !context.config.volume_stats {
        return all;
    }
    for volume in spec::spec(pod).volumes.iter().flatten() {
        let claim = context.claims.kept(spec::uid(pod), &volume.name);
        let usage = match csi::usage(context, pod, volume, claim.as_deref()).await {
            Some(usage) => Some(usage),
            None => of_directory(context, pod, volume, claim.as_deref()).await,
        };
        let claim = claim.and_then(|bound| bound.claim.metadata.name.clone());
        all.extend(usage.map(|usage| VolumeUsage { name: volume.name.clone(), claim, usage }));
    }
    all
}

/// How full those volumes of a pod are that it writes to the node's disk, by name.
pub async fn on_disk(context: &Context, pod: &Pod) -> Vec<(String, Usage)> {
    let mut all = Vec::new();
    for volume in spec::spec(pod).volumes.iter().flatten() {
        if is_on_disk(volume)
            && let Some(usage) = of_directory(context, pod, volume, None).await
        {
            all.push((volume.name.clone(), usage));
        }
    }
    all
}

/// Whether a volume goes with its pod and is written to the node's disk until then.
pub fn is_on_disk(volume: &Volume) -> bool {
    let in_memory = |source: &EmptyDirVolumeSource| !source.medium.as_deref().unwrap_or_default().is_empty();
    volume.config_map.is_some() || volume.empty_dir.as_ref().is_some_and(|dir| !in_memory(dir))
}

/// How full a volume is that the kernel knows.
async fn of_directory(context: &Context, pod: &Pod, volume: &Volume, claimed: Option<&Bound>) -> Option<Usage> {
    let dir = match claimed {
        // A directory of the node is not the volume's alone.
        Some(bound) => {
            let sort = if bound.volume.spec.as_ref()?.iscsi.is_some() { "iscsi" } else { "nfs" };
            let dir = context.config.pod_dir(spec::uid(pod)).join("volumes").join(format!("kubernetes.io~{sort}"));
            dir.join(bound.name())
        }
        None => volume_dir(context, pod, sort(volume)?, volume),
    };
    let measured = tokio::task::spawn_blocking(move || measure(&dir)).await;
    measured.ok()?.ok()
}

fn sort(volume: &Volume) -> Option<&'static str> {
    let sorts = [
        ("empty-dir", volume.empty_dir.is_some()),
        ("configmap", volume.config_map.is_some()),
        ("secret", volume.secret.is_some()),
        ("downward-api", volume.downward_api.is_some()),
        ("projected", volume.projected.is_some()),
        ("nfs", volume.nfs.is_some()),
        ("iscsi", volume.iscsi.is_some()),
    ];
    sorts.into_iter().find(|(_, is_it)| *is_it).map(|(sort, _)| sort)
}

/// How full the file system at a directory is; where it is not the volume's alone, what the directory takes of it.
fn measure(dir: &Path) -> io::Result<Usage> {
    let stat = rustix::fs::statvfs(dir)?;
    let usage = Usage {
        capacity: Some(stat.f_blocks * stat.f_frsize),
        available: Some(stat.f_bavail * stat.f_frsize),
        used: Some(stat.f_blocks.saturating_sub(stat.f_bfree) * stat.f_frsize),
        inodes: Some(stat.f_files),
        inodes_free: Some(stat.f_ffree),
        inodes_used: Some(stat.f_files.saturating_sub(stat.f_ffree)),
    };
    if is_mount_point(dir)? {
        return Ok(usage);
    }
    let (used, inodes) = taken(dir)?;
    Ok(Usage { used: Some(used), inodes_used: Some(inodes), ..usage })
}

/// Bytes and inodes that a directory takes on its disk, itself included; a file with two names counts once.
pub fn taken(dir: &Path) -> io::Result<(u64, u64)> {
    let root = fs::symlink_metadata(dir)?;
    let mut seen = HashSet::new();
    let (mut bytes, mut inodes) = (root.blocks() * 512, 1);
    base::walk_tree(dir, |TreeEntry { stat, .. }| {
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if stat.st_dev == root.dev() && (is_dir || stat.st_nlink < 2 || seen.insert(stat.st_ino)) {
            bytes += u64::try_from(stat.st_blocks).unwrap_or_default() * 512;
            inodes += 1;
        }
        Ok(())
    })?;
    Ok((bytes, inodes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_takes_what_its_files_take_once() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("sub")).expect("made");
        let (empty, _) = taken(dir.path()).expect("measured");
        fs::write(dir.path().join("sub/file"), vec![1; 100_000]).expect("written");
        fs::hard_link(dir.path().join("sub/file"), dir.path().join("again")).expect("linked");
        std::os::unix::fs::symlink("/", dir.path().join("out")).expect("linked");
        let usage = measure(dir.path()).expect("measured");
        let grown = usage.used.expect("known") - empty;
        assert!((100_000..150_000).contains(&grown), "{grown}");
        assert_eq!(usage.inodes_used, Some(4));
        assert!(usage.capacity > usage.used);
    }
}
