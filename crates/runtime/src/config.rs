//! What the runtime needs to know, and where it keeps its things.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::{Env, Instance};
use network::PodNetwork;

use crate::container::ContainerPaths;
use crate::id::{ContainerId, SandboxId};
use crate::sandbox::SandboxPaths;

/// How to run the runtime.
#[derive(Clone, Debug)]
pub struct Config {
    /// The installation: state is kept under `<data-dir>/runtime` and `<run-dir>/runtime`.
    pub instance: Instance,
    /// The socket on which CRI is served; see [`Config::default_socket`].
    pub socket: PathBuf,
    /// The program that is started as `<program> shim ...` for each container and calls [`crate::shim::main`].
    pub shim_program: PathBuf,
    /// The network of pods; without one only pods in the machine's network can run.
    pub pod_network: Option<PodNetwork>,
    /// The directory of registries' mirrors, authorities and the like, as containerd lays it out.
    pub registry_config_dir: PathBuf,
    /// The directory of archives whose images are imported at the start; see [`Config::new`].
    pub image_preload_dir: PathBuf,
    /// How long the start of a container may take, in whole seconds: what takes longer is given up and cleared away.
    pub start_timeout: Duration,
    /// How long a connection of exec, attach or port-forward may be without any use.
    pub stream_idle_timeout: Duration,
    /// Programs with runc's command line that RuntimeClasses may name, by the names of their handlers.
    pub runtime_handlers: BTreeMap<String, PathBuf>,
    /// Where vendors describe their devices, those that go first at the end.
    pub cdi_dirs: Vec<PathBuf>,
    /// The machine's root: below it is said which security modules the kernel has.
    pub machine_root: PathBuf,
    /// Clock and randomness.
    pub env: Env,
}

/// How long upstream's nodes keep connections that nobody uses.
const STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(4 * 60 * 60);

/// A start takes parts of a second; this is for a machine in trouble, and for runtimes that start machines.
const START_TIMEOUT: Duration = Duration::from_secs(100);

impl Config {
    /// The configuration of an installation, with everything else as usual and no pod network: images are preloaded
    /// from `<data-dir>/images`.
    pub fn new(instance: Instance, env: Env) -> Self {
        let socket = Self::default_socket(&instance);
        Self {
            image_preload_dir: instance.data_dir().join("images"),
            instance,
            socket,
            shim_program: PathBuf::from("/proc/self/exe"),
            pod_network: None,
            registry_config_dir: PathBuf::from("/etc/skiff/certs.d"),
            start_timeout: START_TIMEOUT,
            stream_idle_timeout: STREAM_IDLE_TIMEOUT,
            runtime_handlers: BTreeMap::new(),
            cdi_dirs: vec![PathBuf::from("/etc/cdi"), PathBuf::from("/var/run/cdi")],
            machine_root: PathBuf::from("/"),
            env,
        }
    }

    /// `<run-dir>/cri.sock`.
    pub fn default_socket(instance: &Instance) -> PathBuf {
        instance.run_dir().join("cri.sock")
    }
}

/// How many directories stand above and at that of a sandbox or container in the run directory, that one included.
pub(crate) const DEPTH: usize = 4;

/// The directories of an installation's runtime.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    data: PathBuf,
    run: PathBuf,
    cgroup: PathBuf,
}

impl Paths {
    pub(crate) fn new(instance: &Instance) -> Self {
        Self {
            data: instance.data_dir().join("runtime"),
            run: instance.run_dir().join("runtime"),
            cgroup: Path::new("/").join(instance.name()).join("pods"),
        }
    }

    /// Everything durable.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Everything that ends with a reboot; a private mount of its own.
    pub(crate) fn run(&self) -> &Path {
        &self.run
    }

    /// What is kept of archives that were preloaded.
    pub(crate) fn preloaded(&self) -> PathBuf {
        self.data.join("preloaded.json")
    }

    /// The durable directories of all sandboxes.
    pub(crate) fn sandboxes(&self) -> PathBuf {
        self.data.join("sandboxes")
    }

    /// The durable directories of all containers.
    pub(crate) fn containers(&self) -> PathBuf {
        self.data.join("containers")
    }

    /// The directories of one sandbox.
    pub(crate) fn sandbox(&self, id: &SandboxId) -> SandboxPaths {
        let [data, run] = [&self.data, &self.run].map(|dir| dir.join("sandboxes").join(id.as_str()));
        SandboxPaths::new(data, run, self.cgroup.join(id.as_str()))
    }

    /// The directories of one container.
    pub(crate) fn container(&self, id: &ContainerId) -> ContainerPaths {
        ContainerPaths::new(self.containers().join(id.as_str()), self.run.join("containers").join(id.as_str()))
    }
}
