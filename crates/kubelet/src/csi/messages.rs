//! The messages of CSI v1 that a node's part of it takes: `csi.v1.Node`.

use std::collections::BTreeMap;

use crate::plugins::grpc::Call;

/// Texts by name, as drivers give and take them.
pub type Texts = BTreeMap<String, String>;

/// How a volume is to be used.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct VolumeCapability {
    /// As a device or with a file system.
    #[prost(oneof = "AccessType", tags = "1, 2")]
    pub access_type: Option<AccessType>,
    /// By whom.
    #[prost(message, optional, tag = "3")]
    pub access_mode: Option<AccessMode>,
}

/// As what a volume is used.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum AccessType {
    /// As a device.
    #[prost(message, tag = "1")]
    Block(BlockVolume),
    /// With a file system.
    #[prost(message, tag = "2")]
    Mount(MountVolume),
}

/// A volume as a device.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BlockVolume {}

/// A volume with a file system.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MountVolume {
    /// Which; empty for the driver's choice.
    #[prost(string, tag = "1")]
    pub fs_type: String,
    /// Options of the mount.
    #[prost(string, repeated, tag = "2")]
    pub mount_flags: Vec<String>,
    /// The group that the driver is to give the volume to.
    #[prost(string, tag = "3")]
    pub volume_mount_group: String,
}

/// Who uses a volume.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct AccessMode {
    /// A [`Mode`].
    #[prost(enumeration = "Mode", tag = "1")]
    pub mode: i32,
}

/// Who uses a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Mode {
    /// Nothing is said.
    Unknown = 0,
    /// One node writes.
    SingleNodeWriter = 1,
    /// One node reads.
    SingleNodeReaderOnly = 2,
    /// Several nodes read.
    MultiNodeReaderOnly = 3,
    /// Several nodes read, one writes.
    MultiNodeSingleWriter = 4,
    /// Several nodes write.
    MultiNodeMultiWriter = 5,
    /// One workload of one node writes.
    SingleNodeSingleWriter = 6,
    /// Several workloads of one node write.
    SingleNodeMultiWriter = 7,
}

/// Asks for what the node is to the driver.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct NodeGetInfoRequest {}

/// What the node is to the driver.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodeGetInfoResponse {
    /// The node's name among the driver's.
    #[prost(string, tag = "1")]
    pub node_id: String,
    /// How many volumes it takes; 0 for no limit.
    #[prost(int64, tag = "2")]
    pub max_volumes_per_node: i64,
    /// Where it is.
    #[prost(message, optional, tag = "3")]
    pub accessible_topology: Option<Topology>,
}

/// A place.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Topology {
    /// Zone, rack and the like.
    #[prost(btree_map = "string, string", tag = "1")]
    pub segments: Texts,
}

/// Asks for what the driver can do.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct NodeGetCapabilitiesRequest {}

/// What the driver can do.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodeGetCapabilitiesResponse {
    /// All of it.
    #[prost(message, repeated, tag = "1")]
    pub capabilities: Vec<NodeServiceCapability>,
}

/// Something that the driver can do.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct NodeServiceCapability {
    /// The only sort of it that there is.
    #[prost(message, optional, tag = "1")]
    pub rpc: Option<Rpc>,
}

/// Methods and fields that the driver knows.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Rpc {
    /// A [`Capability`].
    #[prost(enumeration = "Capability", tag = "1")]
    pub r#type: i32,
}

/// What a driver may be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Capability {
    /// Nothing that this knows.
    Unknown = 0,
    /// It brings a volume to the node once, however many pods use it.
    StageUnstageVolume = 1,
    /// It says how full a volume is.
    GetVolumeStats = 2,
    /// It makes a volume larger.
    ExpandVolume = 3,
    /// It says how a volume is.
    VolumeCondition = 4,
    /// It tells the users on one node apart.
    SingleNodeMultiWriter = 5,
    /// It gives a volume to a group itself.
    VolumeMountGroup = 6,
}

/// Brings a volume to the node.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodeStageVolumeRequest {
    /// The volume.
    #[prost(string, tag = "1")]
    pub volume_id: String,
    /// What attaching it said.
    #[prost(btree_map = "string, string", tag = "2")]
    pub publish_context: Texts,
    /// Where to.
    #[prost(string, tag = "3")]
    pub staging_target_path: String,
    /// How it is to be used.
    #[prost(message, optional, tag = "4")]
    pub volume_capability: Option<VolumeCapability>,
    /// What the driver needs to be let in elsewhere.
    #[prost(btree_map = "string, string", tag = "5")]
    pub secrets: Texts,
    /// What making the volume said.
    #[prost(btree_map = "string, string", tag = "6")]
    pub volume_context: Texts,
}

