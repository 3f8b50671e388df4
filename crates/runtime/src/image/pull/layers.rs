//! The layers of a pull: fetched several at a time, each unpacked while it comes, as soon as those below it are.

use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::watch;

use super::super::growth::Follower;
use super::{Pull, PullError};
use crate::image::store::ImageLayer;
use crate::image::{Digest, ImageEvent, ImageStoreError};
use crate::layer::LayerId;

/// Blobs that are fetched at the same time for one image.
pub(super) const PARALLEL_BLOBS: usize = 3;

/// How far a layer is. What is told of it ends early if it does not come.
enum Stage {
    /// It is not its turn yet.
    Waiting,
    /// It comes.
    Growing(Follower),
    /// It is here.
    Whole,
}

impl Pull<'_> {
    /// Fetches and unpacks the layers of an image, lowest first.
    pub(super) async fn layers(&self, layers: &[ImageLayer], diff_ids: &[Digest]) -> Result<(), PullError> {
        let (mut fetches, mut wanted) = (Vec::new(), Vec::new());
        for (layer, diff_id) in layers.iter().zip(diff_ids) {
            let (teller, stage) = watch::channel(Stage::Waiting);
            fetches.push(self.layer(layer.clone(), teller));
            wanted.push((layer.clone(), diff_id.clone(), stage));
        }
        let fetch_all = stream::iter(fetches).buffered(PARALLEL_BLOBS).try_collect::<()>();
        let (fetched, unpacked) = tokio::join!(fetch_all, self.unpack(wanted));
        unpacked.and(fetched)
    }

    async fn layer(&self, layer: ImageLayer, stage: watch::Sender<Stage>) -> Result<(), PullError> {
        let begun = |follower| drop(stage.send_replace(Stage::Growing(follower)));
        self.blob(&layer.blob, Some(layer.size), &begun).await?;
        stage.send_replace(Stage::Whole);
        Ok(())
    }

    async fn unpack(&self, layers: Vec<(ImageLayer, Digest, watch::Receiver<Stage>)>) -> Result<(), PullError> {
        let mut below = Vec::new();
        for (layer, diff_id, mut stage) in layers {
            let follower = match stage.wait_for(|stage| !matches!(stage, Stage::Waiting)).await.as_deref() {
                Ok(Stage::Growing(follower)) => Some(follower.clone()),
                Ok(_) => None,
                // A fetch that failed is told by who fetches.
                Err(_) => return Ok(()),
            };
            let unpacked = match follower {
                Some(follower) => self.unpack_growing(&below, &layer, &diff_id, follower).await?,
                None => None,
            };
            let id = match unpacked {
                Some(id) => id,
                None => {
                    if stage.wait_for(|stage| matches!(stage, Stage::Whole)).await.is_err() {
                        return Ok(());
                    }
                    self.unpack_whole(&below, &layer, &diff_id).await?
                }
            };
            below.push(id);
            self.progress.tell(|| ImageEvent::Unpacked { digest: layer.blob.to_string() });
        }
        Ok(())
    }

    /// Unpacks a layer while it comes. Where that does not work out, the whole of it tells why.
    async fn unpack_growing(
        &self,
        below: &[LayerId],
        layer: &ImageLayer,
        diff_id: &Digest,
        follower: Follower,
    ) -> Result<Option<LayerId>, PullError> {
        let (store, below, size) = (self.store().clone(), below.to_vec(), layer.size);
        let (diff_id, blob) = (diff_id.clone(), layer.blob.clone());
        let work = move || store.layers().unpack_growing(&below, &diff_id, follower, size);
        match self.blocking(work).await? {
            Ok(unpacked) => Ok(unpacked),
            Err(err) => {
                tracing::debug!(digest = %blob, %err, "a layer was not unpacked while it came");
                Ok(None)
            }
        }
    }

    async fn unpack_whole(
        &self,
        below: &[LayerId],
        layer: &ImageLayer,
        diff_id: &Digest,
    ) -> Result<LayerId, PullError> {
        let unpacked = match self.unpack_one(below, layer, diff_id).await? {
            // What was here of it was damaged and is gone.
            Err(err) if err.is_damage() => {
                self.blob(&layer.blob, Some(layer.size), &|_| {}).await?;
                self.unpack_one(below, layer, diff_id).await?
            }
            other => other,
        };
        unpacked.map_err(|source| self.store_error(source))
    }

    async fn unpack_one(
        &self,
        below: &[LayerId],
        layer: &ImageLayer,
        diff_id: &Digest,
    ) -> Result<Result<LayerId, ImageStoreError>, PullError> {
        let (store, below, layer, diff_id) = (self.store().clone(), below.to_vec(), layer.clone(), diff_id.clone());
        self.blocking(move || store.unpack(&below, &layer, &diff_id)).await
    }
}
