//! Takes a pod's volumes away.

use std::io;
use std::path::{Path, PathBuf};

use super::table::{detach, mounts_below, remove_tree};
use crate::context::Context;

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
    let path = dir.clone();
    let work = tokio::task::spawn_blocking(move || remove(&dir));
    work.await.unwrap_or_else(|err| Err(UnmountError { path, source: io::Error::other(err) }))
}

/// What containers were given of volumes goes before the volumes.
fn remove(pod_dir: &Path) -> Result<(), UnmountError> {
    ["volume-subpaths", "volumes"].iter().try_for_each(|name| remove_mounted(&pod_dir.join(name)))
}

/// Removes a directory with everything that is mounted below it. What is not there is no error. Blocks.
pub fn remove_mounted(dir: &Path) -> Result<(), UnmountError> {
    let fail = |path: &Path, source| UnmountError { path: path.to_owned(), source };
    for point in mounts_below(dir).map_err(|err| fail(dir, err))? {
        detach(&point).map_err(|err| fail(&point, err))?;
    }
    remove_tree(dir).map_err(|err| fail(dir, err))
}
