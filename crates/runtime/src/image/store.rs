//! The records of images: which blobs and layers make one, and what it is called.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, RwLockReadGuard};

use super::content::ContentError;
use super::{Algorithm, ContentStore, Digest, Reference};
use crate::disk::{self, DiskError};
use crate::layer::{ApplyError, LayerId, LayerStore};

/// Why the image store could not do something.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageStoreError {
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Content is missing or wrong.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A layer cannot be unpacked.
    #[error("cannot unpack layer {digest}: {source}")]
    Layer {
        /// The layer's blob.
        digest: Digest,
        /// Why.
        source: ApplyError,
    },
    /// The configuration cannot be read.
    #[error("image configuration {digest} cannot be read: {reason}")]
    Config {
        /// The configuration's blob.
        digest: Digest,
        /// What the parser said.
        reason: String,
    },
    /// The parts do not fit together.
    #[error("image {digest} has {layers} layers and {diff_ids} entries in rootfs.diff_ids")]
    LayerCount {
        /// The configuration's blob.
        digest: Digest,
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
}

impl ImageStoreError {
    /// Whether content was damaged, which is gone now and may be brought again.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Content(ContentError::Damaged(_)))
    }
}

/// One layer of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageLayer {
    /// The blob as it was transported.
    pub blob: Digest,
    /// Its size.
    pub size: u64,
}

/// An image that is here: its blobs are stored and its layers unpacked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Image {
    /// The digest of the configuration.
    pub id: Digest,
    /// The digest of the manifest, if it came with one.
    pub manifest: Option<Digest>,
    /// Names with tags.
    pub tags: BTreeSet<String>,
    /// Names with the manifest's digest.
    pub digests: BTreeSet<String>,
    /// From the lowest to the highest.
    pub layers: Vec<ImageLayer>,
    /// The same, unpacked.
    pub unpacked: Vec<LayerId>,
    /// The size of all blobs.
    pub size: u64,
    /// When it came.
    pub created_at: Timestamp,
    /// It came from an archive, and no registry is known to have it: it goes only if it is told to.
    #[serde(default)]
    pub imported: bool,
    /// What to run and how.
    pub config: ImageConfiguration,
}

/// An image to add: its blobs are stored already.
#[derive(Debug)]
pub(crate) struct NewImage {
    /// The blob of the configuration.
    pub config: Digest,
    /// The blob of the manifest.
    pub manifest: Option<Digest>,
    /// What the image's names lead to: the manifest, or an index above it.
    pub digest: Option<Digest>,
    /// The blobs of the layers, lowest first.
    pub layers: Vec<ImageLayer>,
    /// What it is called.
    pub references: Vec<Reference>,
    /// It comes from an archive.
    pub imported: bool,
}

/// All images of an installation.
#[derive(Debug)]
pub(crate) struct ImageStore {
    dir: PathBuf,
    content: ContentStore,
    layers: LayerStore,
    images: Mutex<BTreeMap<Digest, Arc<Image>>>,
    /// Held shared while content is added or used that no record mentions yet, and alone while unused content is removed.
    collecting: tokio::sync::RwLock<()>,
    /// Whether unused content could not be removed, because somebody was adding.
    is_postponed: AtomicBool,
    /// Told when it can be.
    can_collect: Notify,
}

/// Held while content is added.
pub(crate) struct Adding<'a> {
    held: Option<RwLockReadGuard<'a, ()>>,
    store: &'a ImageStore,
}

impl Drop for Adding<'_> {
    fn drop(&mut self) {
        drop(self.held.take());
        if self.store.is_postponed.load(Ordering::SeqCst) {
            self.store.can_collect.notify_one();
        }
    }
}

impl ImageStore {
    /// Opens the store under `data`.
    pub(crate) fn open(data: &Path) -> Result<Self, DiskError> {
        let dir = data.join("images");
        disk::create_dir(&dir)?;
        let content = ContentStore::open(&data.join("content"))?;
        let layers = LayerStore::open(&data.join("layers"))?;
        let mut images = BTreeMap::new();
        let entries = std::fs::read_dir(&dir).map_err(DiskError::io("list", &dir))?;
        for entry in entries {
            let path = entry.map_err(DiskError::io("list", &dir))?.path();
            if path.extension().is_some_and(|extension| extension == "json")
                && let Some(image) = read_record(&path)?
            {
                images.insert(image.id.clone(), Arc::new(image));
            }
        }
        Ok(Self {
            dir,
            content,
            layers,
            images: Mutex::new(images),
            collecting: tokio::sync::RwLock::default(),
            is_postponed: AtomicBool::default(),
            can_collect: Notify::default(),
        })
    }

    /// The blobs.
    pub(crate) fn content(&self) -> &ContentStore {
        &self.content
    }

    /// The unpacked layers.
    pub(crate) fn layers(&self) -> &LayerStore {
        &self.layers
    }

