//! `skiff kubelet`: the kubelet alone, over any container runtime that serves CRI.

use anyhow::Result;
use base::Env;
use client::Source;
use network::NodeRoutesConfig;

use crate::assembly::cni::{self, OtherNode};
use crate::assembly::join::{self, follow_authorities};
use crate::assembly::renewal::{ClientRenewal, client_of};
use crate::assembly::{self, node, serving};
use crate::options::components::Kubelet;
use crate::supervise::Parts;
use crate::{host, layout};

/// Runs it.
pub async fn run(options: Kubelet) -> Result<()> {
    let (env, instance, mut parts) = (Env::system(), options.common.instance(), Parts::new());
    let name = options.hostname_override.map_or_else(host::name, Ok)?;
    let kubeconfig = &options.connection.kubeconfig;
    if let Some(bootstrap) = &options.bootstrap_kubeconfig {
        join::bootstrap(bootstrap, kubeconfig, &name, &env).await?;
    }
    let client = client::connect(Source::Kubeconfig(kubeconfig.clone()), "kubelet", &env).await?;
    // The routes lead to all nodes, of which the kubelet's own identity may read only its own.
    let all_nodes = client::connect_as(kubeconfig.clone(), "kubelet", "system:kube-proxy", &env).await?;
    let informers = assembly::start_informers(&mut parts, all_nodes, &env);
    // One with other credentials is somebody else's to keep.
    if options.bootstrap_kubeconfig.is_some() && client_of(kubeconfig).is_ok() {
        let renewal = ClientRenewal::alone(client.clone(), kubeconfig, &env)?;
        parts.spawn_endless("the kubelet's credentials", renewal.run(parts.drain()));
    }
    let pods = options.ranges.pods.networks()?;
    let ips = node::addresses(&options.node_ip, pods)?;
    let (certificate, key) = (options.tls_cert_file.as_ref(), options.tls_private_key_file.as_ref());
    let given = serving::from_files(&mut parts, certificate, key, &env)?;
    let certificate = match given {
        Some(certificate) => certificate,
        None => serving::self_issued(&mut parts, &layout::agent_dir(&instance), (&name, &ips), &env)?,
    };
    let client_ca = follow_authorities(&mut parts, &options.client_ca_file, &env)?;

    let mut config = kubelet::Config::new(&name, ips, instance.clone(), certificate, client_ca);
    let services = options.ranges.services.networks()?;
    match &options.other_runtime.container_runtime_endpoint {
        Some(socket) => {
            config.cri_socket.clone_from(socket);
            let runtime = &options.other_runtime;
            let other =
                OtherNode { instance: &instance, name: &name, cluster_cidr: pods, service_cidr: services, runtime };
            cni::start(&mut parts, other, &informers, &env).await?;
        }
        None => {
            let network = node::open_network(&instance, pods, services).await?;
            let routes = NodeRoutesConfig { node_name: name.clone(), network, sets_pod_cidrs: false };
            node::start_routes(&mut parts, routes, &informers);
        }
    }
    config.pod_logs_dir = layout::pod_logs_dir(&instance);
    config.cluster_dns = vec![options.cluster_dns];
    config.cluster_domain = options.cluster_domain;
    config.port = options.port;
    config.resolv_conf = options.resolv_conf;
    options.kubelet.set(&mut config)?;
    node::start_kubelet(&mut parts, config, client, &env)?;
    parts.run().await
}
