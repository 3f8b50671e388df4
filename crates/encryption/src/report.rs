//! What lies in the datastore under which key.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::kms::EncryptedObject;
use crate::transformers::{Chain, ENCRYPTED, Reader, Resource, Transformers};

/// The provider that does not encrypt.
const IDENTITY: &str = "identity";

/// A provider and one of its keys. No secret.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct KeyName {
    /// `secretbox`, `aescbc`, `aesgcm`, `identity`, or `kms:` and the name of a plugin.
    pub provider: String,
    /// The name of the key, or the id that the plugin gives it. Nothing where there is none, or none is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
}

/// How a server encrypts, and what it has stored.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The hash of the configuration in use.
    pub config_hash: String,
    /// The resources that the configuration names, and those that are encrypted nevertheless.
    pub resources: Vec<ResourceReport>,
}

/// How a resource is encrypted, and what is stored of it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceReport {
    /// Its group, nothing for the core group.
    pub group: String,
    /// Its name.
    pub resource: String,
    /// Its keys: the first writes.
    pub keys: Vec<KeyName>,
    /// What is stored under which key.
    pub stored: Vec<Stored>,
}

/// The objects that one key has encrypted.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stored {
    /// The key.
    #[serde(flatten)]
    pub key: KeyName,
    /// How many.
    pub objects: usize,
    /// Whether they would be written with another key now.
    pub is_stale: bool,
}

impl KeyName {
    fn new(provider: impl Into<String>, key: impl Into<String>) -> Self {
        Self { provider: provider.into(), key: key.into() }
    }

    /// The key that has encrypted a stored value, as far as the value says it.
    pub fn of(stored: &Bytes) -> Self {
        let Some(rest) = stored.strip_prefix(ENCRYPTED) else { return Self::new(IDENTITY, "") };
        let mut parts = rest.splitn(4, |byte| *byte == b':');
        let mut text = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        let (provider, _version, name) = (text(), text(), text());
        if provider != "kms" {
            return Self::new(provider, name);
        }
        let object = parts.next().map(|object| EncryptedObject::decode(stored.slice_ref(object)));
        Self::new(format!("kms:{name}"), object.and_then(Result::ok).map_or_else(String::new, |object| object.key_id))
    }
}

impl std::fmt::Display for KeyName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &*self.key {
            "" => f.write_str(&self.provider),
            key => write!(f, "{}/{key}", self.provider),
        }
    }
}

impl ResourceReport {
    fn new(resource: &(String, String), keys: Vec<KeyName>, stored: BTreeMap<KeyName, usize>) -> Self {
        let writes = |key: &KeyName| keys.first().is_some_and(|first| first == key || first.is_unknown(key));
        let stored =
            stored.into_iter().map(|(key, objects)| Stored { is_stale: !writes(&key), key, objects }).collect();
        Self { group: resource.0.clone(), resource: resource.1.clone(), keys, stored }
    }

    /// How many objects would be written with another key now.
    pub fn stale(&self) -> usize {
        self.stored.iter().filter(|stored| stored.is_stale).map(|stored| stored.objects).sum()
    }
}

impl KeyName {
    /// Whether this is another one's plugin, which has not said yet which key it uses.
    fn is_unknown(&self, other: &Self) -> bool {
        self.provider.starts_with("kms:") && self.key.is_empty() && self.provider == other.provider
    }
}

impl Transformers {
    /// The report on how many objects of every resource, a group and a name, are stored under which key. Resources
    /// that the configuration does not name are in it if some of their objects are encrypted.
    pub fn report(
        &self,
        config_hash: String,
        mut counts: BTreeMap<(String, String), BTreeMap<KeyName, usize>>,
    ) -> Report {
        for (group, plural) in self.names() {
            counts.entry((group.to_owned(), plural.to_owned())).or_default();
        }
        let resources = counts.into_iter().filter_map(|(of, stored)| {
            let named = self.named(Resource { group: &of.0, plural: &of.1 });
            let is_encrypted = named.is_some() || stored.keys().any(|key| key.provider != IDENTITY);
            is_encrypted.then(|| ResourceReport::new(&of, named.map_or_else(plain, keys), stored))
        });
        Report { config_hash, resources: resources.collect() }
    }
}

/// The keys of a resource that no configuration names.
fn plain() -> Vec<KeyName> {
    vec![KeyName::new(IDENTITY, "")]
}

/// The keys of a resource: the first writes.
fn keys(chain: &Chain) -> Vec<KeyName> {
    let mut keys = Vec::new();
    for reader in chain {
        match &**reader {
            Reader::Identity => keys.push(KeyName::new(IDENTITY, "")),
            Reader::Local { kind, keys: own, .. } => {
                keys.extend(own.iter().map(|key| KeyName::new(kind.as_str(), &*key.name)));
            }
            Reader::Kms { kms, .. } => {
                let key = kms.key_id().unwrap_or_default();
                keys.push(KeyName::new(format!("kms:{}", kms.name()), key));
            }
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_values_name_their_keys() {
        let of = |stored: &[u8]| KeyName::of(&Bytes::copy_from_slice(stored)).to_string();
        assert_eq!(of(b"{\"kind\":\"Secret\"}"), "identity");
        assert_eq!(of(b"k8s:enc:secretbox:v1:k1:\xff:\x00"), "secretbox/k1");
        assert_eq!(of(b"k8s:enc:aescbc:v1:"), "aescbc");
        let object = EncryptedObject { data: vec![b':'; 9].into(), key_id: "a:1".to_owned(), ..Default::default() };
        assert_eq!(of(&[b"k8s:enc:kms:v2:vault:", &*object.encode_to_vec()].concat()), "kms:vault/a:1");
        assert_eq!(of(b"k8s:enc:kms:v2:vault:\xff"), "kms:vault");
        assert_eq!(of(b"k8s:enc:"), "");
    }

    #[test]
    fn what_another_key_wrote_is_stale() {
        let key = |provider: &str, key: &str| KeyName::new(provider, key);
        let stale = |first: KeyName| {
            let stored = [(key("secretbox", "a"), 1), (key("secretbox", "b"), 2), (key("kms:v", "1"), 4)];
            let secrets = (String::new(), "secrets".to_owned());
            ResourceReport::new(&secrets, vec![first], stored.into()).stale()
        };
        assert_eq!(stale(key("secretbox", "a")), 6);
        assert_eq!(stale(key("secretbox", "c")), 7);
        assert_eq!(stale(key("kms:v", "1")), 3);
        assert_eq!(stale(key("kms:v", "")), 3, "the plugin has not said which key it uses");
        assert_eq!(stale(key("kms:v", "2")), 7);
    }
}
