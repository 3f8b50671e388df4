//! `ListImages`.

use std::sync::Arc;

use bollard::query_parameters::ListImagesOptions;
use cri::{ListImagesRequest, ListImagesResponse, Status};

use super::{find, item};
use crate::engine::Engine;
use crate::errors::Doing;

/// All images, or the one of a name.
pub(crate) async fn list(engine: &Arc<Engine>, request: ListImagesRequest) -> Result<ListImagesResponse, Status> {
    let wanted = request.filter.and_then(|filter| filter.image).map(|spec| spec.image).filter(|name| !name.is_empty());
    if let Some(name) = wanted {
        let image = find(engine, &name).await?;
        let images = image.into_iter().map(|image| super::status::image(engine, &image)).collect();
        return Ok(ListImagesResponse { images });
    }
    let images = engine.docker.list_images(None::<ListImagesOptions>).await.doing("list images")?;
    let images = images.iter().map(|image| item(engine, &image.id, &image.repo_tags, &image.repo_digests, image.size));
    Ok(ListImagesResponse { images: images.collect() })
}
