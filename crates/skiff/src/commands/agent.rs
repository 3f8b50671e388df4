//! `skiff agent`: a node of a cluster that a server runs.

use anyhow::{Context, Result};
use base::Env;
use client::Source;

use crate::assembly::node::{self, NodeClients, NodeConfig};
use crate::assembly::renewal::{ClientRenewal, ServingRenewal};
use crate::assembly::{join, serving};
use crate::options::agent::Agent;
use crate::supervise::Parts;
use crate::{layout, options, pid};

/// Runs it.
pub async fn run(options: Agent) -> Result<()> {
    let (env, instance, mut parts) = (Env::system(), options.common.instance(), Parts::new());
    let _pid = pid::claim(&instance)?;
    let pods = options.ranges.pods.networks()?;
    let (name, ips) = node::identity(&options.node, pods)?;
    let dir = layout::agent_dir(&instance);
    let token = options::secret(options.token.as_deref(), options.token_file.as_deref())?;
    let token = token.context("name the token to join with: --token-file")?;
    let joined = join::join(&dir, &options.server, &token, &name, &env).await?;
    // By the kubelet's certificate, which is all that an agent has; the role `skiff:agent` says as whom it may act.
    let clients = NodeClients {
        proxy: client::connect_as(joined.kubeconfig.clone(), "kube-proxy", "system:kube-proxy", &env).await?,
        dns: client::connect_as(joined.kubeconfig.clone(), "kube-dns", "system:coredns", &env).await?,
    };
    let client = client::connect(Source::Kubeconfig(joined.kubeconfig.clone()), "kubelet", &env).await?;
    let renewal = ClientRenewal::new(client.clone(), &joined, &env)?;
    parts.spawn_endless("the node's credentials", renewal.run(parts.drain()));
    let service_cidr = options.ranges.services.networks()?;
    let cluster_dns = node::cluster_dns(&options.node, service_cidr)?;
    let configuration = node::kubelet_configuration(&options.node, &instance, cluster_dns)?;
    let serving = match options.rotate_server_certificates || configuration.server_tls_bootstrap {
        true => ServingRenewal::start(&mut parts, client.clone(), &dir, (&name, &ips), &env)?,
        false => serving::self_issued(&mut parts, &dir, (&name, &ips), &env)?,
    };
    let config = NodeConfig {
        configuration,
        serving,
        client_ca: join::follow_authorities(&mut parts, &joined.client_ca_file, &env)?,
        clients,
        keep_dns_service: false,
        name,
        ips,
        cluster_cidr: pods,
        service_cidr,
        cluster_dns,
        cluster_domain: options.node.cluster_domain().to_owned(),
        resolv_conf: options.node.resolv_conf(),
        other_runtime: options.node.other_runtime,
        kubelet: options.node.kubelet,
        runtime_images: options.node.runtime_images,
        stream_idle_timeout: options.node.streams.streaming_connection_idle_timeout,
        instance,
    };
    node::start(&mut parts, config, client, &env).await?;
    parts.run().await
}
