//! A pod's volumes: brought in place before its containers start, kept up to date while they run, removed afterwards.
//!
//! They live in `<pod dir>/volumes/kubernetes.io~<sort>/<name>`. Bringing them in place is idempotent: it is done again
//! whenever the pod or something it refers to changes, and writes only what differs.

mod atomic;
mod certificates;
mod claims;
mod empty_dir;
mod helper;
mod host_path;
mod iscsi;
mod memory;
mod mounts;
mod nested;
mod ownership;
mod payload;
mod persistent;
mod ready;
mod selinux;
mod sorts;
mod subpath;
mod table;
mod tokens;
mod trust_bundles;
mod unmount;
mod usage;
mod work;
mod written;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, Volume};

pub use certificates::PodCertificates;
pub use claims::{Bound, Claims};
pub use empty_dir::size_limit;
pub use helper::{Programs, run as run_program};
pub use mounts::{Sources, asks_for_deep_read_only, container_devices, container_mounts};
pub use ownership::Ownership;
pub use ready::Ready;
pub use selinux::mount_option as selinux_mount_option;
pub use subpath::read_inside;
pub use table::{detach, is_mount_point};
pub use tokens::TokenIssuer;
pub use unmount::{UnmountError, remove_all, unmount};
pub use usage::{Usage, VolumeUsage, is_on_disk, of_pod, on_disk, taken};
pub use work::VolumeWork;
pub use written::write_down;

use crate::context::Context;
use crate::pods::{References, spec};
use sorts::Place;

/// The volumes of a pod that are in place.
#[derive(Clone, Debug, Default)]
pub struct Mounted {
    /// Each of them, by its name.
    pub volumes: BTreeMap<String, InPlace>,
    /// When something in them has to be renewed.
    pub refresh_at: Option<Timestamp>,
    /// Those that could not be brought up to date. What they showed before is still in place.
    pub outdated: Vec<VolumeError>,
}

/// A volume in its place.
#[derive(Clone, Debug)]
pub struct InPlace {
    /// Where it is on the node.
    pub path: PathBuf,
    /// Whether no container may write to it.
    pub read_only: bool,
    /// Whether it is a device.
    pub is_device: bool,
    /// Whether its files are labelled for SELinux by whoever makes containers.
    pub relabel: bool,
}

/// When a volume that could not be brought up to date is tried again, if nothing else gives a reason before.
const RETRY_UPDATE: SignedDuration = SignedDuration::from_secs(60);

/// A volume that cannot be brought in place. The messages are shown to users.
#[derive(Clone, Debug, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume \"{volume}\" : {message}")]
pub struct VolumeError {
    /// The volume's name.
    pub volume: String,
    /// What is wrong.
    pub message: String,
    /// What follows from it.
    pub kind: FaultKind,
}

/// What follows from a volume's not being in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// It is tried again, less and less often.
    Broken,
    /// It is in the API and may be right any moment.
    Waits,
    /// The node has as many volumes as it can have.
    Exhausted,
}

/// Why a volume is not in place: a message for the user, and what follows from it.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What is wrong.
    pub message: String,
    /// What follows from it.
    pub kind: FaultKind,
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self { message, kind: FaultKind::Broken }
    }
}

/// Brings all volumes of a pod in place.
pub async fn mount(context: &Context, pod: &Pod, references: &References) -> Result<Mounted, VolumeError> {
    let mut mounted = Mounted::default();
    for volume in spec::spec(pod).volumes.iter().flatten() {
        // The runtime mounts images by itself.
        if volume.image.is_some() {
            continue;
        }
        let fail = |Fault { message, kind }| VolumeError { volume: volume.name.clone(), message, kind };
        let bound = context.claims.bound(context, pod, volume).await;
        let bound = bound.map_err(|message| fail(Fault { message, kind: FaultKind::Waits }))?;
        let place = sorts::bring(context, pod, volume, bound.as_deref(), references).await.map_err(fail)?;
        let Place { path, read_only, is_device, relabel, .. } = place;
        mounted.volumes.insert(volume.name.clone(), InPlace { path, read_only, is_device, relabel });
        let mut refresh_at = place.refresh_at;
        if let Some(message) = place.outdated {
            mounted.outdated.push(fail(message.into()));
            refresh_at = context.env.now().checked_add(RETRY_UPDATE).ok();
        }
        mounted.refresh_at = [mounted.refresh_at, refresh_at].into_iter().flatten().min();
    }
    Ok(mounted)
}

/// Where a volume of a sort lives.
fn volume_dir(context: &Context, pod: &Pod, sort: &str, volume: &Volume) -> PathBuf {
    context.config.pod_dir(spec::uid(pod)).join("volumes").join(format!("kubernetes.io~{sort}")).join(&volume.name)
}

/// Gives everything below a directory to a group; an error is a message for the user.
pub async fn give_to_group(dir: &Path, ownership: Ownership) -> Result<(), String> {
    let given = dir.to_owned();
    let give = move || ownership::apply(&given, ownership).map_err(|err| err.to_string());
    sorts::blocking(give).await.map_err(|err| format!("applyFSGroup failed for vol {}: {err}", dir.display()))
}

/// The directories of volumes of all pods of which there are any, by the pods' UIDs.
pub fn pod_volumes_dirs(kubelet_dir: &Path) -> Vec<(String, PathBuf)> {
    let pods = std::fs::read_dir(kubelet_dir.join("pods")).into_iter().flatten().flatten();
    pods.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path().join("volumes"))).collect()
}
