//! What commands use to speak of images to a running runtime, beside CRI.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::TryStreamExt;
use http::{Method, Request, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_util::io::ReaderStream;
use url::form_urlencoded::Serializer;

use crate::image::ImageEvent;
use crate::service::{IMAGES_PREFIX, ImageInfo, RegistryRequest, Removed};

/// How much of an archive is sent at once.
const CHUNK: usize = 64 << 10;

/// Why the runtime did not do something with images.
#[derive(Debug, thiserror::Error)]
pub enum ImageClientError {
    /// Nobody listens on the socket.
    #[error("cannot connect to the container runtime at {}: {source}; is the server running?", socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The conversation failed.
    #[error("the conversation with the container runtime failed: {0}")]
    Http(#[from] hyper::Error),
    /// The request cannot be sent.
    #[error("cannot send the request: {0}")]
    Request(#[from] http::Error),
    /// The runtime refuses, or failed.
    #[error("{0}")]
    Refused(String),
    /// The answer cannot be understood.
    #[error("unexpected answer of the container runtime: {0}")]
    Answer(#[from] serde_json::Error),
    /// The archive cannot be written.
    #[error("cannot write the archive: {0}")]
    Write(#[source] io::Error),
    /// It ended in the middle.
    #[error("the container runtime ended before it was done")]
    Ended,
}

type RequestBody = BoxBody<Bytes, io::Error>;

/// The image calls of the runtime that listens on a socket.
#[derive(Clone, Debug)]
pub struct Images {
    socket: PathBuf,
}

/// An answer, and the connection that it comes by.
struct Answer {
    body: Incoming,
    connection: JoinHandle<()>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Images {
    /// Of the runtime that listens on `socket`.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Sends an archive (an OCI layout or what `docker save` writes).
    ///
    /// `name` names the image where the archive does not, or shall not.
    pub async fn import(
        &self,
        archive: impl AsyncRead + Send + Sync + Unpin + 'static,
        name: Option<&str>,
    ) -> Result<Vec<ImageInfo>, ImageClientError> {
        let chunks = ReaderStream::with_capacity(archive, CHUNK).map_ok(Frame::data);
        let query: Vec<(&str, &str)> = name.map(|name| ("name", name)).into_iter().collect();
        let answer = self.post("import", &query, StreamBody::new(chunks).boxed()).await?;
        Ok(serde_json::from_slice(&answer.whole().await?)?)
    }

    /// Writes the images with these names as an archive; its size.
    pub async fn export(&self, names: &[String], mut output: impl AsyncWrite + Unpin) -> Result<u64, ImageClientError> {
        let query: Vec<(&str, &str)> = names.iter().map(|name| ("name", name.as_str())).collect();
        let mut answer = self.post("export", &query, empty()).await?;
        let mut size = 0;
        while let Some(frame) = answer.body.frame().await {
            if let Ok(piece) = frame?.into_data() {
                size += piece.len() as u64;
                output.write_all(&piece).await.map_err(ImageClientError::Write)?;
            }
        }
        output.flush().await.map_err(ImageClientError::Write)?;
        Ok(size)
    }

    /// Pulls an image; `told` is called for what happens meanwhile.
    pub async fn pull(
        &self,
        request: &RegistryRequest,
        told: impl FnMut(&ImageEvent),
    ) -> Result<ImageInfo, ImageClientError> {
        self.follow("pull", request, told).await
    }

    /// Pushes an image; `told` is called for what happens meanwhile.
    pub async fn push(
        &self,
        request: &RegistryRequest,
        told: impl FnMut(&ImageEvent),
    ) -> Result<ImageInfo, ImageClientError> {
        self.follow("push", request, told).await
    }

    /// Takes a name from its image, and removes the image with its last one; by an identifier, all names of one repository,
    /// or all there are if `force` is set.
    pub async fn remove(&self, name: &str, force: bool) -> Result<Removed, ImageClientError> {
        let query = [("name", name), ("force", if force { "true" } else { "false" })];
        let answer = self.post("remove", &query, empty()).await?;
        Ok(serde_json::from_slice(&answer.whole().await?)?)
    }

    /// Removes what no container uses: also what came from archives if `all` is set.
    pub async fn prune(&self, all: bool) -> Result<Vec<ImageInfo>, ImageClientError> {
        let answer = self.post("prune", &[("all", if all { "true" } else { "false" })], empty()).await?;
        Ok(serde_json::from_slice(&answer.whole().await?)?)
    }

    async fn follow(
        &self,
        call: &str,
        request: &RegistryRequest,
        mut told: impl FnMut(&ImageEvent),
    ) -> Result<ImageInfo, ImageClientError> {
        let body = Full::from(serde_json::to_vec(request)?).map_err(|never| match never {}).boxed();
        let mut answer = self.post(call, &[], body).await?;
        let mut text = Vec::new();
        while let Some(frame) = answer.body.frame().await {
            let Ok(piece) = frame?.into_data() else { continue };
            text.extend_from_slice(&piece);
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                match serde_json::from_slice(&line)? {
                    ImageEvent::Done { image } => return Ok(image),
                    ImageEvent::Failed { message } => return Err(ImageClientError::Refused(message)),
                    event => told(&event),
                }
            }
        }
        Err(ImageClientError::Ended)
    }

    async fn post(&self, call: &str, query: &[(&str, &str)], body: RequestBody) -> Result<Answer, ImageClientError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| ImageClientError::Connect { socket: self.socket.clone(), source })?;
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        // It ends with the answer; what is wrong with it shows there.
        let connection = tokio::spawn(async move { drop(connection.await) });
        let query = Serializer::new(String::new()).extend_pairs(query).finish();
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://localhost{IMAGES_PREFIX}/{call}?{query}"))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let answer = Answer { body: response.into_body(), connection };
        if status == StatusCode::OK {
            return Ok(answer);
        }
        Err(ImageClientError::Refused(String::from_utf8_lossy(&answer.whole().await?).into_owned()))
    }
}

impl Answer {
    async fn whole(mut self) -> Result<Bytes, hyper::Error> {
        let mut bytes = bytes::BytesMut::new();
        while let Some(frame) = self.body.frame().await {
            if let Ok(piece) = frame?.into_data() {
                bytes.extend_from_slice(&piece);
            }
        }
        Ok(bytes.freeze())
    }
}

fn empty() -> RequestBody {
    Full::default().map_err(|never: std::convert::Infallible| match never {}).boxed()
}
