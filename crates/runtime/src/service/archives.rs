//! One call that CRI does not have: importing an image archive, as an HTTP request on the same socket.
//!
//! `POST /skiff/v1/images/import?name=N` with the archive as its body answers with a JSON list of the images.

use std::io;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::TryStreamExt;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::image::collect;
use crate::engine::Engine;
use crate::error_chain;
use crate::image::{Image, Reference, import};

/// Where archives are sent.
pub const ARCHIVE_PATH: &str = "/skiff/v1/images/import";

/// An image that was imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedImage {
    /// The image's identifier.
    pub id: String,
    /// Its names.
    pub names: Vec<String>,
    /// Its size in bytes.
    pub size: u64,
}

#[derive(Deserialize)]
struct Parameters {
    name: Option<String>,
}

/// The routes to add to those of CRI.
pub(crate) fn routes(engine: Arc<Engine>) -> Router {
    Router::new().route(ARCHIVE_PATH, post(import_archive)).with_state(engine)
}

async fn import_archive(
    State(engine): State<Arc<Engine>>,
    Query(parameters): Query<Parameters>,
    body: Body,
) -> Response {
    let name = match parameters.name.as_deref().map(Reference::parse).transpose() {
        Ok(name) => name,
        Err(err) => return (StatusCode::BAD_REQUEST, err.to_string()).into_response(),
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
            Json(images.iter().map(|image| imported(image)).collect::<Vec<_>>()).into_response()
        }
        Ok(Err(err)) => {
            drop(adding);
            let worker = engine.clone();
            // What came before the failure is of no use to anybody.
            let collected = tokio::task::spawn_blocking(move || collect(&worker)).await;
            if let Ok(Err(err)) = collected {
                tracing::warn!(%err, "cannot remove unused content");
            }
            (StatusCode::BAD_REQUEST, error_chain(&err)).into_response()
        }
        Err(err) => (StatusCode::INTERNAL_SERVER_ERROR, err.to_string()).into_response(),
    }
}

fn imported(image: &Image) -> ImportedImage {
    ImportedImage { id: image.id.to_string(), names: image.tags.iter().cloned().collect(), size: image.size }
}
