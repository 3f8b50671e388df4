//! Pulling images from registries: manifests, then blobs to the disk, each layer unpacked while it comes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base::Env;
use tokio::sync::Semaphore;

use super::content::ContentError;
use super::fetch::{FetchError, Wanted, fetch};
use super::growth::Follower;
use super::manifest::{self, MAX_DEPTH, ManifestError, Parsed};
use super::progress::Progress;
use super::registry::{Registry, RegistryError, Settings};
use super::store::NewImage;
use super::{Digest, Image, ImageEvent, ImageStore, ImageStoreError, Reference};
use crate::engine::Locks;

mod layers;

/// Blobs that are fetched at the same time from one registry. One that is slow, or does not answer at all, takes no
/// others' turns.
const ALL_PARALLEL_BLOBS: usize = 12;

/// The largest configuration that is taken.
const MAX_CONFIG: u64 = 16 << 20;

/// Why an image could not be pulled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PullError {
    /// The registry does not have it.
    #[error(
        "failed to pull and unpack image {reference:?}: failed to resolve reference {reference:?}: {reference}: not found"
    )]
    NotFound {
        /// The image.
        reference: String,
    },
    /// The registry does not give it to this user.
    #[error(
        "failed to pull and unpack image {reference:?}: failed to resolve reference {reference:?}: pull access denied, repository does not exist or may require authorization: {source}"
    )]
    Denied {
        /// The image.
        reference: String,
        /// What the registry said.
        source: RegistryError,
    },
    /// The registry cannot be reached or said something else.
    #[error("failed to pull and unpack image {reference:?}: {source}")]
    Registry {
        /// The image.
        reference: String,
        /// What happened.
        source: RegistryError,
    },
    /// A blob does not come, or is another one.
    #[error("failed to pull and unpack image {reference:?}: failed to copy {digest}: {source}")]
    Blob {
        /// The image.
        reference: String,
        /// The blob.
        digest: Digest,
        /// Why.
        source: FetchError,
    },
    /// What came is no image for this machine.
    #[error("failed to pull and unpack image {reference:?}: {source}")]
    Manifest {
        /// The image.
        reference: String,
        /// Why.
        source: ManifestError,
    },
    /// What came cannot be stored.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The image cannot be added.
    #[error("failed to pull and unpack image {reference:?}: {source}")]
    Store {
        /// The image.
        reference: String,
        /// Why.
        source: ImageStoreError,
    },
    /// The work was broken off.
    #[error("pulling {reference:?} was broken off")]
    Aborted {
        /// The image.
        reference: String,
    },
}

/// Pulls images into a store, each at most once at a time.
#[derive(Debug)]
pub(crate) struct Puller {
    store: Arc<ImageStore>,
    env: Env,
    settings: Settings,
    running: Locks,
    blobs: Locks,
    /// Turns at each registry.
    fetching: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Puller {
    /// A puller for this store.
    pub(crate) fn new(store: Arc<ImageStore>, settings: Settings, env: Env) -> Self {
        // The HTTP client takes the process's cryptography; whoever chose one before made the same choice.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { store, env, settings, running: Locks::default(), blobs: Locks::default(), fetching: Mutex::default() }
    }

    /// A conversation with the registry of `reference`.
    pub(crate) fn registry(
        &self,
        reference: &Reference,
        auth: Option<&cri::AuthConfig>,
    ) -> Result<Registry, RegistryError> {
        Registry::open(&self.settings, reference, auth, &self.env)
    }

    /// The turns at the registry of `reference`.
    fn turns(&self, reference: &Reference) -> Arc<Semaphore> {
        // A panic leaves every entry whole.
        let mut all = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, turns| Arc::strong_count(turns) > 1);
        let turns = || Arc::new(Semaphore::new(ALL_PARALLEL_BLOBS));
        all.entry(reference.registry().to_owned()).or_insert_with(turns).clone()
    }

