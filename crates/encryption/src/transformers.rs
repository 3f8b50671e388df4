//! What a configuration makes of values on their way to the datastore and back.

use std::collections::HashMap;
use std::sync::Arc;

use base::Env;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::future::join_all;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::configuration::{EncryptionConfiguration, Provider};
use crate::kms::{self, Kms};
use crate::local::{Cipher, CipherKind};
use crate::metrics::{Metrics, Transformation, Way};
use crate::validation::{split, timeout};

/// With this every encrypted value begins.
pub(crate) const ENCRYPTED: &[u8] = b"k8s:enc:";

/// How the values of every resource are encrypted.
pub struct Transformers {
    /// By group and then by resource, each with `*` for all that are not named.
    chains: HashMap<String, HashMap<String, Chain>>,
    /// The key management plugins, in the order of the configuration.
    plugins: Vec<Arc<Kms>>,
    /// Told when a plugin reads what it could not read before.
    recovered: Arc<Notify>,
    env: Env,
    metrics: Arc<Metrics>,
}

/// The resource that a value is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource<'a> {
    /// Its group, nothing for the core group.
    pub group: &'a str,
    /// Its name.
    pub plural: &'a str,
}

/// The providers of a resource: the first writes.
pub(crate) type Chain = Vec<Arc<Reader>>;

/// One provider, which reads what has its prefix.
pub(crate) enum Reader {
    Identity,
    Local { kind: CipherKind, prefix: String, keys: Vec<LocalKey> },
    Kms { prefix: String, kms: Arc<Kms> },
}

/// A key of the configuration.
pub(crate) struct LocalKey {
    pub(crate) name: String,
    /// The name with a colon, which its values have behind the prefix of their provider.
    prefix: String,
    cipher: Cipher,
}

/// A value from the datastore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// As it was before it was encrypted.
    pub value: Bytes,
    /// Whether it would be written in another way now.
    pub is_stale: bool,
}

/// Why a stored value cannot be read. It is left as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The configuration has no provider for it.
    #[error("the encryption configuration of its resource has no provider that reads {prefix:?}")]
    NoProvider {
        /// The beginning of the value.
        prefix: String,
    },
    /// The value is not encrypted, and the configuration does not say that this may be.
    #[error(
        "it is not encrypted, and the encryption configuration of its resource does not list the provider identity"
    )]
    NotEncrypted,
    /// The key that wrote it is not in the configuration.
    #[error(
        "it was encrypted with key {key:?} of provider {provider}, which the encryption configuration does not have"
    )]
    NoKey {
        /// The provider.
        provider: &'static str,
        /// The name of the key.
        key: String,
    },
    /// The key does not decrypt it.
    #[error("key {key:?} of provider {provider} does not decrypt it: the key is another one, or the value was changed")]
    WrongKey {
        /// The provider.
        provider: &'static str,
        /// The name of the key.
        key: String,
    },
    /// The key management plugin does not help.
    #[error("key management plugin {plugin:?}: {reason}")]
    Kms {
        /// The plugin.
        plugin: String,
        /// What it said, or what is wrong with what it was to read.
        reason: String,
    },
}

/// Why a value cannot be encrypted. It is not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unable to encrypt the object: key management plugin {plugin:?}: {reason}")]
pub struct SealError {
    plugin: String,
    reason: String,
}

impl Transformers {
    /// Encrypts nothing, and reads only what is not encrypted.
    pub(crate) fn identity(env: Env, metrics: Arc<Metrics>) -> Self {
        Self { chains: HashMap::new(), plugins: Vec::new(), recovered: Arc::default(), env, metrics }
    }

    /// What a checked configuration says.
    pub(crate) fn new(configuration: &EncryptionConfiguration, env: Env, metrics: &Arc<Metrics>) -> Self {
        let mut transformers = Self::identity(env, metrics.clone());
        for entry in &configuration.resources {
            let readers: Chain =
                entry.providers.iter().map(|provider| Arc::new(transformers.reader(provider, metrics))).collect();
            for resource in &entry.resources {
                // Whoever names a resource again adds providers to it.
                let (plural, group) = split(resource);
                let chains = transformers.chains.entry(group.to_owned()).or_default();
                chains.entry(plural.to_owned()).or_default().extend(readers.iter().cloned());
            }
        }
        transformers
    }