    /// To be held while adding content for which there is no record yet, or using some.
    pub(crate) async fn adding(&self) -> Adding<'_> {
        Adding { held: Some(self.collecting.read().await), store: self }
    }

    /// Waits until somebody has added content who kept unused content from being removed. Cancel safe.
    pub(crate) async fn postponed(&self) {
        self.can_collect.notified().await;
    }

    /// Has unused content removed soon, by whoever waits for [`ImageStore::postponed`].
    pub(crate) fn collect_soon(&self) {
        self.can_collect.notify_one();
    }

    fn images(&self) -> MutexGuard<'_, BTreeMap<Digest, Arc<Image>>> {
        // A panic cannot leave the map half changed: every change is one insert or remove.
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every image.
    pub(crate) fn list(&self) -> Vec<Arc<Image>> {
        self.images().values().cloned().collect()
    }

    /// The image that `text` names: by identifier (with or without its algorithm), tag, or manifest digest; or else the only
    /// one whose identifier starts so, for people copy what tools have cut short.
    pub(crate) fn find(&self, text: &str) -> Option<Arc<Image>> {
        let images = self.images();
        let digits = |algorithm: Algorithm| Digest::parse(&format!("{}:{text}", algorithm.name())).ok();
        let as_id = Digest::parse(text).ok().or_else(|| Algorithm::ALL.into_iter().find_map(digits));
        if let Some(id) = as_id {
            return images.get(&id).cloned();
        }
        let named = |image: &&Arc<Image>, reference: &Reference| match (reference.digest(), reference.tagged()) {
            (Some(digest), _) => image.digests.contains(&reference.with_digest(digest)),
            (None, Some(tag)) => image.tags.contains(&tag),
            (None, None) => false,
        };
        let by_name = Reference::parse(text).ok();
        let by_name = by_name.and_then(|reference| images.values().find(|image| named(image, &reference)));
        by_name.or_else(|| starting(&images, text)).cloned()
    }

    fn config(&self, image: &NewImage) -> Result<(u64, ImageConfiguration), ImageStoreError> {
        let bytes = self.content.read(&image.config)?;
        let config = ImageConfiguration::from_reader(bytes.as_slice())
            .map_err(|err| ImageStoreError::Config { digest: image.config.clone(), reason: err.to_string() })?;
        Ok((bytes.len() as u64, config))
    }

    /// The digests of an image's plain layers, from its configuration.
    pub(crate) fn diff_ids(&self, image: &NewImage) -> Result<Vec<Digest>, ImageStoreError> {
        let (_, config) = self.config(image)?;
        diff_ids(image, &config)
    }

    /// Unpacks a layer on top of others. Blocks; the caller holds [`ImageStore::adding`].
    pub(crate) fn unpack(
        &self,
        below: &[LayerId],
        layer: &ImageLayer,
        diff_id: &Digest,
    ) -> Result<LayerId, ImageStoreError> {
        let blob = self.content.open_blob(&layer.blob)?;
        self.layers.unpack(below, diff_id, blob).map_err(|source| {
            // The blob was what it should be when it came; what it is now tells whose fault it is.
            if source.is_about_content()
                && let Err(damage) = self.content.check(&layer.blob)
            {
                return damage.into();
            }
            ImageStoreError::Layer { digest: layer.blob.clone(), source }
        })
    }

    /// Unpacks the layers of an image whose blobs are here, and records it. A tag moves from the image that had it.
    ///
    /// Blocks; the caller holds [`ImageStore::adding`].
    pub(crate) fn add(&self, new: NewImage, now: Timestamp) -> Result<Arc<Image>, ImageStoreError> {
        let (config_size, config) = self.config(&new)?;
        let mut unpacked = Vec::new();
        for (layer, diff_id) in new.layers.iter().zip(diff_ids(&new, &config)?) {
            let id = self.unpack(&unpacked, layer, &diff_id)?;
            unpacked.push(id);
        }
        let size = config_size + new.layers.iter().map(|layer| layer.size).sum::<u64>();
        let mut image = Image {
            id: new.config,
            manifest: new.manifest,
            // Nobody has asked what the tag beside a digest is.
            tags: new.references.iter().filter(|name| name.digest().is_none()).filter_map(Reference::tagged).collect(),
            digests: BTreeSet::new(),
            layers: new.layers,
            unpacked,
            size,
            created_at: now,
            imported: new.imported,
            config,
        };
        if let Some(digest) = &new.digest {
            image.digests = new.references.iter().map(|reference| reference.with_digest(digest)).collect();
        }
        self.record(image)
    }

    fn record(&self, mut image: Image) -> Result<Arc<Image>, ImageStoreError> {
        let mut images = self.images();
        if let Some(known) = images.get(&image.id) {
            // Under a name that came from an archive alone, no registry is known to have it.
            image.imported |= known.imported && !known.tags.is_subset(&image.tags);
            image.tags.extend(known.tags.iter().cloned());
            image.digests.extend(known.digests.iter().cloned());
            image.created_at = known.created_at;
        }
        // The new record first: a crash in between leaves a tag on two images rather than on none.
        disk::write_record(&self.file(&image.id), &image)?;
        let image = Arc::new(image);
        images.insert(image.id.clone(), image.clone());
        let losers: Vec<Arc<Image>> = images
            .values()
            .filter(|other| other.id != image.id && !other.tags.is_disjoint(&image.tags))
            .cloned()
            .collect();
        for loser in losers {
            let mut changed = (*loser).clone();
            changed.tags = changed.tags.difference(&image.tags).cloned().collect();
            disk::write_record(&self.file(&changed.id), &changed)?;
            images.insert(changed.id.clone(), Arc::new(changed));
        }
        Ok(image)
    }

    /// Takes names from an image: whether it has none left.
    pub(super) fn take_names(&self, id: &Digest, names: &BTreeSet<String>) -> Result<bool, DiskError> {
        let mut images = self.images();
        let Some(image) = images.get(id) else { return Ok(false) };
        let mut changed = (**image).clone();
        changed.tags.retain(|name| !names.contains(name));
        changed.digests.retain(|name| !names.contains(name));
        disk::write_record(&self.file(id), &changed)?;
        let is_nameless = changed.tags.is_empty() && changed.digests.is_empty();
        images.insert(id.clone(), Arc::new(changed));
        Ok(is_nameless)
    }

    fn file(&self, id: &Digest) -> PathBuf {
        self.dir.join(format!("{}.json", id.hex()))
    }

    /// Forgets an image; its content goes with the next [`ImageStore::collect`].
    pub(crate) fn remove(&self, id: &Digest) -> Result<(), DiskError> {
        let mut images = self.images();
        disk::remove_file(&self.file(id))?;
        images.remove(id);
        Ok(())
    }

    /// Removes blobs and layers that belong to no image and, for layers, to no container (`used` tells those). While
    /// somebody is adding nothing is removed, and [`ImageStore::postponed`] tells when to try again.
    ///
    /// Blocks.
    pub(crate) fn collect(&self, used: &BTreeSet<LayerId>) -> Result<(), DiskError> {
        // Before the attempt, so that whoever ends adding meanwhile sees it.
        self.is_postponed.store(true, Ordering::SeqCst);
        let Ok(_alone) = self.collecting.try_write() else { return Ok(()) };
        self.is_postponed.store(false, Ordering::SeqCst);
        let (mut blobs, mut layers) = (BTreeSet::new(), used.clone());
        for image in self.list() {
            blobs.insert(image.id.clone());
            blobs.extend(image.manifest.clone());
            blobs.extend(image.layers.iter().map(|layer| layer.blob.clone()));
            layers.extend(image.unpacked.iter().cloned());
        }
        self.content.retain(&blobs)?;
        self.layers.retain(&layers)
    }
}

