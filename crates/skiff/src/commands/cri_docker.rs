//! `skiff cri-docker`: Docker Engine as a container runtime.

use anyhow::{Context, Result};
use base::Env;
use cni::Invoker;
use cri_docker::{Adapter, Config};

use crate::options::cri_docker::CriDocker;
use crate::supervise::Parts;

/// Runs it.
pub async fn run(options: CriDocker) -> Result<()> {
    let (instance, mut parts) = (options.common.instance(), Parts::new());
    let config = Config {
        socket: options.listen.unwrap_or_else(|| instance.run_dir().join("cri-docker.sock")),
        docker_endpoint: options.docker_endpoint,
        pod_infra_container_image: options.pod_infra_container_image,
        cni: Invoker {
            conf_dir: options.cni_conf_dir,
            bin_dirs: options.cni_bin_dir,
            cache_dir: options.cni_cache_dir,
        },
        stream_idle_timeout: options.streams.streaming_connection_idle_timeout,
        env: Env::system(),
    };
    let adapter = Adapter::build(config).await.context("cannot start the Docker adapter")?;
    parts.spawn("Docker adapter", adapter.run(parts.drain()));
    parts.run().await
}
