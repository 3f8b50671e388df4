//! Mounting layers on top of each other.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, mount, move_mount, unmount,
};

/// Why layers could not be mounted.
#[derive(Debug, thiserror::Error)]
#[error("cannot mount {} layers for {}: {source}", layers, upper.display())]
pub(crate) struct OverlayError {
    layers: usize,
    upper: PathBuf,
    source: io::Error,
}

/// An overlay file system to mount.
#[derive(Clone, Debug)]
pub(crate) struct Overlay {
    /// The read-only layers, highest first.
    pub lower: Vec<PathBuf>,
    /// The layer that is written to.
    pub upper: PathBuf,
    /// Where the kernel prepares changes; on the same file system as `upper`.
    pub work: PathBuf,
    /// The label of SELinux that all files in it have, if it is not each one's own.
    pub label: Option<String>,
}

/// A mount that ends with this value.
pub(crate) enum Temporary {
    /// Never had a place in the file tree.
    Detached(OwnedFd),
    /// On an old kernel.
    Attached(PathBuf, File),
}

impl Temporary {
    /// The root directory.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        match self {
            Self::Detached(fd) => fd.as_fd(),
            Self::Attached(_, root) => root.as_fd(),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Self::Attached(path, _) = self {
            // Whatever fails here is found again as a leftover at the next start.
            let _ = unmount(&*path, UnmountFlags::DETACH);
            let _ = fs::remove_dir(&*path);
        }
    }
}

impl Overlay {
    fn error(&self) -> impl FnOnce(io::Error) -> OverlayError {
        move |source| OverlayError { layers: self.lower.len(), upper: self.upper.clone(), source }
    }

    /// Mounts at `target`, an existing directory.
    pub(crate) fn mount_at(&self, target: &Path) -> Result<(), OverlayError> {
        let attach = |mounted: OwnedFd| {
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            move_mount(&mounted, "", CWD, target, flags).map_err(io::Error::from)
        };
        match self.detached().map_err(io::Error::from).and_then(attach) {
            Ok(()) => Ok(()),
            Err(_) => self.classic(target).map_err(self.error()),
        }
    }

    /// Mounts for a while, at `fallback` if the kernel needs a place for it.
    pub(crate) fn temporary(&self, fallback: &Path) -> Result<Temporary, OverlayError> {
        if let Ok(mounted) = self.detached() {
            return Ok(Temporary::Detached(mounted));
        }
        fs::create_dir_all(fallback).map_err(self.error())?;
        self.classic(fallback).map_err(self.error())?;
        let root = File::open(fallback).map_err(self.error())?;
        Ok(Temporary::Attached(fallback.to_owned(), root))
    }

    /// By the mount calls of Linux 6.5 and later: no limit on the number of layers.
    fn detached(&self) -> rustix::io::Result<OwnedFd> {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for lower in &self.lower {
            fsconfig_set_string(&context, "lowerdir+", lower)?;
        }
        fsconfig_set_string(&context, "upperdir", &self.upper)?;
        fsconfig_set_string(&context, "workdir", &self.work)?;
        fsconfig_set_string(&context, "index", "off")?;
        if let Some(label) = &self.label {
            fsconfig_set_string(&context, "context", label)?;
        }
        fsconfig_create(&context)?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
    }

    /// By mount(2): all options in one page.
    fn classic(&self, target: &Path) -> io::Result<()> {
        let mut options = OsString::from("index=off,lowerdir=");
        for (index, lower) in self.lower.iter().enumerate() {
            if index > 0 {
                options.push(":");
            }
            options.push(lower);
        }
        options.push(",upperdir=");
        options.push(&self.upper);
        options.push(",workdir=");
        options.push(&self.work);
        if let Some(label) = &self.label {
            options.push(format!(",context=\"{label}\""));
        }
        let options = std::ffi::CString::new(options.into_encoded_bytes())?;
        Ok(mount("overlay", target, "overlay", MountFlags::empty(), options.as_c_str())?)
    }
}
