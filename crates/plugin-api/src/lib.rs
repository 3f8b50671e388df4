//! Protocol: what device plugins, drivers of volumes and of dynamic resources, and watchers of pods' devices speak with a
//! kubelet.
//!
//! The messages, clients and servers are made of the descriptions in `proto/`, which have what Kubernetes v1.35 speaks.

mod messages;

pub use messages::{csi, device_plugin, dra, pod_resources, registration};
