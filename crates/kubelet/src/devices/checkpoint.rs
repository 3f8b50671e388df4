//! Who has which devices, on disk: a kubelet that starts anew finds what the one before has given.
//!
//! The file has upstream's name and shape. Its checksum is over the data as written here; upstream's is over a text
//! that Go makes of its structures.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use plugin_api::device_plugin::ContainerAllocateResponse;
use prost::Message;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::ledger::{Granted, Ledger};

/// The file below the directory of device plugins.
pub const FILE: &str = "kubelet_internal_checkpoint";
/// Stands in the place of a NUMA node for devices that are near to none.
const NOWHERE: i64 = -1;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Checkpoint {
    data: Box<RawValue>,
    checksum: u32,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Data {
    pod_device_entries: Vec<Entry>,
    registered_devices: BTreeMap<String, Vec<String>>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Entry {
    #[serde(rename = "PodUID")]
    pod_uid: String,
    container_name: String,
    resource_name: String,
    /// By NUMA node.
    #[serde(rename = "DeviceIDs")]
    device_ids: BTreeMap<i64, Vec<String>>,
    /// The plugin's answer on the wire, in base64.
    alloc_resp: String,
}

/// 32 bits of FNV-1a.
fn checksum(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

fn entry(uid: &str, container: &str, resource: &str, granted: &Granted) -> Entry {
    let mut device_ids = BTreeMap::<i64, Vec<String>>::new();
    for (id, nodes) in &granted.devices {
        let nowhere = nodes.is_empty().then_some(&NOWHERE);
        for node in nodes.iter().chain(nowhere) {
            device_ids.entry(*node).or_default().push(id.clone());
        }
    }
    Entry {
        pod_uid: uid.to_owned(),
        container_name: container.to_owned(),
        resource_name: resource.to_owned(),
        device_ids,
        alloc_resp: STANDARD.encode(granted.answer.encode_to_vec()),
    }
}

/// The text of a checkpoint.
pub fn encode(ledger: &Ledger) -> io::Result<String> {
    let mut data = Data::default();
    for (uid, containers) in &ledger.granted {
        for (container, resources) in containers {
            let entries = resources.iter().map(|(resource, granted)| entry(uid, container, resource, granted));
            data.pod_device_entries.extend(entries);
        }
    }
    let ids = ledger.resources.iter().map(|(name, resource)| (name.clone(), resource.healthy().into_iter().collect()));
    data.registered_devices = ids.collect();
    let data = serde_json::value::to_raw_value(&data)?;
    let checksum = checksum(data.get());
    Ok(serde_json::to_string(&Checkpoint { data, checksum })?)
}

/// What a checkpoint says: the ledger of what was given, and the resources that had plugins.
pub fn decode(text: &str) -> io::Result<(Ledger, Vec<String>)> {
    let checkpoint: Checkpoint = serde_json::from_str(text)?;
    if checkpoint.checksum != checksum(checkpoint.data.get()) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "checkpoint is corrupted"));
    }
    let data: Data = serde_json::from_str(checkpoint.data.get())?;
    let mut ledger = Ledger::default();
    for entry in data.pod_device_entries {
        let answer = STANDARD.decode(&entry.alloc_resp).map_err(io::Error::other)?;
        let answer = ContainerAllocateResponse::decode(answer.as_slice()).map_err(io::Error::other)?;
        let mut granted = Granted { answer, ..Granted::default() };
        for (node, ids) in entry.device_ids {
            for id in ids {
                let nodes = granted.devices.entry(id).or_default();
                nodes.extend(Some(node).filter(|node| *node != NOWHERE));
            }
        }
        ledger.grant((&entry.pod_uid, &entry.container_name), &entry.resource_name, granted);
    }
    Ok((ledger, data.registered_devices.into_keys().collect()))
}

/// Reads the checkpoint of a directory; `None` where there is none.
pub fn read(dir: &Path) -> io::Result<Option<(Ledger, Vec<String>)>> {
    match fs::read_to_string(dir.join(FILE)) {
        Ok(text) => decode(&text).map(Some),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

/// Writes the whole checkpoint or nothing.
pub fn write(dir: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let draft = dir.join(format!(".{FILE}"));
    fs::write(&draft, text)?;
    fs::File::open(&draft)?.sync_all()?;
    fs::rename(draft, dir.join(FILE))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use plugin_api::device_plugin::DeviceSpec;

    use super::*;

    #[test]
    fn what_was_given_is_found_again_and_damage_is_noticed() {
        let mut ledger = Ledger::default();
        ledger.restore("example.com/foo", Timestamp::UNIX_EPOCH);
        let devices = [("a".to_owned(), [0, 1].into()), ("b".to_owned(), [].into())].into();
        let spec = DeviceSpec { host_path: "/dev/a".to_owned(), ..DeviceSpec::default() };
        let answer = ContainerAllocateResponse { devices: vec![spec], ..ContainerAllocateResponse::default() };
        ledger.grant(("u1", "main"), "example.com/foo", Granted { devices, answer });
        let text = encode(&ledger).expect("written");
        for part in [r#""PodUID":"u1""#, r#""DeviceIDs":{"-1":["b"],"0":["a"],"1":["a"]}"#, r#""Checksum":"#] {
            assert!(text.contains(part), "{text}");
        }
        let (read, resources) = decode(&text).expect("read");
        assert_eq!((read.granted, resources), (ledger.granted, vec!["example.com/foo".to_owned()]));
        assert!(decode(&text.replace("main", "mane")).is_err());
    }
}
