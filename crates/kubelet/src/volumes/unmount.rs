//! Takes a pod's volumes away.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, unmount as umount};

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

fn remove(pod_dir: &Path) -> Result<(), UnmountError> {
    detach_below(pod_dir)?;
    ["volume-subpaths", "volumes"].iter().try_for_each(|name| remove_dir(&pod_dir.join(name)))
}

/// Removes a directory with everything that is mounted below it. What is not there is no error. Blocks.
pub fn remove_mounted(dir: &Path) -> Result<(), UnmountError> {
    detach_below(dir)?;
    remove_dir(dir)
}

fn detach_below(dir: &Path) -> Result<(), UnmountError> {
    let mut mounts = mounts_below(dir);
    // The deepest first.
    mounts.sort_by_key(|path| std::cmp::Reverse(path.as_os_str().len()));
    mounts.into_iter().try_for_each(|path| detach(&path).map_err(|source| UnmountError { path, source }))
}

fn remove_dir(path: &Path) -> Result<(), UnmountError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(UnmountError { path: path.to_owned(), source }),
        _ => Ok(()),
    }
}

fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let paths = text.lines().filter_map(|line| line.split(' ').nth(4)).map(|path| PathBuf::from(unescape(path)));
    paths.filter(|path| path.starts_with(dir) && path != dir).collect()
}

/// Blanks in mount points are written as octal numbers.
fn unescape(path: &str) -> String {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

/// Unmounts what is mounted at a path, if anything, however often.
pub fn detach(path: &Path) -> io::Result<()> {
    loop {
        match umount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => return Ok(()),
            Err(err) => return Err(err.into()),
        }
    }
}
