//! Pulling images from registries: manifests, then blobs as streams to the disk.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::Env;
use base64::Engine as _;
use futures::{StreamExt, TryStreamExt, stream};
use oci_client::Client;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use oci_spec::image::ImageIndex;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::content::ContentError;
use super::import::{ImportError, read_manifest};
use super::store::NewImage;
use super::{Digest, Image, ImageStore, ImageStoreError, Reference, platform};

/// Blobs that are fetched at the same time for one image.
const PARALLEL_BLOBS: usize = 3;

/// How long a registry may be silent.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// What a manifest or an index of them may be.
const MANIFEST_TYPES: &[&str] = &[
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// Why an image could not be pulled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PullError {
    /// The registry does not have it.
    #[error("failed to resolve reference {reference:?}: not found")]
    NotFound {
        /// The image.
        reference: String,
    },
    /// The registry does not give it to this user.
    #[error(
        "failed to resolve reference {reference:?}: pull access denied, the repository does not exist or needs authorization: {reason}"
    )]
    Denied {
        /// The image.
        reference: String,
        /// What the registry said.
        reason: String,
    },
    /// The registry cannot be reached or said something else.
    #[error("failed to pull {reference:?}: {reason}")]
    Registry {
        /// The image.
        reference: String,
        /// What happened.
        reason: String,
    },
    /// The index has no image for this machine.
    #[error("failed to pull {reference:?}: no match for platform linux/{} in manifest", platform::architecture())]
    Platform {
        /// The image.
        reference: String,
    },
    /// What came cannot be understood.
    #[error(transparent)]
    Manifest(#[from] ImportError),
    /// What came cannot be stored.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The image cannot be added.
    #[error(transparent)]
    Store(#[from] ImageStoreError),
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
    running: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Puller {
    /// A puller for this store.
    pub(crate) fn new(store: Arc<ImageStore>, env: Env) -> Self {
        // The registry client takes the process's cryptography; whoever chose one before made the same choice.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { store, env, running: Mutex::new(HashMap::new()) }
    }

    /// Pulls `reference`; what is here already is not fetched again.
    pub(crate) async fn pull(
        &self,
        reference: &Reference,
        auth: Option<&cri::AuthConfig>,
    ) -> Result<Arc<Image>, PullError> {
        let key = reference.to_string();
        let lock = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.retain(|_, lock| Arc::strong_count(lock) > 1);
            running.entry(key).or_default().clone()
        };
        let _alone = lock.lock().await;
        let _adding = self.store.adding().await;
        let client = Client::new(ClientConfig {
            protocol: protocol(reference.registry()),
            read_timeout: Some(READ_TIMEOUT),
            connect_timeout: Some(CONNECT_TIMEOUT),
            user_agent: "skiff",
            ..ClientConfig::default()
        });
        let pull = Pull { store: &self.store, client, reference, auth: registry_auth(auth) };
        let (top, manifest) = pull.manifest().await?;
        let new = read_manifest(&self.store, &manifest)?;
        pull.blobs(&new).await?;
        let new = NewImage { references: vec![reference.clone()], digest: Some(top), ..new };
        let (store, now) = (self.store.clone(), self.env.now());
        let add = tokio::task::spawn_blocking(move || store.add(new, now));
        let aborted = |_| PullError::Aborted { reference: reference.to_string() };
        Ok(add.await.map_err(aborted)??)
    }
}

struct Pull<'a> {
    store: &'a Arc<ImageStore>,
    client: Client,
    reference: &'a Reference,
    auth: RegistryAuth,
}

