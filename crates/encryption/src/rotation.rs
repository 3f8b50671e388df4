//! Changing the keys of a configuration without a moment in which something stored cannot be read.
//!
//! A new key first only reads, until every server knows it; then it writes. Each of the two is one change of the file.
//! What was done so far shows in the file itself: a key that was made later than the one before it is to write next.

use base::Env;

use crate::configuration::{EncryptionConfiguration, Key, Keys, Provider};
use crate::handle::new_key;
use crate::local::CipherKind;
use crate::report::KeyName;

/// How the names of keys that are made here begin; the time follows.
pub(crate) const GENERATED: &str = "key-";

impl EncryptionConfiguration {
    /// Puts a new key behind each key that writes, where none waits there already. Returns all that wait then.
    pub fn prepare(&mut self, env: &Env) -> Vec<KeyName> {
        let mut waiting = Vec::new();
        for (kind, keys) in self.writers() {
            if !has_waiting(keys) {
                keys.keys.insert(1, new_key(env));
            }
            waiting.push(KeyName { provider: kind.as_str().to_owned(), key: keys.keys[1].name.clone() });
        }
        waiting
    }

    /// Lets the keys that wait write. Those before them go on reading.
    pub fn promote(&mut self) {
        for (_, keys) in self.writers() {
            if has_waiting(keys) {
                keys.keys.swap(0, 1);
            }
        }
    }

    /// Whether a key waits.
    pub fn is_prepared(&self) -> bool {
        self.clone().writers().iter().any(|(_, keys)| has_waiting(keys))
    }

    /// Drops the keys that neither write nor are used; returns them.
    pub fn forget(&mut self, is_used: impl Fn(&KeyName) -> bool) -> Vec<KeyName> {
        let mut forgotten = Vec::new();
        for entry in &mut self.resources {
            for (number, provider) in entry.providers.iter_mut().enumerate() {
                let Some((kind, keys)) = local(provider) else { continue };
                // Of the first provider the first key writes, and one that waits will.
                let kept = if number > 0 { 0 } else { 1 + usize::from(has_waiting(keys)) };
                let mut position = 0;
                keys.keys.retain(|key| {
                    let name = KeyName { provider: kind.as_str().to_owned(), key: key.name.clone() };
                    position += 1;
                    let is_kept = position <= kept || is_used(&name);
                    if !is_kept {
                        forgotten.push(name);
                    }
                    is_kept
                });
            }
            entry.providers.retain_mut(|provider| local(provider).is_none_or(|(_, keys)| !keys.keys.is_empty()));
        }
        forgotten
    }

    /// The keys of each entry of which the first writes.
    fn writers(&mut self) -> Vec<(CipherKind, &mut Keys)> {
        self.resources.iter_mut().filter_map(|entry| local(entry.providers.first_mut()?)).collect()
    }
}

/// The keys of a provider that has them in the configuration.
fn local(provider: &mut Provider) -> Option<(CipherKind, &mut Keys)> {
    let Provider { aesgcm, aescbc, secretbox, identity: _, kms: _ } = provider;
    let found = [(CipherKind::AesGcm, aesgcm), (CipherKind::AesCbc, aescbc), (CipherKind::Secretbox, secretbox)];
    found.into_iter().find_map(|(kind, keys)| Some((kind, keys.as_mut()?)))
}

/// Whether the second key is to take the place of the first: it was made here, and later.
fn has_waiting(keys: &Keys) -> bool {
    let made = |key: &Key| {
        key.name
            .strip_prefix(GENERATED)
            .filter(|time| time.starts_with(|c: char| c.is_ascii_digit()))
            .map(str::to_owned)
    };
    let [first, second, ..] = &keys.keys[..] else { return false };
    made(second).is_some_and(|second| made(first).is_none_or(|first| first < second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::ResourceConfiguration;

    fn key(name: &str) -> Key {
        Key { name: name.to_owned(), secret: String::new() }
    }

    fn configuration(providers: Vec<Provider>) -> EncryptionConfiguration {
        EncryptionConfiguration::new(vec![ResourceConfiguration { resources: vec!["secrets".to_owned()], providers }])
    }

    fn secretbox(names: &[&str]) -> Provider {
        Provider::secretbox(names.iter().map(|name| key(name)).collect())
    }

    fn names(configuration: &EncryptionConfiguration) -> Vec<Vec<String>> {
        let names = |provider: &Provider| {
            local(&mut provider.clone()).map(|(_, keys)| keys.keys.iter().map(|key| key.name.clone()).collect())
        };
        configuration.resources[0].providers.iter().map(|provider| names(provider).unwrap_or_default()).collect()
    }

    #[tokio::test]
    async fn a_new_key_reads_before_it_writes() {
        let env = Env::simulated("2026-11-30T11:00:00Z".parse().expect("a time"), 1);
        let new = "key-20261130T110000.000Z";
        for old in [&["key1"][..], &["key-20251130T110000.000Z", "key-20241130T110000.000Z"], &["a", "b"]] {
            let mut configuration = configuration(vec![secretbox(old), Provider::identity()]);
            assert!(!configuration.is_prepared());
            let waiting = configuration.prepare(&env);
            assert_eq!(waiting.iter().map(ToString::to_string).collect::<Vec<_>>(), [format!("secretbox/{new}")]);
            assert_eq!(names(&configuration)[0][..2], [old[0], new]);
            assert!(configuration.is_prepared());
            // Whoever was ended here finds the key that waits.
            assert_eq!(configuration.prepare(&env), waiting);
            configuration.promote();
            let now = [&[new], old].concat();
            assert_eq!(names(&configuration), [now, vec![]]);
            configuration.promote();
            assert_eq!(names(&configuration)[0][0], new);
            assert!(!configuration.is_prepared());
        }
    }

    #[test]
    fn what_others_encrypt_is_left_alone() {
        for first in [
            Provider::identity(),
            Provider {
                kms: serde_json::from_value(serde_json::json!({"name": "v"})).expect("a plugin"),
                ..Provider::default()
            },
        ] {
            let mut configuration = configuration(vec![first, secretbox(&["a"])]);
            let before = configuration.clone();
            assert_eq!(configuration.prepare(&Env::system()), []);
            configuration.promote();
            assert_eq!(configuration, before);
        }
    }

    #[test]
    fn only_keys_that_nothing_needs_are_forgotten() {
        let providers =
            vec![secretbox(&["a", "b", "c"]), secretbox(&["d"]), secretbox(&["e", "f"]), Provider::identity()];
        let mut configuration = configuration(providers);
        let forgotten = configuration.forget(|key| ["c", "f"].contains(&&*key.key));
        assert_eq!(forgotten.iter().map(|key| &*key.key).collect::<Vec<_>>(), ["b", "d", "e"]);
        assert_eq!(names(&configuration), [vec!["a", "c"], vec!["f"], vec![]]);
        let mut waits = self::configuration(vec![secretbox(&["a", "key-2026", "b"])]);
        assert_eq!(waits.forget(|_| false).len(), 1);
        assert_eq!(names(&waits), [vec!["a", "key-2026"]]);
    }
}