/// Takes a volume from the node.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodeUnstageVolumeRequest {
    /// The volume.
    #[prost(string, tag = "1")]
    pub volume_id: String,
    /// Where it is.
    #[prost(string, tag = "2")]
    pub staging_target_path: String,
}

/// Brings a volume to a pod.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodePublishVolumeRequest {
    /// The volume.
    #[prost(string, tag = "1")]
    pub volume_id: String,
    /// What attaching it said.
    #[prost(btree_map = "string, string", tag = "2")]
    pub publish_context: Texts,
    /// Where it is on the node.
    #[prost(string, tag = "3")]
    pub staging_target_path: String,
    /// Where to.
    #[prost(string, tag = "4")]
    pub target_path: String,
    /// How it is to be used.
    #[prost(message, optional, tag = "5")]
    pub volume_capability: Option<VolumeCapability>,
    /// Whether nothing is to be written.
    #[prost(bool, tag = "6")]
    pub readonly: bool,
    /// What the driver needs to be let in elsewhere.
    #[prost(btree_map = "string, string", tag = "7")]
    pub secrets: Texts,
    /// What making the volume said, and what the driver wants to know of the pod.
    #[prost(btree_map = "string, string", tag = "8")]
    pub volume_context: Texts,
}

/// Takes a volume from a pod.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodeUnpublishVolumeRequest {
    /// The volume.
    #[prost(string, tag = "1")]
    pub volume_id: String,
    /// Where it is.
    #[prost(string, tag = "2")]
    pub target_path: String,
}

/// It is done.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Done {}

/// Asks how full a volume is.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodeGetVolumeStatsRequest {
    /// The volume.
    #[prost(string, tag = "1")]
    pub volume_id: String,
    /// Where it is for a pod.
    #[prost(string, tag = "2")]
    pub volume_path: String,
    /// Where it is on the node.
    #[prost(string, tag = "3")]
    pub staging_target_path: String,
}

/// How full a volume is.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodeGetVolumeStatsResponse {
    /// In bytes, and in inodes.
    #[prost(message, repeated, tag = "1")]
    pub usage: Vec<VolumeUsage>,
}

/// How full a volume is in one unit.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct VolumeUsage {
    /// Left.
    #[prost(int64, tag = "1")]
    pub available: i64,
    /// In all.
    #[prost(int64, tag = "2")]
    pub total: i64,
    /// Used.
    #[prost(int64, tag = "3")]
    pub used: i64,
    /// A [`Unit`].
    #[prost(enumeration = "Unit", tag = "4")]
    pub unit: i32,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Unit {
    /// Nothing that this knows.
    Unknown = 0,
    /// Bytes.
    Bytes = 1,
    /// Inodes.
    Inodes = 2,
}

/// Makes a volume's file system as large as the volume.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodeExpandVolumeRequest {
    /// The volume.
    #[prost(string, tag = "1")]
    pub volume_id: String,
    /// Where it is for a pod.
    #[prost(string, tag = "2")]
    pub volume_path: String,
    /// How large it has to be.
    #[prost(message, optional, tag = "3")]
    pub capacity_range: Option<CapacityRange>,
    /// Where it is on the node.
    #[prost(string, tag = "4")]
    pub staging_target_path: String,
    /// How it is used.
    #[prost(message, optional, tag = "5")]
    pub volume_capability: Option<VolumeCapability>,
    /// What the driver needs to be let in elsewhere.
    #[prost(btree_map = "string, string", tag = "6")]
    pub secrets: Texts,
}

/// How large a volume has to be.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct CapacityRange {
    /// At least.
    #[prost(int64, tag = "1")]
    pub required_bytes: i64,
    /// At most; 0 for no bound.
    #[prost(int64, tag = "2")]
    pub limit_bytes: i64,
}

/// How large it is.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct NodeExpandVolumeResponse {
    /// In bytes; 0 where the driver does not say.
    #[prost(int64, tag = "1")]
    pub capacity_bytes: i64,
}

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
    NodeStageVolumeRequest => Done, "NodeStageVolume";
    NodeUnstageVolumeRequest => Done, "NodeUnstageVolume";
    NodePublishVolumeRequest => Done, "NodePublishVolume";
    NodeUnpublishVolumeRequest => Done, "NodeUnpublishVolume";
    NodeGetVolumeStatsRequest => NodeGetVolumeStatsResponse, "NodeGetVolumeStats";
    NodeExpandVolumeRequest => NodeExpandVolumeResponse, "NodeExpandVolume";
}
