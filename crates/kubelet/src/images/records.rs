//! Who may use an image that is on the node already: those whose credentials brought it, once somebody's did.
//!
//! A record is kept on the disk of each image that the kubelet pulled, of the kind `ImagePulledRecord` that upstream's
//! kubelet writes in the same place, and of each that it is about to pull, so that a kubelet that is killed meanwhile
//! does not take the image for one that lay there before.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::keyring::{Credential, Source};
use super::reference;
use super::settings::Verification;

const API_VERSION: &str = "kubelet.config.k8s.io/v1beta1";

/// The records under one directory.
#[derive(Debug)]
pub struct Records {
    pulling: PathBuf,
    pulled: PathBuf,
    /// Held while records are read and written.
    alone: Mutex<()>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct PulledRecord {
    kind: String,
    api_version: String,
    last_updated_time: Timestamp,
    image_ref: String,
    /// By the image's name without tag and digest.
    #[serde(default)]
    credential_mapping: BTreeMap<String, Allowed>,
}

/// Who may use an image under one name.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Allowed {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    node_pods_accessible: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kubernetes_secrets: Vec<Object>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kubernetes_service_accounts: Vec<Object>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Object {
    uid: String,
    namespace: String,
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    credential_hash: String,
}

impl Object {
    fn is(&self, other: &Self) -> bool {
        (&self.uid, &self.namespace, &self.name) == (&other.uid, &other.namespace, &other.name)
    }

    fn new((namespace, name, uid): (&str, &str, &str), credential_hash: String) -> Self {
        Self { uid: uid.to_owned(), namespace: namespace.to_owned(), name: name.to_owned(), credential_hash }
    }
}

impl Records {
    /// The records of a kubelet that keeps its things in `kubelet_dir`.
    pub fn new(kubelet_dir: &Path) -> Self {
        let dir = kubelet_dir.join("image_manager");
        Self { pulling: dir.join("pulling"), pulled: dir.join("pulled"), alone: Mutex::new(()) }
    }

    /// Notes that an image is about to be pulled.
    pub fn intend(&self, image: &str) -> io::Result<()> {
        let _alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let intent = json!({"kind": "ImagePullIntent", "apiVersion": API_VERSION, "image": image});
        write(&file(&self.pulling, image), &intent)
    }

    /// Notes that a pull has failed.
    pub fn failed(&self, image: &str) -> io::Result<()> {
        let _alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        remove(&file(&self.pulling, image))
    }

    /// Notes that an image has been pulled, by what credentials.
    pub fn pulled(
        &self,
        image: &str,
        image_ref: &str,
        credential: Option<&Credential>,
        now: Timestamp,
    ) -> io::Result<()> {
        let _alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let path = file(&self.pulled, image_ref);
        let mut record = read::<PulledRecord>(&path)?.unwrap_or_else(|| PulledRecord {
            kind: "ImagePulledRecord".to_owned(),
            api_version: API_VERSION.to_owned(),
            last_updated_time: now,
            image_ref: image_ref.to_owned(),
            credential_mapping: BTreeMap::new(),
        });
        record.last_updated_time = now;
        record.credential_mapping.entry(reference::repository(image)).or_default().add(credential);
        write(&path, &record)?;
        remove(&file(&self.pulling, image))
    }

    /// Whether a pod with these credentials has to pull an image that is there already.
    pub fn must_pull(&self, policy: &Verification, image: &str, image_ref: &str, credentials: &[Credential]) -> bool {
        let _alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let repository = reference::repository(image);
        let Ok(record) = read::<PulledRecord>(&file(&self.pulled, image_ref)) else {
            // What cannot be read proves nothing.
            return true;
        };
        let by_kubelet = record.is_some() || file(&self.pulling, image).exists();
        if !policy.applies(&repository, by_kubelet) {
            return false;
        }
        let allowed = record.as_ref().and_then(|record| record.credential_mapping.get(&repository));
        !allowed.is_some_and(|allowed| allowed.lets_in(credentials))
    }

