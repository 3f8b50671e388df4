//! The one place that turns errors into gRPC's status codes.

use cri::Status;

use crate::cdi::CdiError;
use crate::cgroup::UpdateError;
use crate::container::{CreateError, ExecError, PrepareError, RemoveError, ShimError, StartError, StopError};
use crate::disk::DiskError;
use crate::engine::ShuttingDown;
use crate::image::{ImageStoreError, ManifestError, PullError};
use crate::sandbox::{RemoveSandboxError, RunSandboxError, StopSandboxError};
use crate::spec::{MountError, SpecError, UserError};
use base::error_chain;

/// There is no such container.
pub(super) fn no_container(id: &str) -> Status {
    Status::not_found(format!("container {id:?} not found"))
}

/// There is no such sandbox.
pub(super) fn no_sandbox(id: &str) -> Status {
    Status::not_found(format!("pod sandbox {id:?} not found"))
}

impl From<ShuttingDown> for Status {
    fn from(err: ShuttingDown) -> Self {
        Self::unavailable(err.to_string())
    }
}

impl From<DiskError> for Status {
    fn from(err: DiskError) -> Self {
        Self::internal(err.to_string())
    }
}

impl From<RunSandboxError> for Status {
    fn from(err: RunSandboxError) -> Self {
        let text = error_chain(&err);
        match err {
            RunSandboxError::NoMetadata | RunSandboxError::UserNamespace(_) => Self::invalid_argument(text),
            RunSandboxError::Exists { .. } => Self::already_exists(text),
            _ => Self::unknown(text),
        }
    }
}

impl From<StopSandboxError> for Status {
    fn from(err: StopSandboxError) -> Self {
        Self::unknown(error_chain(&err))
    }
}

impl From<RemoveSandboxError> for Status {
    fn from(err: RemoveSandboxError) -> Self {
        Self::unknown(error_chain(&err))
    }
}

impl From<CreateError> for Status {
    fn from(err: CreateError) -> Self {
        let text = error_chain(&err);
        match err {
            CreateError::NoMetadata
            | CreateError::Privileged
            | CreateError::Cdi(CdiError::Name { .. })
            | CreateError::Prepare(PrepareError::WritableImage(_))
            | CreateError::Spec(
                SpecError::NoCommand
                | SpecError::Mount(MountError::RecursiveReadOnly { .. })
                | SpecError::Seccomp(_)
                | SpecError::User(UserError::Range(_)),
            ) => Self::invalid_argument(text),
            CreateError::NoImage(_) => Self::not_found(text),
            CreateError::SandboxNotReady(_) | CreateError::NoTarget(_) => Self::failed_precondition(text),
            CreateError::Exists { .. } => Self::already_exists(text),
            _ => Self::unknown(text),
        }
    }
}

impl From<StartError> for Status {
    fn from(err: StartError) -> Self {
        let text = error_chain(&err);
        match err {
            StartError::State(_) | StartError::SandboxNotReady(_) => Self::failed_precondition(text),
            _ => Self::unknown(text),
        }
    }
}

impl From<StopError> for Status {
    fn from(err: StopError) -> Self {
        Self::unknown(error_chain(&err))
    }
}

impl From<RemoveError> for Status {
    fn from(err: RemoveError) -> Self {
        Self::unknown(error_chain(&err))
    }
}

impl From<ShimError> for Status {
    fn from(err: ShimError) -> Self {
        Self::unknown(error_chain(&err))
    }
}

impl From<ExecError> for Status {
    fn from(err: ExecError) -> Self {
        let text = error_chain(&err);
        match err {
            ExecError::NotRunning(_) => Self::failed_precondition(text),
            ExecError::NoCommand => Self::invalid_argument(text),
            // The kubelet takes this code for a probe that timed out.
            ExecError::Timeout(_) => Self::deadline_exceeded(text),
            _ => Self::unknown(text),
        }
    }
}

impl From<UpdateError> for Status {
    fn from(err: UpdateError) -> Self {
        let text = err.to_string();
        match err {
            UpdateError::File(_) => Self::invalid_argument(text),
            UpdateError::NoController(_) | UpdateError::Write { .. } => Self::unknown(text),
        }
    }
}

impl From<ImageStoreError> for Status {
    fn from(err: ImageStoreError) -> Self {
        Self::internal(error_chain(&err))
    }
}

impl From<PullError> for Status {
    fn from(err: PullError) -> Self {
        let text = error_chain(&err);
        match err {
            PullError::NotFound { .. } | PullError::Manifest { source: ManifestError::Platform(_), .. } => {
                Self::not_found(text)
            }
            PullError::Denied { .. } => Self::permission_denied(text),
            PullError::Registry { .. } | PullError::Blob { .. } => Self::unavailable(text),
            _ => Self::unknown(text),
        }
    }
}
