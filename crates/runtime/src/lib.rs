//! Node component: the built-in container runtime, served as CRI v1 on a unix socket.
//!
//! Images live in a content store addressed by digest, layers are unpacked once and stacked with overlayfs, a sandbox
//! is a set of bind-mounted namespaces without a process, and every running container belongs to a small process of
//! its own, the [shim](shim), which outlives this one. All state is on disk and in the shims: a runtime that is
//! killed and started again finds everything as it is.

mod cgroup;
mod config;
mod disk;
pub mod image;
mod layer;
mod overlay;
mod runtime;
pub mod shim;

use std::error::Error;

pub use config::Config;
pub use runtime::{BuildError, RunError, Runtime};

/// An error with its causes, each text once.
pub(crate) fn error_chain(err: &dyn Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        let more = err.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = err.source();
    }
    text
}
