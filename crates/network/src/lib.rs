//! Node library: addresses, bridge, routes and masquerade of the pods of one node.
//!
//! [`PodNetwork`] owns one bridge per [`Instance`](base::Instance), named after it (`skiff0`), whose addresses are the
//! first of the node's pod CIDRs. A pod has one end of a veth pair as its `eth0`, with a /32 address and a default route
//! through the bridge address: *all* its traffic, also to a pod of the same node, is routed by the node and therefore
//! seen by connection tracking, so that service addresses work without `br_netfilter`.
//!
//! What must survive a restart is in the kernel and in one small file a sandbox under `<run-dir>/network`; both are read
//! again by [`PodNetwork::open`]. The files need no fsync: when the machine goes down the pods they describe do too. Where
//! one is damaged all the same, [`PodNetwork::retain`] is told by the runtime what its sandboxes have.
//!
//! Rules live in the nftables table `inet <instance>-net` and are replaced in one transaction. Packet marks are not
//! used here (see the `proxy` crate for those it uses). Routes to other nodes carry the routing protocol number
//! [`ROUTE_PROTOCOL`].

mod addresses;
mod bridge;
mod cleanup;
mod cni;
mod host_ports;
pub mod netlink;
pub mod netns;
pub mod nft;
mod node_routes;
mod pod_network;
mod reservations;
mod routes;
mod rules;
pub mod sysctl;

pub use addresses::AllocateError;
pub use cleanup::{CleanupError, cleanup};
pub use cni::CniServer;
pub use host_ports::{HostPort, Protocol};
pub use node_routes::{NodeRoutes, NodeRoutesConfig};
pub use pod_network::{
    Attach, AttachError, Attached, Config, DetachError, OpenError, PodNetwork, RetainError, SetPodCidrsError,
};
pub use reservations::{Reservation, ReservationError};
pub use routes::{NodeRoute, ROUTE_PROTOCOL, RouteError};

/// The name of an instance's bridge: at most 13 of the 15 characters that an interface name may have.
pub fn bridge_name(instance: &base::Instance) -> String {
    format!("{}0", instance.name())
}

/// The name of an instance's nftables table for `purpose`.
pub fn table_name(instance: &base::Instance, purpose: &str) -> String {
    format!("{}-{purpose}", instance.name())
}
