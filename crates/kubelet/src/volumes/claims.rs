//! The PersistentVolumeClaims of pods: read, checked, and led to their volumes.
//!
//! A kubelet may read single claims and volumes and not watch them, so that what was read is kept for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use kube::Api;

use super::pod_volumes_dirs;
use crate::context::Context;
use crate::pods::{matches_node, spec};

/// How long what was read is taken as true: a claim that grows is noticed so late at most.
pub const KEEP: SignedDuration = SignedDuration::from_secs(60);

/// A claim with its volume.
#[derive(Debug)]
pub struct Bound {
    /// The claim.
    pub claim: PersistentVolumeClaim,
    /// The volume that it is bound to.
    pub volume: PersistentVolume,
    /// Whether the pod may only read.
    pub read_only: bool,
}

impl Bound {
    /// The volume's name.
    pub fn name(&self) -> &str {
        self.volume.metadata.name.as_deref().unwrap_or_default()
    }

    /// Whether the pod has it as a device.
    pub fn is_block(&self) -> bool {
        self.volume.spec.as_ref().and_then(|spec| spec.volume_mode.as_deref()) == Some("Block")
    }
}

/// What was read of claims, by pod and volume.
#[derive(Default)]
pub struct Claims(Mutex<Kept>);

/// Claims as they were read, with the time.
type Kept = HashMap<(String, String), (Arc<Bound>, Timestamp)>;

impl Claims {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the claims of a pod that is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().retain(|(of, _), _| of != uid);
    }

    /// Has one claim of a pod read anew.
    pub fn outdate(&self, uid: &str, volume: &str) {
        self.lock().remove(&(uid.to_owned(), volume.to_owned()));
    }

    /// The claim of a pod's volume as it was last read.
    pub fn kept(&self, uid: &str, volume: &str) -> Option<Arc<Bound>> {
        let kept = self.lock();
        kept.get(&(uid.to_owned(), volume.to_owned())).map(|(bound, _)| Arc::clone(bound))
    }

    /// The claim of a pod's volume, if it is one, with its volume. An error is a message for the user.
    pub async fn bound(&self, context: &Context, pod: &Pod, volume: &Volume) -> Result<Option<Arc<Bound>>, String> {
        let Some((name, read_only)) = claim_of(pod, volume) else { return Ok(None) };
        let key = (spec::uid(pod).to_owned(), volume.name.clone());
        let now = context.env.now();
        let kept = self.lock().get(&key).cloned();
        if let Some((bound, at)) = &kept
            && now.duration_since(*at) < KEEP
        {
            return Ok(Some(Arc::clone(bound)));
        }
        match read(context, pod, volume, &name, read_only).await {
            Ok(bound) => {
                let bound = Arc::new(bound);
                self.lock().insert(key, (Arc::clone(&bound), now));
                Ok(Some(bound))
            }
            // What was once bound stays with the pod, whatever becomes of the claim.
            Err(err) => kept.map(|(bound, _)| Some(bound)).ok_or(err),
        }
    }
}

/// The name of a volume's claim, and whether the pod may only read.
fn claim_of(pod: &Pod, volume: &Volume) -> Option<(String, bool)> {
    if let Some(source) = &volume.persistent_volume_claim {
        return Some((source.claim_name.clone(), source.read_only == Some(true)));
    }
    volume.ephemeral.as_ref().map(|_| (format!("{}-{}", spec::name(pod), volume.name), false))
}

async fn read(context: &Context, pod: &Pod, volume: &Volume, name: &str, read_only: bool) -> Result<Bound, String> {
    let namespace = spec::namespace(pod);
    let fail = |what: String| format!("error processing PVC {namespace}/{name}: {what}");
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), namespace);
    let claim = claims.get(name).await;
    let claim = claim.map_err(|err| fail(format!("failed to fetch PVC from API server: {}", message(&err))))?;
    if volume.ephemeral.is_some() && !is_owned(&claim, pod) {
        let pod = spec::name(pod);
        return Err(format!("PVC {namespace}/{name} was not created for pod {namespace}/{pod} (pod is not owner)"));
    }
    if claim.metadata.deletion_timestamp.is_some() {
        return Err(fail("PVC is being deleted".to_owned()));
    }
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    let volume_name = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default();
    if phase != "Bound" || volume_name.is_empty() {
        return Err(fail("PVC is not bound".to_owned()));
    }
    let found = Api::<PersistentVolume>::all(context.client.clone()).get(volume_name).await;
    let found =
        found.map_err(|err| fail(format!("failed to get PV {volume_name} from API server: {}", message(&err))))?;
    let bound = Bound { claim, volume: found, read_only };
    check(context, pod, volume, &bound)?;
    Ok(bound)
}

