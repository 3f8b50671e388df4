//! Options of the sub-commands that run one component. Names are upstream's where upstream has the component.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{ArgAction, Args};
use ipnet::IpNet;

use super::access::Access;
use super::kubelet::KubeletSettings;
use super::ranges::{Pods, Ranges};
use super::{Api, Common, PortRange, Streams, port_range};

/// How a component reaches the API server.
#[derive(Args, Clone, Debug)]
pub struct Connection {
    /// Kubeconfig with the API server's address and this component's identity
    #[arg(long, env = "SKIFF_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: PathBuf,
}

/// Leader election among several replicas of a component.
#[derive(Args, Clone, Debug)]
pub struct Election {
    /// Name by which this replica is known in the Lease [default: host name and a random suffix]
    #[arg(long, env = "SKIFF_LEADER_ELECT_IDENTITY", value_name = "NAME")]
    pub leader_elect_identity: Option<String>,
}

/// Run the API server alone.
#[derive(Args, Clone, Debug)]
pub struct Apiserver {
    #[command(flatten)]
    pub common: Common,
    /// Port to serve HTTPS on
    #[arg(long, env = "SKIFF_SECURE_PORT", default_value_t = 6443, value_name = "PORT")]
    pub secure_port: u16,
    /// Address to listen on
    #[arg(long, env = "SKIFF_BIND_ADDRESS", default_value = "0.0.0.0", value_name = "IP")]
    pub bind_address: IpAddr,
    /// Address at which others reach this API server [default: that of the default route's interface]
    #[arg(long, env = "SKIFF_ADVERTISE_ADDRESS", value_name = "IP")]
    pub advertise_address: Option<IpAddr>,
    /// A further name or address for the serving certificate (may be repeated)
    #[arg(long, env = "SKIFF_TLS_SAN", value_delimiter = ',', value_name = "NAME")]
    pub tls_san: Vec<String>,
    /// Addresses of services: one network, or one of each family, the primary first
    #[arg(
        long,
        env = "SKIFF_SERVICE_CLUSTER_IP_RANGE",
        default_value = "10.43.0.0/16",
        value_delimiter = ',',
        value_name = "CIDR"
    )]
    pub service_cluster_ip_range: Vec<IpNet>,
    /// Ports of NodePort services
    #[arg(long, env = "SKIFF_SERVICE_NODE_PORT_RANGE", default_value = "30000-32767", value_parser = port_range, value_name = "FROM-TO")]
    pub service_node_port_range: PortRange,
    #[command(flatten)]
    pub access: Access,
    /// Domain of cluster names
    #[arg(long, env = "SKIFF_CLUSTER_DOMAIN", default_value = "cluster.local", value_name = "DOMAIN")]
    pub cluster_domain: String,
    #[command(flatten)]
    pub api: Api,
    /// Secret with which agents join [default: a random one]
    #[arg(long, env = "SKIFF_TOKEN", hide_env_values = true, value_name = "SECRET", conflicts_with = "token_file")]
    pub token: Option<String>,
    /// File with the secret with which agents join
    #[arg(long, env = "SKIFF_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// Run the controller manager alone.
#[derive(Args, Clone, Debug)]
pub struct ControllerManager {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub connection: Connection,
    #[command(flatten)]
    pub election: Election,
    #[command(flatten)]
    pub pods: Pods,
    /// Certificate authority that is published to every namespace [default: the kubeconfig's]
    #[arg(long, env = "SKIFF_ROOT_CA_FILE", value_name = "FILE")]
    pub root_ca_file: Option<PathBuf>,
    /// Seconds without a heartbeat after which a node is not ready
    #[arg(long, env = "SKIFF_NODE_MONITOR_GRACE_PERIOD", default_value_t = 50, value_name = "SECONDS")]
    pub node_monitor_grace_period: u64,
    /// Private key that signs the service account tokens of secrets [default: the one in the data directory, if it is there]
    #[arg(long, env = "SKIFF_SERVICE_ACCOUNT_PRIVATE_KEY_FILE", value_name = "FILE")]
    pub service_account_private_key_file: Option<PathBuf>,
    #[command(flatten)]
    pub legacy_tokens: super::LegacyTokens,
}

/// Run the scheduler alone.
#[derive(Args, Clone, Debug)]
pub struct Scheduler {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub connection: Connection,
    #[command(flatten)]
    pub election: Election,
}

