//! The volumes that an image declares: directories beside the container's root, which it may write even where that is
//! read-only, and which hold what the image has there.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, lchown, symlink};
use std::path::{Path, PathBuf};

use cri::Mount;

use super::ContainerPaths;
use super::mounts::{PrepareError, inside};
use crate::disk;
use crate::dots::without_dots;
use crate::image::Image;
use crate::sandbox::IdMap;
use crate::shim::protocol::rootfs;

/// A mount for each volume of the image at whose place nothing else is mounted.
pub(super) fn mounts(image: &Image, mounts: &[Mount], paths: &ContainerPaths) -> Vec<Mount> {
    let declared = image.config.config().as_ref().and_then(|config| config.volumes().as_deref()).unwrap_or_default();
    let mut places: Vec<PathBuf> = declared.iter().map(|place| normal(place)).collect();
    places.sort();
    places.dedup();
    let is_free = |place: &PathBuf| {
        place != Path::new("/") && !mounts.iter().any(|mount| normal(&mount.container_path) == *place)
    };
    let mount = |(number, place): (usize, PathBuf)| Mount {
        container_path: place.to_string_lossy().into_owned(),
        host_path: paths.volumes().join(number.to_string()).to_string_lossy().into_owned(),
        selinux_relabel: true,
        ..Mount::default()
    };
    places.into_iter().filter(is_free).enumerate().map(mount).collect()
}

/// Makes the directories of such mounts; the container's root is mounted. `users` are the pod's, if it has its own.
pub(super) fn fill(mounts: &[Mount], paths: &ContainerPaths, users: Option<IdMap>) -> Result<(), PrepareError> {
    let root = rootfs(paths.bundle());
    for Mount { container_path, host_path, .. } in mounts {
        let target = Path::new(host_path);
        disk::create_dir(target)?;
        let error = |source| PrepareError::Volume { place: container_path.clone(), source };
        match inside(&root, container_path.trim_start_matches('/')) {
            Ok(source) if source.is_dir() => copy(&source, target).map_err(error)?,
            // The image has nothing there, or nothing that a directory could take the place of.
            Ok(_) => {}
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                let owner = users.map_or(0, |map| map.host_id);
                fs::set_permissions(target, std::os::unix::fs::PermissionsExt::from_mode(0o755)).map_err(error)?;
                std::os::unix::fs::chown(target, Some(owner), Some(owner)).map_err(error)?;
            }
            Err(err) => return Err(error(err)),
        }
    }
    Ok(())
}

/// A path of a container, from its root on.
fn normal(place: &str) -> PathBuf {
    Path::new("/").join(without_dots(Path::new(place)))
}

/// Copies what a directory holds, with owners, modes and links; pipes, sockets and devices stay where they are.
fn copy(source: &Path, target: &Path) -> io::Result<()> {
    let mut left = vec![(source.to_owned(), target.to_owned())];
    while let Some((from, to)) = left.pop() {
        let metadata = fs::symlink_metadata(&from)?;
        if metadata.is_dir() {
            match fs::create_dir(&to) {
                Err(err) if err.kind() != io::ErrorKind::AlreadyExists => return Err(err),
                _ => {}
            }
            for entry in fs::read_dir(&from)? {
                let entry = entry?;
                left.push((entry.path(), to.join(entry.file_name())));
            }
        } else if metadata.is_symlink() {
            symlink(fs::read_link(&from)?, &to)?;
        } else if metadata.is_file() {
            fs::copy(&from, &to)?;
        } else {
            continue;
        }
        lchown(&to, Some(metadata.uid()), Some(metadata.gid()))?;
        if !metadata.is_symlink() {
            // After the owner, whose change takes special bits away.
            fs::set_permissions(&to, metadata.permissions())?;
        }
    }
    Ok(())
}
