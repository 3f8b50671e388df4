//! `ImageFsInfo`.

use std::sync::Arc;

use bollard::query_parameters::ListImagesOptions;
use cri::{FilesystemIdentifier, FilesystemUsage, ImageFsInfoRequest, ImageFsInfoResponse, Status, UInt64Value};

use crate::engine::Engine;
use crate::errors::Doing;
use crate::times::nanoseconds;

/// Where images and containers are, and what images take: each by itself, so what they share is counted for each.
pub(crate) async fn fs_info(engine: &Arc<Engine>, _: ImageFsInfoRequest) -> Result<ImageFsInfoResponse, Status> {
    let images = engine.docker.list_images(None::<ListImagesOptions>).await.doing("list images")?;
    let used = images.iter().filter_map(|image| u64::try_from(image.size).ok()).sum();
    let filesystem = |used_bytes: Option<u64>| FilesystemUsage {
        timestamp: nanoseconds(engine.env.now()),
        fs_id: Some(FilesystemIdentifier { mountpoint: engine.daemon.root_dir.display().to_string() }),
        used_bytes: used_bytes.map(|value| UInt64Value { value }),
        inodes_used: None,
    };
    Ok(ImageFsInfoResponse {
        image_filesystems: vec![filesystem(Some(used))],
        container_filesystems: vec![filesystem(None)],
    })
}
