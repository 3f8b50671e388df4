//! `skiff proxy`: the service proxy alone.

use anyhow::Result;
use base::Env;

use crate::assembly::node;
use crate::options::components::Proxy;
use crate::supervise::Parts;
use crate::{assembly, host};

/// Runs it.
pub async fn run(options: Proxy) -> Result<()> {
    let (env, mut parts) = (Env::system(), Parts::new());
    let (_, informers) = assembly::connect_alone(&mut parts, "kube-proxy", &options.connection, &env).await?;
    let name = options.hostname_override.map_or_else(host::name, Ok)?;
    let pods = options.pods.networks()?;
    let config = proxy::Config::new(options.common.instance(), name, pods.iter().collect());
    node::start_proxy(&mut parts, config, &informers)?;
    parts.run().await
}
