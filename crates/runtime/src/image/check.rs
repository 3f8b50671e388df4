//! Looking at an image whose containers fail: what the disk has of it may not be what came any more.
//!
//! Damaged files of unpacked layers are put back from the layer's archive, under containers that run too. An image
//! whose archives are damaged is forgotten, so that it is pulled again; one that cannot be pulled is kept.

use std::sync::Arc;

use super::content::ContentError;
use super::{Digest, Image, ImageStore, ImageStoreError};

/// How an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// All is as it came.
    Whole,
    /// So many files were not, and are now.
    Repaired(usize),
    /// Archives were damaged, and the image has been forgotten.
    Forgotten,
    /// Archives were damaged, and no registry is known to have the image.
    Damaged,
}

impl ImageStore {
    /// Reads all of an image, and mends what can be mended. Blocks; the caller holds [`ImageStore::adding`].
    pub(crate) fn check(&self, image: &Arc<Image>) -> Result<Health, ImageStoreError> {
        let (mut lost, mut repaired) = (false, 0);
        for blob in [Some(&image.id), image.manifest.as_ref()].into_iter().flatten() {
            lost |= self.is_lost(blob)?;
        }
        let mut below = Vec::new();
        for (layer, id) in image.layers.iter().zip(&image.unpacked) {
            if self.is_lost(&layer.blob)? {
                lost = true;
                // What is unpacked of it cannot be compared before the archive comes again, and what lies above needs it.
                if self.layers().root(id).is_dir() {
                    self.layers().doubt(id)?;
                }
            } else if self.layers().root(id).is_dir() {
                let failed = |source| ImageStoreError::Layer { digest: layer.blob.clone(), source };
                let blob = self.content().open_blob(&layer.blob)?;
                repaired += self.layers().repair(id, &blob).map_err(failed)?;
            } else if let Some(diff_id) = self.diff_id(image, below.len()) {
                self.unpack(&below, layer, &diff_id)?;
                repaired += 1;
            }
            below.push(id.clone());
        }
        match (lost, image.imported) {
            (false, _) if repaired == 0 => Ok(Health::Whole),
            (false, _) => Ok(Health::Repaired(repaired)),
            (true, true) => Ok(Health::Damaged),
            (true, false) => {
                self.remove(&image.id)?;
                Ok(Health::Forgotten)
            }
        }
    }

    fn is_lost(&self, blob: &Digest) -> Result<bool, ContentError> {
        match self.content().check(blob) {
            Ok(()) => Ok(false),
            Err(ContentError::Damaged(_) | ContentError::Absent(_)) => Ok(true),
            Err(err) => Err(err),
        }
    }

    fn diff_id(&self, image: &Image, layer: usize) -> Option<Digest> {
        image.config.rootfs().diff_ids().get(layer).and_then(|text| Digest::parse(text).ok())
    }
}
