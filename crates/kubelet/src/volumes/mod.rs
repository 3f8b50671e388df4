//! A pod's volumes: brought in place before its containers start, kept up to date while they run, removed afterwards.
//!
//! They live in `<pod dir>/volumes/kubernetes.io~<sort>/<name>`. Bringing them in place is idempotent: it is done again
//! whenever the pod or something it refers to changes, and writes only what differs.

mod atomic;
mod empty_dir;
mod host_path;
mod mounts;
mod ownership;
mod payload;
mod sorts;
mod subpath;
mod table;
mod tokens;
mod unmount;

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, Volume};

pub use mounts::container_mounts;
pub use tokens::TokenIssuer;
pub use unmount::{UnmountError, remove_mounted, unmount};

use crate::context::Context;
use crate::pods::{References, spec};

/// The volumes of a pod that are in place.
#[derive(Clone, Debug, Default)]
pub struct Mounted {
    /// Where each volume is on the node.
    pub paths: BTreeMap<String, PathBuf>,
    /// When something in them has to be renewed.
    pub refresh_at: Option<Timestamp>,
    /// Those that could not be brought up to date. What they showed before is still in place.
    pub outdated: Vec<VolumeError>,
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
}

/// Brings all volumes of a pod in place.
pub async fn mount(context: &Context, pod: &Pod, references: &References) -> Result<Mounted, VolumeError> {
    let mut mounted = Mounted::default();
    for volume in spec::spec(pod).volumes.iter().flatten() {
        let fail = |message| VolumeError { volume: volume.name.clone(), message };
        let place = sorts::bring(context, pod, volume, references).await.map_err(fail)?;
        mounted.paths.insert(volume.name.clone(), place.path);
        let mut refresh_at = place.refresh_at;
        if let Some(message) = place.outdated {
            mounted.outdated.push(fail(message));
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
