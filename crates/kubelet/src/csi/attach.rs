//! Volumes that a controller attaches to the node before they are mounted, and detaches when nobody uses them.
//!
//! The kubelet says in the node's status which volumes it uses, and mounts none before that is written: a controller
//! that detaches by the status would otherwise take a volume away from under a pod.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::Api;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::limits;
use super::messages::Texts;
use super::record::{Record, recover};
use super::volume::CsiVolume;
use crate::context::Context;
use crate::volumes::{Fault, FaultKind, pod_volumes_dirs};

/// How long one attempt waits for the volume to be attached.
const ATTACHED: Duration = Duration::from_secs(30);
/// The code of gRPC for what is used up, as drivers give it where no more volumes can be attached.
const RESOURCE_EXHAUSTED: i32 = 8;

/// How volumes of drivers are waited for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a pod may wait on a node that has as many volumes of a driver as it can have: others may be leaving.
    pub attach_patience: Duration,
}

impl Default for Settings {
    /// As upstream's kubelet has it.
    fn default() -> Self {
        Self { attach_patience: Duration::from_secs(123) }
    }
}

/// The volumes that have to be attached, by their unique names, each with the pods that use it.
pub struct Attachments {
    used: watch::Sender<BTreeMap<String, BTreeSet<String>>>,
    /// What the node's status says is in use.
    reported: watch::Sender<Vec<String>>,
}

impl Attachments {
    /// What a kubelet that ran here before has written down as in use.
    pub fn restore(kubelet_dir: &Path) -> Self {
        let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (uid, dir) in pod_volumes_dirs(kubelet_dir) {
            let records = Record::below(&dir.join("kubernetes.io~csi")).unwrap_or_default().into_iter();
            for record in records.filter_map(|(dir, record)| record.or_else(|| recover(kubelet_dir, &dir))) {
                if !record.attachment_id.is_empty() {
                    used.entry(unique_name(&record.driver_name, &record.volume_handle))
                        .or_default()
                        .insert(uid.clone());
                }
            }
        }
        Self { used: watch::channel(used).0, reported: watch::channel(Vec::new()).0 }
    }

    /// Takes note that a pod uses a volume.
    pub fn hold(&self, volume: String, uid: &str) {
        self.used.send_if_modified(|used| used.entry(volume).or_default().insert(uid.to_owned()));
    }

    /// Takes note that a pod uses no volumes any more.
    pub fn release(&self, uid: &str) {
        self.used.send_if_modified(|used| {
            let before = used.len();
            used.retain(|_, pods| !pods.remove(uid) || !pods.is_empty());
            used.len() != before
        });
    }

    /// What is in use.
    pub fn in_use(&self) -> Vec<String> {
        self.used.borrow().keys().cloned().collect()
    }

    /// Takes note of what the node's status says.
    pub fn report(&self, in_use: &[String]) {
        self.reported.send_if_modified(|reported| {
            let changed = reported != in_use;
            in_use.clone_into(reported);
            changed
        });
    }

    /// Waits until the node's status has to be written because of what is in use.
    pub async fn unreported(&self) {
        let mut used = self.used.subscribe();
        let is_new = |used: &BTreeMap<String, BTreeSet<String>>| !used.keys().eq(self.reported.borrow().iter());
        // The sender lives as long as `self`, so waiting ends only by the condition.
        let _ = used.wait_for(is_new).await;
    }

    /// Waits until the node's status says that a volume is in use.
    async fn reported(&self, volume: &str) {
        let mut reported = self.reported.subscribe();
        let _ = reported.wait_for(|reported| reported.iter().any(|one| one == volume)).await;
    }
}

/// A volume's name among all that can be attached.
pub fn unique_name(driver: &str, handle: &str) -> String {
    format!("kubernetes.io/csi/{driver}^{handle}")
}

/// The name of the VolumeAttachment of a volume and this node.
pub fn attachment_name(context: &Context, volume: &CsiVolume) -> String {
    let text = format!("{}{}{}", volume.handle, volume.driver, context.config.node_name);
    let digest = Sha256::digest(text.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("csi-{hex}")
}

/// Waits until a volume is attached; what attaching it said.
pub async fn wait(context: &Context, uid: &str, volume: &CsiVolume) -> Result<Texts, Fault> {
    let unique = unique_name(&volume.driver, &volume.handle);
    context.csi.attachments.hold(unique.clone(), uid);
    let attached = async {
        context.csi.attachments.reported(&unique).await;
        let mut changes = context.node.subscribe();
        while !is_attached(context, &unique) {
            changes.next().await;
        }
    };
    let in_time = tokio::time::timeout(ATTACHED, attached).await;
    let name = attachment_name(context, volume);
    let api: Api<VolumeAttachment> = Api::all(context.client.clone());
    let read = |err| format!("volume attachment {name} cannot be read: {err}");
    let attachment = api.get_opt(&name).await.map_err(read)?;
    let status = attachment.and_then(|attachment| attachment.status).unwrap_or_default();
    if let Some(err) = status.attach_error {
        let is_exhausted = err.error_code == Some(RESOURCE_EXHAUSTED);
        if is_exhausted {
            limits::after_failure(context, &volume.driver).await;
        }
        let kind = if is_exhausted { FaultKind::Exhausted } else { FaultKind::Broken };
        let message = format!("volume attachment {name} failed: {}", err.message.unwrap_or_default());
        return Err(Fault { message, kind });
    }
    if in_time.is_err() {
        return Err(format!("volume {unique} is not yet attached to the node according to the node's status").into());
    }
    if !status.attached {
        return Err(format!("volume attachment {name} is not attached yet").into());
    }
    Ok(status.attachment_metadata.unwrap_or_default())
}

fn is_attached(context: &Context, unique: &str) -> bool {
    let node = context.node.lister().get(None, &context.config.node_name);
    let status = node.as_ref().and_then(|node| node.status.as_ref());
    status.is_some_and(|status| status.volumes_attached.iter().flatten().any(|one| one.name == unique))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_volume_is_in_use_as_long_as_a_pod_uses_it_and_counts_once_it_is_reported() {
        let dir = tempfile::tempdir().expect("a directory");
        let record = Record {
            driver_name: "d".to_owned(),
            volume_handle: "1".to_owned(),
            attachment_id: "csi-1".to_owned(),
            ..Record::default()
        };
        record.write(&dir.path().join("pods/a/volumes/kubernetes.io~csi/pv")).expect("written");
        let attachments = Attachments::restore(dir.path());
        assert_eq!(attachments.in_use(), ["kubernetes.io/csi/d^1"]);
        attachments.unreported().await;
        attachments.report(&attachments.in_use());
        attachments.reported("kubernetes.io/csi/d^1").await;
        attachments.hold("kubernetes.io/csi/d^1".to_owned(), "b");
        attachments.release("a");
        assert_eq!(attachments.in_use(), ["kubernetes.io/csi/d^1"]);
        attachments.release("b");
        assert!(attachments.in_use().is_empty());
        attachments.unreported().await;
    }
}
