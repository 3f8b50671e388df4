//! Removal of what a kubelet made on its machine.

use std::path::Path;

use crate::volumes::{self, UnmountError};

/// Takes back the volumes of all pods of a kubelet that kept its things in `dir` and does not run. Their cgroups go
/// with the runtime's.
///
/// What is not there is no error; it may be called again after a failure. Blocks.
pub fn cleanup(dir: &Path) -> Result<(), UnmountError> {
    volumes::remove_all(dir)
}
