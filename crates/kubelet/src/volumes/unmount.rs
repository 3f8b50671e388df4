//! Takes a pod's volumes away.

use std::io;
use std::path::{Path, PathBuf};

use super::helper::Programs;
use super::iscsi;
use super::table::{detach, mounts_below};
use crate::context::Context;
use crate::csi;

/// A volume that cannot be taken away.
#[derive(Debug, thiserror::Error)]
#[error("cannot remove volume at {}: {source}", path.display())]
pub struct UnmountError {
    path: PathBuf,
    source: io::Error,
}

/// Unmounts everything below a pod's directory and removes its volumes. Nothing of the pod may run any more.
pub async fn unmount(context: &Context, uid: &str) -> Result<(), UnmountError> {
    let dir = context.config.pod_dir(uid);
    let volumes = dir.join("volumes");
    // What was begun for the pod may make what is removed here anew.
    context.volume_work.ended(uid).await;
    // What containers were given of volumes goes before the volumes.
    remove_in_background(dir.join("volume-subpaths")).await?;
    let taken = csi::unpublish_pod(context, uid).await;
    taken.map_err(|err| UnmountError { path: volumes.clone(), source: io::Error::other(err) })?;
    remove_in_background(volumes.clone()).await?;
    let released = iscsi::release(context, uid).await;
    released.map_err(|err| UnmountError { path: volumes, source: io::Error::other(err) })?;
    csi::release(context, uid);
    context.claims.forget(uid);
    Ok(())
}

async fn remove_in_background(dir: PathBuf) -> Result<(), UnmountError> {
    let path = dir.clone();
    let work = tokio::task::spawn_blocking(move || remove_mounted(&dir));
    work.await.unwrap_or_else(|err| Err(UnmountError { path, source: io::Error::other(err) }))
}

/// Removes what a kubelet that does not run has made in its directory. What is not there is no error. Blocks.
pub fn remove_all(kubelet_dir: &Path) -> Result<(), UnmountError> {
    remove_mounted(&kubelet_dir.join("pods"))?;
    let released = iscsi::release_all(kubelet_dir, &Programs::default());
    released.map_err(|source| UnmountError { path: kubelet_dir.to_owned(), source })?;
    remove_mounted(kubelet_dir)
}

/// Removes a directory with everything that is mounted below it. What is not there is no error. Blocks.
fn remove_mounted(dir: &Path) -> Result<(), UnmountError> {
    let fail = |path: &Path, source| UnmountError { path: path.to_owned(), source };
    for point in mounts_below(dir).map_err(|err| fail(dir, err))? {
        detach(&point).map_err(|err| fail(&point, err))?;
    }
    base::remove_tree(dir).map_err(|err| fail(dir, err))
}
