//! A disk behind iSCSI: how it is reached, where it is on the node for all pods, and what is written down there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{ISCSIPersistentVolumeSource, ISCSIVolumeSource, SecretReference};
use serde::{Deserialize, Serialize};

use super::super::written::write_down;

/// The file beside a disk, with the name and the fields of upstream's, so that either kubelet can clean up after the
/// other.
const FILE: &str = "iscsi.json";

/// The port of portals that name none.
const PORT: u16 = 3260;

/// What of a disk is needed to let go of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Disk {
    /// The volume's name.
    pub vol_name: String,
    /// The target's addresses; more than one where paths are many.
    pub portals: Vec<String>,
    /// The target.
    pub iqn: String,
    /// The disk of the target.
    pub lun: String,
    /// The interface of open-iscsi that the volume names.
    pub init_iface: String,
    /// The one that is used: that, or one that is made after it.
    pub iface: String,
    /// The name by which the node calls itself, if the volume says so.
    pub initiator_name: String,
}

/// How a disk is to be used.
#[derive(Clone, Debug, Default)]
pub struct Use {
    /// The file system.
    pub fs_type: String,
    /// Whether the pod may only read.
    pub read_only: bool,
    /// Options of the mount.
    pub options: Vec<String>,
    /// Whether the pod has it as a device.
    pub is_block: bool,
    /// Whether looking for the target needs a password.
    pub chap_discovery: bool,
    /// Whether logging in to the target does.
    pub chap_session: bool,
    /// The passwords.
    pub secret: Option<SecretReference>,
}

impl Disk {
    /// The disk of a persistent volume.
    pub fn persistent(name: &str, source: &ISCSIPersistentVolumeSource) -> (Self, Use) {
        let mut portals = vec![with_port(&source.target_portal)];
        for portal in source.portals.iter().flatten().map(|portal| with_port(portal)) {
            if !portals.contains(&portal) {
                portals.push(portal);
            }
        }
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let init_iface = source.iscsi_interface.clone().filter(|name| !name.is_empty());
        let init_iface = init_iface.unwrap_or_else(|| "default".to_owned());
        let initiator_name = text(&source.initiator_name);
        let iface = if initiator_name.is_empty() { init_iface.clone() } else { format!("{}:{name}", portals[0]) };
        let disk = Self {
            vol_name: name.to_owned(),
            portals,
            iqn: source.iqn.clone(),
            lun: source.lun.to_string(),
            init_iface,
            iface,
            initiator_name,
        };
        let used = Use {
            fs_type: text(&source.fs_type),
            read_only: source.read_only == Some(true),
            chap_discovery: source.chap_auth_discovery == Some(true),
            chap_session: source.chap_auth_session == Some(true),
            secret: source.secret_ref.clone(),
            ..Use::default()
        };
        (disk, used)
    }

    /// The disk that a pod itself names.
    pub fn inline(name: &str, source: &ISCSIVolumeSource) -> (Self, Use) {
        let secret = source.secret_ref.as_ref();
        let source = ISCSIPersistentVolumeSource {
            chap_auth_discovery: source.chap_auth_discovery,
            chap_auth_session: source.chap_auth_session,
            fs_type: source.fs_type.clone(),
            initiator_name: source.initiator_name.clone(),
            iqn: source.iqn.clone(),
            iscsi_interface: source.iscsi_interface.clone(),
            lun: source.lun,
            portals: source.portals.clone(),
            read_only: source.read_only,
            secret_ref: secret.map(|secret| SecretReference { name: Some(secret.name.clone()), namespace: None }),
            target_portal: source.target_portal.clone(),
        };
        Self::persistent(name, &source)
    }

    /// The directory of the disk: where it is mounted for all pods, or as a device what is written down of it.
    pub fn dir(&self, kubelet_dir: &Path, is_block: bool) -> PathBuf {
        let name = format!("{}-{}-lun-{}", self.portals[0], self.iqn, self.lun);
        dirs(kubelet_dir)[usize::from(is_block)].join(format!("iface-{}", self.iface)).join(name)
    }

    /// Whether the node called itself by another name for this disk alone.
    pub fn has_own_iface(&self) -> bool {
        !self.initiator_name.is_empty() && self.iface != self.init_iface
    }

