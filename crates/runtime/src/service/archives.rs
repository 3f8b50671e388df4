//! What CRI has no calls for: archives of images, pulling with progress, pushing, and removing what nothing uses, as
//! HTTP requests on the same socket.
//!
//! - `POST /skiff/v1/images/import?name=N` with an archive as its body answers with a JSON list of [`ImageInfo`]s.
//! - `POST /skiff/v1/images/export?name=N&name=M` answers with an archive.
//! - `POST /skiff/v1/images/pull` and `.../push` with a [`RegistryRequest`] answer with [`ImageEvent`]s, one a line.
//! - `POST /skiff/v1/images/remove?name=N&force=true` answers with a [`Removed`].
//! - `POST /skiff/v1/images/prune?all=true` answers with a list of what was removed.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::engine::Engine;
use crate::image::{Image, ImageEvent, Progress, Reference, UntagError, export, import, push};
use base::error_chain;

/// Under what all calls lie.
pub(crate) const PREFIX: &str = "/skiff/v1/images";

/// Pieces of an archive that wait for who reads it.
const PIECES: usize = 16;

/// The size of those pieces.
const PIECE: usize = 256 << 10;

/// An image, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageInfo {
    /// The image's identifier.
    pub id: String,
    /// Its names.
    pub names: Vec<String>,
    /// Its size in bytes.
    pub size: u64,
}

impl ImageInfo {
    fn new(image: &Image) -> Self {
        Self { id: image.id.to_string(), names: image.tags.iter().cloned().collect(), size: image.size }
    }
}

/// What became of a name that was to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// The names that are gone.
    pub untagged: Vec<String>,
    /// The identifier of the image, if that was its last name and it is gone too.
    pub deleted: Option<String>,
}

/// What to pull from a registry, or to push to it.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct RegistryRequest {
    /// The image's name in the registry.
    pub name: String,
    /// What is pushed under that name; the image that has it if nothing is said.
    pub image: Option<String>,
    /// Who asks.
    pub username: String,
    /// With which password.
    pub password: String,
    /// In place of both, as Docker's configuration has them.
    pub auth: String,
    /// In place of all that, an identity token.
    pub identity_token: String,
}

impl RegistryRequest {
    fn login(&self) -> cri::AuthConfig {
        cri::AuthConfig {
            username: self.username.clone(),
            password: self.password.clone(),
            auth: self.auth.clone(),
            identity_token: self.identity_token.clone(),
            ..cri::AuthConfig::default()
        }
    }
}

#[derive(Deserialize)]
struct ImportParameters {
    name: Option<String>,
}

#[derive(Deserialize)]
struct RemoveParameters {
    name: String,
    #[serde(default)]
    force: bool,
}

#[derive(Deserialize)]
struct PruneParameters {
    #[serde(default)]
    all: bool,
}

/// The routes to add to those of CRI.
pub(crate) fn routes(engine: Arc<Engine>) -> Router {
    let calls = Router::new()
        .route("/import", post(import_archive))
        .route("/export", post(export_archive))
        .route("/pull", post(pull_image))
        .route("/push", post(push_image))
        .route("/remove", post(remove_name))
        .route("/prune", post(prune_images));
    Router::new().nest(PREFIX, calls).with_state(engine)
}

fn refused(err: &dyn std::error::Error) -> Response {
    (StatusCode::BAD_REQUEST, error_chain(err)).into_response()
}

fn broken(err: &tokio::task::JoinError) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, err.to_string()).into_response()
}

async fn import_archive(
    State(engine): State<Arc<Engine>>,
    Query(parameters): Query<ImportParameters>,
    body: Body,
) -> Response {
    let name = match parameters.name.as_deref().map(Reference::parse).transpose() {
        Ok(name) => name,
        Err(err) => return refused(&err),
    };
    let adding = engine.images.adding().await;
    let stream = body.into_data_stream().map_err(io::Error::other);
    let archive = SyncIoBridge::new(StreamReader::new(stream));
    let worker = engine.clone();
    let work = move || import(&worker.images, archive, name.as_ref(), worker.env.now());
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(images)) => {
            for image in &images {
                tracing::info!(id = %image.id, bytes = image.size, "imported an image");
            }
            Json(images.iter().map(|image| ImageInfo::new(image)).collect::<Vec<_>>()).into_response()
        }
        Ok(Err(err)) => {
            drop(adding);
            let worker = engine.clone();
            // What came before the failure is of no use to anybody.
            let collected = tokio::task::spawn_blocking(move || worker.collect_images()).await;
            if let Ok(Err(err)) = collected {
                tracing::warn!(%err, "cannot remove unused content");
            }
            refused(&err)
        }
        Err(err) => broken(&err),
    }
}

