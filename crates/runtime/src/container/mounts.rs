//! What is mounted for a container before it is made: its root, images, and sources whose mounts propagate in another
//! way than those of the container's other mounts.
//!
//! A container's mount namespace has one propagation, that of the mount which needs most (see
//! [`spec::root_propagation`]). A source that shall have less is bound in the bundle with what it shall have, and the
//! container gets that.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cri::{Mount, MountPropagation};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind_recursive, mount_change, unmount as unmount_here};

use super::ContainerPaths;
use crate::config::DEPTH;
use crate::confinement::{RelabelError, relabel};
use crate::disk::{self, DiskError};
use crate::engine::Engine;
use crate::idmap;
use crate::image::Image;
use crate::mountinfo;
use crate::overlay::{Overlay, OverlayError};
use crate::sandbox::IdMap;
use crate::shim::protocol::rootfs;
use crate::spec;

/// Why something could not be mounted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    /// Layers.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
    /// A source is not there.
    #[error(transparent)]
    Source(#[from] spec::MountError),
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A source cannot be labelled.
    #[error(transparent)]
    Relabel(#[from] RelabelError),
    /// Images are shared, and never written to.
    #[error("image mount {0} must be read-only")]
    WritableImage(String),
    /// The path is not in the image.
    #[error("ImageVolumeMountFailed: cannot mount path {sub_path:?} of image {image}: {source}")]
    SubPath {
        /// In the image.
        sub_path: String,
        /// The image.
        image: String,
        /// What the system said.
        source: io::Error,
    },
    /// What an image has at the place of a volume cannot be copied.
    #[error("cannot copy what the image has at its volume {place:?}: {source}")]
    Volume {
        /// In the container.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// Mounts of the source go nowhere.
    #[error("path {source_path:?} is mounted on {mount_point:?} but it is not a {wanted} mount")]
    Propagation {
        /// The source.
        source_path: PathBuf,
        /// The mount that it is on.
        mount_point: PathBuf,
        /// What it would have to be.
        wanted: &'static str,
    },
    /// A source cannot be bound.
    #[error("cannot prepare the mount of {}: {source}", path.display())]
    Bind {
        /// The source.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What a container's mounts are made of.
pub(super) struct Preparation<'a> {
    pub engine: &'a Engine,
    pub paths: &'a ContainerPaths,
    pub mounts: &'a [Mount],
    /// The images that are mounted, in the order of the mounts.
    pub images: &'a [Arc<Image>],
    /// The pod's users, if they are not the machine's, and where their namespace is bound.
    pub users: Option<(IdMap, PathBuf)>,
    /// The label of SELinux of its files, if they have one.
    pub label: Option<&'a str>,
}

impl Preparation<'_> {
    /// Mounts the container's root.
    pub(super) fn mount_root(&self, image: &Image) -> Result<(), PrepareError> {
        let (upper, work) = (self.paths.upper(), self.paths.work());
        for dir in [&upper, &work, &rootfs(self.paths.bundle())] {
            disk::create_dir(dir)?;
        }
        if self.users.is_some() {
            disk::open_way(self.paths.bundle(), DEPTH)?;
        }
        self.mount_layers(image, upper, work, &rootfs(self.paths.bundle()))
    }

    /// Mounts what must be there before the container: one entry for each of its mounts, with a path if there is
    /// something.
    pub(super) fn mount_sources(&self) -> Result<Vec<Option<PathBuf>>, PrepareError> {
        let of_root = spec::root_propagation(self.mounts);
        let mut images = self.images.iter();
        let mut prepared = Vec::with_capacity(self.mounts.len());
        for (number, mount) in self.mounts.iter().enumerate() {
            if let Some(label) = self.label.filter(|_| mount.selinux_relabel && mount.image.is_none()) {
                relabel(&spec::mount_source(mount)?, label)?;
            }
            prepared.push(match mount.image.as_ref().and_then(|_| images.next()) {
                Some(image) => Some(self.mount_image(number, mount, image)?),
                None => self.bind(number, mount, of_root)?,
            });
        }
        Ok(prepared)
    }

    fn mount_layers(&self, image: &Image, upper: PathBuf, work: PathBuf, target: &Path) -> Result<(), PrepareError> {
        // The mounted root is as the upper directory is, and all of the container's users may enter it.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&upper, open).map_err(DiskError::io("change", &upper))?;
        let layers = self.engine.images.layers();
        let mut lower: Vec<PathBuf> = image.unpacked.iter().rev().map(|id| layers.root(id)).collect();
        if lower.is_empty() {
            // An image without layers is an empty directory.
            let empty = self.paths.data().join("empty");
            disk::create_dir(&empty)?;
            lower.push(empty);
        }
        let label = self.label.map(str::to_owned);
        let Some((map, namespace)) = &self.users else {
            return Ok(Overlay { lower, upper, work, label }.mount_at(target)?);
        };
        // The layers' files belong to the machine's root; the pod's sees them as its own.
        std::os::unix::fs::chown(&upper, Some(map.host_id), Some(map.host_id))
            .map_err(DiskError::io("change", &upper))?;
        let mut mapped = Vec::with_capacity(lower.len());
        for (number, layer) in lower.iter().enumerate() {
            let place = self.paths.bundle().join(PREPARED).join(format!("layer{number}"));
            disk::create_dir(&place)?;
            let bind = || idmap::bind(layer, &place, &File::open(namespace)?, false);
            bind().map_err(|source| PrepareError::Bind { path: layer.clone(), source })?;
            mapped.push(place);
        }
        Overlay { lower: mapped.clone(), upper, work, label }.mount_at(target)?;
        for place in mapped {
            // The mounted root holds what it needs of it.
            let release = || {
                unmount_here(&place, UnmountFlags::DETACH)?;
                fs::remove_dir(&place)
            };
            release().map_err(|source| PrepareError::Bind { path: place.clone(), source })?;
        }
        Ok(())
    }

    fn mount_image(&self, number: usize, mount: &Mount, image: &Image) -> Result<PathBuf, PrepareError> {
        if !mount.readonly {
            return Err(PrepareError::WritableImage(mount.container_path.clone()));
        }
        let data = self.paths.data().join("images").join(number.to_string());
        let (upper, work) = (data.join("upper"), data.join("work"));
        let target = self.paths.bundle().join("images").join(number.to_string());
        for dir in [&upper, &work, &target] {
            disk::create_dir(dir)?;
        }
        self.mount_layers(image, upper, work, &target)?;
        inside(&target, &mount.image_sub_path).map_err(|source| PrepareError::SubPath {
            sub_path: mount.image_sub_path.clone(),
            image: image.id.to_string(),
            source,
        })
    }

    /// Binds a source if its mounts shall not propagate as far as the container's other mounts do.
    fn bind(&self, number: usize, mount: &Mount, of_root: MountPropagation) -> Result<Option<PathBuf>, PrepareError> {
        let source = spec::mount_source(mount)?;
        check_propagation(&source, mount.propagation())?;
        // Users of a pod's own may not find their way to the source, but to the bundle.
        if mount.propagation() == of_root && self.users.is_none() {
            return Ok(None);
        }
        let flags = match mount.propagation() {
            MountPropagation::PropagationPrivate => MountPropagationFlags::PRIVATE,
            MountPropagation::PropagationHostToContainer => MountPropagationFlags::DOWNSTREAM,
            MountPropagation::PropagationBidirectional => MountPropagationFlags::SHARED,
        };
        let error = |source: io::Error| PrepareError::Bind { path: PathBuf::from(&mount.host_path), source };
        let dir = self.paths.bundle().join(PREPARED);
        disk::create_dir(&dir)?;
        if self.users.is_some() {
            disk::open_way(&dir, 1)?;
        }
        let target = dir.join(number.to_string());
        let bind = || -> io::Result<()> {
            if source.is_dir() {
                fs::create_dir(&target)?;
            } else {
                OpenOptions::new().write(true).create_new(true).open(&target)?;
            }
            match &self.users {
                Some((_, namespace)) if !mount.uid_mappings.is_empty() => {
                    idmap::bind(&source, &target, &File::open(namespace)?, true)?;
                }
                _ => mount_bind_recursive(&source, &target)?,
            }
            Ok(mount_change(&target, flags | MountPropagationFlags::REC)?)
        };
        bind().map_err(error)?;
        Ok(Some(target))
    }
}

/// The directory of a bundle in which sources are bound.
const PREPARED: &str = "mounts";

/// Unmounts everything of a container, so that its bundle can be removed.
///
/// Where sources were bound nothing but empty mount points must be left: what is removed later is never a user's.
pub(super) fn unmount(paths: &ContainerPaths) -> io::Result<()> {
    mountinfo::unmount_all(paths.bundle())?;
    let entries = match fs::read_dir(paths.bundle().join(PREPARED)) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() { fs::remove_dir(entry.path())? } else { fs::remove_file(entry.path())? }
    }
    Ok(())
}

/// The real path of `sub_path` below `root`, whatever symbolic links there are in it.
pub(super) fn inside(root: &Path, sub_path: &str) -> io::Result<PathBuf> {
    if sub_path.is_empty() {
        return Ok(root.to_owned());
    }
    let dir = File::open(root)?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let found = rustix::fs::openat2(&dir, sub_path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()))
}

