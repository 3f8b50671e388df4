//! The document `EncryptionConfiguration` of `apiserver.config.k8s.io/v1`.

use base::Env;
use serde::{Deserialize, Serialize};

use crate::handle::{hash, new_key};
use crate::validation::{ConfigurationError, parse};

/// The version of the document.
pub const API_VERSION: &str = "apiserver.config.k8s.io/v1";
/// The kind of the document.
pub const KIND: &str = "EncryptionConfiguration";

/// Which resources are encrypted, and how.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EncryptionConfiguration {
    /// [`API_VERSION`].
    pub api_version: String,
    /// [`KIND`].
    pub kind: String,
    /// The providers of some resources each.
    #[serde(default)]
    pub resources: Vec<ResourceConfiguration>,
}

/// The providers of some resources.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceConfiguration {
    /// `secrets`, `deployments.apps`, `*.` (the core group), `*.apps` or `*.*`.
    #[serde(default)]
    pub resources: Vec<String>,
    /// The first writes, all of them read.
    #[serde(default)]
    pub providers: Vec<Provider>,
}

/// One provider: exactly one of the fields is set.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Provider {
    /// AES-GCM with a random nonce; a key should not write more than some 200,000 objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aesgcm: Option<Keys>,
    /// AES-CBC with PKCS #7 padding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aescbc: Option<Keys>,
    /// XSalsa20 and Poly1305.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secretbox: Option<Keys>,
    /// No encryption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// Keys that stay in a key management service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms: Option<Kms>,
}

/// A plugin of a key management service.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kms {
    /// `v2`. Version 1, which upstream takes where nothing is said, is not spoken.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// Its name in the prefix of what it wrote.
    #[serde(default)]
    pub name: String,
    /// Of version 1 alone.
    #[serde(default, rename = "cachesize", skip_serializing_if = "Option::is_none")]
    pub cache_size: Option<i32>,
    /// `unix://` and the path of its socket.
    #[serde(default)]
    pub endpoint: String,
    /// How long it may take to answer: `3s` where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
}

/// The keys of a provider: the first writes, all of them read.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Keys {
    /// The keys.
    #[serde(default)]
    pub keys: Vec<Key>,
}

/// A key.
#[derive(Clone, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Key {
    /// Its name in the prefix of what it wrote.
    #[serde(default)]
    pub name: String,
    /// The key itself in base64.
    #[serde(default)]
    pub secret: String,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The provider that does not encrypt.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {}

impl EncryptionConfiguration {
    /// A document with these entries.
    pub fn new(resources: Vec<ResourceConfiguration>) -> Self {
        Self { api_version: API_VERSION.to_owned(), kind: KIND.to_owned(), resources }
    }

    /// Reads and checks a document, YAML or JSON.
    pub fn parse(text: &str) -> Result<Self, ConfigurationError> {
        parse(text)
    }

    /// What a document is known by where it is in use.
    pub fn hash(text: &str) -> String {
        hash(text)
    }

    /// The document as text.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("texts and numbers are JSON")
    }

    /// The document of a new cluster: secrets are encrypted, and what was stored before can be read.
    ///
    /// Secretbox, because its nonces are long enough to be drawn at random forever: AES-GCM would need a new key after
    /// some 200,000 writes, and AES-CBC does not notice changes.
    pub fn secrets(env: &Env) -> Self {
        let providers = vec![Provider::secretbox(vec![new_key(env)]), Provider::identity()];
        Self::new(vec![ResourceConfiguration { resources: vec!["secrets".to_owned()], providers }])
    }
}

impl Provider {
    /// The provider that does not encrypt.
    pub fn identity() -> Self {
        Self { identity: Some(Identity {}), ..Self::default() }
    }

    /// Secretbox with these keys.
    pub fn secretbox(keys: Vec<Key>) -> Self {
        Self { secretbox: Some(Keys { keys }), ..Self::default() }
    }
}
