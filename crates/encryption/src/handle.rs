//! The configuration in use, from a file that may change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base::{Drain, Env, FileWatch};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::future::join_all;
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::configuration::Key;
use crate::metrics::Metrics;
use crate::rotation::GENERATED;
use crate::transformers::Transformers;
use crate::validation::{ConfigurationError, parse};

/// Where the configuration is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// `--encryption-provider-config`.
    pub path: PathBuf,
    /// `--encryption-provider-config-automatic-reload`.
    pub automatic_reload: bool,
}

/// Why a configuration was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("cannot read the encryption configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is wrong.
    #[error("encryption configuration {}: {source}", path.display())]
    Configuration {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ConfigurationError,
    },
    /// A plugin of a changed configuration does not help.
    #[error("encryption configuration {}: key management plugin {plugin:?}: {reason}", path.display())]
    Plugin {
        /// The file.
        path: PathBuf,
        /// The plugin.
        plugin: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The wait before a configuration whose plugins did not help is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// The check of all plugins of a configuration that may change.
const ALL_PLUGINS: &str = "kms-providers";
/// The check of one plugin is named so, with its number.
const ONE_PLUGIN: &str = "kms-provider-";

/// The transformers in use.
pub struct Encryption {
    current: ArcSwap<Transformers>,
    source: Option<Source>,
    /// The hash of the configuration in use; whoever waits for other keys is woken by changes, and when what could not
    /// be read can be.
    hash: watch::Sender<String>,
    env: Env,
    metrics: Arc<Metrics>,
}

impl Encryption {
    /// Encrypts nothing.
    pub fn none(env: Env) -> Self {
        let metrics = Arc::new(Metrics::new());
        let current = ArcSwap::from_pointee(Transformers::identity(env.clone(), metrics.clone()));
        Self { current, source: None, hash: watch::Sender::new(String::new()), env, metrics }
    }

    /// What a file says.
    pub fn load(source: Source, env: Env) -> Result<Self, LoadError> {
        let metrics = Arc::new(Metrics::new());
        let (hash, transformers) = read(&source.path, &env, &metrics)?;
        let current = ArcSwap::from_pointee(transformers);
        Ok(Self { current, source: Some(source), hash: watch::Sender::new(hash), env, metrics })
    }

    /// The transformers in use.
    pub fn current(&self) -> Arc<Transformers> {
        self.current.load_full()
    }

    /// Tells when another configuration is in use, by its hash, and when what could not be read can be.
    pub fn subscribe(&self) -> watch::Receiver<String> {
        self.hash.subscribe()
    }

    /// The hash of the configuration in use.
    pub fn hash(&self) -> String {
        self.hash.borrow().clone()
    }

    /// What is measured.
    pub fn metrics(&self) -> Vec<prometheus::proto::MetricFamily> {
        let seeds: Vec<_> = self.current().plugins().iter().map(|kms| (kms.name().to_owned(), kms.kept())).collect();
        self.metrics.collect(&self.hash.borrow(), &seeds)
    }

    /// The names of the checks of the key management plugins: one for all where the configuration may change.
    pub fn checks(&self) -> Vec<String> {
        match &self.source {
            None => Vec::new(),
            Some(source) if source.automatic_reload => vec![ALL_PLUGINS.to_owned()],
            Some(_) => (0..self.current().plugins().len()).map(|number| format!("{ONE_PLUGIN}{number}")).collect(),
        }
    }

    /// Whether the plugins of a check are well.
    pub async fn check(&self, name: &str) -> bool {
        let current = self.current();
        let number = name.strip_prefix(ONE_PLUGIN).and_then(|number| number.parse().ok());
        let plugins = match number {
            Some(number) => current.plugins().get::<usize>(number).map(std::slice::from_ref).unwrap_or_default(),
            None => current.plugins(),
        };
        join_all(plugins.iter().map(|kms| kms.health())).await.iter().all(Result::is_ok)
    }

    /// Follows the plugins until `drain`, and the file if that is wanted. A wrong configuration changes nothing.
    pub async fn run(&self, drain: Drain) {
        drain.until(self.follow()).await;
    }

    async fn follow(&self) {
        let followed = self.source.as_ref().filter(|source| source.automatic_reload);
        let mut watch = followed.and_then(|source| match FileWatch::new(&source.path) {
            Ok(watch) => Some(watch),
            Err(err) => {
                let path = source.path.display();
                tracing::error!(%path, %err, "the encryption configuration is not followed: its directory cannot be watched");
                None
            }
        });
        let mut is_due = watch.is_some();
        loop {
            // Another one may have come before the file was watched.
            let is_late = match followed.filter(|_| std::mem::take(&mut is_due)) {
                Some(source) => self.reload(&source.path).await,
                None => false,
            };
            let current = self.current();
            tokio::select! {
                () = current.follow() => {}
                () = current.recovered() => self.hash.send_modify(|_| {}),
                () = self.env.sleep(RETRY), if is_late => is_due = true,
                changed = next_change(&mut watch) => match changed {
                    Ok(()) => is_due = true,
                    Err(err) => {
                        tracing::error!(%err, "the encryption configuration is no longer followed");
                        watch = None;
                    }
                },
            }
        }
    }

    /// Takes what the file says now; tells whether it may be taken later as it is.
    async fn reload(&self, path: &Path) -> bool {
        let taken = match read(path, &self.env, &self.metrics) {
            Ok((hash, _)) if *self.hash.borrow() == hash => return false,
            Ok((hash, transformers)) => check_plugins(path, &transformers).await.map(|()| (hash, transformers)),
            Err(err) => Err(err),
        };
        self.metrics.reload(taken.is_ok(), &self.env);
        match taken {
            Ok((hash, transformers)) => {
                self.current.store(Arc::new(transformers));
                tracing::info!(path = %path.display(), %hash, "encryption configuration was taken");
                self.hash.send_replace(hash);
                false
            }
            Err(err) => {
                tracing::error!(%err, "encryption configuration was not taken; the one before stays in use");
                matches!(err, LoadError::Plugin { .. })
            }
        }
    }
}

/// What a plugin that does not help would write could be read by nobody.
async fn check_plugins(path: &Path, transformers: &Transformers) -> Result<(), LoadError> {
    for kms in transformers.plugins() {
        let (path, plugin) = (path.to_owned(), kms.name().to_owned());
        kms.health().await.map_err(|reason| LoadError::Plugin { path, plugin, reason })?;
    }
    Ok(())
}

/// The next change of a file that is followed.
async fn next_change(watch: &mut Option<FileWatch>) -> std::io::Result<()> {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

fn read(path: &Path, env: &Env, metrics: &Arc<Metrics>) -> Result<(String, Transformers), LoadError> {
    let text = std::fs::read_to_string(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    let configuration = parse(&text).map_err(|source| LoadError::Configuration { path: path.to_owned(), source })?;
    Ok((hash(&text), Transformers::new(&configuration, env.clone(), metrics)))
}

/// The hash under which a configuration is known.
pub(crate) fn hash(text: &str) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(text)))
}

