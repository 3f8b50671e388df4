//! Makes the file system of a volume that has grown as large as the volume, and says in the claim's status how that goes.
//!
//! A controller has the volume grow first; where it says how far it is (`allocatedResourceStatuses`), the node waits for its
//! turn. What this node has expanded already is kept beside that: of a volume that many nodes have, the first one to expand
//! it writes the claim's capacity.
//!
//! Upstream: <https://kubernetes.io/docs/concepts/storage/persistent-volumes/#recovering-from-failure-when-expanding-volumes>.

use std::path::Path;

use api::quantity::Quantity;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::attach::unique_name;
use super::driver::Driver;
use super::messages::{Capability, CapacityRange, NodeExpandVolumeRequest};
use super::publish::{read_secret, text};
use super::volume::{CsiVolume, Secret, staging};
use crate::context::Context;
use crate::plugins::grpc::describe;

const STORAGE: &str = "storage";
/// The condition of a claim whose volume a node could not expand.
const NODE_ERROR: &str = "NodeResizeError";
/// The conditions that are over when a volume is expanded.
const OF_RESIZES: [&str; 4] = ["Resizing", "FileSystemResizePending", "ControllerResizeError", NODE_ERROR];

/// Expands a published volume if this node does not have all of it yet; true where it did. An error is a message for the
/// user.
pub async fn expand(
    context: &Context,
    claim: &PersistentVolumeClaim,
    of: &PersistentVolume,
    volume: &CsiVolume,
    target: &Path,
) -> Result<bool, String> {
    let (Some(has), Some(wanted)) = (capacity(claim), wanted(of)) else { return Ok(false) };
    let unique = unique_name(&volume.driver, &volume.handle);
    if context.csi.size(&unique, has.value()) >= wanted.value() {
        return Ok(false);
    }
    if volume.read_only {
        context.csi.note_size(&unique, wanted.value());
        return Err(format!(
            "MountVolume.NodeExpandVolume failed for volume \"{}\" requested read-only file system",
            volume.name
        ));
    }
    let fail = |err: String| format!("NodeExpandVolume.NodeExpandVolume failed for volume \"{}\" : {err}", volume.name);
    let growth = Growth { context, api: claims(context, claim), volume, target, wanted };
    let claim = growth.api.get(claim.metadata.name.as_deref().unwrap_or_default()).await;
    let claim = claim.map_err(|err| fail(format!("mountVolume.NodeExpandVolume get PVC failed : {err}")))?;
    growth.go_on(claim, &unique).await.map_err(fail)
}

fn capacity(claim: &PersistentVolumeClaim) -> Option<Quantity> {
    Quantity::parse(&claim.status.as_ref()?.capacity.as_ref()?.get(STORAGE)?.0).ok()
}

fn wanted(volume: &PersistentVolume) -> Option<Quantity> {
    Quantity::parse(&volume.spec.as_ref()?.capacity.as_ref()?.get(STORAGE)?.0).ok()
}

fn claims(context: &Context, claim: &PersistentVolumeClaim) -> Api<PersistentVolumeClaim> {
    Api::namespaced(context.client.clone(), claim.metadata.namespace.as_deref().unwrap_or_default())
}

/// Whose turn it is, by a claim's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The node's; the claim says how far a resize is.
    Node,
    /// The node's; its controller does not say how far a resize is.
    NodeUntold,
    /// Nobody's: the claim has the size already, which another node has seen to.
    Done,
    /// The controller's.
    Controller,
}

impl Turn {
    fn of(claim: &PersistentVolumeClaim, wanted: i64) -> Self {
        let status = claim.status.as_ref();
        let state = status.and_then(|status| status.allocated_resource_statuses.as_ref()?.get(STORAGE));
        match state.map(String::as_str) {
            None if capacity(claim).is_some_and(|has| has.value() >= wanted) => Self::Done,
            None if status.is_some_and(|status| status.allocated_resources.is_none()) => Self::NodeUntold,
            Some("NodeResizePending" | "NodeResizeInProgress") => Self::Node,
            _ => Self::Controller,
        }
    }
}

/// A volume that is to be expanded on this node.
struct Growth<'a> {
    context: &'a Context,
    api: Api<PersistentVolumeClaim>,
    volume: &'a CsiVolume,
    target: &'a Path,
    wanted: Quantity,
}