async fn export_archive(State(engine): State<Arc<Engine>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let names = url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "name").map(|(_, name)| name);
    let mut images: Vec<(Arc<Image>, Vec<String>)> = Vec::new();
    for name in names {
        let Some(image) = engine.images.find(&name) else {
            return (StatusCode::NOT_FOUND, format!("no image {name:?}")).into_response();
        };
        // Who asks for one name gets that one; who asks by identifier gets all.
        let tag = Reference::parse(&name).ok().and_then(|reference| reference.tagged());
        let tag = tag.filter(|tag| image.tags.contains(tag));
        let tags = tag.map_or_else(|| image.tags.iter().cloned().collect(), |tag| vec![tag]);
        match images.iter_mut().find(|(known, _)| known.id == image.id) {
            Some((_, known)) => known.extend(tags),
            None => images.push((image, tags)),
        }
    }
    if images.is_empty() {
        return (StatusCode::BAD_REQUEST, "name at least one image").into_response();
    }
    let (sender, receiver) = mpsc::channel(PIECES);
    let worker = engine.clone();
    let work = async move {
        // Nothing is removed while it is read.
        let _adding = worker.images.adding().await;
        let (store, output) = (worker.images.clone(), Pieces { sender: sender.clone(), piece: Vec::new() });
        let written = tokio::task::spawn_blocking(move || export(&store, &images, output)).await;
        let failure = match written {
            Ok(Ok(())) => return,
            Ok(Err(err)) => error_chain(&err),
            Err(err) => err.to_string(),
        };
        tracing::warn!(err = failure, "an export has failed");
        // The archive ends in the middle, and whoever reads it sees that it does.
        let _ = sender.send(Err(io::Error::other(failure))).await;
    };
    engine.spawner.spawn("export images", work);
    Body::from_stream(ReceiverStream::new(receiver)).into_response()
}

/// Passes what is written on in pieces.
struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        if piece.is_empty() {
            return Ok(());
        }
        self.sender.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Answers with what happens while `work` runs, each event on a line, and with how it ends.
fn follow<F>(engine: &Arc<Engine>, name: &'static str, work: impl FnOnce(Progress) -> F) -> Response
where
    F: Future<Output = Result<ImageInfo, String>> + Send + 'static,
{
    let (sender, receiver) = mpsc::unbounded_channel();
    let work = work(Progress::to(sender.clone()));
    engine.spawner.spawn(name, async move {
        let last = match work.await {
            Ok(image) => ImageEvent::Done { image },
            Err(message) => ImageEvent::Failed { message },
        };
        // Whoever asked may have gone; the work is done all the same.
        let _ = sender.send(last);
    });
    let line = |event: ImageEvent| {
        let mut line = serde_json::to_vec(&event).unwrap_or_default();
        line.push(b'\n');
        Ok::<_, Infallible>(Bytes::from(line))
    };
    Body::from_stream(UnboundedReceiverStream::new(receiver).map(line)).into_response()
}

async fn pull_image(State(engine): State<Arc<Engine>>, Json(request): Json<RegistryRequest>) -> Response {
    let reference = match Reference::parse(&request.name) {
        Ok(reference) => reference,
        Err(err) => return refused(&err),
    };
    let worker = engine.clone();
    follow(&engine, "pull an image", |progress| async move {
        let pulled = worker.puller.pull(&reference, Some(&request.login()), &progress).await;
        pulled.map(|image| ImageInfo::new(&image)).map_err(|err| error_chain(&err))
    })
}

async fn push_image(State(engine): State<Arc<Engine>>, Json(request): Json<RegistryRequest>) -> Response {
    let reference = match Reference::parse(&request.name) {
        Ok(reference) => reference,
        Err(err) => return refused(&err),
    };
    let wanted = request.image.as_deref().unwrap_or(&request.name);
    let Some(image) = engine.images.find(wanted) else {
        return (StatusCode::NOT_FOUND, format!("no image {wanted:?}")).into_response();
    };
    let worker = engine.clone();
    follow(&engine, "push an image", |progress| async move {
        let _adding = worker.images.adding().await;
        let registry = worker.puller.registry(&reference, Some(&request.login())).map_err(|err| error_chain(&err))?;
        let pushed = push(&worker.images, &registry, &reference, &image, &progress).await;
        let digest = pushed.map_err(|err| error_chain(&err))?;
        Ok(ImageInfo { names: vec![reference.with_digest(&digest)], ..ImageInfo::new(&image) })
    })
}

/// Takes a name from its image, and removes the image with its last one. CRI's call is another: it takes all names.
async fn remove_name(State(engine): State<Arc<Engine>>, Query(parameters): Query<RemoveParameters>) -> Response {
    let work = move || {
        let untagged = engine.images.untag(&parameters.name, parameters.force)?;
        engine.remove_images(&untagged.last)?;
        Ok(Removed { untagged: untagged.names, deleted: untagged.last.map(|id| id.to_string()) })
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(removed)) => Json(removed).into_response(),
        Ok(Err(err @ UntagError::NotFound(_))) => (StatusCode::NOT_FOUND, err.to_string()).into_response(),
        Ok(Err(err @ UntagError::Several { .. })) => (StatusCode::CONFLICT, err.to_string()).into_response(),
        Ok(Err(err)) => (StatusCode::INTERNAL_SERVER_ERROR, error_chain(&err)).into_response(),
        Err(err) => broken(&err),
    }
}

/// Removes images that no container has; those that came from archives only if `all` is set, for they may not be to be
/// had again.
async fn prune_images(State(engine): State<Arc<Engine>>, Query(parameters): Query<PruneParameters>) -> Response {
    let containers = engine.containers();
    let records = containers.iter().map(|container| container.record());
    let used: BTreeSet<_> =
        records.flat_map(|record| record.mounted_images.iter().chain([&record.image])).cloned().collect();
    let unused = engine.images.list().into_iter().filter(|image| !used.contains(&image.id));
    let images: Vec<Arc<Image>> = unused.filter(|image| parameters.all || !image.imported).collect();
    let (worker, chosen) = (engine.clone(), images.clone());
    let work = move || worker.remove_images(chosen.iter().map(|image| &image.id));
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(())) => Json(images.iter().map(|image| ImageInfo::new(image)).collect::<Vec<_>>()).into_response(),
        Ok(Err(err)) => (StatusCode::INTERNAL_SERVER_ERROR, error_chain(&err)).into_response(),
        Err(err) => broken(&err),
    }
}
