//! Options of the adapter to Docker Engine. Names are those of `cri-dockerd`, where it has the option.

use std::path::PathBuf;

use clap::Args;

use super::other_runtime::socket;
use super::{Common, Streams};

/// Serve Docker Engine as a container runtime.
#[derive(Args, Clone, Debug)]
pub struct CriDocker {
    #[command(flatten)]
    pub common: Common,
    /// Socket to serve CRI on [default: cri-docker.sock in the run directory]
    #[arg(long, env = "SKIFF_LISTEN", value_parser = socket, value_name = "SOCKET")]
    pub listen: Option<PathBuf>,
    /// Socket on which Docker Engine listens
    #[arg(long, env = "SKIFF_DOCKER_ENDPOINT", default_value = "unix:///var/run/docker.sock", value_parser = socket, value_name = "SOCKET")]
    pub docker_endpoint: PathBuf,
    /// Image of the container that holds a pod's namespaces [default: one that is made on the spot]
    #[arg(long, env = "SKIFF_POD_INFRA_CONTAINER_IMAGE", value_name = "IMAGE")]
    pub pod_infra_container_image: Option<String>,
    /// Directory of network configurations, the first of which connects pods
    #[arg(long, env = "SKIFF_CNI_CONF_DIR", default_value = "/etc/cni/net.d", value_name = "DIRECTORY")]
    pub cni_conf_dir: PathBuf,
    /// Directories of network plugins
    #[arg(
        long,
        env = "SKIFF_CNI_BIN_DIR",
        default_value = "/opt/cni/bin,/usr/lib/cni",
        value_delimiter = ',',
        value_name = "DIRECTORY"
    )]
    pub cni_bin_dir: Vec<PathBuf>,
    /// Directory where it is kept how pods are connected
    #[arg(long, env = "SKIFF_CNI_CACHE_DIR", default_value = "/var/lib/cni", value_name = "DIRECTORY")]
    pub cni_cache_dir: PathBuf,
    #[command(flatten)]
    pub streams: Streams,
}
