//! A volume of a driver: what is to be asked for, and where it goes.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{CSIPersistentVolumeSource, CSIVolumeSource, PersistentVolume, Pod, SecretReference};
use sha2::{Digest, Sha256};

use super::driver::Driver;
use super::messages::{AccessMode, AccessType, BlockVolume, Capability, Mode, MountVolume, Texts, VolumeCapability};
use crate::pods::spec;

/// How a volume comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// Somebody made it before, and it stays.
    Persistent,
    /// It is made for a pod and goes with it.
    Ephemeral,
}

impl Lifecycle {
    /// As in a CSIDriver's `volumeLifecycleModes`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Persistent => "Persistent",
            Self::Ephemeral => "Ephemeral",
        }
    }
}

/// A volume of a driver.
#[derive(Clone, Debug)]
pub struct CsiVolume {
    /// Its name in directories: the PersistentVolume's, or the one in the pod.
    pub name: String,
    /// Its name among the volumes of the pod.
    pub name_in_pod: String,
    /// The driver.
    pub driver: String,
    /// The driver's name for it.
    pub handle: String,
    /// The file system; empty for the driver's choice.
    pub fs_type: String,
    /// What making it said.
    pub attributes: Texts,
    /// Whether nothing is to be written.
    pub read_only: bool,
    /// Who may use it, in the API's words.
    pub access_modes: Vec<String>,
    /// Options of the mount.
    pub mount_options: Vec<String>,
    /// What the driver needs to be let in elsewhere, as references: to stage, to publish, to expand.
    pub secrets: [Option<SecretReference>; 3],
    /// How it comes to be.
    pub lifecycle: Lifecycle,
    /// Whether it is used as a device.
    pub is_block: bool,
}

/// The place of a secret in [`CsiVolume::secrets`].
#[derive(Clone, Copy, Debug)]
pub enum Secret {
    /// For staging.
    Stage,
    /// For publishing.
    Publish,
    /// For expansion.
    Expand,
}

impl CsiVolume {
    /// The volume behind a PersistentVolume.
    pub fn persistent(volume: &PersistentVolume, source: &CSIPersistentVolumeSource, read_only: bool) -> Self {
        let spec = volume.spec.clone().unwrap_or_default();
        Self {
            name: volume.metadata.name.clone().unwrap_or_default(),
            name_in_pod: String::new(),
            driver: source.driver.clone(),
            handle: source.volume_handle.clone(),
            fs_type: source.fs_type.clone().unwrap_or_default(),
            attributes: source.volume_attributes.clone().unwrap_or_default(),
            read_only: read_only || source.read_only == Some(true),
            access_modes: spec.access_modes.unwrap_or_default(),
            mount_options: spec.mount_options.unwrap_or_default(),
            secrets: [
                source.node_stage_secret_ref.clone(),
                source.node_publish_secret_ref.clone(),
                source.node_expand_secret_ref.clone(),
            ],
            lifecycle: Lifecycle::Persistent,
            is_block: spec.volume_mode.as_deref() == Some("Block"),
        }
    }

    /// A volume that is made for a pod.
    pub fn inline(pod: &Pod, name: &str, source: &CSIVolumeSource) -> Self {
        let secret = source.node_publish_secret_ref.as_ref().map(|secret| SecretReference {
            name: Some(secret.name.clone()),
            namespace: Some(spec::namespace(pod).to_owned()),
        });
        Self {
            name: name.to_owned(),
            name_in_pod: name.to_owned(),
            driver: source.driver.clone(),
            handle: format!("csi-{}", hex_digest(&format!("{}{name}", spec::uid(pod)))),
            fs_type: source.fs_type.clone().unwrap_or_default(),
            attributes: source.volume_attributes.clone().unwrap_or_default(),
            read_only: source.read_only == Some(true),
            access_modes: vec!["ReadWriteOnce".to_owned()],
            mount_options: Vec::new(),
            secrets: [None, secret, None],
            lifecycle: Lifecycle::Ephemeral,
            is_block: false,
        }
    }

