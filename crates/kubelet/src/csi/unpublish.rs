//! Takes drivers' volumes from pods, and from the node when the last pod that had one is gone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::attach::unique_name;
use super::messages::{Capability, NodeUnpublishVolumeRequest, NodeUnstageVolumeRequest};
use super::publish::text;
use super::record::{Record, ignore_missing, recover};
use super::volume::{csi_dir, staging};
use crate::context::Context;
use crate::volumes::{detach, is_mount_point, pod_volumes_dirs};

/// Takes all drivers' volumes from a pod of which nothing runs any more. An error is a message for people.
pub async fn unpublish_pod(context: &Context, uid: &str) -> Result<(), String> {
    let volumes = context.config.pod_dir(uid).join("volumes/kubernetes.io~csi");
    let records = Record::below(&volumes).map_err(|err| format!("cannot read {}: {err}", volumes.display()))?;
    for (dir, record) in records {
        let Some(record) = record.or_else(|| recover(&context.config.kubelet_dir(), &dir)) else {
            abandon(&dir)?;
            continue;
        };
        // Held until the volume is off the node, so that another pod's volume is staged anew and not half taken away.
        let (staged, _) = staging(&context.config.kubelet_dir(), &record.driver_name, &record.volume_handle);
        let lock = context.csi.lock(&staged);
        let _held = lock.lock().await;
        unpublish(context, &dir, &record).await?;
        if !is_used(context, &record).map_err(|err| format!("cannot look for users of a volume: {err}"))? {
            unstage(context, &record).await?;
            context.csi.forget_size(&unique_name(&record.driver_name, &record.volume_handle));
        }
    }
    Ok(())
}

/// Says that a pod whose volumes are gone needs nothing attached any more.
pub fn release(context: &Context, uid: &str) {
    context.csi.attachments.release(uid);
}

async fn unpublish(context: &Context, dir: &Path, record: &Record) -> Result<(), String> {
    let target = dir.join(if record.volume_mode == "Block" { "dev" } else { "mount" });
    // Also where nothing is there: a driver that was asked and has not answered may still bring it.
    let driver = context.csi.wait(&record.driver_name).await?;
    let request = NodeUnpublishVolumeRequest { volume_id: record.volume_handle.clone(), target_path: text(&target) };
    driver.act(request).await.map_err(|err| format!("Unmounter.TearDownAt failed: {err}"))?;
    remove_target(&target)?;
    context.csi.forget_publication(&target);
    Record::remove(dir).map_err(|err| format!("cannot remove {}: {err}", dir.display()))
}

/// Takes a volume from a pod of which nobody knows any more whose it is. Its driver is not told.
fn abandon(dir: &Path) -> Result<(), String> {
    tracing::warn!(dir = %dir.display(), "what is written down of a volume is damaged: it is unmounted without its driver");
    for target in ["mount", "dev"].map(|name| dir.join(name)) {
        detach(&target).map_err(|err| format!("cannot unmount {}: {err}", target.display()))?;
        remove_target(&target)?;
    }
    Record::remove(dir).map_err(|err| format!("cannot remove {}: {err}", dir.display()))
}

/// Removes what a driver left at a place from which it has taken its volume.
fn remove_target(target: &Path) -> Result<(), String> {
    let remove = || -> io::Result<()> {
        let Ok(metadata) = fs::symlink_metadata(target) else { return Ok(()) };
        if is_mount_point(target)? {
            return Err(io::Error::other("the driver says that it took its volume away, and it is still mounted"));
        }
        // Never with what is in it: that would be somebody's data.
        ignore_missing(if metadata.is_dir() { fs::remove_dir(target) } else { fs::remove_file(target) })
    };
    remove().map_err(|err| format!("cannot remove {}: {err}", target.display()))
}

/// Whether a pod has a volume, or is about to get it.
fn is_used(context: &Context, record: &Record) -> io::Result<bool> {
    for (_, dir) in pod_volumes_dirs(&context.config.kubelet_dir()) {
        let records = Record::below(&dir.join("kubernetes.io~csi"))?;
        let is_same = |(dir, other): &(PathBuf, Option<Record>)| match other {
            Some(other) => other.driver_name == record.driver_name && other.volume_handle == record.volume_handle,
            // Damaged: it may be.
            None => dir.file_name().is_some_and(|name| name == record.spec_vol_id.as_str()),
        };
        if records.iter().any(is_same) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes a volume from the node, if it is there.
async fn unstage(context: &Context, record: &Record) -> Result<(), String> {
    let (staged, dir) = staging(&context.config.kubelet_dir(), &record.driver_name, &record.volume_handle);
    if fs::symlink_metadata(&dir).is_err() {
        return Ok(());
    }
    let driver = context.csi.wait(&record.driver_name).await?;
    if driver.can(Capability::StageUnstageVolume).await? {
        let request =
            NodeUnstageVolumeRequest { volume_id: record.volume_handle.clone(), staging_target_path: text(&staged) };
        driver.act(request).await.map_err(|err| format!("UnmountDevice failed: {err}"))?;
    }
    remove_target(&staged)?;
    Record::remove(&dir).map_err(|err| format!("cannot remove {}: {err}", dir.display()))
}

/// Takes those volumes of a driver from the node that no pod has: a kubelet that was killed may leave some.
pub async fn unstage_unused(context: &Context, driver: &str) {
    let all = Record::below(&csi_dir(&context.config.kubelet_dir()).join(driver));
    for (dir, record) in all.unwrap_or_default() {
        let Some(record) = record else {
            tracing::warn!(driver, dir = %dir.display(), "what is written down of a staged volume is damaged: it stays");
            continue;
        };
        let lock = context.csi.lock(&dir.join("globalmount"));
        let _held = lock.lock().await;
        let outcome = match is_used(context, &record) {
            Ok(true) => continue,
            Ok(false) => unstage(context, &record).await,
            Err(err) => Err(err.to_string()),
        };
        if let Err(err) = outcome {
            tracing::warn!(
                driver,
                volume = record.volume_handle,
                err,
                "volume left over cannot be taken from the node"
            );
        }
    }
}