/// Whether the mounts of a source go as far as is asked for.
fn check_propagation(source: &Path, wanted: MountPropagation) -> Result<(), PrepareError> {
    if wanted == MountPropagation::PropagationPrivate {
        return Ok(());
    }
    let mount = mountinfo::of(source).map_err(|err| PrepareError::Bind { path: source.to_owned(), source: err })?;
    let Some(mount) = mount else { return Ok(()) };
    let (fits, wanted) = match wanted {
        MountPropagation::PropagationBidirectional => (mount.is_shared, "shared"),
        _ => (mount.is_shared || mount.is_slave, "shared or slave"),
    };
    if fits {
        return Ok(());
    }
    Err(PrepareError::Propagation { source_path: source.to_owned(), mount_point: mount.point, wanted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_in_an_image_stay_in_it() {
        let root = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir_all(root.path().join("a/b")).expect("made");
        std::os::unix::fs::symlink("/a", root.path().join("link")).expect("linked");
        std::os::unix::fs::symlink("../../../../a/b", root.path().join("a/up")).expect("linked");
        let real = fs::canonicalize(root.path()).expect("it exists");
        assert_eq!(inside(root.path(), "link/b").expect("found"), real.join("a/b"));
        assert_eq!(inside(root.path(), "a/up").expect("found"), real.join("a/b"));
        assert_eq!(inside(root.path(), "../a").expect("found"), real.join("a"));
        assert_eq!(inside(root.path(), "").expect("found"), root.path());
        assert_eq!(inside(root.path(), "none").map_err(|err| err.kind()), Err(io::ErrorKind::NotFound));
    }
}
