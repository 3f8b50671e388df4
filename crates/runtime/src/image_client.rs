//! What commands use to bring archives to a running runtime.

use std::io;
use std::path::{Path, PathBuf};

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncRead;
use tokio::net::UnixStream;
use tokio_util::io::ReaderStream;

use crate::service::{ARCHIVE_PATH, ImportedImage};

/// Why an archive was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportArchiveError {
    /// Nobody listens on the socket.
    #[error("cannot connect to the container runtime at {}: {source}; is the server running?", socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The conversation failed.
    #[error("cannot send the archive: {0}")]
    Http(#[from] hyper::Error),
    /// The name cannot be sent.
    #[error("cannot send the request: {0}")]
    Request(#[from] http::Error),
    /// The runtime does not take it.
    #[error("{0}")]
    Refused(String),
    /// The answer cannot be understood.
    #[error("unexpected answer of the container runtime: {0}")]
    Answer(#[from] serde_json::Error),
}

/// Sends an archive (an OCI layout or what `docker save` writes) to the runtime that listens on `socket`.
///
/// `name` names the image where the archive does not, or shall not.
pub async fn import_archive(
    socket: &Path,
    archive: impl AsyncRead + Send + Unpin + 'static,
    name: Option<&str>,
) -> Result<Vec<ImportedImage>, ImportArchiveError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| ImportArchiveError::Connect { socket: socket.to_owned(), source })?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    if let Some(name) = name {
        query.append_pair("name", name);
    }
    let chunks = ReaderStream::with_capacity(archive, 64 * 1024);
    let body = StreamBody::new(futures::TryStreamExt::map_ok(chunks, Frame::data));
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://localhost{ARCHIVE_PATH}?{}", query.finish()))
        .body(body)?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        if status == StatusCode::OK {
            return Ok(serde_json::from_slice(&bytes)?);
        }
        Err(ImportArchiveError::Refused(String::from_utf8_lossy(&bytes).into_owned()))
    };
    tokio::pin!(exchange);
    tokio::pin!(connection);
    // The connection moves only while it is polled; it may end right before the answer is read.
    tokio::select! {
        result = &mut exchange => result,
        ended = &mut connection => {
            ended?;
            exchange.await
        }
    }
}
