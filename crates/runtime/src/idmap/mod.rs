//! Mounts whose files seem to belong to the users of another user namespace.

mod sys;

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

/// Binds `source` at `target` as the users of `namespace` see it; with what is mounted below, if `recursive`.
pub(crate) fn bind(source: &Path, target: &Path, namespace: &File, recursive: bool) -> io::Result<()> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let mount = open_tree(CWD, source, flags)?;
    sys::map(&mount, namespace, recursive).map_err(|err| match err.kind() {
        io::ErrorKind::InvalidInput => {
            let needs = "the kernel cannot map the owners of files there (those in memory need Linux 6.3)";
            io::Error::new(err.kind(), format!("{needs}: {err}"))
        }
        _ => err,
    })?;
    Ok(move_mount(&mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}