impl Pull<'_> {
    /// Stores the manifest for this machine: the digest that the reference leads to, and the manifest's own.
    async fn manifest(&self) -> Result<(Digest, Digest), PullError> {
        let top = self.document(self.reference.as_client()).await?;
        let index: Result<ImageIndex, _> = serde_json::from_slice(&top);
        let top_digest = Digest::of(&top);
        let Ok(index) = index else {
            return Ok((top_digest, self.keep(&top)?));
        };
        let selected = platform::select(&index).and_then(platform::digest);
        let selected = selected.ok_or_else(|| PullError::Platform { reference: self.reference.to_string() })?;
        let manifest =
            self.document(&self.reference.as_client().clone_with_digest(selected.as_str().to_owned())).await?;
        Ok((top_digest, self.keep(&manifest)?))
    }

    async fn document(&self, reference: &oci_client::Reference) -> Result<bytes::Bytes, PullError> {
        let pulled = self.client.pull_manifest_raw(reference, &self.auth, MANIFEST_TYPES).await;
        Ok(pulled.map_err(|err| self.error(err))?.0)
    }

    fn keep(&self, document: &[u8]) -> Result<Digest, PullError> {
        Ok(self.store.content().write(&mut &*document, None, None)?.0)
    }

    async fn blobs(&self, image: &NewImage) -> Result<(), PullError> {
        let config = (image.config.clone(), None);
        let layers = image.layers.iter().map(|layer| (layer.blob.clone(), Some(layer.size)));
        let missing: Vec<(Digest, Option<u64>)> =
            std::iter::once(config).chain(layers).filter(|(blob, _)| !self.store.content().contains(blob)).collect();
        let fetches = stream::iter(missing.into_iter().map(|(digest, size)| self.blob(digest, size)));
        fetches.buffer_unordered(PARALLEL_BLOBS).try_collect::<Vec<()>>().await.map(drop)
    }

    async fn blob(&self, digest: Digest, size: Option<u64>) -> Result<(), PullError> {
        tracing::debug!(image = %self.reference, %digest, size, "fetching a blob");
        let descriptor = OciDescriptor { digest: digest.as_str().to_owned(), ..OciDescriptor::default() };
        let blob = self.client.pull_blob_stream(self.reference.as_client(), &descriptor).await;
        let blob = blob.map_err(|err| self.error(err))?;
        let mut source = SyncIoBridge::new(StreamReader::new(blob.stream.map_err(io::Error::other)));
        let content = self.store.content().clone();
        let write = tokio::task::spawn_blocking(move || content.write(&mut source, Some(&digest), size));
        write.await.map_err(|_| PullError::Aborted { reference: self.reference.to_string() })??;
        Ok(())
    }

    fn error(&self, err: OciDistributionError) -> PullError {
        let reference = self.reference.to_string();
        match err {
            OciDistributionError::ImageManifestNotFoundError(_) => PullError::NotFound { reference },
            OciDistributionError::RegistryError { ref envelope, .. } => {
                let has = |codes: &[OciErrorCode]| envelope.errors.iter().any(|err| codes.contains(&err.code));
                if has(&[OciErrorCode::ManifestUnknown, OciErrorCode::NameUnknown, OciErrorCode::NotFound]) {
                    PullError::NotFound { reference }
                } else if has(&[OciErrorCode::Denied, OciErrorCode::Unauthorized]) {
                    PullError::Denied { reference, reason: err.to_string() }
                } else {
                    PullError::Registry { reference, reason: err.to_string() }
                }
            }
            OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
                PullError::Denied { reference, reason: err.to_string() }
            }
            OciDistributionError::ServerError { code: 404, .. } => PullError::NotFound { reference },
            err => PullError::Registry { reference, reason: crate::error_chain(&err) },
        }
    }
}

/// Registries on this machine are spoken to without TLS, as every runtime does.
fn protocol(registry: &str) -> ClientProtocol {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host).trim_matches(['[', ']']);
    let loopback = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if host == "localhost" || loopback { ClientProtocol::Http } else { ClientProtocol::Https }
}

fn registry_auth(auth: Option<&cri::AuthConfig>) -> RegistryAuth {
    let Some(auth) = auth else { return RegistryAuth::Anonymous };
    if !auth.registry_token.is_empty() {
        return RegistryAuth::Bearer(auth.registry_token.clone());
    }
    if !auth.username.is_empty() || !auth.password.is_empty() {
        return RegistryAuth::Basic(auth.username.clone(), auth.password.clone());
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(auth.auth.trim()).ok();
    let pair = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    match pair.as_deref().and_then(|pair| pair.split_once(':')) {
        Some((user, password)) => RegistryAuth::Basic(user.to_owned(), password.trim_end_matches('\0').to_owned()),
        None => RegistryAuth::Anonymous,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_goes_without_tls() {
        for local in ["localhost", "localhost:5000", "127.0.0.1:5000", "[::1]:5000"] {
            assert_eq!(protocol(local), ClientProtocol::Http, "{local}");
        }
        for remote in ["docker.io", "registry.k8s.io", "10.0.0.1:5000", "localhost.example.org"] {
            assert_eq!(protocol(remote), ClientProtocol::Https, "{remote}");
        }
    }

    #[test]
    fn credentials_are_taken_in_every_form() {
        let basic = RegistryAuth::Basic("user".to_owned(), "pass:word".to_owned());
        let config = |auth: &str| cri::AuthConfig { auth: auth.to_owned(), ..Default::default() };
        assert_eq!(registry_auth(Some(&config("dXNlcjpwYXNzOndvcmQ="))), basic);
        assert_eq!(registry_auth(Some(&config(""))), RegistryAuth::Anonymous);
        let pair = cri::AuthConfig { username: "user".into(), password: "pass:word".into(), ..Default::default() };
        assert_eq!(registry_auth(Some(&pair)), basic);
        assert_eq!(registry_auth(None), RegistryAuth::Anonymous);
    }
}