    fn reader(&mut self, provider: &Provider, metrics: &Arc<Metrics>) -> Reader {
        if let Some(kms) = &provider.kms {
            let socket = kms::socket(&kms.endpoint).unwrap_or_default();
            let address = kms::Address { name: &kms.name, socket, timeout: timeout(kms).unwrap_or(kms::TIMEOUT) };
            let prefix = format!("k8s:enc:kms:{}:{}:", kms::VERSION, kms.name);
            let kms = Arc::new(Kms::new(address, self.recovered.clone(), self.env.clone(), metrics.clone()));
            self.plugins.push(kms.clone());
            return Reader::Kms { prefix, kms };
        }
        Reader::local(provider)
    }

    /// The key management plugins, in the order of the configuration.
    pub(crate) fn plugins(&self) -> &[Arc<Kms>] {
        &self.plugins
    }

    /// Notices when plugins use other keys. Never ends.
    pub(crate) async fn follow(&self) {
        join_all(self.plugins.iter().map(|kms| kms.follow())).await;
        std::future::pending().await
    }

    /// Waits until a plugin reads what it could not read before. Cancel safe.
    pub(crate) async fn recovered(&self) {
        self.recovered.notified().await;
    }

    /// The chain of a resource: its own, that of its group, that of all. `None` if the configuration does not name it.
    pub(crate) fn named(&self, Resource { group, plural }: Resource<'_>) -> Option<&Chain> {
        let own = self.chains.get(group).and_then(|chains| chains.get(plural).or_else(|| chains.get("*")));
        let all = || self.chains.get("*").and_then(|chains| chains.get("*"));
        own.or_else(all)
    }

    /// The groups and names that the configuration spells out.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        let names =
            self.chains.iter().flat_map(|(group, chains)| chains.keys().map(move |plural| (&**group, &**plural)));
        names.filter(|(_, plural)| *plural != "*")
    }

    /// Encrypts a value that is to be stored under `key`.
    pub async fn seal(&self, resource: Resource<'_>, key: &[u8], plain: Bytes) -> Result<Bytes, SealError> {
        let Some(writer) = self.named(resource).and_then(|chain| chain.first()) else { return Ok(plain) };
        let measure = Measure { by: self, resource, way: Way::ToStorage, began: self.env.instant() };
        let sealed = match &**writer {
            Reader::Identity => Ok(plain),
            Reader::Local { prefix, keys, .. } => {
                let own = keys.first().expect("a checked configuration has keys");
                let mut sealed = Vec::with_capacity(prefix.len() + own.prefix.len() + plain.len() + 64);
                sealed.extend_from_slice(prefix.as_bytes());
                sealed.extend_from_slice(own.prefix.as_bytes());
                own.cipher.seal(&plain, key, &mut sealed, &self.env);
                measure.note(&own.prefix, true);
                Ok(sealed.into())
            }
            Reader::Kms { prefix, kms } => {
                let mut sealed = prefix.clone().into_bytes();
                let done = kms.seal(&plain, key, &mut sealed).await;
                done.map(|()| sealed.into()).map_err(|reason| SealError { plugin: kms.name().to_owned(), reason })
            }
        };
        measure.note(writer.prefix(), sealed.is_ok());
        sealed
    }

    /// Decrypts a value that is stored under `key`.
    pub async fn open(&self, resource: Resource<'_>, key: &[u8], stored: Bytes) -> Result<Opened, OpenError> {
        let is_encrypted = stored.starts_with(ENCRYPTED);
        let mut failure = match is_encrypted {
            true => OpenError::NoProvider { prefix: shown_prefix(&stored) },
            false => OpenError::NotEncrypted,
        };
        let Some(chain) = self.named(resource) else {
            return if is_encrypted { Err(failure) } else { Ok(Opened { value: stored, is_stale: false }) };
        };
        let measure = Measure { by: self, resource, way: Way::FromStorage, began: self.env.instant() };
        let mut is_known = false;
        for (number, reader) in chain.iter().enumerate() {
            let read = match &**reader {
                Reader::Identity if !is_encrypted => {
                    measure.note("identity", true);
                    return Ok(Opened { value: stored, is_stale: number > 0 });
                }
                Reader::Identity => continue,
                Reader::Local { kind, prefix, keys } => {
                    let Some(rest) = stored.strip_prefix(prefix.as_bytes()) else { continue };
                    open_local(*kind, keys, rest, key, &measure).map(|(value, is_first)| (value, !is_first))
                }
                Reader::Kms { prefix, kms } => {
                    if !stored.starts_with(prefix.as_bytes()) {
                        continue;
                    }
                    let read = kms.open(stored.slice(prefix.len()..), key).await;
                    read.map_err(|reason| OpenError::Kms { plugin: kms.name().to_owned(), reason })
                }
            };
            measure.note(reader.prefix(), read.is_ok());
            is_known = true;
            match read {
                Ok((value, is_stale)) => return Ok(Opened { value, is_stale: number > 0 || is_stale }),
                Err(err) => failure = err,
            }
        }
        if !is_known {
            measure.note("unknown", false);
        }
        Err(failure)
    }
}

