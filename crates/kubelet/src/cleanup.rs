//! Removal of what a kubelet made on its machine.

use std::path::Path;

use crate::resources::{CgroupDriver, CgroupError, CgroupSettings, Cgroups};
use crate::volumes::{self, UnmountError};

/// Takes back the cgroups of all pods of an instance whose kubelet does not run, where they are slices of systemd.
/// Others go with the runtime's.
///
/// What is not there is no error; it may be called again after a failure.
pub async fn cleanup_slices(instance: &str) -> Result<(), CgroupError> {
    let cgroups = Cgroups::of_machine(instance)?;
    if !cgroups.has_slices() {
        return Ok(());
    }
    cgroups.driven_by(CgroupDriver::Systemd, &CgroupSettings::default()).remove_all().await
}

/// Takes back the volumes of all pods of a kubelet that kept its things in `dir` and does not run.
///
/// What is not there is no error; it may be called again after a failure. Blocks.
pub fn cleanup(dir: &Path) -> Result<(), UnmountError> {
    volumes::remove_all(dir)
}
