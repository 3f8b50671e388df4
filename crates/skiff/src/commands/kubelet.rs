//! `skiff kubelet`: the kubelet alone, over any container runtime that serves CRI.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use base::{Env, Instance};
use client::Source;
use kubelet::KubeletConfiguration;
use network::NodeRoutesConfig;
use serde_json::json;

use crate::assembly::cni::{self, OtherNode};
use crate::assembly::join::{self, follow_authorities};
use crate::assembly::renewal::{ClientRenewal, ServingRenewal, client_of};
use crate::assembly::{self, node, serving};
use crate::options::CLUSTER_DOMAIN;
use crate::options::components::Kubelet;
use crate::supervise::Parts;
use crate::{host, layout};

/// Runs it.
pub async fn run(options: Kubelet) -> Result<()> {
    let (env, instance, mut parts) = (Env::system(), options.common.instance(), Parts::new());
    let name = options.hostname_override.clone().map_or_else(host::name, Ok)?;
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
    let configuration = configuration(&options, &instance)?;
    let pods = options.ranges.pods.networks()?;
    let ips = node::addresses(&options.node_ip, pods)?;
    let file = |path: &str| Some(PathBuf::from(path)).filter(|path| !path.as_os_str().is_empty());
    let (certificate, key) = (file(&configuration.tls_cert_file), file(&configuration.tls_private_key_file));
    let given = serving::from_files(&mut parts, certificate.as_ref(), key.as_ref(), &env)?;
    let certificate = match given {
        Some(certificate) => certificate,
        None if configuration.server_tls_bootstrap => {
            let dir = layout::agent_dir(&instance);
            ServingRenewal::start(&mut parts, client.clone(), &dir, (&name, &ips), &env)?
        }
        None => serving::self_issued(&mut parts, &layout::agent_dir(&instance), (&name, &ips), &env)?,
    };
    let client_ca = file(&configuration.authentication.x509.client_ca_file)
        .context("name the authority whose clients may use the kubelet's API: --client-ca-file")?;
    let client_ca = follow_authorities(&mut parts, &client_ca, &env)?;

    let mut config = kubelet::Config::new(&name, ips, instance.clone(), certificate, client_ca);
    let services = options.ranges.services.networks()?;
    match &node::other_socket(&configuration, &instance) {
        Some(socket) => {
            let (instance, name, runtime) = (&instance, name.as_str(), &options.other_runtime);
            let other = OtherNode { instance, name, cluster_cidr: pods, service_cidr: services, socket, runtime };
            cni::start(&mut parts, other, &informers, &env).await?;
        }
        None => {
            let network = node::open_network(&instance, pods, services).await?;
            let routes = NodeRoutesConfig { node_name: name.clone(), network, sets_pod_cidrs: false };
            node::start_routes(&mut parts, routes, &informers);
        }
    }
    options.kubelet.set(configuration, &mut config);
    node::start_kubelet(&mut parts, config, client, &env)?;
    parts.run().await
}

/// What the kubelet is told, as a whole.
fn configuration(options: &Kubelet, instance: &Instance) -> Result<KubeletConfiguration> {
    let mut fields = node::kubelet_fields(instance, &options.other_runtime)?;
    let dns = Some(options.cluster_dns.clone()).filter(|addresses| !addresses.is_empty());
    fields.add("clusterDNS", dns, Some(vec![IpAddr::from([10, 43, 0, 10])]))?;
    fields.add("clusterDomain", options.cluster_domain.as_deref(), Some(CLUSTER_DOMAIN))?;
    fields.add("address", options.address, None)?;
    fields.add("port", options.port, None)?;
    fields.add("resolvConf", options.resolv_conf.as_ref(), None)?;
    fields.add("tlsCertFile", options.tls_cert_file.as_ref(), None)?;
    fields.add("tlsPrivateKeyFile", options.tls_private_key_file.as_ref(), None)?;
    let client_ca = options.client_ca_file.as_ref().map(|file| json!({"x509": {"clientCAFile": file}}));
    fields.add("authentication", client_ca, None)?;
    let gates: BTreeMap<_, _> = options.feature_gates.iter().cloned().collect();
    fields.add("featureGates", None, Some(gates))?;
    options.kubelet.load(fields)
}