/// Measures what is made of one value.
struct Measure<'a> {
    by: &'a Transformers,
    resource: Resource<'a>,
    way: Way,
    began: Instant,
}

impl Measure<'_> {
    /// Notes what was done for values with a prefix.
    fn note(&self, prefix: &str, is_done: bool) {
        let took = self.by.env.instant().saturating_duration_since(self.began);
        let (resource, way) = (self.resource, self.way);
        self.by.metrics.transformed(&Transformation { resource, way, prefix, took, is_done });
    }
}

impl Reader {
    /// With what its values begin.
    fn prefix(&self) -> &str {
        match self {
            Self::Identity => "",
            Self::Local { prefix, .. } | Self::Kms { prefix, .. } => prefix,
        }
    }

    /// An element without a plugin.
    fn local(provider: &Provider) -> Self {
        let ciphers = [
            (CipherKind::AesGcm, &provider.aesgcm),
            (CipherKind::AesCbc, &provider.aescbc),
            (CipherKind::Secretbox, &provider.secretbox),
        ];
        for (kind, keys) in ciphers {
            let Some(keys) = keys else { continue };
            let cipher = |key: &crate::Key| {
                let secret = BASE64_STANDARD.decode(&key.secret).ok()?;
                let (name, prefix) = (key.name.clone(), format!("{}:", key.name));
                Some(LocalKey { name, prefix, cipher: Cipher::new(kind, &secret)? })
            };
            let prefix = format!("k8s:enc:{}:v1:", kind.as_str());
            return Self::Local { kind, prefix, keys: keys.keys.iter().filter_map(cipher).collect() };
        }
        // A checked element that has no keys is this one.
        Self::Identity
    }
}

/// Decrypts with the key that the value names; tells whether it is the first.
fn open_local(
    kind: CipherKind,
    keys: &[LocalKey],
    rest: &[u8],
    bound: &[u8],
    measure: &Measure<'_>,
) -> Result<(Bytes, bool), OpenError> {
    let provider = kind.as_str();
    let name_end = rest.iter().position(|byte| *byte == b':').unwrap_or(rest.len());
    let (name, sealed) = (&rest[..name_end], rest.get(name_end + 1..).unwrap_or_default());
    let shown = || String::from_utf8_lossy(&name[..name.len().min(MAX_SHOWN)]).into_owned();
    let Some(number) = keys.iter().position(|key| key.name.as_bytes() == name) else {
        measure.note("unknown", false);
        return Err(OpenError::NoKey { provider, key: shown() });
    };
    let opened = keys[number].cipher.open(sealed, bound);
    measure.note(&keys[number].prefix, opened.is_ok());
    match opened {
        Ok(value) => Ok((value.into(), number == 0)),
        Err(_) => Err(OpenError::WrongKey { provider, key: shown() }),
    }
}

