//! Giving an image of the store to a registry.

use super::content::ContentError;
use super::export::{self, ExportError};
use super::progress::Progress;
use super::registry::{Registry, RegistryError};
use super::{Digest, Image, ImageEvent, ImageStore, Reference};

/// Why an image was not pushed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PushError {
    /// The name has a digest and no tag.
    #[error("cannot push to {0}: name a tag")]
    NoTag(String),
    /// The image is not whole.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// Content is missing.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The registry does not take it.
    #[error("failed to push {reference:?}: {source}")]
    Registry {
        /// Where to.
        reference: String,
        /// Why.
        source: RegistryError,
    },
}

/// Pushes `image` under the name that `registry` was opened for; the digest under which it can be pulled.
pub(crate) async fn push(
    store: &ImageStore,
    registry: &Registry,
    reference: &Reference,
    image: &Image,
    progress: &Progress,
) -> Result<Digest, PushError> {
    if reference.tag().is_none() {
        return Err(PushError::NoTag(reference.to_string()));
    }
    let failed = |source| PushError::Registry { reference: reference.to_string(), source };
    let (manifest, media_type) = export::manifest(store.content(), image)?;
    for blob in image.layers.iter().map(|layer| &layer.blob).chain([&image.id]) {
        if registry.has_blob(blob).await.map_err(failed)? {
            progress.tell(|| ImageEvent::Exists { digest: blob.to_string() });
            continue;
        }
        let file = store.content().open_blob(blob)?;
        let size = file.metadata().map_err(ContentError::Source)?.len();
        registry.push_blob(blob, size, tokio::fs::File::from_std(file)).await.map_err(failed)?;
        progress.tell(|| ImageEvent::Blob { digest: blob.to_string(), offset: size, total: Some(size) });
    }
    let digest = Digest::of(&manifest);
    registry.push_manifest(&media_type, manifest).await.map_err(failed)?;
    Ok(digest)
}
