//! The client's side.

use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Endpoint, Uri};
use tower::service_fn;

use crate::image_service_client::ImageServiceClient;
use crate::runtime_service_client::RuntimeServiceClient;
use crate::{Calls, Connection, ImageClient, MAX_MESSAGE_BYTES, RuntimeClient};

/// Why no connection was made.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to the container runtime at {}: {source}", socket.display())]
pub struct ConnectError {
    socket: PathBuf,
    source: tonic::transport::Error,
}

/// Connects to the runtime that listens on `socket`.
///
/// The connection is made now, so that a wrong path is an error now; when the runtime restarts later, the clients
/// reconnect by themselves with the next call. Clones of the clients share the connection.
pub async fn connect(socket: &Path) -> Result<(RuntimeClient, ImageClient), ConnectError> {
    connected(socket, None).await
}

/// The same with limits on calls, and somebody who counts them.
pub async fn connect_with(socket: &Path, calls: Calls) -> Result<(RuntimeClient, ImageClient), ConnectError> {
    connected(socket, Some(calls)).await
}

async fn connected(socket: &Path, calls: Option<Calls>) -> Result<(RuntimeClient, ImageClient), ConnectError> {
    let path = socket.to_owned();
    let connector = service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // The connector ignores the address; gRPC still needs one for its `:authority`.
    let endpoint = Endpoint::from_static("http://localhost");
    let channel = endpoint
        .connect_with_connector(connector)
        .await
        .map_err(|source| ConnectError { socket: socket.to_owned(), source })?;
    let connection = Connection::new(channel, calls);
    let runtime = RuntimeServiceClient::new(connection.clone())
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let image = ImageServiceClient::new(connection)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    Ok((runtime, image))
}
