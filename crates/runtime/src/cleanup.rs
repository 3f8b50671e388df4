//! Removing everything of an installation from the machine.

use std::io;
use std::path::{Path, PathBuf};

use base::Instance;

use crate::cgroup::Cgroup;
use crate::config::Paths;
use crate::confinement;
use crate::disk::{self, DiskError};
use crate::engine::shim_cgroup;
use crate::mountinfo;

/// What could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    /// Processes do not end, or a cgroup stays.
    #[error("cannot remove cgroup {}: {source}", path.display())]
    Cgroup {
        /// The cgroup.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// File systems stay mounted.
    #[error("cannot unmount what is mounted below {}: {source}", path.display())]
    Unmount {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel keeps the profile that containers had.
    #[error("cannot take back the runtime's own profile: {0}")]
    Profile(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A file or directory stays.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Ends all containers and shims of an installation whose runtime does not run, and removes their mounts, namespaces,
/// cgroups and directories. Images stay, unless `images` is set. Blocks.
pub fn cleanup(instance: &Instance, images: bool) -> Result<(), CleanupError> {
    let paths = Paths::new(instance);
    // Everything that was ever started is below this, or in a cgroup that a record names.
    let mut cgroups = vec![Path::new("/").join(instance.name())];
    for name in disk::list_dirs(&paths.containers())? {
        let record = paths.containers().join(name).join("container.json");
        // A record that cannot be read names nothing that could be found otherwise.
        if let Ok(Some(record)) = disk::read_record::<crate::container::ContainerRecord>(&record) {
            cgroups.push(record.cgroup);
        }
    }
    cgroups.push(shim_cgroup(&instance.name()));
    cgroups.reverse();
    for path in &cgroups {
        let cgroup = Cgroup::new(path);
        let removed = cgroup.kill_all().and_then(|()| cgroup.remove());
        removed.map_err(|source| CleanupError::Cgroup { path: path.clone(), source })?;
    }
    for name in disk::list_dirs(&paths.run().join("sandboxes"))? {
        if let Some(id) = crate::id::SandboxId::parse(&name) {
            // A process that is gone leaves nothing to stop.
            let _ = crate::sandbox::stop_pause(&paths.sandbox(&id));
        }
    }
    mountinfo::unmount_all(paths.run())
        .map_err(|source| CleanupError::Unmount { path: paths.run().to_owned(), source })?;
    disk::remove_dir(paths.run())?;
    disk::remove_dir(&paths.containers())?;
    disk::remove_dir(&paths.sandboxes())?;
    disk::remove_file(&crate::Config::default_socket(instance))?;
    confinement::cleanup(Path::new("/"), &instance.name()).map_err(|err| CleanupError::Profile(err.into()))?;
    if images {
        disk::remove_dir(paths.data())?;
    }
    Ok(())
}
