//! A node: pod network, container runtime, kubelet, service proxy and cluster DNS.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base::{Env, Instance, Networks};
use kubelet::{Kubelet, KubeletConfiguration};
use network::{NodeRoutes, NodeRoutesConfig, PodNetwork};
use pki::{Presenter, Trust};

use super::cni::{self, OtherNode};
use super::{default_dns, start_informers};
use crate::options::image::BuiltinRuntime;
use crate::options::kubelet::{KubeletSettings, RoleFields};
use crate::options::other_runtime::OtherRuntime;
use crate::options::{CLUSTER_DOMAIN, Node as NodeOptions};
use crate::supervise::Parts;
use crate::{host, layout};

/// Below what pods are evicted where nobody says anything. A node that is also somebody's computer has a disk that is well
/// used: upstream's 10 %, and 15 % for images, would have it run nothing.
const EVICTION_HARD: [(&str, &str); 5] = [
    ("imagefs.available", "5%"),
    ("imagefs.inodesFree", "5%"),
    ("memory.available", "100Mi"),
    ("nodefs.available", "5%"),
    ("nodefs.inodesFree", "5%"),
];

/// What a node is made of.
pub struct NodeConfig {
    pub instance: Instance,
    pub name: String,
    /// The node's addresses, at most one of each family; the first counts where only one can.
    pub ips: Vec<IpAddr>,
    /// The addresses of pods.
    pub cluster_cidr: Networks,
    /// The addresses of services.
    pub service_cidr: Networks,
    pub cluster_dns: IpAddr,
    pub cluster_domain: String,
    /// Where another runtime than the built-in one looks for the pod network.
    pub other_runtime: OtherRuntime,
    pub resolv_conf: PathBuf,
    pub kubelet: KubeletSettings,
    /// What the kubelet is told, as a whole.
    pub configuration: KubeletConfiguration,
    pub runtime_images: BuiltinRuntime,
    pub stream_idle_timeout: Duration,
    pub serving: Arc<Presenter>,
    pub client_ca: Arc<Trust>,
    pub clients: NodeClients,
    /// Whether cluster DNS keeps its Service, which a node that only follows leaves to the server's.
    pub keep_dns_service: bool,
}

/// Clients of the parts of a node beside the kubelet, which may read what a kubelet may not.
pub struct NodeClients {
    /// Of the service proxy and the upkeep of routes.
    pub proxy: kube::Client,
    /// Of cluster DNS.
    pub dns: kube::Client,
}

/// A node's name and addresses from its options, or from the machine.
pub fn identity(options: &NodeOptions, pods: Networks) -> Result<(String, Vec<IpAddr>)> {
    let name = options.node_name.clone().map_or_else(host::name, Ok)?;
    Ok((name, addresses(&options.node_ip, pods)?))
}

/// The addresses that are given, or for each family of the pods' networks the machine's own.
pub fn addresses(given: &[IpAddr], pods: Networks) -> Result<Vec<IpAddr>> {
    match given {
        [] => host::addresses(pods),
        [_] => Ok(given.to_vec()),
        [first, second] if first.is_ipv4() != second.is_ipv4() => Ok(given.to_vec()),
        _ => bail!("--node-ip: give one address, or one of IPv4 and one of IPv6"),
    }
}

/// The address of cluster DNS from the options, or from the service CIDR.
pub fn cluster_dns(options: &NodeOptions, service_cidr: Networks) -> Result<IpAddr> {
    options.cluster_dns.map_or_else(|| default_dns(service_cidr.primary()), Ok)
}

/// What a kubelet of this installation is told where nobody says anything, and by options of its runtime.
pub fn kubelet_fields(instance: &Instance, runtime: &OtherRuntime) -> Result<RoleFields> {
    let mut fields = RoleFields::default();
    fields.add("staticPodPath", None, Some(instance.data_dir().join("pod-manifests")))?;
    fields.add("podLogsDir", None, Some(layout::pod_logs_dir(instance)))?;
    // Whoever has swap on is not kept from a first try.
    fields.add("failSwapOn", None, Some(false))?;
    fields.add("evictionHard", None, Some(BTreeMap::from(EVICTION_HARD)))?;
    let endpoint = |socket: &Path| format!("unix://{}", socket.display());
    let other = runtime.container_runtime_endpoint.as_deref().map(endpoint);
    fields.add("containerRuntimeEndpoint", other, Some(endpoint(&layout::runtime_socket(instance))))?;
    Ok(fields)
}

/// What the kubelet of a node is told.
pub fn kubelet_configuration(
    options: &NodeOptions,
    instance: &Instance,
    cluster_dns: IpAddr,
) -> Result<KubeletConfiguration> {
    let mut fields = kubelet_fields(instance, &options.other_runtime)?;
    fields.add("clusterDNS", options.cluster_dns.map(|address| vec![address]), Some(vec![cluster_dns]))?;
    fields.add("clusterDomain", options.cluster_domain.as_deref(), Some(CLUSTER_DOMAIN))?;
    fields.add("port", options.kubelet_port, None)?;
    fields.add("resolvConf", options.resolv_conf.as_ref(), None)?;
    options.kubelet.load(fields)
}