/// Run the kubelet alone.
#[derive(Args, Clone, Debug)]
pub struct Kubelet {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub connection: Connection,
    /// Kubeconfig, with a bootstrap token for example, by which a client certificate is asked for; with that --kubeconfig
    /// is written, unless it is there and its certificate is good
    #[arg(long, env = "SKIFF_BOOTSTRAP_KUBECONFIG", value_name = "FILE")]
    pub bootstrap_kubeconfig: Option<PathBuf>,
    /// Name of this node [default: the host name]
    #[arg(long, env = "SKIFF_HOSTNAME_OVERRIDE", value_name = "NAME")]
    pub hostname_override: Option<String>,
    /// Address of this node, or one of each family [default: for each family of pods that of the default route's interface]
    #[arg(long, env = "SKIFF_NODE_IP", value_delimiter = ',', value_name = "IP")]
    pub node_ip: Vec<IpAddr>,
    #[command(flatten)]
    pub other_runtime: super::other_runtime::OtherRuntime,
    /// Address of cluster DNS (may be repeated) [default: 10.43.0.10]
    #[arg(long, env = "SKIFF_CLUSTER_DNS", value_delimiter = ',', value_name = "IP")]
    pub cluster_dns: Vec<IpAddr>,
    /// Domain of cluster names [default: cluster.local]
    #[arg(long, env = "SKIFF_CLUSTER_DOMAIN", value_name = "DOMAIN")]
    pub cluster_domain: Option<String>,
    /// Address of the kubelet's API [default: all of the machine's]
    #[arg(long, env = "SKIFF_KUBELET_ADDRESS", value_name = "IP")]
    pub address: Option<IpAddr>,
    /// Port of the kubelet's API [default: 10250]
    #[arg(long, env = "SKIFF_KUBELET_PORT", value_name = "PORT")]
    pub port: Option<u16>,
    /// Certificates of the authority whose clients may use the kubelet's API; needed here or in the configuration
    #[arg(long, env = "SKIFF_CLIENT_CA_FILE", value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,
    /// Serving certificate of the kubelet's API [default: one that this node signs itself]
    #[arg(long, env = "SKIFF_TLS_CERT_FILE", value_name = "FILE")]
    pub tls_cert_file: Option<PathBuf>,
    /// Key of the serving certificate
    #[arg(long, env = "SKIFF_TLS_PRIVATE_KEY_FILE", value_name = "FILE")]
    pub tls_private_key_file: Option<PathBuf>,
    #[command(flatten)]
    pub ranges: Ranges,
    /// The resolv.conf whose servers pods with dnsPolicy Default use [default: /etc/resolv.conf]
    #[arg(long, env = "SKIFF_RESOLV_CONF", value_name = "FILE")]
    pub resolv_conf: Option<PathBuf>,
    /// Features to switch on or off where the configuration says nothing, each as Name=true or Name=false (may be repeated)
    #[arg(long, env = "SKIFF_FEATURE_GATES", value_delimiter = ',', value_parser = feature_gate, value_name = "NAME=BOOL", long_help = apiserver::FeatureGates::help())]
    pub feature_gates: Vec<(String, bool)>,
    #[command(flatten)]
    pub kubelet: KubeletSettings,
}

fn feature_gate(text: &str) -> Result<(String, bool), String> {
    let (name, value) = text.split_once('=').ok_or("use NAME=BOOL")?;
    Ok((name.trim().to_owned(), value.trim().parse().map_err(|_| "use NAME=true or NAME=false")?))
}

/// Run the built-in container runtime alone.
#[derive(Args, Clone, Debug)]
pub struct Runtime {
    #[command(flatten)]
    pub common: Common,
    /// Socket to serve CRI on [default: cri.sock in the run directory]
    #[arg(long, env = "SKIFF_LISTEN", value_name = "SOCKET")]
    pub listen: Option<PathBuf>,
    #[command(flatten)]
    pub ranges: Ranges,
    /// Addresses of this machine's pods, within --cluster-cidr, where no kubelet gives any: for tools that speak CRI alone
    #[arg(long, env = "SKIFF_POD_CIDR", value_delimiter = ',', value_name = "CIDR")]
    pub pod_cidr: Vec<IpNet>,
    #[command(flatten)]
    pub images: super::image::BuiltinRuntime,
    #[command(flatten)]
    pub streams: Streams,
}

/// Run the service proxy alone.
#[derive(Args, Clone, Debug)]
pub struct Proxy {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub connection: Connection,
    /// Name of this node [default: the host name]
    #[arg(long, env = "SKIFF_HOSTNAME_OVERRIDE", value_name = "NAME")]
    pub hostname_override: Option<String>,
    #[command(flatten)]
    pub pods: Pods,
}

/// Run the cluster DNS server alone.
#[derive(Args, Clone, Debug)]
pub struct Dns {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub connection: Connection,
    /// Address of cluster DNS, which this node answers on
    #[arg(long, env = "SKIFF_CLUSTER_DNS", default_value = "10.43.0.10", value_name = "IP")]
    pub cluster_dns: IpAddr,
    /// Listen here instead of on the cluster DNS address (may be repeated)
    #[arg(long, env = "SKIFF_LISTEN", value_delimiter = ',', value_name = "ADDRESS:PORT")]
    pub listen: Vec<SocketAddr>,
    /// Domain of cluster names
    #[arg(long, env = "SKIFF_CLUSTER_DOMAIN", default_value = "cluster.local", value_name = "DOMAIN")]
    pub cluster_domain: String,
    /// The resolv.conf whose servers answer what is outside the cluster
    #[arg(long, env = "SKIFF_RESOLV_CONF", default_value = "/etc/resolv.conf", value_name = "FILE")]
    pub resolv_conf: PathBuf,
    /// Keep the kube-dns Service
    #[arg(long, env = "SKIFF_KEEP_SERVICE", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", default_value = "true", value_name = "BOOL")]
    pub keep_service: bool,
}
