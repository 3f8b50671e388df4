//! Whole clusters, driven by real clients.
//!
//! A [`Cluster`] runs the built `skiff` in network namespaces of its own, so that tests need nothing of the machine's
//! network and leave nothing there. [`Kubectl`] runs the real kubectl against it, [`http`] asks what it serves.

mod cluster;
mod containerd;
mod disk;
mod docker;
pub mod http;
mod images;
mod kubectl;
mod machine;
mod pods;
mod process;
mod residue;
pub mod transcript;
mod usage;

pub use cluster::{Cluster, Layout};
pub use containerd::Containerd;
pub use disk::SmallDisk;
pub use docker::Docker;
pub use images::{PRINTING, build_hello};
pub use kubectl::{Kubectl, Running};
pub use machine::{Machines, kernel, run_inside};
pub use pods::{IMAGE, container, pod, pod_of};
pub use process::{Process, skiff_binary};
pub use residue::{Shim, shims};
pub use usage::Usage;

use std::path::PathBuf;

/// The root of the checkout.
pub fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the checkout is there")
}

/// What lies beside a developer's checkout, or where `SKIFF_SHARED` says: this file or directory of it, if it is there.
pub fn shared(name: &str) -> Option<PathBuf> {
    let beside = || workspace().join("../shared");
    let path = std::env::var_os("SKIFF_SHARED").map_or_else(beside, PathBuf::from).join(name);
    path.exists().then_some(path)
}
