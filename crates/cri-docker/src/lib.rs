//! Node component: Docker Engine as a container runtime, an adapter that serves CRI v1 over the Engine's API.
//!
//! A sandbox is a container of Docker's that does nothing but hold namespaces, and the network that CNI plugins connect
//! it to; a pod's containers join those namespaces. Names and labels are those that users of `cri-dockerd` know. All
//! that CRI wants back is in the labels of the containers, addresses are in the cache of the CNI invoker, and logs tell
//! by themselves how far they are: an adapter that is killed and started again has lost nothing, and what runs does not
//! notice.
//!
//! [`Adapter`] is the component.

mod adapter;
mod config;
mod container;
mod daemon;
mod engine;
mod errors;
mod events;
mod image;
mod logs;
mod names;
mod node;
mod pause;
mod record;
mod sandbox;
mod service;
mod sessions;
mod stats;
mod times;

pub use adapter::{Adapter, BuildError, RunError};
pub use config::Config;