/// Where another runtime than the built-in one serves CRI, if the kubelet is to use one.
pub fn other_socket(configuration: &KubeletConfiguration, instance: &Instance) -> Option<PathBuf> {
    let endpoint = &configuration.container_runtime_endpoint;
    let socket = PathBuf::from(endpoint.strip_prefix("unix://").unwrap_or(endpoint));
    Some(socket).filter(|socket| *socket != layout::runtime_socket(instance))
}

/// Starts all parts of a node.
pub async fn start(parts: &mut Parts, config: NodeConfig, client: kube::Client, env: &Env) -> Result<()> {
    let informers = start_informers(parts, config.clients.proxy, env);
    let dns_informers = start_informers(parts, config.clients.dns, env);
    match &other_socket(&config.configuration, &config.instance) {
        Some(socket) => {
            let (cluster_cidr, service_cidr) = (config.cluster_cidr, config.service_cidr);
            let (instance, name, runtime) = (&config.instance, &config.name, &config.other_runtime);
            let other = OtherNode { instance, name, cluster_cidr, service_cidr, socket, runtime };
            cni::start(parts, other, &informers, env).await?;
        }
        None => {
            let network = open_network(&config.instance, config.cluster_cidr, config.service_cidr).await?;
            let node_name = config.name.clone();
            let routes = NodeRoutesConfig { node_name, network: network.clone(), sets_pod_cidrs: false };
            start_routes(parts, routes, &informers);
            let mut runtime = runtime::Config::new(config.instance.clone(), env.clone());
            runtime.pod_network = Some(network);
            runtime.stream_idle_timeout = config.stream_idle_timeout;
            config.runtime_images.set(&mut runtime);
            start_runtime(parts, runtime).await?;
        }
    }

    let mut kubelet =
        kubelet::Config::new(&config.name, config.ips, config.instance.clone(), config.serving, config.client_ca);
    config.kubelet.set(config.configuration, &mut kubelet);
    start_kubelet(parts, kubelet, client, env)?;

    let proxy = proxy::Config::new(config.instance.clone(), &config.name, config.cluster_cidr.iter().collect());
    start_proxy(parts, proxy, &informers)?;

    let dns = dns::Config {
        cluster_domain: config.cluster_domain,
        cluster_dns: vec![config.cluster_dns],
        listen: Vec::new(),
        upstream: dns::Upstream::ResolvConf(config.resolv_conf),
        keep_service: config.keep_dns_service,
    };
    start_dns(parts, &config.instance, dns, &dns_informers)
}

/// Opens the built-in pod network.
pub async fn open_network(instance: &Instance, cluster_cidr: Networks, service_cidr: Networks) -> Result<PodNetwork> {
    let config = network::Config {
        instance: instance.clone(),
        cluster_cidrs: cluster_cidr.iter().collect(),
        service_cidrs: service_cidr.iter().collect(),
        mtu: None,
    };
    PodNetwork::open(config).await.context("cannot set up the pod network")
}

/// Starts the upkeep of routes to other nodes' pods.
pub fn start_routes(parts: &mut Parts, config: NodeRoutesConfig, informers: &client::Informers) {
    let routes = NodeRoutes::build(config, informers);
    parts.spawn("node routes", routes.run(parts.drain()));
}

/// Starts the built-in container runtime.
pub async fn start_runtime(parts: &mut Parts, config: runtime::Config) -> Result<()> {
    let runtime = runtime::Runtime::build(config).await.context("cannot start the container runtime")?;
    parts.spawn("container runtime", runtime.run(parts.drain()));
    Ok(())
}

/// Starts the kubelet.
pub fn start_kubelet(parts: &mut Parts, config: kubelet::Config, client: kube::Client, env: &Env) -> Result<()> {
    layout::note_kubelet_dir(&config.instance, &config.kubelet_dir())?;
    let kubelet = Kubelet::build(config, client, env.clone()).context("cannot start the kubelet")?;
    parts.spawn("kubelet", kubelet.run(parts.drain()));
    Ok(())
}

/// Starts the service proxy.
pub fn start_proxy(parts: &mut Parts, config: proxy::Config, informers: &client::Informers) -> Result<()> {
    let proxy = proxy::Proxy::build(config, informers).context("cannot start the service proxy")?;
    parts.spawn("service proxy", proxy.run(parts.drain()));
    Ok(())
}

/// Starts cluster DNS, and notes its addresses for `skiff down`.
pub fn start_dns(
    parts: &mut Parts,
    instance: &Instance,
    config: dns::Config,
    informers: &client::Informers,
) -> Result<()> {
    layout::note_dns(instance, &config.cluster_dns)?;
    let dns = dns::Dns::build(config, informers).context("cannot start cluster DNS")?;
    parts.spawn("cluster DNS", dns.run(parts.drain()));
    Ok(())
}