impl Growth<'_> {
    async fn go_on(&self, mut claim: PersistentVolumeClaim, unique: &str) -> Result<bool, String> {
        let turn = Turn::of(&claim, self.wanted.value());
        if turn == Turn::Controller {
            return Ok(false);
        }
        let driver = self.context.csi.wait(&self.volume.driver).await?;
        if turn == Turn::Node {
            let update = |err| format!("MountVolume.NodeExpandVolume failed to mark node expansion in progress: {err}");
            let in_progress = json!({"allocatedResourceStatuses": {STORAGE: "NodeResizeInProgress"}});
            claim = self.update(&claim, in_progress, true).await.map_err(update)?;
        }
        if !driver.can(Capability::ExpandVolume).await? {
            let name = &driver.name;
            match turn {
                Turn::Node => {
                    let err = format!("NodeExpand is not supported by the CSI driver {name}");
                    self.note_failure(&claim, &err, false).await;
                    return Err(err);
                }
                _ => {
                    self.context.csi.note_size(unique, self.wanted.value());
                    return Ok(false);
                }
            }
        }
        if let Err(status) = self.ask(&driver).await? {
            let err = format!("Expander.NodeExpand failed to expand the volume : {}", describe(&status));
            if turn != Turn::NodeUntold && is_final(status.code()) {
                let is_infeasible = is_infeasible(status.code()) || self.is_given_up(&claim);
                self.note_failure(&claim, &err, is_infeasible).await;
            }
            if status.code() == Code::FailedPrecondition {
                // Not while somebody uses it here.
                self.context.csi.note_size(unique, self.wanted.value());
            }
            return Err(err);
        }
        if turn != Turn::Done {
            let update = |err| format!("mountVolume.NodeExpandVolume update pvc status failed: {err}");
            self.update(&claim, finished(&claim, self.wanted), true).await.map_err(update)?;
        }
        self.context.csi.note_size(unique, self.wanted.value());
        Ok(true)
    }

    /// Whether the claim wants another size by now, after a failure: its controller is to try with that.
    fn is_given_up(&self, claim: &PersistentVolumeClaim) -> bool {
        let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
        let wants = resources.and_then(|resources| Quantity::parse(&resources.requests.as_ref()?.get(STORAGE)?.0).ok());
        let wants_other = wants.is_some_and(|wants| wants.value() != self.wanted.value());
        wants_other && !conditions(claim, |kind| kind == NODE_ERROR).is_empty()
    }

    async fn ask(&self, driver: &Driver) -> Result<Result<(), Status>, String> {
        let (context, volume) = (self.context, self.volume);
        let staged = match driver.can(Capability::StageUnstageVolume).await? {
            true => text(&staging(&context.config.kubelet_dir(), &volume.driver, &volume.handle).0),
            false => String::new(),
        };
        let request = NodeExpandVolumeRequest {
            volume_id: volume.handle.clone(),
            volume_path: text(self.target),
            capacity_range: Some(CapacityRange { required_bytes: self.wanted.value(), limit_bytes: 0 }),
            staging_target_path: staged,
            volume_capability: Some(volume.capability(driver, None).await?),
            secrets: read_secret(context, volume, Secret::Expand).await?,
        };
        Ok(driver.try_to(request).await.map(|_| ()))
    }

    /// Says in the claim's status why the driver did not do it.
    async fn note_failure(&self, claim: &PersistentVolumeClaim, err: &str, is_infeasible: bool) {
        let status = failed(claim, err, is_infeasible, self.context.env.now());
        if let Err(err) = self.update(claim, status, false).await {
            tracing::warn!(
                namespace = claim.metadata.namespace,
                name = claim.metadata.name,
                %err,
                "a claim cannot be told that its volume was not expanded"
            );
        }
    }

    /// Changes the claim's status; where that follows from what it was, only if nobody else has changed the claim.
    async fn update(
        &self,
        claim: &PersistentVolumeClaim,
        status: Value,
        is_conditional: bool,
    ) -> Result<PersistentVolumeClaim, kube::Error> {
        let mut metadata = json!({"uid": claim.metadata.uid});
        if is_conditional {
            metadata["resourceVersion"] = json!(claim.metadata.resource_version);
        }
        let body = Patch::Merge(json!({"metadata": metadata, "status": status}));
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        self.api.patch_status(name, &PatchParams::default(), &body).await
    }
}