    /// Forgets images that are gone, of which nothing has been noted since `before`.
    pub fn retain(&self, image_refs: &BTreeSet<String>, before: Timestamp) -> io::Result<()> {
        let _alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = match std::fs::read_dir(&self.pulled) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            let gone = match read::<PulledRecord>(&path) {
                Ok(Some(record)) => !image_refs.contains(&record.image_ref) && record.last_updated_time < before,
                Ok(None) => false,
                // Nobody can use it.
                Err(_) => true,
            };
            if gone {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

impl Allowed {
    fn add(&mut self, credential: Option<&Credential>) {
        match credential.map(|credential| (&credential.source, credential)) {
            None | Some((Source::Node, _)) => {
                // Every pod may; who else may does not matter any more.
                *self = Self { node_pods_accessible: true, ..Self::default() };
            }
            Some(_) if self.node_pods_accessible => {}
            Some((Source::Secret(namespace, name, uid), credential)) => {
                let object = Object::new((namespace, name, uid), hash(credential));
                self.kubernetes_secrets.retain(|known| !known.is(&object));
                self.kubernetes_secrets.push(object);
            }
            Some((Source::ServiceAccount(namespace, name, uid), _)) => {
                let object = Object::new((namespace, name, uid), String::new());
                self.kubernetes_service_accounts.retain(|known| !known.is(&object));
                self.kubernetes_service_accounts.push(object);
            }
        }
    }

    /// Whether one of the credentials, or the object that it lies in, brought the image before.
    fn lets_in(&self, credentials: &[Credential]) -> bool {
        self.node_pods_accessible
            || credentials.iter().any(|credential| match &credential.source {
                Source::Node => false,
                Source::Secret(namespace, name, uid) => {
                    let object = Object::new((namespace, name, uid), hash(credential));
                    let same = |known: &Object| known.is(&object) || known.credential_hash == object.credential_hash;
                    self.kubernetes_secrets.iter().any(same)
                }
                Source::ServiceAccount(namespace, name, uid) => {
                    let object = Object::new((namespace, name, uid), String::new());
                    self.kubernetes_service_accounts.iter().any(|known| known.is(&object))
                }
            })
    }
}

/// What tells credentials from others without telling them.
fn hash(credential: &Credential) -> String {
    let auth = &credential.auth;
    let mut hasher = Sha256::new();
    for part in [&auth.username, &auth.password, &auth.auth, &auth.identity_token, &auth.registry_token] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hex(&hasher.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn file(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("sha256-{}", hex(&Sha256::digest(name))))
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match std::fs::read(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        bytes => Ok(Some(serde_json::from_slice(&bytes?)?)),
    }
}

/// A record is whole or not there: half a record lets nobody in who should be.
fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, serde_json::to_vec(value)?)?;
    std::fs::rename(&temporary, path)
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str, password: &str) -> Credential {
        let auth = cri::AuthConfig { password: password.to_owned(), ..Default::default() };
        Credential { auth, source: Source::Secret("ns".to_owned(), name.to_owned(), format!("uid-{name}")) }
    }

    #[test]
    fn who_brought_an_image_may_use_it_and_others_have_to_show_that_they_could() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (records, policy, at) = (Records::new(dir.path()), Verification::default(), Timestamp::UNIX_EPOCH);
        let must = |records: &Records, image: &str, credentials: &[Credential]| {
            records.must_pull(&policy, image, "sha256:1", credentials)
        };
        assert!(!must(&records, "r.io/a:1", &[]), "it lay there before");
        records.intend("r.io/a:1").expect("noted");
        assert!(must(&records, "r.io/a:1", &[]), "the kubelet began to pull it");
        records.failed("r.io/a:1").expect("noted");
        assert!(!must(&records, "r.io/a:1", &[]));
        records.pulled("r.io/a:1", "sha256:1", Some(&secret("one", "x")), at).expect("noted");
        // A restart changes nothing.
        let records = Records::new(dir.path());
        assert!(must(&records, "r.io/a:1", &[]));
        assert!(must(&records, "r.io/a:2", &[secret("two", "y")]));
        assert!(!must(&records, "r.io/a:2", &[secret("two", "x")]), "the same password");
        assert!(!must(&records, "r.io/a:1", &[secret("one", "changed")]), "the same secret");
        assert!(must(&records, "r.io/b:1", &[secret("one", "x")]), "another name");
        records.pulled("r.io/a:1", "sha256:1", None, at).expect("noted");
        assert!(!must(&records, "r.io/a:1", &[]), "anybody could pull it");
        records.retain(&["sha256:1".to_owned()].into(), Timestamp::MAX).expect("kept");
        assert!(must(&records, "r.io/b:1", &[]));
        records.retain(&BTreeSet::new(), Timestamp::MAX).expect("forgotten");
        assert!(!must(&records, "r.io/b:1", &[]));
    }
}
