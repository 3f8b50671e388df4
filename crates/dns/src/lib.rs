//! Component: cluster DNS. It answers for the cluster's names and forwards everything else.
//!
//! # How pods reach it
//! Every node runs one. It puts the cluster DNS address (10.43.0.10) as a /32 on the node's loopback interface and
//! listens there: a pod sends its questions to the address through its gateway, and they end on the pod's own node. No
//! service proxy takes part, so the Service `kube-system/kube-dns`, which exists for those who look for it, carries the
//! label by which service proxies leave a Service to somebody else. The address goes when the component does. Instances
//! on one machine have different service CIDRs and hence different addresses.
//!
//! # What it answers
//! The names of the Kubernetes DNS specification 1.1 out of an immutable [`zone`] that changes by one service at a time;
//! other names through the upstream resolvers, with a bounded cache. The same question is asked upstream once at a time
//! only, which is also what ends a forwarding loop.

mod address;
mod cache;
mod dns;
mod forward;
mod kube_dns;
mod resolv_conf;
mod respond;
mod server;
pub mod zone;

pub use address::cleanup;
pub use dns::{BuildError, Config, Dns, RunError};
pub use resolv_conf::Upstream;
