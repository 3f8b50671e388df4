//! Options of `skiff server`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::access::Access;
use super::ranges::Ranges;
use super::{Api, Common, Node, PortRange, port_range};

/// Run the control plane and a node.
#[derive(Args, Clone, Debug)]
pub struct Server {
    #[command(flatten)]
    pub common: Common,
    /// Port of the API server
    #[arg(long, env = "SKIFF_HTTPS_LISTEN_PORT", default_value_t = 6443, value_name = "PORT")]
    pub https_listen_port: u16,
    /// Address that the API server listens on
    #[arg(long, env = "SKIFF_BIND_ADDRESS", default_value = "0.0.0.0", value_name = "IP")]
    pub bind_address: IpAddr,
    /// Address at which others reach the API server [default: the node's address]
    #[arg(long, env = "SKIFF_ADVERTISE_ADDRESS", value_name = "IP")]
    pub advertise_address: Option<IpAddr>,
    /// A further name or address for the API server's certificate (may be repeated)
    #[arg(long, env = "SKIFF_TLS_SAN", value_delimiter = ',', value_name = "NAME")]
    pub tls_san: Vec<String>,
    #[command(flatten)]
    pub access: Access,
    #[command(flatten)]
    pub api: Api,
    #[command(flatten)]
    pub ranges: Ranges,
    /// Ports of NodePort services
    #[arg(long, env = "SKIFF_SERVICE_NODE_PORT_RANGE", default_value = "30000-32767", value_parser = port_range, value_name = "FROM-TO")]
    pub service_node_port_range: PortRange,
    #[command(flatten)]
    pub node: Node,
    /// Run no node beside the control plane
    #[arg(long, env = "SKIFF_DISABLE_AGENT", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", default_value = "false", value_name = "BOOL")]
    pub disable_agent: bool,
    /// Secret with which agents join [default: a random one, see `skiff token`]; everybody on the machine can read it
    /// here, so rather use --token-file or the variable
    #[arg(long, env = "SKIFF_TOKEN", hide_env_values = true, value_name = "SECRET", conflicts_with = "token_file")]
    pub token: Option<String>,
    /// File with the secret with which agents join
    #[arg(long, env = "SKIFF_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Seconds without a heartbeat after which a node is not ready
    #[arg(long, env = "SKIFF_NODE_MONITOR_GRACE_PERIOD", default_value_t = 50, value_name = "SECONDS")]
    pub node_monitor_grace_period: u64,
    #[command(flatten)]
    pub legacy_tokens: super::LegacyTokens,
    /// Go to the background once the cluster is ready; the log is under the data directory
    #[arg(long, action = ArgAction::SetTrue)]
    pub detach: bool,
}
