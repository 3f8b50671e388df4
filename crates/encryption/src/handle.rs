//! The configuration in use, from a file that may change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use base::{Drain, Env, FileWatch};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::configuration::Key;
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
}

/// The transformers in use.
pub struct Encryption {
    current: ArcSwap<Transformers>,
    source: Option<Source>,
    /// The hash of the configuration in use; changes wake whoever waits for another one.
    hash: watch::Sender<String>,
    env: Env,
}

impl Encryption {
    /// Encrypts nothing.
    pub fn none(env: Env) -> Self {
        let current = ArcSwap::from_pointee(Transformers::identity(env.clone()));
        Self { current, source: None, hash: watch::Sender::new(String::new()), env }
    }

    /// What a file says.
    pub fn load(source: Source, env: Env) -> Result<Self, LoadError> {
        let (hash, transformers) = read(&source.path, &env)?;
        let current = ArcSwap::from_pointee(transformers);
        Ok(Self { current, source: Some(source), hash: watch::Sender::new(hash), env })
    }

    /// The transformers in use.
    pub fn current(&self) -> Arc<Transformers> {
        self.current.load_full()
    }

    /// Tells when another configuration is in use: its [`hash`].
    pub fn subscribe(&self) -> watch::Receiver<String> {
        self.hash.subscribe()
    }

    /// Follows the file until `drain`, if that is wanted. A wrong configuration changes nothing.
    pub async fn run(&self, drain: Drain) {
        let Some(source) = self.source.as_ref().filter(|source| source.automatic_reload) else {
            return drain.drained().await;
        };
        let mut watch = match FileWatch::new(&source.path) {
            Ok(watch) => watch,
            Err(err) => {
                let path = source.path.display();
                tracing::error!(%path, %err, "the encryption configuration is not followed: its directory cannot be watched");
                return drain.drained().await;
            }
        };
        loop {
            self.reload(&source.path);
            match drain.until(watch.changed()).await {
                None => return,
                Some(Ok(())) => {}
                Some(Err(err)) => {
                    tracing::error!(%err, "the encryption configuration is no longer followed");
                    return drain.drained().await;
                }
            }
        }
    }

    /// Takes what the file says now.
    fn reload(&self, path: &Path) {
        match read(path, &self.env) {
            Ok((hash, _)) if *self.hash.borrow() == hash => {}
            Ok((hash, transformers)) => {
                self.current.store(Arc::new(transformers));
                tracing::info!(path = %path.display(), %hash, "encryption configuration was taken");
                self.hash.send_replace(hash);
            }
            Err(err) => tracing::error!(%err, "encryption configuration was not taken; the one before stays in use"),
        }
    }
}

fn read(path: &Path, env: &Env) -> Result<(String, Transformers), LoadError> {
    let text = std::fs::read_to_string(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    let configuration = parse(&text).map_err(|source| LoadError::Configuration { path: path.to_owned(), source })?;
    Ok((hash(&text), Transformers::new(&configuration, env.clone())))
}

/// The hash under which a configuration is known.
pub(crate) fn hash(text: &str) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(text)))
}

/// A new key of 32 bytes, named after the time.
pub(crate) fn new_key(env: &Env) -> Key {
    let mut secret = [0; 32];
    SystemRandom::new().fill(&mut secret).expect("the system has randomness");
    let name = format!("key-{}", env.now().strftime("%Y%m%dT%H%M%S%.3fZ"));
    Key { name, secret: BASE64_STANDARD.encode(secret) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        let sealed = encryption.current().seal(SECRETS, b"key", Bytes::from_static(b"plain"));
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
        let opened = encryption.current().open(SECRETS, b"key", sealed).expect("the old key is still there");
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
