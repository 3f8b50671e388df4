//! Calls about images.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use cri::{
    FilesystemIdentifier, FilesystemUsage, ImageFsInfoRequest, ImageFsInfoResponse, ImageStatusRequest,
    ImageStatusResponse, Int64Value, ListImagesRequest, ListImagesResponse, PullImageRequest, PullImageResponse,
    RemoveImageRequest, RemoveImageResponse, Status, UInt64Value,
};

use crate::disk::DiskError;
use crate::engine::Engine;
use crate::image::{Image, Progress, PullError, Reference};
use crate::layer::ApplyError;
use crate::status::nanoseconds;
use crate::usage::{Usage, usage};

pub(super) async fn list_images(
    engine: &Arc<Engine>,
    request: ListImagesRequest,
) -> Result<ListImagesResponse, Status> {
    let wanted = request.filter.and_then(|filter| filter.image).map(|spec| spec.image).filter(|name| !name.is_empty());
    let images = match wanted {
        Some(name) => engine.images.find(&name).into_iter().collect(),
        None => engine.images.list(),
    };
    Ok(ListImagesResponse { images: images.iter().map(|image| item(image)).collect() })
}

pub(super) async fn image_status(
    engine: &Arc<Engine>,
    request: ImageStatusRequest,
) -> Result<ImageStatusResponse, Status> {
    let name = request.image.unwrap_or_default().image;
    let Some(image) = engine.images.find(&name) else { return Ok(ImageStatusResponse::default()) };
    let mut info = HashMap::new();
    if request.verbose {
        let text = serde_json::json!({
            "imageSpec": image.config,
            "manifest": image.manifest,
            "layers": image.layers,
            "created": image.created_at,
        });
        info.insert("info".to_owned(), text.to_string());
    }
    Ok(ImageStatusResponse { image: Some(item(&image)), info })
}

pub(super) async fn pull_image(engine: &Arc<Engine>, request: PullImageRequest) -> Result<PullImageResponse, Status> {
    let name = request.image.unwrap_or_default().image;
    let reference = Reference::parse(&name).map_err(|err| Status::invalid_argument(err.to_string()))?;
    if let Some(image) = preloaded(engine, &name).await {
        return Ok(PullImageResponse { image_ref: image.id.to_string() });
    }
    tracing::info!(image = %reference, "pulling an image");
    let worker = engine.clone();
    let pull = async move { worker.puller.pull(&reference, request.auth.as_ref(), &Progress::default()).await };
    let pulled = engine.detached("pull an image", pull).await?;
    if let Err(err) = &pulled
        && is_full(err)
    {
        give_back(engine).await;
    }
    let image = pulled?;
    tracing::info!(image = name, id = %image.id, bytes = image.size, "pulled an image");
    Ok(PullImageResponse { image_ref: image.id.to_string() })
}

/// Whether the disk has no room, or others need what it has.
fn is_full(err: &PullError) -> bool {
    let causes = std::iter::successors(Some(err as &(dyn std::error::Error + 'static)), |err| err.source());
    let mut full = causes.filter(|cause| {
        let by_system = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        matches!(by_system, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
            || matches!(cause.downcast_ref(), Some(ApplyError::Full { .. }))
    });
    full.next().is_some()
}

/// Removes what has come of images that are not here yet, so that it does not keep a disk full.
async fn give_back(engine: &Arc<Engine>) {
    let worker = engine.clone();
    match tokio::task::spawn_blocking(move || worker.collect_images()).await {
        Ok(Ok(())) => {}
        Ok(Err(err)) => tracing::warn!(%err, "cannot remove what has come of an image for which there is no room"),
        Err(err) => tracing::error!(%err, "removing what has come of an image failed"),
    }
}

/// Waits until the images that lie on the node have been imported; the one that is asked for, if it was among them.
async fn preloaded(engine: &Engine, name: &str) -> Option<Arc<Image>> {
    let mut preloaded = engine.preloaded.subscribe();
    if *preloaded.borrow() || engine.images.find(name).is_some() {
        return None;
    }
    // The engine holds the sender.
    let _ = preloaded.wait_for(|done| *done).await;
    engine.images.find(name)
}

pub(super) async fn remove_image(
    engine: &Arc<Engine>,
    request: RemoveImageRequest,
) -> Result<RemoveImageResponse, Status> {
    let name = request.image.unwrap_or_default().image;
    // What is unknown is removed.
    if let Some(image) = engine.images.find(&name) {
        let worker = engine.clone();
        let remove = tokio::task::spawn_blocking(move || worker.remove_images([&image.id]));
        remove.await.map_err(|err| Status::internal(err.to_string()))??;
    }
    Ok(RemoveImageResponse {})
}

pub(super) async fn image_fs_info(engine: &Arc<Engine>, _: ImageFsInfoRequest) -> Result<ImageFsInfoResponse, Status> {
    let worker = engine.clone();
    let work = move || {
        let (content, containers) = (worker.images.content().dir(), worker.paths.containers());
        let mut used = usage(content);
        used += worker.images.layers().usage()?;
        Ok::<_, DiskError>(ImageFsInfoResponse {
            image_filesystems: vec![filesystem(&worker, content, used)],
            container_filesystems: vec![filesystem(&worker, &containers, usage(&containers))],
        })
    };
    Ok(tokio::task::spawn_blocking(work).await.map_err(|err| Status::internal(err.to_string()))??)
}

fn filesystem(engine: &Engine, dir: &Path, used: Usage) -> FilesystemUsage {
    FilesystemUsage {
        timestamp: nanoseconds(engine.env.now()),
        fs_id: Some(FilesystemIdentifier { mountpoint: dir.display().to_string() }),
        used_bytes: Some(UInt64Value { value: used.bytes }),
        inodes_used: Some(UInt64Value { value: used.inodes }),
    }
}

fn item(image: &Image) -> cri::Image {
    let user = image.config.config().as_ref().and_then(|config| config.user().clone()).unwrap_or_default();
    let name = user.split(':').next().unwrap_or_default();
    let (uid, username) = match name.parse::<i64>() {
        Ok(value) => (Some(Int64Value { value }), String::new()),
        Err(_) => (None, name.to_owned()),
    };
    cri::Image {
        id: image.id.to_string(),
        repo_tags: image.tags.iter().cloned().collect(),
        repo_digests: image.digests.iter().cloned().collect(),
        size: image.size,
        uid,
        username,
        spec: None,
        pinned: image.imported,
    }
}
