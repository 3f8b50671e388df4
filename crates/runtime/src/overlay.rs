//! Mounting layers on top of each other.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sched::{CloneFlags, unshare};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, mount, move_mount, unmount,
};

/// Whether the kernel has been found to know mount(2) alone for layers. It stays the same kernel.
static ONLY_CLASSIC: AtomicBool = AtomicBool::new(false);

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
        if ONLY_CLASSIC.load(Ordering::Relaxed) {
            return Err(Errno::OPNOTSUPP);
        }
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for lower in &self.lower {
            fsconfig_set_string(&context, "lowerdir+", lower).inspect_err(|errno| {
                // An older kernel, which would write a line to its log each time.
                ONLY_CLASSIC.fetch_or(*errno == Errno::INVAL, Ordering::Relaxed);
            })?;
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

    /// By mount(2): all options in one page, for which the layers are named from the directory that all of them are in.
    fn classic(&self, target: &Path) -> io::Result<()> {
        let base = self.lower.iter().skip(1).fold(self.lower.first().cloned().unwrap_or_default(), |base, other| {
            let both = base.components().zip(other.components());
            both.take_while(|(one, other)| one == other).map(|(one, _)| one).collect()
        });
        let mut options = OsString::from("index=off,lowerdir=");
        for (index, lower) in self.lower.iter().enumerate() {
            if index > 0 {
                options.push(":");
            }
            let relative = lower.strip_prefix(&base).unwrap_or(lower);
            options.push(if relative.as_os_str().is_empty() { Path::new(".") } else { relative });
        }
        options.push(",upperdir=");
        options.push(&self.upper);
        options.push(",workdir=");
        options.push(&self.work);
        if let Some(label) = &self.label {
            options.push(format!(",context=\"{label}\""));
        }
        let options = std::ffi::CString::new(options.into_encoded_bytes())?;
        let mount = || -> io::Result<()> {
            // The directory is this thread's alone.
            unshare(CloneFlags::CLONE_FS)?;
            rustix::process::chdir(&base)?;
            Ok(mount("overlay", target, "overlay", MountFlags::empty(), options.as_c_str())?)
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("overlay".to_owned()).spawn_scoped(scope, mount)?;
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that mounts has panicked")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_call_takes_as_many_layers_as_images_have() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: not root");
            return;
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        // Names as long as those of layers in a directory that somebody has chosen; images have 127 layers at most.
        let layers = dir.path().join("some-data-directory-of-a-node/runtime/layers");
        let layer = |number: usize| layers.join(format!("{number:024}")).join("fs");
        let overlay = Overlay {
            lower: (0..127).map(layer).collect(),
            upper: layers.join("upper"),
            work: layers.join("work"),
            label: None,
        };
        for (number, lower) in overlay.lower.iter().enumerate() {
            fs::create_dir_all(lower).expect("made");
            fs::write(lower.join(number.to_string()), "").expect("written");
        }
        let target = dir.path().join("target");
        for made in [&overlay.upper, &overlay.work, &target] {
            fs::create_dir_all(made).expect("made");
        }
        let seen = |overlay: &Overlay| {
            overlay.classic(&target).expect("mounted");
            let seen = fs::read_dir(&target).expect("read").count();
            unmount(&target, UnmountFlags::empty()).expect("unmounted");
            seen
        };
        let before = std::env::current_dir().expect("there is one");
        assert_eq!(seen(&overlay), 127);
        assert_eq!(seen(&Overlay { lower: vec![layer(0)], ..overlay }), 1);
        assert_eq!(std::env::current_dir().expect("there is one"), before);
    }
}
