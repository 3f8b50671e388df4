//! How full drivers' volumes are.

use k8s_openapi::api::core::v1::{Pod, Volume};

use super::messages::{Capability, NodeGetVolumeStatsRequest, Unit};
use super::publish::{pod_dir, text};
use super::volume::{CsiVolume, staging};
use crate::context::Context;
use crate::pods::spec;
use crate::volumes::{Bound, Usage};

/// How full a volume is, if it is a driver's that says so.
pub async fn usage(context: &Context, pod: &Pod, volume: &Volume, claim: Option<&Bound>) -> Option<Usage> {
    let csi = match (claim, &volume.csi) {
        (Some(bound), _) => {
            let source = bound.volume.spec.as_ref()?.csi.as_ref()?;
            CsiVolume::persistent(&bound.volume, source, bound.read_only)
        }
        (None, Some(source)) => CsiVolume::inline(pod, &volume.name, source),
        (None, None) => return None,
    };
    let driver = context.csi.get(&csi.driver)?;
    if csi.is_block || !driver.can(Capability::GetVolumeStats).await.ok()? {
        return None;
    }
    let staged = staging(&context.config.kubelet_dir(), &csi.driver, &csi.handle).0;
    let request = NodeGetVolumeStatsRequest {
        volume_id: csi.handle.clone(),
        volume_path: text(&pod_dir(context, spec::uid(pod), &csi.name).join("mount")),
        staging_target_path: if staged.exists() { text(&staged) } else { String::new() },
    };
    let answer = driver.ask(request).await.inspect_err(|err| {
        tracing::debug!(driver = csi.driver, volume = csi.handle, err, "CSI driver does not say how full a volume is");
    });
    let mut usage = Usage::default();
    for one in answer.ok()?.usage {
        let number = |number: i64| u64::try_from(number).ok();
        match Unit::try_from(one.unit) {
            Ok(Unit::Bytes) => {
                (usage.capacity, usage.available, usage.used) =
                    (number(one.total), number(one.available), number(one.used));
            }
            Ok(Unit::Inodes) => {
                (usage.inodes, usage.inodes_free, usage.inodes_used) =
                    (number(one.total), number(one.available), number(one.used));
            }
            _ => {}
        }
    }
    Some(usage)
}
