//! Node component: the built-in container runtime, served as CRI v1 on a unix socket.
//!
//! Images live in a content store addressed by digest, layers are unpacked once and stacked with overlayfs, a sandbox
//! is a set of bind-mounted namespaces without a process, and every running container belongs to a small process of
//! its own, the [shim], which outlives this one. All state is on disk and in the shims: a runtime that is killed and
//! started again finds everything as it is.
//!
//! [`Runtime`] is the component; [`Images`] and [`image::archive`] are for commands that bring images to it;
//! [`cleanup`] leaves nothing of it.

mod cdi;
mod cgroup;
mod cleanup;
mod config;
mod confinement;
mod container;
mod disk;
mod dots;
mod engine;
mod handlers;
mod id;
mod idmap;
pub mod image;
mod image_client;
mod layer;
mod mountinfo;
mod overlay;
mod private_mount;
mod runtime;
mod sandbox;
mod seccomp;
mod service;
mod sessions;
pub mod shim;
mod spec;
mod status;
mod usage;

pub use cleanup::{CleanupError, cleanup};
pub use config::Config;
pub use disk::DiskError;
pub use image_client::{ImageClientError, Images};
pub use runtime::{BuildError, RunError, Runtime};
pub use service::{ImageInfo, RegistryRequest, Removed};