    /// The reference to a secret.
    pub fn secret(&self, which: Secret) -> Option<&SecretReference> {
        self.secrets[which as usize].as_ref()
    }

    /// Whether only one pod can have it, and it a file system with one label.
    pub fn is_of_one_pod(&self) -> bool {
        self.lifecycle == Lifecycle::Persistent && !self.is_block && self.access_modes == ["ReadWriteOncePod"]
    }

    /// How it is to be used, in the driver's words; with a group that the driver is to give it to.
    pub async fn capability(&self, driver: &Driver, group: Option<i64>) -> Result<VolumeCapability, String> {
        let tells_apart = driver.can(Capability::SingleNodeMultiWriter).await?;
        let mode = match self.access_modes.first().map_or("ReadWriteOnce", String::as_str) {
            "ReadOnlyMany" => Mode::MultiNodeReaderOnly,
            "ReadWriteMany" => Mode::MultiNodeMultiWriter,
            "ReadWriteOncePod" if tells_apart => Mode::SingleNodeSingleWriter,
            "ReadWriteOnce" if tells_apart => Mode::SingleNodeMultiWriter,
            _ => Mode::SingleNodeWriter,
        };
        let access_type = if self.is_block {
            AccessType::Block(BlockVolume {})
        } else {
            AccessType::Mount(MountVolume {
                fs_type: self.fs_type.clone(),
                mount_flags: self.mount_options.clone(),
                volume_mount_group: group.map(|group| group.to_string()).unwrap_or_default(),
            })
        };
        let access_mode = Some(AccessMode { mode: mode as i32 });
        Ok(VolumeCapability { access_type: Some(access_type), access_mode })
    }

    /// Whether the kubelet gives it to the pod's group, by the driver's policy.
    pub fn takes_group(&self, policy: Option<&str>) -> bool {
        if self.read_only || self.is_block {
            return false;
        }
        let once = |mode: &String| mode == "ReadWriteOnce" || mode == "ReadWriteOncePod";
        match policy.unwrap_or("ReadWriteOnceWithFSType") {
            "None" => false,
            "File" => true,
            _ => !self.fs_type.is_empty() && self.access_modes.iter().any(once),
        }
    }
}

/// The directories of drivers' volumes.
pub fn csi_dir(kubelet_dir: &Path) -> PathBuf {
    kubelet_dir.join("plugins/kubernetes.io/csi")
}

/// Where a volume is on the node, and where that is written down.
pub fn staging(kubelet_dir: &Path, driver: &str, handle: &str) -> (PathBuf, PathBuf) {
    let dir = csi_dir(kubelet_dir).join(driver).join(hex_digest(handle));
    (dir.join("globalmount"), dir)
}

fn hex_digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(policy: Option<&str>, fs_type: &str, mode: &str, expected: bool) {
        let source =
            CSIPersistentVolumeSource { fs_type: Some(fs_type.to_owned()), ..CSIPersistentVolumeSource::default() };
        let mut volume = CsiVolume::persistent(&PersistentVolume::default(), &source, false);
        volume.access_modes = vec![mode.to_owned()];
        assert_eq!(volume.takes_group(policy), expected, "{policy:?} {fs_type} {mode}");
        volume.read_only = true;
        assert!(!volume.takes_group(policy), "what is only read stays as it is");
    }

    #[test]
    fn the_drivers_policy_says_who_gives_a_volume_to_the_group() {
        check(None, "ext4", "ReadWriteOnce", true);
        check(None, "ext4", "ReadWriteOncePod", true);
        check(None, "", "ReadWriteOnce", false);
        check(None, "ext4", "ReadWriteMany", false);
        check(Some("File"), "", "ReadWriteMany", true);
        check(Some("None"), "ext4", "ReadWriteOnce", false);
    }
}