/// Whether a driver has given up, so that it is known that nothing goes on.
fn is_final(code: Code) -> bool {
    let open = [Code::Cancelled, Code::DeadlineExceeded, Code::Unavailable, Code::ResourceExhausted, Code::Aborted];
    !open.contains(&code)
}

/// Whether it is of no use to ask again.
fn is_infeasible(code: Code) -> bool {
    matches!(code, Code::InvalidArgument | Code::OutOfRange | Code::NotFound)
}

fn conditions(claim: &PersistentVolumeClaim, is_kept: impl Fn(&str) -> bool) -> Vec<Value> {
    let conditions = claim.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.filter(|condition| is_kept(&condition.type_)).map(|condition| json!(condition)).collect()
}

/// The status of a claim that has all of its volume.
fn finished(claim: &PersistentVolumeClaim, capacity: Quantity) -> Value {
    let states = claim.status.as_ref().and_then(|status| status.allocated_resource_statuses.as_ref());
    let others = states.is_some_and(|states| states.keys().any(|name| name != STORAGE));
    json!({
        "capacity": {STORAGE: capacity.to_k8s()},
        "conditions": conditions(claim, |kind| !OF_RESIZES.contains(&kind)),
        "allocatedResourceStatuses": if others { json!({STORAGE: null}) } else { json!(null) },
    })
}

/// The status of a claim whose volume was not expanded.
fn failed(claim: &PersistentVolumeClaim, err: &str, is_infeasible: bool, now: jiff::Timestamp) -> Value {
    let mut status = json!({});
    // A condition that is there says the first reason, and since when.
    if conditions(claim, |kind| kind == NODE_ERROR).iter().all(|condition| condition["status"] != "True") {
        let mut conditions = conditions(claim, |kind| kind != NODE_ERROR);
        conditions.push(json!({
            "type": NODE_ERROR, "status": "True", "message": format!("failed to expand pvc with {err}"),
            "lastTransitionTime": crate::pods::whole_seconds(now).to_string(),
        }));
        status["conditions"] = json!(conditions);
    }
    if is_infeasible {
        status["allocatedResourceStatuses"] = json!({STORAGE: "NodeResizeInfeasible"});
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: Value, expected: Turn) {
        let claim = serde_json::from_value(json!({"status": status})).expect("a claim");
        assert_eq!(Turn::of(&claim, 2 << 30), expected, "{status}");
    }

    #[test]
    fn a_claim_says_whose_turn_it_is() {
        let of = |size: &str, state: Option<&str>| {
            let states = state.map(|state| json!({STORAGE: state}));
            json!({"capacity": {STORAGE: size}, "allocatedResources": {STORAGE: "2Gi"}, "allocatedResourceStatuses": states})
        };
        check(json!({"capacity": {STORAGE: "1Gi"}}), Turn::NodeUntold);
        check(json!({"capacity": {STORAGE: "2Gi"}}), Turn::Done);
        check(of("2Gi", None), Turn::Done);
        check(of("1Gi", None), Turn::Controller);
        check(of("1Gi", Some("NodeResizePending")), Turn::Node);
        check(of("2Gi", Some("NodeResizeInProgress")), Turn::Node);
        for state in ["ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInfeasible"] {
            check(of("1Gi", Some(state)), Turn::Controller);
        }
    }

    #[test]
    fn what_else_a_claim_says_stays() {
        let claim = json!({"status": {
            "conditions": [{"type": "Resizing", "status": "True"}, {"type": "ModifyingVolume", "status": "True"}],
            "allocatedResourceStatuses": {STORAGE: "NodeResizeInProgress", "example.com/other": "NodeResizePending"},
        }});
        let claim = serde_json::from_value(claim).expect("a claim");
        let status = finished(&claim, Quantity::parse("2Gi").expect("a quantity"));
        assert_eq!(
            status,
            json!({
                "capacity": {STORAGE: "2Gi"}, "conditions": [{"type": "ModifyingVolume", "status": "True"}],
                "allocatedResourceStatuses": {STORAGE: null},
            })
        );
    }
}
