//! Removal of what a kubelet made on its machine.

use base::Instance;

use crate::volumes::{self, UnmountError};

/// Takes back the volumes of all pods of an installation whose kubelet does not run. Their cgroups go with the runtime's.
///
/// What is not there is no error; it may be called again after a failure. Blocks.
pub fn cleanup(instance: &Instance) -> Result<(), UnmountError> {
    volumes::remove_all(&instance.data_dir().join("kubelet"))
}
