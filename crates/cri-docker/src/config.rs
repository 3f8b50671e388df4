//! What the adapter needs to know.

use std::path::PathBuf;
use std::time::Duration;

use base::Env;
use cni::Invoker;

/// How to run the adapter.
#[derive(Clone, Debug)]
pub struct Config {
    /// The socket on which CRI is served.
    pub socket: PathBuf,
    /// The socket on which Docker Engine listens.
    pub docker_endpoint: PathBuf,
    /// The image that holds a sandbox's namespaces; without one an image is made that does no more than that.
    pub pod_infra_container_image: Option<String>,
    /// How sandboxes are connected to the network.
    pub cni: Invoker,
    /// How long a connection of exec, attach or port-forward may be without any use.
    pub stream_idle_timeout: Duration,
    /// Clock and randomness.
    pub env: Env,
}
