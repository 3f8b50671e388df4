//! What the runtime needs to know, and where it keeps its things.

use std::path::{Path, PathBuf};

use base::{Env, Instance};

/// How to run the runtime.
#[derive(Clone, Debug)]
pub struct Config {
    /// The installation: state is kept under `<data-dir>/runtime` and `<run-dir>/runtime`.
    pub instance: Instance,
    /// The socket on which CRI is served; see [`Config::default_socket`].
    pub socket: PathBuf,
    /// The program that is started as `<program> shim ...` for each container and calls [`crate::shim::main`].
    pub shim_program: PathBuf,
    /// Clock and randomness.
    pub env: Env,
}

impl Config {
    /// The configuration of an installation, with everything else as usual.
    pub fn new(instance: Instance, env: Env) -> Self {
        let socket = Self::default_socket(&instance);
        Self { instance, socket, shim_program: PathBuf::from("/proc/self/exe"), env }
    }

    /// `<run-dir>/runtime.sock`.
    pub fn default_socket(instance: &Instance) -> PathBuf {
        instance.run_dir().join("runtime.sock")
    }
}

/// The directories of an installation's runtime.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    data: PathBuf,
    run: PathBuf,
}

impl Paths {
    pub(crate) fn new(instance: &Instance) -> Self {
        Self { data: instance.data_dir().join("runtime"), run: instance.run_dir().join("runtime") }
    }

    /// Everything durable.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Everything that ends with a reboot; a private mount of its own.
    pub(crate) fn run(&self) -> &Path {
        &self.run
    }
}
