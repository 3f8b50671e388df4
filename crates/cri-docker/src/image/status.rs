//! `ImageStatus`.

use std::collections::HashMap;
use std::sync::Arc;

use bollard::models::ImageInspect;
use cri::{ImageStatusRequest, ImageStatusResponse, Status};

use super::{find, item, user};
use crate::engine::Engine;

/// One image; nothing where there is none.
pub(crate) async fn status(engine: &Arc<Engine>, request: ImageStatusRequest) -> Result<ImageStatusResponse, Status> {
    let name = request.image.unwrap_or_default().image;
    let Some(found) = find(engine, &name).await? else { return Ok(ImageStatusResponse::default()) };
    let mut info = HashMap::new();
    if request.verbose {
        let text = serde_json::json!({"imageSpec": found}).to_string();
        info.insert("info".to_owned(), text);
    }
    Ok(ImageStatusResponse { image: Some(image(engine, &found)), info })
}

pub(super) fn image(engine: &Engine, image: &ImageInspect) -> cri::Image {
    let id = image.id.clone().unwrap_or_default();
    let names = |names: &Option<Vec<String>>| names.clone().unwrap_or_default();
    let size = image.size.unwrap_or(0);
    let user_text = image.config.as_ref().and_then(|config| config.user.clone()).unwrap_or_default();
    let (uid, username) = user(&user_text);
    let item = item(engine, &id, &names(&image.repo_tags), &names(&image.repo_digests), size);
    cri::Image { uid, username, ..item }
}