/// So much of a value's beginning is shown in messages.
const MAX_SHOWN: usize = 64;

/// The beginning of an encrypted value up to the name of its provider's version.
fn shown_prefix(stored: &[u8]) -> String {
    let mut colons = stored.iter().enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| at);
    let end = colons.nth(3).map_or(ENCRYPTED.len(), |at| at + 1);
    String::from_utf8_lossy(&stored[..end.min(MAX_SHOWN)]).into_owned()
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::validation::parse;

    const KEY: &[u8] = b"/registry/core/secrets/default/s";
    const SECRETS: Resource<'_> = Resource { group: "", plural: "secrets" };

    /// A key of 32 bytes in a configuration.
    fn key(name: &str, byte: u8) -> String {
        format!("{{name: {name}, secret: {}}}", BASE64_STANDARD.encode([byte; 32]))
    }

    fn transformers(entries: &[(&str, &[String])]) -> Transformers {
        let entry = |(resources, providers): &(&str, &[String])| {
            let providers: String = providers.iter().map(|provider| format!("    - {provider}\n")).collect();
            format!("- resources: [{resources}]\n  providers:\n{providers}")
        };
        let entries: String = entries.iter().map(entry).collect();
        let text = format!(
            "apiVersion: {}\nkind: {}\nresources:\n{entries}",
            crate::configuration::API_VERSION,
            crate::configuration::KIND
        );
        Transformers::new(&parse(&text).expect("it is right"), Env::system(), &Arc::new(Metrics::new()))
    }

    fn local(kind: &str, keys: &[String]) -> String {
        format!("{kind}: {{keys: [{}]}}", keys.join(", "))
    }

    fn plain() -> Bytes {
        Bytes::from_static(b"{\"kind\":\"Secret\"}")
    }

    /// Ciphers whose keys are known wait for nothing.
    fn at_once<T>(future: impl Future<Output = T>) -> T {
        future.now_or_never().expect("nothing is waited for")
    }

    fn seal(by: &Transformers, key: &[u8]) -> Bytes {
        at_once(by.seal(SECRETS, key, plain())).expect("it can be encrypted")
    }

    #[track_caller]
    fn check_open(by: &Transformers, stored: &Bytes, expected: Result<bool, &str>) {
        let opened = at_once(by.open(SECRETS, KEY, stored.clone()));
        match (opened, expected) {
            (Ok(opened), Ok(is_stale)) => assert_eq!(opened, Opened { value: plain(), is_stale }),
            (Err(err), Err(expected)) => assert!(err.to_string().contains(expected), "{err}"),
            (opened, _) => panic!("{opened:?}"),
        }
    }

    #[test]
    fn the_first_provider_writes_and_all_read() {
        let identity = || "identity: {}".to_owned();
        let none = Transformers::identity(Env::system(), Arc::new(Metrics::new()));
        for kind in ["aescbc", "aesgcm", "secretbox"] {
            let old = transformers(&[("secrets", &[local(kind, &[key("k1", 1)]), identity()])]);
            let sealed = seal(&old, KEY);
            assert!(sealed.starts_with(format!("k8s:enc:{kind}:v1:k1:").as_bytes()), "{sealed:?}");
            check_open(&old, &sealed, Ok(false));
            check_open(&old, &plain(), Ok(true));

            let rotated = transformers(&[("secrets", &[local(kind, &[key("k2", 2), key("k1", 1)])])]);
            check_open(&rotated, &sealed, Ok(true));
            check_open(&rotated, &seal(&rotated, KEY), Ok(false));
            check_open(&rotated, &plain(), Err("is not encrypted"));

            let off = transformers(&[("secrets", &[identity(), local(kind, &[key("k1", 1)])])]);
            check_open(&off, &sealed, Ok(true));
            assert_eq!(seal(&off, KEY), plain());

            check_open(&none, &sealed, Err(&format!("no provider that reads \"k8s:enc:{kind}:v1:\"")));
            let gone = transformers(&[("secrets", &[local(kind, &[key("k2", 2)])])]);
            check_open(&gone, &sealed, Err("with key \"k1\" of provider"));
            let mut changed = sealed.to_vec();
            changed.truncate(sealed.len() - 1);
            check_open(&old, &changed.into(), Err("key \"k1\" of provider"));
        }
        let wrong = transformers(&[("secrets", &[local("aesgcm", &[key("k1", 9)])])]);
        let right = transformers(&[("secrets", &[local("aesgcm", &[key("k1", 1)])])]);
        check_open(&wrong, &seal(&right, KEY), Err("does not decrypt it"));
        // The same value below another key of the datastore.
        let moved = seal(&right, b"/registry/core/secrets/default/other");
        check_open(&right, &moved, Err("does not decrypt it"));
    }

    /// How often values with a prefix went a way, and how that ended.
    #[track_caller]
    fn check_measured(by: &Transformers, way: &str, prefix: &str, status: &str, expected: f64) {
        let families = by.metrics.collect("", &[]);
        let name = "apiserver_storage_transformation_operations_total";
        let family = families.iter().find(|family| family.name() == name).expect("it is measured");
        let wanted =
            [("resource", "secrets"), ("status", status), ("transformation_type", way), ("transformer_prefix", prefix)];
        let is_wanted = |metric: &&prometheus::proto::Metric| {
            metric.get_label().iter().map(|label| (label.name(), label.value())).eq(wanted)
        };
        let count = family.get_metric().iter().find(is_wanted).map_or(0.0, |metric| metric.get_counter().get_value());
        assert!((count - expected).abs() < f64::EPSILON, "{way} {prefix} {status}: {count}");
    }

    #[test]
    fn values_are_counted_by_what_they_begin_with() {
        let by = transformers(&[("secrets", &[local("aesgcm", &[key("k1", 1)]), "identity: {}".to_owned()])]);
        let sealed = seal(&by, KEY);
        check_open(&by, &sealed, Ok(false));
        check_open(&by, &plain(), Ok(true));
        let mut changed = sealed.to_vec();
        changed.truncate(sealed.len() - 1);
        check_open(&by, &changed.into(), Err("does not decrypt it"));
        check_open(&by, &Bytes::from_static(b"k8s:enc:other:v1:k:"), Err("no provider"));
        // What the configuration does not name is not looked at.
        let pods = Resource { group: "", plural: "pods" };
        at_once(by.seal(pods, KEY, plain())).expect("it can be stored");
        for (way, prefix, status, expected) in [
            ("to_storage", "k8s:enc:aesgcm:v1:", "OK", 1.0),
            ("to_storage", "k1:", "OK", 1.0),
            ("from_storage", "k8s:enc:aesgcm:v1:", "OK", 1.0),
            ("from_storage", "k8s:enc:aesgcm:v1:", "unknown-non-grpc", 1.0),
            ("from_storage", "k1:", "unknown-non-grpc", 1.0),
            ("from_storage", "identity", "OK", 1.0),
            ("from_storage", "unknown", "unknown-non-grpc", 1.0),
        ] {
            check_measured(&by, way, prefix, status, expected);
        }
    }

    #[test]
    fn the_most_exact_entry_decides() {
        let by = |name: &str| [local("secretbox", &[key(name, 1)])];
        let transformers = transformers(&[
            ("secrets, deployments.apps", &by("own")),
            ("'*.'", &by("core")),
            ("'*.apps'", &by("apps")),
            ("'*.*'", &by("all")),
        ]);
        for (group, plural, expected) in [
            ("", "secrets", "own"),
            ("", "pods", "core"),
            ("apps", "deployments", "own"),
            ("apps", "replicasets", "apps"),
            ("batch", "jobs", "all"),
            ("example.com", "secrets", "all"),
        ] {
            let sealed = at_once(transformers.seal(Resource { group, plural }, KEY, plain())).expect("encrypted");
            assert!(sealed.starts_with(format!("k8s:enc:secretbox:v1:{expected}:").as_bytes()), "{group} {plural}");
        }
    }
}