fn message(err: &kube::Error) -> String {
    match err {
        kube::Error::Api(status) => status.message.clone(),
        err => err.to_string(),
    }
}

fn is_owned(claim: &PersistentVolumeClaim, pod: &Pod) -> bool {
    let mut owners = claim.metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true) && owner.uid == spec::uid(pod))
}

/// Whether the pod may have the volume; an error is a message for the user.
fn check(context: &Context, pod: &Pod, volume: &Volume, bound: &Bound) -> Result<(), String> {
    let name = bound.volume.metadata.name.as_deref().unwrap_or_default();
    let volume_spec = bound.volume.spec.clone().unwrap_or_default();
    let uid = volume_spec.claim_ref.and_then(|claim| claim.uid);
    if uid != bound.claim.metadata.uid {
        let (is, expected) = (uid.unwrap_or_default(), bound.claim.metadata.uid.clone().unwrap_or_default());
        return Err(format!("PV {name} spec.claimRef.uid {is} does not match pvc.UID {expected}"));
    }
    check_use(pod, volume, bound.is_block())?;
    let modes = volume_spec.access_modes.unwrap_or_default();
    if modes.iter().any(|mode| mode == "ReadWriteOncePod") && is_elsewhere(context, pod, name) {
        let message = "volume uses the ReadWriteOncePod access mode and is already in use by another pod";
        return Err(message.to_owned());
    }
    let required = volume_spec.node_affinity.and_then(|affinity| affinity.required);
    let node = context.node.lister().get(None, &context.config.node_name);
    if let (Some(required), Some(node)) = (required, node)
        && !matches_node(&required, &node)
    {
        return Err("MountVolume.NodeAffinity check failed: no matching NodeSelectorTerms".to_owned());
    }
    Ok(())
}

/// A volume is a device or a directory for all containers.
fn check_use(pod: &Pod, volume: &Volume, is_block: bool) -> Result<(), String> {
    let all = spec::all_containers(pod);
    let mounted = all.iter().flat_map(|one| one.volume_mounts.iter().flatten()).any(|one| one.name == volume.name);
    let as_device = all.iter().flat_map(|one| one.volume_devices.iter().flatten()).any(|one| one.name == volume.name);
    match (is_block, mounted, as_device) {
        (true, true, _) => {
            Err(format!("volume {} has volumeMode Block, but is specified in volumeMounts", volume.name))
        }
        (false, _, true) => {
            Err(format!("volume {} has volumeMode Filesystem, but is specified in volumeDevices", volume.name))
        }
        _ => Ok(()),
    }
}

/// The directories of volumes that may be behind claims.
const OF_CLAIMS: [&str; 4] = ["csi", "local-volume", "nfs", "iscsi"];

/// Whether another pod of this node has a volume.
fn is_elsewhere(context: &Context, pod: &Pod, volume: &str) -> bool {
    let others = pod_volumes_dirs(&context.config.kubelet_dir()).into_iter().filter(|(uid, _)| uid != spec::uid(pod));
    let mut places = others.flat_map(|(_, dir)| OF_CLAIMS.map(|sort| dir.join(format!("kubernetes.io~{sort}"))));
    places.any(|sort| sort.join(volume).exists())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Container, VolumeDevice, VolumeMount};
    use testkit::pod;

    use super::*;

    #[track_caller]
    fn check(is_block: bool, container: Container, expected: Option<&str>) {
        let pod = pod("web").with(|pod| pod.spec.as_mut().expect("a specification").containers = vec![container]);
        let volume = Volume { name: "v".to_owned(), ..Volume::default() };
        let outcome = check_use(&pod.build(), &volume, is_block);
        match expected {
            None => assert_eq!(outcome, Ok(())),
            Some(part) => assert!(outcome.as_ref().is_err_and(|err| err.contains(part)), "{outcome:?}"),
        }
    }

    #[test]
    fn a_device_is_not_mounted_and_a_file_system_is_no_device() {
        let mounts = || Container {
            volume_mounts: Some(vec![VolumeMount { name: "v".to_owned(), ..VolumeMount::default() }]),
            ..Container::default()
        };
        let devices = || Container {
            volume_devices: Some(vec![VolumeDevice { name: "v".to_owned(), ..VolumeDevice::default() }]),
            ..Container::default()
        };
        check(false, mounts(), None);
        check(true, devices(), None);
        check(true, mounts(), Some("has volumeMode Block"));
        check(false, devices(), Some("has volumeMode Filesystem"));
        check(false, Container::default(), None);
    }
}