    /// Pulls `reference`; what is here already is not fetched again.
    pub(crate) async fn pull(
        &self,
        reference: &Reference,
        auth: Option<&cri::AuthConfig>,
        progress: &Progress,
    ) -> Result<Arc<Image>, PullError> {
        let _alone = self.running.lock(reference.to_string()).await;
        let _adding = self.store.adding().await;
        let registry = self.registry(reference, auth).map_err(|source| registry_error(reference, source))?;
        let pull = Pull { puller: self, registry, reference, progress, turns: self.turns(reference) };
        let (top, manifest) = pull.manifest().await?;
        progress.tell(|| ImageEvent::Resolved { digest: top.to_string() });
        let new = manifest::read(self.store.content(), &manifest).map_err(|source| pull.manifest_error(source))?;
        let diff_ids = pull.config(&new).await?;
        pull.layers(&new.layers, &diff_ids).await?;
        let new = NewImage { references: vec![reference.clone()], digest: Some(top), ..new };
        let (store, now) = (self.store.clone(), self.env.now());
        let added = pull.blocking(move || store.add(new, now)).await?;
        added.map_err(|source| pull.store_error(source))
    }
}

struct Pull<'a> {
    puller: &'a Puller,
    registry: Registry,
    reference: &'a Reference,
    progress: &'a Progress,
    turns: Arc<Semaphore>,
}

impl Pull<'_> {
    fn store(&self) -> &Arc<ImageStore> {
        &self.puller.store
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, PullError> {
        let aborted = |_| PullError::Aborted { reference: self.reference.to_string() };
        tokio::task::spawn_blocking(work).await.map_err(aborted)
    }

    /// Stores the manifest for this machine: the digest that the reference leads to, and the manifest's own.
    async fn manifest(&self) -> Result<(Digest, Digest), PullError> {
        let (mut top, mut wanted) = (None, self.reference.digest().cloned());
        for _ in 0..MAX_DEPTH {
            let document = self.registry.manifest(wanted.as_ref()).await;
            let document = document.map_err(|source| registry_error(self.reference, source))?;
            // Under the name that it was asked for by, which was checked.
            let digest = wanted.take().unwrap_or_else(|| Digest::of(&document.bytes));
            let top = top.get_or_insert(digest.clone());
            match manifest::parse(&document.bytes, &document.media_type).map_err(|err| self.manifest_error(err))? {
                Parsed::Manifest(_) => {
                    self.store().content().write(&mut &*document.bytes, Some(&digest), None)?;
                    return Ok((top.clone(), digest));
                }
                Parsed::Index(index) => {
                    wanted = Some(manifest::select(&index).map_err(|err| self.manifest_error(err))?);
                }
            }
        }
        Err(self.manifest_error(ManifestError::Platform(super::platform::name())))
    }

    /// Fetches the configuration: the digests of the plain layers.
    async fn config(&self, image: &NewImage) -> Result<Vec<Digest>, PullError> {
        self.blob(&image.config, None, &|_| {}).await?;
        match self.store().diff_ids(image) {
            Err(err) if err.is_damage() => {
                self.blob(&image.config, None, &|_| {}).await?;
                self.store().diff_ids(image).map_err(|source| self.store_error(source))
            }
            other => other.map_err(|source| self.store_error(source)),
        }
    }

    /// Sees to it that a blob is here. `begun` is told how to read it while it comes, each time that it begins to.
    async fn blob(
        &self,
        digest: &Digest,
        size: Option<u64>,
        begun: &(dyn Fn(Follower) + Sync),
    ) -> Result<(), PullError> {
        let _alone = self.puller.blobs.lock(digest.to_string()).await;
        if self.store().content().contains(digest) {
            self.progress.tell(|| ImageEvent::Exists { digest: digest.to_string() });
            return Ok(());
        }
        // The semaphore is never closed.
        let _turn = self.turns.acquire().await;
        tracing::debug!(image = %self.reference, %digest, size, "fetching a blob");
        let wanted = Wanted { digest, size, limit: size.unwrap_or(MAX_CONFIG), begun };
        let fetched = fetch(&self.registry, self.store().content(), wanted, self.progress, &self.puller.env).await;
        fetched.map_err(|source| PullError::Blob {
            reference: self.reference.to_string(),
            digest: digest.clone(),
            source,
        })
    }

    fn manifest_error(&self, source: ManifestError) -> PullError {
        PullError::Manifest { reference: self.reference.to_string(), source }
    }

    fn store_error(&self, source: ImageStoreError) -> PullError {
        PullError::Store { reference: self.reference.to_string(), source }
    }
}

/// What it means for an image that its registry did not do something.
fn registry_error(reference: &Reference, source: RegistryError) -> PullError {
    let reference = reference.to_string();
    match source {
        RegistryError::NotFound => PullError::NotFound { reference },
        source if source.is_denial() => PullError::Denied { reference, source },
        source => PullError::Registry { reference, source },
    }
}

#[cfg(test)]
mod tests;
