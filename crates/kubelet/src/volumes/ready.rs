//! That a volume is in place with everything that belongs to it: permissions and the pod's group come after the mount, and
//! a kubelet may be killed in between.
//!
//! A file beside the volume says so, where upstream has its own, so that either kubelet goes on where the other one ended.

use std::fs;
use std::io;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;

use crate::context::Context;
use crate::pods::spec;

/// The mark of one volume of a pod.
#[derive(Clone, Debug)]
pub struct Ready(PathBuf);

impl Ready {
    /// The mark of a volume by its sort and its name in directories.
    pub fn of(context: &Context, pod: &Pod, sort: &str, name: &str) -> Self {
        Self(context.config.pod_dir(spec::uid(pod)).join("plugins").join(format!("kubernetes.io~{sort}")).join(name))
    }

    #[cfg(test)]
    pub fn at(dir: PathBuf) -> Self {
        Self(dir)
    }

    /// Whether the volume was brought in place.
    pub fn is_set(&self) -> bool {
        self.0.join("ready").is_file()
    }

    /// Says that it was; an error is a message for the user.
    pub fn set(&self) -> Result<(), String> {
        let written = fs::create_dir_all(&self.0).and_then(|()| fs::write(self.0.join("ready"), b""));
        written.map_err(|err| format!("cannot write {}: {err}", self.0.join("ready").display()))
    }

    /// Takes that back, before it is brought in place anew.
    pub fn clear(&self) -> Result<(), String> {
        match fs::remove_file(self.0.join("ready")) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => {
                Err(format!("cannot remove {}: {err}", self.0.join("ready").display()))
            }
            _ => Ok(()),
        }
    }
}
