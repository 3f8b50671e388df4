//! `skiff dns`: cluster DNS alone.

use anyhow::Result;
use base::Env;

use crate::assembly;
use crate::assembly::node;
use crate::options::components::Dns;
use crate::supervise::Parts;

/// Runs it.
pub async fn run(options: Dns) -> Result<()> {
    let (env, mut parts) = (Env::system(), Parts::new());
    let (_, informers) = assembly::connect_alone(&mut parts, "kube-dns", &options.connection, &env).await?;
    let config = dns::Config {
        cluster_domain: options.cluster_domain,
        cluster_dns: if options.listen.is_empty() { vec![options.cluster_dns] } else { Vec::new() },
        listen: options.listen,
        upstream: dns::Upstream::ResolvConf(options.resolv_conf),
        keep_service: options.keep_service,
    };
    node::start_dns(&mut parts, &options.common.instance(), config, &informers)?;
    parts.run().await
}
