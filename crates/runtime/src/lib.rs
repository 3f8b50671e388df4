//! Node component: the built-in container runtime, served as CRI v1 on a unix socket.
//!
//! Images live in a content store addressed by digest, layers are unpacked once and stacked with overlayfs, a sandbox
//! is a set of bind-mounted namespaces without a process, and every running container belongs to a small process of
//! its own, the [shim](shim), which outlives this one. All state is on disk and in the shims: a runtime that is
//! killed and started again finds everything as it is.

mod config;
mod runtime;
pub mod shim;

pub use config::Config;
pub use runtime::{BuildError, RunError, Runtime};