/// The only image whose identifier starts with these digits (with or without the algorithm).
fn starting<'a>(images: &'a BTreeMap<Digest, Arc<Image>>, text: &str) -> Option<&'a Arc<Image>> {
    let with_name = |algorithm: Algorithm| text.strip_prefix(algorithm.name())?.strip_prefix(':');
    let digits = Algorithm::ALL.into_iter().find_map(with_name).unwrap_or(text);
    if digits.is_empty() {
        return None;
    }
    let mut starting = images.iter().filter(|(id, _)| id.hex().starts_with(digits)).map(|(_, image)| image);
    starting.next().filter(|_| starting.next().is_none())
}

/// What a configuration says of an image's layers.
fn diff_ids(image: &NewImage, config: &ImageConfiguration) -> Result<Vec<Digest>, ImageStoreError> {
    let texts = config.rootfs().diff_ids();
    if texts.len() != image.layers.len() {
        let (layers, diff_ids) = (image.layers.len(), texts.len());
        return Err(ImageStoreError::LayerCount { digest: image.config.clone(), layers, diff_ids });
    }
    let parse = |(text, layer): (&String, &ImageLayer)| {
        Digest::parse(text).map_err(|err| ImageStoreError::Layer {
            digest: layer.blob.clone(),
            source: ApplyError::DiffId(err.to_string()),
        })
    };
    texts.iter().zip(&image.layers).map(parse).collect()
}

/// An image's record. One that is damaged goes: the image is pulled again, which is better than no runtime.
fn read_record(path: &Path) -> Result<Option<Image>, DiskError> {
    match disk::read_record(path) {
        Err(err) if err.is_damage() => {
            tracing::warn!(%err, "the record of an image is damaged; the image has to be pulled again");
            disk::remove_file(path)?;
            Ok(None)
        }
        read => read,
    }
}
