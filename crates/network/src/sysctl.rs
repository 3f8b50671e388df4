//! Kernel parameters below `/proc/sys/net`, of the calling thread's network namespace.

use std::fs;
use std::io;
use std::path::PathBuf;

/// A parameter that has another value than is needed and cannot be set.
#[derive(Debug, thiserror::Error)]
#[error("set {} to {value}: {error}", path.display())]
pub struct SysctlError {
    /// The parameter's file.
    pub path: PathBuf,
    /// The value that it should have.
    pub value: String,
    /// Why it cannot be set.
    #[source]
    pub error: io::Error,
}

/// Gives a parameter a value. It is only written where it differs, so that hosts with a read-only `/proc/sys` work once
/// their administrator has set it.
pub fn set(name: &str, value: &str) -> Result<(), SysctlError> {
    let path = PathBuf::from("/proc/sys/net").join(name);
    if fs::read_to_string(&path).is_ok_and(|current| current.trim() == value) {
        return Ok(());
    }
    fs::write(&path, value).map_err(|error| SysctlError { path, value: value.to_owned(), error })
}

/// Gives a parameter a value where that is possible, and says so in the log where it is not.
pub fn try_set(name: &str, value: &str) {
    if let Err(err) = set(name, value) {
        tracing::warn!(name, value, err = %err, "kernel parameter cannot be set");
    }
}
