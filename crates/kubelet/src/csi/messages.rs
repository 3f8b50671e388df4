//! The methods of CSI's `csi.v1.Node` that the kubelet calls.

pub use plugin_api::csi::node_service_capability::Type as ServiceCapability;
pub use plugin_api::csi::node_service_capability::rpc::Type as Capability;
pub use plugin_api::csi::volume_capability::access_mode::Mode;
pub use plugin_api::csi::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
pub use plugin_api::csi::volume_usage::Unit;
pub use plugin_api::csi::{
    CapacityRange, NodeExpandVolumeRequest, NodeExpandVolumeResponse, NodeGetCapabilitiesRequest,
    NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse, NodeGetVolumeStatsRequest,
    NodeGetVolumeStatsResponse, NodePublishVolumeRequest, NodePublishVolumeResponse, NodeStageVolumeRequest,
    NodeStageVolumeResponse, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse, NodeUnstageVolumeRequest,
    NodeUnstageVolumeResponse, VolumeCapability,
};

use std::collections::BTreeMap;

use crate::plugins::grpc::Call;

/// Texts by name, as drivers give and take them.
pub type Texts = BTreeMap<String, String>;

macro_rules! calls {
    ($($request:ty => $answer:ty, $method:literal;)*) => {
        $(impl Call for $request {
            type Answer = $answer;
            const PATH: &'static str = concat!("/csi.v1.Node/", $method);
        })*
    };
}

calls! {
    NodeGetInfoRequest => NodeGetInfoResponse, "NodeGetInfo";
    NodeGetCapabilitiesRequest => NodeGetCapabilitiesResponse, "NodeGetCapabilities";
    NodeStageVolumeRequest => NodeStageVolumeResponse, "NodeStageVolume";
    NodeUnstageVolumeRequest => NodeUnstageVolumeResponse, "NodeUnstageVolume";
    NodePublishVolumeRequest => NodePublishVolumeResponse, "NodePublishVolume";
    NodeUnpublishVolumeRequest => NodeUnpublishVolumeResponse, "NodeUnpublishVolume";
    NodeGetVolumeStatsRequest => NodeGetVolumeStatsResponse, "NodeGetVolumeStats";
    NodeExpandVolumeRequest => NodeExpandVolumeResponse, "NodeExpandVolume";
}
