//! Tests: object makers and an in-memory API to run clients against.
//!
//! Makers are fluent and begin with the object's name: `pod("default/web").label("app", "web").node("n1").build()`.
//! [`MemoryApi`] answers the plain verbs of any kind and can fail on demand; [`Cluster`] is the real API server in
//! process, for what needs whole behaviour. [`KmsPlugin`] is a key management plugin on a unix socket, [`DevicePlugin`]
//! and [`DraDriver`] are plugins of a kubelet, and [`Host`] is a node in a network namespace.

mod cluster;
mod kernel;
mod kms;
mod makers;
mod memory_api;
mod plugins;
mod wait;
mod wire;

pub use cluster::Cluster;
pub use kernel::{Host, can_test_ipv6, has_ipv6};
pub use kms::{KmsPlugin, Said};
pub use makers::{Maker, deployment, endpoint_slice, namespace, node, object, pod, pod_template, replica_set, service};
pub use memory_api::MemoryApi;
pub use plugins::{DevicePlugin, DraDriver, Registrant, connect, device, listen};
pub use wait::{poll, poll_async, until};
pub use wire::check_wire;

/// The time at which made objects were created, unless said otherwise.
pub fn epoch() -> jiff::Timestamp {
    // A round number far from both ends.
    jiff::Timestamp::from_second(1_700_000_000).expect("in range")
}

/// A time `seconds` after [`epoch`].
pub fn at(seconds: i64) -> jiff::Timestamp {
    epoch() + jiff::SignedDuration::from_secs(seconds)
}
