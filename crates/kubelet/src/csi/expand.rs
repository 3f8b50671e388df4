//! Makes the file system of a volume that has grown as large as the volume.

use api::quantity::Quantity;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::messages::{Capability, CapacityRange, NodeExpandVolumeRequest};
use super::publish::{read_secret, text};
use super::volume::{CsiVolume, Secret, staging};
use crate::context::Context;

/// Expands a published volume if its claim does not have all of it yet; true where it did. An error is a message for
/// the user.
pub async fn expand(
    context: &Context,
    claim: &PersistentVolumeClaim,
    of: &PersistentVolume,
    volume: &CsiVolume,
    target: &std::path::Path,
) -> Result<bool, String> {
    let Some(wanted) = growth(claim, of).filter(|_| !volume.read_only) else { return Ok(false) };
    let driver = context.csi.wait(&volume.driver).await?;
    if driver.can(Capability::ExpandVolume).await? {
        let staged = match driver.can(Capability::StageUnstageVolume).await? {
            true => text(&staging(&context.config.kubelet_dir(), &volume.driver, &volume.handle).0),
            false => String::new(),
        };
        let request = NodeExpandVolumeRequest {
            volume_id: volume.handle.clone(),
            volume_path: text(target),
            capacity_range: Some(CapacityRange { required_bytes: wanted.value(), limit_bytes: 0 }),
            staging_target_path: staged,
            volume_capability: Some(volume.capability(&driver, None).await?),
            secrets: read_secret(context, volume, Secret::Expand).await?,
        };
        driver.act(request).await.map_err(|err| format!("NodeExpandVolume failed: {err}"))?;
    }
    note(context, claim, wanted).await.map_err(|err| format!("error updating pvc status: {err}"))?;
    Ok(true)
}

/// The capacity of a volume, if its claim has less.
fn growth(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Option<Quantity> {
    let has = claim.status.as_ref()?.capacity.as_ref()?.get("storage")?;
    let wanted = volume.spec.as_ref()?.capacity.as_ref()?.get("storage")?;
    let (has, wanted) = (Quantity::parse(&has.0).ok()?, Quantity::parse(&wanted.0).ok()?);
    (wanted.value() > has.value()).then_some(wanted)
}

/// Says in the claim's status that it has all of its volume.
async fn note(context: &Context, claim: &PersistentVolumeClaim, capacity: Quantity) -> Result<(), kube::Error> {
    let status = claim.status.clone().unwrap_or_default();
    let resizing = ["Resizing", "FileSystemResizePending", "NodeResizeError", "NodeExpandError"];
    let conditions: Vec<_> = (status.conditions.into_iter().flatten())
        .filter(|condition| !resizing.contains(&condition.type_.as_str()))
        .collect();
    let body = json!({
        "metadata": {"uid": claim.metadata.uid},
        "status": {
            "capacity": {"storage": capacity.to_k8s()},
            "conditions": conditions,
            "allocatedResourceStatuses": {"storage": null},
        },
    });
    let namespace = claim.metadata.namespace.clone().unwrap_or_default();
    let name = claim.metadata.name.clone().unwrap_or_default();
    let api: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), &namespace);
    api.patch_status(&name, &PatchParams::default(), &Patch::Merge(body)).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[track_caller]
    fn check(claim: Value, volume: Value, expected: Option<i64>) {
        let claim = serde_json::from_value(json!({"status": claim})).expect("a claim");
        let volume = serde_json::from_value(json!({"spec": volume})).expect("a volume");
        assert_eq!(growth(&claim, &volume).map(Quantity::value), expected);
    }

    #[test]
    fn a_volume_grows_where_its_claim_has_less_of_it() {
        let of = |size: &str| json!({"capacity": {"storage": size}});
        check(of("1Gi"), of("1Gi"), None);
        check(of("1Gi"), of("2Gi"), Some(2 << 30));
        check(of("2Gi"), of("1Gi"), None);
        check(json!({}), of("1Gi"), None);
    }
}
