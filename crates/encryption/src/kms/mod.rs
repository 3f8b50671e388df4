//! The provider `kms`: seeds that a plugin encrypts with keys which never leave it.
//!
//! A seed is made when the plugin is first seen and whenever it says that it uses another key; it encrypts every value
//! until then. It is stored, encrypted by the plugin, with each value. Who reads a value asks the plugin to decrypt the
//! seed once and keeps it, so that a plugin that is away only stops what was never read, and after a while the writes.

mod check;
mod messages;
mod plugin;
mod seed;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use base::{Env, TtlCache};
use bytes::Bytes;
use jiff::Timestamp;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::metrics::{KeyUse, Metrics, Way};
use messages::{DecryptRequest, HKDF_SEED};
use plugin::{Plugin, describe};
use seed::Seed;

pub(crate) use check::WrongKeyId;
pub(crate) use messages::EncryptedObject;
pub(crate) use plugin::socket;

/// The version of the plugin's protocol.
pub(crate) const VERSION: &str = "v2";
/// How long a plugin may take where the configuration does not say it.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(3);

/// How often a plugin is asked how it is: while it is well, and while it is not.
const ASK_WELL: Duration = Duration::from_secs(60);
const ASK_UNWELL: Duration = Duration::from_secs(10);
/// How long what it said is believed.
const BELIEVE_WELL: Duration = Duration::from_secs(20);
const BELIEVE_UNWELL: Duration = Duration::from_secs(3);
/// How long a seed may write after the plugin last said that its key is still in use.
const WRITES: Duration = Duration::from_secs(180);
/// How long a decrypted seed is kept.
const KEEP: Duration = Duration::from_secs(24 * 3600);
/// How many seeds that could not be decrypted are tried again.
const MAX_MISSED: usize = 64;

/// Names an encrypted seed.
type SeedId = [u8; 32];

/// The plugin as a provider.
pub(crate) struct Kms {
    plugin: Plugin,
    /// What new values are encrypted with.
    writer: ArcSwapOption<Writer>,
    /// What the values that were read are encrypted with.
    seeds: TtlCache<SeedId, Arc<Reading>>,
    /// What could not be decrypted.
    missed: Mutex<Missed>,
    /// How the plugin was when it was last asked. Held while it is asked.
    health: tokio::sync::Mutex<Option<(Instant, Result<(), String>)>>,
    /// Told when what could not be decrypted can be.
    recovered: Arc<Notify>,
    env: Env,
    metrics: Arc<Metrics>,
}

/// Encrypts new values.
#[derive(Clone)]
struct Writer {
    source: Arc<Source>,
    expires: Timestamp,
}

struct Source {
    reading: Arc<Reading>,
    key_id: String,
    /// All of an [`EncryptedObject`] but what is encrypted.
    tail: Vec<u8>,
    used: KeyUse,
}

/// A decrypted seed.
struct Reading {
    seed: Seed,
    used: KeyUse,
}

#[derive(Default)]
struct Missed {
    seeds: HashMap<SeedId, EncryptedObject>,
    /// While the plugin does not answer, nobody waits for it again until then: the reason.
    away: Option<(Instant, String)>,
}

/// Where a plugin is.
pub(crate) struct Address<'a> {
    /// Its name in the configuration.
    pub(crate) name: &'a str,
    /// What [`socket`] read.
    pub(crate) socket: String,
    /// How long it may take to answer.
    pub(crate) timeout: Duration,
}

impl Kms {
    pub(crate) fn new(address: Address<'_>, recovered: Arc<Notify>, env: Env, metrics: Arc<Metrics>) -> Self {
        let Address { name, socket, timeout } = address;
        Self {
            plugin: Plugin::new(name, socket, timeout, env.clone(), metrics.clone()),
            writer: ArcSwapOption::empty(),
            seeds: TtlCache::new(env.clone()),
            missed: Mutex::default(),
            health: tokio::sync::Mutex::new(None),
            recovered,
            env,
            metrics,
        }
    }

    /// Its name in the configuration.
    pub(crate) fn name(&self) -> &str {
        &self.plugin.name
    }

    /// The key of the plugin that encrypts new values, if it is known.
    pub(crate) fn key_id(&self) -> Option<String> {
        self.writer.load().as_ref().map(|writer| writer.source.key_id.clone())
    }

