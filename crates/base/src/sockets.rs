//! Unix sockets that a process serves on.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Why a socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process answers on it.
    #[error("socket {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The system refused.
    #[error("cannot listen on socket {}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Binds `socket` with mode 0660, replacing what a dead process left there.
pub fn bind_socket(socket: &Path) -> Result<UnixListener, BindError> {
    let error = |source| BindError::Io { path: socket.to_owned(), source };
    if std::os::unix::net::UnixStream::connect(socket).is_ok() {
        return Err(BindError::InUse(socket.to_owned()));
    }
    match fs::remove_file(socket) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(error(err)),
        _ => {}
    }
    if let Some(parent) = socket.parent() {
        fs::create_dir_all(parent).map_err(error)?;
    }
    let listener = UnixListener::bind(socket).map_err(error)?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o660)).map_err(error)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_process_leaves_no_obstacle_but_a_live_one_does() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let socket = dir.path().join("sub/cri.sock");
        drop(bind_socket(&socket).expect("the path is free"));
        let listener = bind_socket(&socket).expect("nobody answers any more");
        assert!(matches!(bind_socket(&socket), Err(BindError::InUse(_))));
        let mode = fs::metadata(&socket).expect("it exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        drop(listener);
    }
}
