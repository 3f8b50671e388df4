//! From errors to gRPC's status codes.

use bollard::errors::Error;
use cri::Status;

/// Docker did not do something.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}: {}", message(source))]
pub struct DockerError {
    action: String,
    source: Error,
}

/// What Docker says, without what the client says of it.
fn message(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        Error::DockerStreamError { error } => error.clone(),
        other => other.to_string(),
    }
}

impl DockerError {
    /// The status code of Docker's answer.
    pub(crate) fn code(&self) -> Option<u16> {
        match self.source {
            Error::DockerResponseServerError { status_code, .. } => Some(status_code),
            _ => None,
        }
    }

    /// What it was about is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// It is in the way of something else, a name that is taken most of all.
    pub(crate) fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }
}

/// Says what was attempted.
pub(crate) trait Doing<T> {
    /// `action` follows upon "cannot".
    fn doing(self, action: impl Into<String>) -> Result<T, DockerError>;
}

impl<T> Doing<T> for Result<T, Error> {
    fn doing(self, action: impl Into<String>) -> Result<T, DockerError> {
        self.map_err(|source| DockerError { action: action.into(), source })
    }
}

/// Takes what is gone already for done.
pub(crate) trait OrGone {
    /// An error of another kind stays one.
    fn or_gone(self) -> Result<(), DockerError>;
}

impl OrGone for Result<(), DockerError> {
    fn or_gone(self) -> Result<(), DockerError> {
        match self {
            Err(err) if err.is_not_found() => Ok(()),
            other => other,
        }
    }
}

impl From<DockerError> for Status {
    fn from(err: DockerError) -> Self {
        let text = err.to_string();
        match &err.source {
            Error::DockerResponseServerError { status_code, .. } => match status_code {
                400 => Self::invalid_argument(text),
                401 | 403 => Self::permission_denied(text),
                404 => Self::not_found(text),
                409 => Self::already_exists(text),
                _ => Self::unknown(text),
            },
            Error::RequestTimeoutError => Self::deadline_exceeded(text),
            Error::IOError { .. } | Error::HyperResponseError { .. } | Error::HyperLegacyError { .. } => {
                Self::unavailable(text)
            }
            _ => Self::unknown(text),
        }
    }
}

/// There is no such container.
pub(crate) fn no_container(id: &str) -> Status {
    Status::not_found(format!("container {id:?} not found"))
}

/// There is no such sandbox.
pub(crate) fn no_sandbox(id: &str) -> Status {
    Status::not_found(format!("pod sandbox {id:?} not found"))
}
