//! The claims that are or may be prepared on the node, kept on disk in upstream's file: whoever starts anew knows what
//! drivers may have to take back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The file below the kubelet's directory.
const FILE: &str = "dra_manager_state";

/// A device of a claim, as its driver has prepared it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Device {
    /// The pool that it is of.
    pub pool_name: String,
    /// Its name there.
    pub device_name: String,
    /// The requests that it is for; empty for all.
    #[serde(deserialize_with = "or_default")]
    pub request_names: Vec<String>,
    /// Its names in the Container Device Interface.
    #[serde(rename = "CDIDeviceIDs", deserialize_with = "or_default")]
    pub cdi_device_ids: Vec<String>,
}

/// What a driver has prepared of a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct OfDriver {
    /// The devices.
    #[serde(deserialize_with = "or_default")]
    pub devices: Vec<Device>,
}

/// A claim that is, was or will be prepared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Prepared {
    /// The claim.
    #[serde(rename = "ClaimUID")]
    pub claim_uid: String,
    /// Its name.
    pub claim_name: String,
    /// Its namespace.
    pub namespace: String,
    /// The pods that use it: a set, as Go's library writes those.
    #[serde(rename = "PodUIDs")]
    pub pod_uids: BTreeMap<String, Map<String, Value>>,
    /// By driver.
    pub driver_state: BTreeMap<String, OfDriver>,
    /// Whether all of its drivers have prepared it since this kubelet started.
    #[serde(skip)]
    pub is_ready: bool,
}

/// Go writes `null` for lists without elements.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Checkpoint {
    data: String,
    checksum: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Data {
    #[serde(default, deserialize_with = "or_default")]
    claim_info_state_list: Vec<Prepared>,
}

/// All claims of the node.
#[derive(Debug, Default)]
pub struct State {
    dir: PathBuf,
    claims: Vec<Prepared>,
}

impl Prepared {
    /// The names in the Container Device Interface of the devices of a request, or of all.
    pub fn cdi_devices(&self, request: &str) -> Vec<String> {
        let devices = self.devices(request);
        devices.flat_map(|(_, device)| device.cdi_device_ids.iter().cloned()).collect()
    }

    /// The devices of a request, or all, with their drivers. Of alternatives only the request that has them is named.
    pub fn devices<'a>(&'a self, request: &'a str) -> impl Iterator<Item = (&'a str, &'a Device)> {
        let base = |name: &str| name.split('/').next() == Some(request);
        let all =
            self.driver_state.iter().flat_map(|(driver, of)| of.devices.iter().map(move |d| (driver.as_str(), d)));
        all.filter(move |(_, device)| {
            let names = &device.request_names;
            request.is_empty() || names.is_empty() || names.iter().any(|name| name == request || base(name))
        })
    }
}

impl State {
    /// What a kubelet before has left.
    pub fn restore(dir: PathBuf) -> Self {
        let claims = read(&dir).unwrap_or_else(|err| {
            tracing::warn!(dir = %dir.display(), %err, "which claims are prepared cannot be read");
            Vec::new()
        });
        Self { dir, claims }
    }

    /// A claim, if something may be prepared of it.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Prepared> {
        self.claims.iter().find(|claim| claim.namespace == namespace && claim.claim_name == name)
    }

    /// The same, to be changed; what came of it has to be kept.
    pub fn get_mut(&mut self, namespace: &str, name: &str) -> Option<&mut Prepared> {
        self.claims.iter_mut().find(|claim| claim.namespace == namespace && claim.claim_name == name)
    }

    /// Adds a claim.
    pub fn add(&mut self, claim: Prepared) {
        self.claims.push(claim);
    }

    /// Forgets a claim.
    pub fn remove(&mut self, namespace: &str, name: &str) {
        self.claims.retain(|claim| claim.namespace != namespace || claim.claim_name != name);
    }

    /// The claims that a pod uses: namespaces and names.
    pub fn of_pod(&self, uid: &str) -> Vec<(String, String)> {
        let used = self.claims.iter().filter(|claim| claim.pod_uids.contains_key(uid));
        used.map(|claim| (claim.namespace.clone(), claim.claim_name.clone())).collect()
    }

    /// The pods that use claims.
    pub fn pods(&self) -> BTreeSet<String> {
        self.claims.iter().flat_map(|claim| claim.pod_uids.keys().cloned()).collect()
    }

    /// Writes the whole file or nothing.
    pub fn keep(&self) -> io::Result<()> {
        let data = json!({
            "kind": "DRACheckpoint",
            "apiVersion": "checkpoint.dra.kubelet.k8s.io/v1",
            "ClaimInfoStateList": self.claims,
        });
        let data = data.to_string();
        let checksum = crc32fast::hash(data.as_bytes());
        fs::create_dir_all(&self.dir)?;
        let draft = self.dir.join(format!(".{FILE}"));
        fs::write(&draft, serde_json::to_vec(&Checkpoint { data, checksum })?)?;
        fs::File::open(&draft)?.sync_all()?;
        fs::rename(draft, self.dir.join(FILE))
    }
}

fn read(dir: &Path) -> io::Result<Vec<Prepared>> {
    let text = match fs::read(dir.join(FILE)) {
        Ok(text) => text,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(err),
    };
    let checkpoint: Checkpoint = serde_json::from_slice(&text)?;
    if checkpoint.checksum != crc32fast::hash(checkpoint.data.as_bytes()) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "checkpoint is corrupted"));
    }
    Ok(serde_json::from_str::<Data>(&checkpoint.data)?.claim_info_state_list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str, requests: &[&str]) -> Device {
        Device {
            pool_name: "p".to_owned(),
            device_name: name.to_owned(),
            request_names: requests.iter().map(|name| (*name).to_owned()).collect(),
            cdi_device_ids: vec![format!("v/c={name}")],
        }
    }

    #[test]
    fn claims_are_found_again_but_have_to_be_prepared_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut state = State::restore(dir.path().to_owned());
        let devices = vec![device("a", &["r"]), device("b", &["s/one"]), device("c", &[])];
        state.add(Prepared {
            claim_uid: "u1".to_owned(),
            claim_name: "c".to_owned(),
            namespace: "default".to_owned(),
            pod_uids: [("p1".to_owned(), Map::new())].into(),
            driver_state: [("d".to_owned(), OfDriver { devices })].into(),
            is_ready: true,
        });
        state.keep().expect("written");
        let state = State::restore(dir.path().to_owned());
        let claim = state.get("default", "c").expect("a claim");
        assert!(!claim.is_ready);
        assert_eq!(claim.cdi_devices("r"), ["v/c=a", "v/c=c"]);
        assert_eq!(claim.cdi_devices("s"), ["v/c=b", "v/c=c"]);
        assert_eq!(claim.cdi_devices("").len(), 3);
        assert_eq!(state.of_pod("p1"), [("default".to_owned(), "c".to_owned())]);
        let file = dir.path().join(FILE);
        let text = fs::read_to_string(&file).expect("read");
        fs::write(&file, text.replace("v/c=a", "v/c=z")).expect("written");
        assert!(State::restore(dir.path().to_owned()).get("default", "c").is_none());
    }
}
