//! What is written down beside a volume: enough to take it back, whoever asked for it.
//!
//! The file has the name and the fields of upstream's, so that either kubelet can clean up after the other.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::volume::csi_dir;
use crate::volumes::write_down;

/// The file's name.
const FILE: &str = "vol_data.json";

/// A volume that a driver was or will be asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Record {
    /// The driver.
    pub driver_name: String,
    /// The driver's name for the volume.
    pub volume_handle: String,
    /// The volume's name in directories: the PersistentVolume's, or the one in the pod.
    #[serde(rename = "specVolID")]
    pub spec_vol_id: String,
    /// The node.
    pub node_name: String,
    /// The VolumeAttachment; empty for volumes that need none.
    #[serde(rename = "attachmentID")]
    pub attachment_id: String,
    /// `Persistent` or `Ephemeral`.
    pub volume_lifecycle_mode: String,
    /// `Filesystem` or `Block`.
    pub volume_mode: String,
}

impl Record {
    /// What is written in a directory; `None` where there is nothing, `InvalidData` where it is damaged.
    pub fn read(dir: &Path) -> io::Result<Option<Self>> {
        let text = match fs::read(dir.join(FILE)) {
            Ok(text) => text,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(err),
        };
        serde_json::from_slice(&text).map(Some).map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))
    }

    /// Writes it into a directory, which is made if it is not there.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        write_down(dir, FILE, &serde_json::to_vec(self).map_err(io::Error::other)?)
    }

    /// Removes it with its directory, in which nothing else may be left.
    pub fn remove(dir: &Path) -> io::Result<()> {
        for path in [dir.join(FILE), dir.join(".vol_data.json")] {
            ignore_missing(fs::remove_file(path))?;
        }
        ignore_missing(fs::remove_dir(dir))
    }

    /// The records in the directories below one; `None` for one that is damaged.
    pub fn below(dir: &Path) -> io::Result<Vec<(PathBuf, Option<Self>)>> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(err) => return Err(err),
        };
        let mut records = Vec::new();
        for entry in entries {
            let path = entry?.path();
            match Self::read(&path) {
                Ok(None) => {}
                Ok(Some(record)) => records.push((path, Some(record))),
                Err(err) if err.kind() == io::ErrorKind::InvalidData => records.push((path, None)),
                Err(err) => return Err(err),
            }
        }
        records.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(records)
    }
}

/// The record of a pod's volume that is damaged beside the pod, as it stands where the volume is staged.
pub fn recover(kubelet_dir: &Path, dir: &Path) -> Option<Record> {
    let name = dir.file_name()?.to_str()?;
    let drivers = fs::read_dir(csi_dir(kubelet_dir)).into_iter().flatten().flatten();
    let mut staged = drivers.flat_map(|driver| Record::below(&driver.path()).unwrap_or_default());
    staged.find_map(|(_, record)| record.filter(|record| record.spec_vol_id == name))
}

/// What is not there needs no removal.
pub fn ignore_missing(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_in_upstreams_words() {
        let dir = tempfile::tempdir().expect("a directory");
        let record = Record {
            driver_name: "d".to_owned(),
            volume_handle: "h".to_owned(),
            spec_vol_id: "pv".to_owned(),
            attachment_id: "csi-1".to_owned(),
            ..Record::default()
        };
        let place = dir.path().join("pv");
        record.write(&place).expect("written");
        assert_eq!(Record::below(dir.path()).expect("read"), [(place.clone(), Some(record))]);
        let text = fs::read_to_string(place.join(FILE)).expect("read");
        for part in
            ["\"driverName\":\"d\"", "\"volumeHandle\":\"h\"", "\"specVolID\":\"pv\"", "\"attachmentID\":\"csi-1\""]
        {
            assert!(text.contains(part), "{text}");
        }
        Record::remove(&place).expect("removed");
        assert_eq!(Record::below(dir.path()).expect("read"), []);
        assert_eq!(Record::below(&place).expect("nothing"), []);
    }
}