    /// Encrypts a value behind what `out` holds.
    pub(crate) async fn seal(&self, plain: &[u8], bound: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let source = match self.writing() {
            Some(source) => source,
            // It may have come back, or has not been asked yet.
            None => {
                let health = self.health().await;
                self.writing().ok_or_else(|| match health {
                    Err(why) => why,
                    Ok(()) => "it has not said for a while that its key is still in use".to_owned(),
                })?
            }
        };
        let mut sealed = Vec::with_capacity(plain.len() + 64);
        source.reading.seed.seal(plain, bound, &mut sealed, &self.env);
        encode_key(1, WireType::LengthDelimited, out);
        encode_varint(sealed.len() as u64, out);
        out.extend_from_slice(&sealed);
        out.extend_from_slice(&source.tail);
        source.used.count(&self.env);
        Ok(())
    }

    /// Decrypts what [`Kms::seal`] wrote, and tells whether it would be written with another key now.
    pub(crate) async fn open(&self, stored: Bytes, bound: &[u8]) -> Result<(Bytes, bool), String> {
        let object = EncryptedObject::decode(stored).map_err(|err| format!("it is damaged: {err}"))?;
        check::object(&object)?;
        let reading = self.reading(&object).await?;
        let value = reading.seed.open(&object.data, bound);
        let value = value.map_err(|_| "the seed does not decrypt it: the value was changed".to_owned())?;
        reading.used.count(&self.env);
        // A plugin that was never reached does not say what it would write with.
        let writer = self.writer.load();
        let is_stale = writer
            .as_ref()
            .is_some_and(|writer| writer.source.key_id != object.key_id || object.source_type != HKDF_SEED);
        Ok((value.into(), is_stale))
    }

    /// How the plugin is: asked, unless it was a moment ago.
    pub(crate) async fn health(&self) -> Result<(), String> {
        let mut last = self.health.lock().await;
        if let Some((at, said)) = &*last {
            let believed = if said.is_ok() { BELIEVE_WELL } else { BELIEVE_UNWELL };
            if at.elapsed() < believed {
                return said.clone();
            }
        }
        let said = self.ask().await;
        *last = Some((self.env.instant(), said.clone()));
        said
    }

    /// Asks the plugin again and again, so that another key of it is noticed. Never ends.
    pub(crate) async fn follow(&self) {
        loop {
            let said = self.health().await;
            if let Err(err) = &said {
                tracing::error!(plugin = self.name(), %err, "key management plugin is not healthy");
            }
            self.env.sleep(if said.is_ok() { ASK_WELL } else { ASK_UNWELL }).await;
        }
    }

    /// How many decrypted seeds it keeps.
    pub(crate) fn kept(&self) -> usize {
        self.seeds.len()
    }

    fn missed(&self) -> MutexGuard<'_, Missed> {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What may write now.
    fn writing(&self) -> Option<Arc<Source>> {
        let writer = self.writer.load();
        writer.as_ref().filter(|writer| self.env.now() < writer.expires).map(|writer| writer.source.clone())
    }

    async fn ask(&self) -> Result<(), String> {
        let expires = self.env.now().checked_add(WRITES).unwrap_or(Timestamp::MAX);
        let status = self.plugin.status().await.map_err(|err| format!("Status failed: {}", describe(&err)))?;
        // A key that is named is one that is used, whatever else is wrong.
        let key = check::key_id(&status.key_id);
        match &key {
            Ok(()) => self.metrics.key_told(self.name(), &status.key_id, &self.env),
            Err(wrong) => self.metrics.wrong_key_told(self.name(), wrong),
        }
        let renewed = match key {
            Ok(()) => self.renew(&status.key_id, expires).await,
            Err(wrong) => Err(wrong.to_string()),
        };
        check::status(&status)?;
        renewed?;
        self.read_missed().await;
        Ok(())
    }