/// A new key of 32 bytes, named after the time.
pub(crate) fn new_key(env: &Env) -> Key {
    let mut secret = [0; 32];
    SystemRandom::new().fill(&mut secret).expect("the system has randomness");
    let name = format!("{GENERATED}{}", env.now().strftime("%Y%m%dT%H%M%S%.3fZ"));
    Key { name, secret: BASE64_STANDARD.encode(secret) }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{EncryptionConfiguration, Provider, Resource};

    const SECRETS: Resource<'_> = Resource { group: "", plural: "secrets" };

    fn write(path: &Path, configuration: &EncryptionConfiguration) -> String {
        let text = serde_json::to_string(configuration).expect("it is JSON");
        std::fs::write(path, &text).expect("it can be written");
        hash(&text)
    }

    #[tokio::test]
    async fn changes_of_the_file_are_taken_and_wrong_ones_are_not() {
        let (dir, env) = (tempfile::tempdir().expect("a directory"), Env::system());
        let path = dir.path().join("encryption.yaml");
        let first = EncryptionConfiguration::secrets(&env);
        write(&path, &first);
        let source = Source { path: path.clone(), automatic_reload: true };
        let encryption = Arc::new(Encryption::load(source, env.clone()).expect("it is right"));
        let sealed = encryption.current().seal(SECRETS, b"key", Bytes::from_static(b"plain")).await;
        let sealed = sealed.expect("it can be encrypted");
        assert!(sealed.starts_with(b"k8s:enc:secretbox:v1:key-"), "{sealed:?}");

        let (trigger, drain) = base::drain();
        let following = tokio::spawn({
            let encryption = encryption.clone();
            async move { encryption.run(drain).await }
        });
        let mut hashes = encryption.subscribe();
        std::fs::write(&path, "kind: Pod").expect("it can be written");
        let mut second = first.clone();
        second.resources[0].providers.insert(0, Provider::secretbox(vec![new_key(&env)]));
        let expected = write(&path, &second);
        let taken = hashes.wait_for(|hash| *hash == expected);
        tokio::time::timeout(Duration::from_secs(30), taken).await.expect("it is taken").expect("it lives");
        let opened = encryption.current().open(SECRETS, b"key", sealed).await.expect("the old key is still there");
        assert!(opened.is_stale && opened.value == "plain");
        trigger.drain();
        following.await.expect("it ends");
    }

    #[test]
    fn missing_and_wrong_files_are_named() {
        let load = |path: &str| {
            let source = Source { path: path.into(), automatic_reload: false };
            Encryption::load(source, Env::system()).err().expect("it is wrong").to_string()
        };
        assert!(load("/nonexistent/e.yaml").contains("cannot read the encryption configuration /nonexistent/e.yaml"));
        assert!(load("/dev/null").contains("encryption configuration /dev/null: not a document of kind"));
    }
}