    /// Writes it into its directory, which is made if it is not there. What is mounted there later hides it.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        write_down(dir, FILE, &serde_json::to_vec(self).map_err(io::Error::other)?)
    }

    /// What a directory is named after: as much as can be known where what is written in it is damaged.
    fn named(dir: &Path) -> Option<Self> {
        let (name, iface) = (dir.file_name()?.to_str()?, dir.parent()?.file_name()?.to_str()?);
        tracing::warn!(dir = %dir.display(), "what is written down of an iSCSI disk is damaged");
        let (target, lun) = name.rsplit_once("-lun-")?;
        let iqn = target_of(dir)?;
        let portal = target.strip_suffix(&iqn)?.strip_suffix('-')?;
        let iface = iface.strip_prefix("iface-")?.to_owned();
        let portals = vec![portal.to_owned()];
        Some(Self { portals, iqn, lun: lun.to_owned(), init_iface: iface.clone(), iface, ..Self::default() })
    }

    /// What is written in a directory, on which nothing is mounted; `None` where there is nothing.
    pub fn read(dir: &Path) -> io::Result<Option<Self>> {
        match fs::read(dir.join(FILE)) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok().or_else(|| Self::named(dir))),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// Removes a disk's directory, in which nothing else may be left.
    pub fn remove(dir: &Path) -> io::Result<()> {
        for name in [".iscsi.json", FILE] {
            match fs::remove_file(dir.join(name)) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
                _ => {}
            }
        }
        fs::remove_dir(dir)?;
        // That of the interface goes with the last disk.
        let _ = dir.parent().map(fs::remove_dir);
        Ok(())
    }
}

/// Where disks are, those that are mounted and those that are devices.
fn dirs(kubelet_dir: &Path) -> [PathBuf; 2] {
    let dir = kubelet_dir.join("plugins/kubernetes.io/iscsi");
    [dir.clone(), dir.join("volumeDevices")]
}

/// The directories of all disks of the node, and whether each is a device.
pub fn all(kubelet_dir: &Path) -> Vec<(PathBuf, bool)> {
    let below = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found = Vec::new();
    for (dir, is_block) in dirs(kubelet_dir).iter().zip([false, true]) {
        let is_iface =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("iface-"));
        found.extend(below(dir).filter(is_iface).flat_map(|iface| below(&iface)).map(|disk| (disk, is_block)));
    }
    found
}

/// The target of a disk's directory, by the directory's name.
pub fn target_of(dir: &Path) -> Option<String> {
    let name = dir.file_name()?.to_str()?;
    let (target, _) = name.rsplit_once("-lun-")?;
    let start = ["-iqn.", "-eui.", "-naa."].iter().find_map(|sort| target.find(sort))?;
    Some(target[start + 1..].to_owned())
}

fn with_port(portal: &str) -> String {
    if portal.contains(':') { portal.to_owned() } else { format!("{portal}:{PORT}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(initiator_name: Option<&str>) -> Disk {
        let source = ISCSIPersistentVolumeSource {
            target_portal: "10.0.0.1".to_owned(),
            portals: Some(vec!["10.0.0.1:3260".to_owned(), "10.0.0.2:3261".to_owned()]),
            iqn: "iqn.2026-01.com.example:disks".to_owned(),
            lun: 7,
            initiator_name: initiator_name.map(str::to_owned),
            ..ISCSIPersistentVolumeSource::default()
        };
        Disk::persistent("pv", &source).0
    }

    #[test]
    fn a_disk_has_the_directory_and_the_words_of_upstream() {
        let plain = disk(None);
        assert_eq!(plain.portals, ["10.0.0.1:3260", "10.0.0.2:3261"], "each once");
        let dir = tempfile::tempdir().expect("a directory");
        let place = plain.dir(dir.path(), false);
        let below = "plugins/kubernetes.io/iscsi/iface-default/10.0.0.1:3260-iqn.2026-01.com.example:disks-lun-7";
        assert_eq!(place, dir.path().join(below));
        plain.write(&place).expect("written");
        let text = fs::read_to_string(place.join(FILE)).expect("read");
        for part in ["\"VolName\":\"pv\"", "\"Lun\":\"7\"", "\"InitIface\":\"default\"", "\"InitiatorName\":\"\""] {
            assert!(text.contains(part), "{text}");
        }
        let own = disk(Some("iqn.2026-01.com.example:node"));
        assert!(own.has_own_iface() && !plain.has_own_iface());
        let device = own.dir(dir.path(), true);
        assert!(
            device.starts_with(dir.path().join("plugins/kubernetes.io/iscsi/volumeDevices/iface-10.0.0.1:3260:pv"))
        );
        own.write(&device).expect("written");
        assert_eq!(all(dir.path()), [(place.clone(), false), (device.clone(), true)]);
        assert_eq!(Disk::read(&device).expect("read"), Some(own));
        for place in [place, device] {
            Disk::remove(&place).expect("removed");
        }
        assert_eq!(all(dir.path()), []);
    }

    #[test]
    fn a_disk_whose_record_is_damaged_is_known_by_its_directory() {
        let dir = tempfile::tempdir().expect("a directory");
        let own = disk(Some("iqn.2026-01.com.example:node"));
        let place = own.dir(dir.path(), false);
        own.write(&place).expect("written");
        fs::write(place.join(FILE), "").expect("damaged");
        let found = Disk::read(&place).expect("read").expect("a disk");
        assert_eq!((&found.portals, &found.iqn, &found.lun), (&vec!["10.0.0.1:3260".to_owned()], &own.iqn, &own.lun));
        assert_eq!((found.iface, found.initiator_name), (own.iface, String::new()));
    }
}