    /// Lets the seed write on, or makes another one if the plugin uses another key.
    async fn renew(&self, key_id: &str, expires: Timestamp) -> Result<(), String> {
        if let Some(writer) = self.writer.load_full().filter(|writer| writer.source.key_id == key_id) {
            self.writer.store(Some(Arc::new(Writer { expires, ..(*writer).clone() })));
            return Ok(());
        }
        let began = self.env.instant();
        let mut bytes = vec![0; seed::LENGTH];
        SystemRandom::new().fill(&mut bytes).expect("the system has randomness");
        let seed = Seed::new(HKDF_SEED, &bytes).expect("it has the length of a seed");
        self.metrics.seed_made(self.env.instant().saturating_duration_since(began));
        let answer = self.plugin.encrypt(bytes).await.map_err(|err| format!("Encrypt failed: {}", describe(&err)))?;
        let (data, source_type) = (Bytes::new(), HKDF_SEED);
        let (source, annotations) = (answer.ciphertext, answer.annotations);
        let object = EncryptedObject { data, key_id: answer.key_id, source, annotations, source_type };
        check::source(&object)?;
        if object.key_id != key_id {
            return Err(format!("Status names the key {key_id:?}, Encrypt used {:?}", object.key_id));
        }
        let used = self.metrics.key_use(self.name(), key_id, Way::FromStorage);
        let reading = Arc::new(Reading { seed, used });
        self.seeds.put(seed_id(&object), reading.clone(), KEEP);
        let used = self.metrics.key_use(self.name(), key_id, Way::ToStorage);
        let source = Source { reading, tail: object.encode_to_vec(), key_id: object.key_id, used };
        self.writer.store(Some(Arc::new(Writer { source: Arc::new(source), expires })));
        tracing::info!(plugin = self.name(), key = key_id, "another key of the key management plugin is in use");
        Ok(())
    }

    /// The seed of a value.
    async fn reading(&self, object: &EncryptedObject) -> Result<Arc<Reading>, String> {
        let id = seed_id(object);
        if let Some(reading) = self.seeds.get(&id) {
            return Ok(reading);
        }
        self.metrics.seed_missed();
        if let Some((_, why)) = self.missed().away.as_ref().filter(|(until, _)| self.env.instant() < *until) {
            return Err(why.clone());
        }
        self.decrypt(id, object).await
    }

    async fn decrypt(&self, id: SeedId, object: &EncryptedObject) -> Result<Arc<Reading>, String> {
        let request = DecryptRequest {
            ciphertext: object.source.clone(),
            uid: String::new(),
            key_id: object.key_id.clone(),
            annotations: object.annotations.clone(),
        };
        let answer = self.plugin.decrypt(request).await;
        let is_away = answer.as_ref().is_err_and(plugin::is_away);
        let seed = match answer {
            Ok(answer) => Seed::new(object.source_type, &answer.plaintext)
                .ok_or_else(|| format!("what it decrypts has {} bytes and is no seed", answer.plaintext.len())),
            Err(err) => Err(format!("Decrypt failed: {}", describe(&err))),
        };
        let seed = match seed {
            Ok(seed) => seed,
            Err(why) => {
                let mut missed = self.missed();
                if missed.seeds.len() < MAX_MISSED {
                    missed.seeds.insert(id, EncryptedObject { data: Bytes::new(), ..object.clone() });
                }
                if is_away {
                    missed.away = Some((self.env.instant() + BELIEVE_UNWELL, why.clone()));
                }
                return Err(why);
            }
        };
        let used = self.metrics.key_use(self.name(), &object.key_id, Way::FromStorage);
        let reading = Arc::new(Reading { seed, used });
        self.seeds.put(id, reading.clone(), KEEP);
        let mut missed = self.missed();
        missed.seeds.remove(&id);
        missed.away = None;
        Ok(reading)
    }

    /// Tries again what could not be decrypted, and tells if something can be.
    async fn read_missed(&self) {
        self.missed().away = None;
        let missed: Vec<_> = self.missed().seeds.iter().map(|(id, object)| (*id, object.clone())).collect();
        let mut is_better = false;
        for (id, object) in missed {
            is_better |= self.decrypt(id, &object).await.is_ok();
            if self.missed().away.is_some() {
                break;
            }
        }
        if is_better {
            self.recovered.notify_one();
        }
    }
}

/// What the encrypted form of a seed is known by.
fn seed_id(object: &EncryptedObject) -> SeedId {
    let of = EncryptedObject { data: Bytes::new(), ..object.clone() };
    Sha256::digest(of.encode_to_vec()).into()
}
