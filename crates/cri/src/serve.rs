//! The server's side.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base::Drain;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::MAX_MESSAGE_BYTES;
use crate::image_service_server::{ImageService, ImageServiceServer};
use crate::runtime_service_server::{RuntimeService, RuntimeServiceServer};

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

/// Why serving ended early.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve the container runtime interface: {0}")]
pub struct ServeError(#[from] tonic::transport::Error);

/// Binds `socket` with mode 0660, replacing what a dead process left there.
pub fn bind(socket: &Path) -> Result<UnixListener, BindError> {
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

/// Serves both services on `listener` until `drain` fires and the calls in flight have ended.
///
/// Streams of events must end by themselves when the same signal fires.
pub async fn serve<R, I>(listener: UnixListener, runtime: R, image: I, drain: Drain) -> Result<(), ServeError>
where
    R: RuntimeService,
    I: ImageService,
{
    serve_routes(listener, routes(runtime, image), drain).await
}

/// The two services as routes, to which a server may add its own before [`serve_routes`].
pub fn routes<R: RuntimeService, I: ImageService>(runtime: R, image: I) -> Routes {
    let runtime = RuntimeServiceServer::new(runtime)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let image = ImageServiceServer::new(image)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    Routes::new(runtime).add_service(image)
}

/// Serves `routes` on `listener` until `drain` fires and the calls in flight have ended.
pub async fn serve_routes(listener: UnixListener, routes: Routes, drain: Drain) -> Result<(), ServeError> {
    let incoming = UnixListenerStream::new(listener);
    Server::builder().add_routes(routes).serve_with_incoming_shutdown(incoming, drain.drained_owned()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_process_leaves_no_obstacle_but_a_live_one_does() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let socket = dir.path().join("sub/runtime.sock");
        drop(bind(&socket).expect("the path is free"));
        let listener = bind(&socket).expect("nobody answers any more");
        assert!(matches!(bind(&socket), Err(BindError::InUse(_))));
        let mode = fs::metadata(&socket).expect("it exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        drop(listener);
    }
}
