//! `RemoveImage`.

use std::sync::Arc;

use bollard::query_parameters::RemoveImageOptions;
use cri::{RemoveImageRequest, RemoveImageResponse, Status};

use super::{NO_NAME, find};
use crate::engine::Engine;
use crate::errors::{DockerError, Doing};

/// Removes an image with all its names. What is unknown is removed.
pub(crate) async fn remove(engine: &Arc<Engine>, request: RemoveImageRequest) -> Result<RemoveImageResponse, Status> {
    let name = request.image.unwrap_or_default().image;
    let Some(image) = find(engine, &name).await? else { return Ok(RemoveImageResponse {}) };
    // Docker refuses to remove by its id what has several names. With the last name the image goes.
    let names = image.repo_tags.into_iter().chain(image.repo_digests).flatten();
    for name in names.filter(|name| !name.contains(NO_NAME)).chain(image.id) {
        remove_name(engine, &name).await?;
    }
    Ok(RemoveImageResponse {})
}

async fn remove_name(engine: &Engine, name: &str) -> Result<(), DockerError> {
    let removed = engine.docker.remove_image(name, None::<RemoveImageOptions>, None).await;
    match removed.doing(format!("remove image {name}")) {
        Err(err) if err.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}
