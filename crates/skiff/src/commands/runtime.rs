//! `skiff runtime`: the built-in container runtime alone.

use anyhow::{Context, Result};
use base::Env;

use crate::assembly::node;
use crate::options::components::Runtime;
use crate::supervise::Parts;

/// Runs it.
pub async fn run(options: Runtime) -> Result<()> {
    let (env, instance, mut parts) = (Env::system(), options.common.instance(), Parts::new());
    let pods = options.ranges.pods.networks()?;
    let services = options.ranges.services.networks()?;
    let own = options.ranges.pods.part("--pod-cidr", &options.pod_cidr)?;
    let network = node::open_network(&instance, pods, services).await?;
    if !own.is_empty() {
        network.set_pod_cidrs(own).await.context("cannot give the machine its pods' addresses")?;
    }
    let mut config = runtime::Config::new(instance, env);
    config.pod_network = Some(network);
    config.stream_idle_timeout = options.streams.streaming_connection_idle_timeout;
    options.images.set(&mut config);
    if let Some(socket) = options.listen {
        config.socket = socket;
    }
    node::start_runtime(&mut parts, config).await?;
    parts.run().await
}
