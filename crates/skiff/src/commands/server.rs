//! `skiff server`: the control plane and a node in one process.

use std::time::Duration;

use anyhow::{Context, Result};
use base::Env;

use crate::assembly::control_plane::{self, ApiServerOptions, ControllerOptions, PreparedApiServer};
use crate::assembly::node::{self, NodeClients, NodeConfig};
use crate::assembly::serving;
use crate::options::server::Server;
use crate::supervise::Parts;
use crate::{background, layout, options, pid};

/// Runs it, in the background if that is wanted.
pub fn run(options: Server) -> Result<()> {
    if options.detach {
        return super::block_on(background::start(options));
    }
    super::role(&options.common.clone(), serve(options))
}

async fn serve(options: Server) -> Result<()> {
    let (env, instance, mut parts) = (Env::system(), options.common.instance(), Parts::new());
    let _pid = pid::claim(&instance)?;
    let (name, ips) = node::identity(&options.node, options.ranges.pods.networks()?)?;
    let prepared = prepare_apiserver(&options, ips[0], &env).await?;

    let controllers = ControllerOptions {
        // The same after a restart, so that a server that was killed need not wait until its own leases expire. No two
        // servers share it: the datastore's lock lets only one run over a data directory.
        identity: format!("{name}_{}", instance.name()),
        cluster_cidr: options.ranges.pods.networks()?,
        root_ca: prepared.server_authorities(),
        node_monitor_grace_period: Duration::from_secs(options.node_monitor_grace_period),
        authorities: Some(prepared.authorities().clone()),
        signing_key: Some(prepared.signing_key()?),
        legacy_token_clean_up_period: options.legacy_tokens.legacy_service_account_token_clean_up_period,
    };
    control_plane::start_components(&mut parts, &prepared, controllers, &env).await?;
    if !options.disable_agent {
        let service_cidr = options.ranges.services.networks()?;
        let cluster_dns = node::cluster_dns(&options.node, service_cidr)?;
        let config = NodeConfig {
            configuration: node::kubelet_configuration(&options.node, &instance, cluster_dns)?,
            serving: serving::issued(
                &mut parts,
                &prepared.authorities().server,
                &layout::pki_dir(&instance),
                (&name, &ips),
                &env,
            )?,
            client_ca: prepared.clients(),
            clients: NodeClients {
                proxy: prepared.client("kube-proxy", "system:kube-proxy", &[]),
                dns: prepared.account_client("kube-dns").await?,
            },
            keep_dns_service: true,
            cluster_cidr: options.ranges.pods.networks()?,
            service_cidr,
            cluster_dns,
            cluster_domain: options.node.cluster_domain().to_owned(),
            resolv_conf: options.node.resolv_conf(),
            other_runtime: options.node.other_runtime,
            kubelet: options.node.kubelet,
            runtime_images: options.node.runtime_images,
            stream_idle_timeout: options.node.streams.streaming_connection_idle_timeout,
            instance,
            ips,
            name,
        };
        let client = prepared.client("kubelet", &format!("system:node:{}", config.name), &["system:nodes"]);
        node::start(&mut parts, config, client, &env).await.context("node")?;
    }
    prepared.start(&mut parts);
    parts.run().await
}

async fn prepare_apiserver(options: &Server, ip: std::net::IpAddr, env: &Env) -> Result<PreparedApiServer> {
    let instance = options.common.instance();
    let mut config = apiserver::Config::new(layout::pki_dir(&instance));
    config.bind_address = options.bind_address;
    config.secure_port = options.https_listen_port;
    config.advertise_address = Some(options.advertise_address.unwrap_or(ip));
    config.tls_sans.clone_from(&options.tls_san);
    config.service_cluster_ip_range = options.ranges.services.networks()?;
    let ports = options.service_node_port_range;
    config.service_node_port_range = ports.first..=ports.last;
    options.access.apply(&mut config, options.node.cluster_domain())?;
    options.api.apply(&mut config)?;
    let token = options::secret(options.token.as_deref(), options.token_file.as_deref())?;
    let start = ApiServerOptions {
        instance: &instance,
        token: token.as_deref(),
        encryption: &options.api.encryption,
        kubeconfig: &options.common.write_kubeconfig,
    };
    control_plane::prepare_apiserver(config, start, env).await
}
