//! What each sub-command takes, as clap parses it. Names are k3s's for `server` and `agent`, upstream's for components.

pub mod access;
mod admission;
pub mod agent;
pub mod audit;
pub mod components;
pub mod cri_docker;
pub mod image;
pub mod kubelet;
pub mod limits;
pub mod other_runtime;
mod ranges;
pub mod server;
pub mod user;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use base::{Instance, Networks};
use clap::{ArgAction, Args};
use ipnet::IpNet;
use jiff::SignedDuration;

/// What every role takes.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Directory of durable data
    #[arg(long, env = "SKIFF_DATA_DIR", default_value = "/var/lib/skiff", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Directory of sockets and other state that ends with a reboot
    #[arg(long, env = "SKIFF_RUN_DIR", default_value = "/run/skiff", value_name = "DIR")]
    pub run_dir: PathBuf,
    /// Where to write the administrator's kubeconfig
    #[arg(long, env = "SKIFF_WRITE_KUBECONFIG", default_value = "/etc/skiff/kubeconfig", value_name = "FILE")]
    pub write_kubeconfig: PathBuf,
    /// Configuration file: a YAML mapping of these options without the dashes [default: /etc/skiff/config.yaml, if it exists]
    #[arg(long, env = "SKIFF_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to log: a level (error, warn, info, debug, trace) or TARGET=LEVEL,…
    #[arg(long, env = "SKIFF_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
    /// How to log: text or json
    #[arg(long, env = "SKIFF_LOG_FORMAT", default_value = "text", value_parser = log_format)]
    pub log_format: base::logging::Format,
}

impl Common {
    /// The installation that these options name.
    pub fn instance(&self) -> Instance {
        Instance::new(&self.data_dir, &self.run_dir)
    }
}

fn log_format(text: &str) -> std::result::Result<base::logging::Format, String> {
    match text {
        "text" => Ok(base::logging::Format::Text),
        "json" => Ok(base::logging::Format::Json),
        _ => Err("use text or json".to_owned()),
    }
}

/// A secret as it was given, or what its file says.
pub fn secret(given: Option<&str>, file: Option<&Path>) -> Result<Option<String>> {
    match (given, file) {
        (Some(given), _) => Ok(Some(given.to_owned())),
        (None, Some(file)) => {
            let text = std::fs::read_to_string(file);
            Ok(Some(text.with_context(|| format!("cannot read --token-file {}", file.display()))?.trim().to_owned()))
        }
        (None, None) => Ok(None),
    }
}

/// What API is served.
#[derive(Args, Clone, Debug)]
pub struct Api {
    /// Versions of the API to serve beside the stable ones, or not to serve: api/all, api/ga, api/beta, api/alpha,
    /// GROUP/VERSION or GROUP/VERSION/RESOURCE, each with =true or =false (may be repeated)
    #[arg(long, env = "SKIFF_RUNTIME_CONFIG", value_delimiter = ',', value_name = "KEY=BOOL")]
    pub runtime_config: Vec<String>,
    /// Features to switch on or off, each as Name=true or Name=false (may be repeated)
    #[arg(long, env = "SKIFF_FEATURE_GATES", value_delimiter = ',', value_name = "NAME=BOOL", long_help = apiserver::FeatureGates::help())]
    pub feature_gates: Vec<String>,
    /// How long events are kept after they were last written, such as 1h30m
    #[arg(long, env = "SKIFF_EVENT_TTL", default_value = "1h", value_parser = duration, value_name = "DURATION")]
    pub event_ttl: Duration,
    #[command(flatten)]
    pub admission: admission::Admission,
    #[command(flatten)]
    pub limits: limits::RequestLimits,
    #[command(flatten)]
    pub audit: audit::Audit,
    #[command(flatten)]
    pub encryption: EncryptionAtRest,
}

/// How objects are encrypted in the datastore.
#[derive(Args, Clone, Debug)]
pub struct EncryptionAtRest {
    /// Encrypt Secrets in the datastore with a key that is made at the first start; once it is made it stays in use
    #[arg(long, env = "SKIFF_SECRETS_ENCRYPTION", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", default_value = "true", value_name = "BOOL")]
    pub secrets_encryption: bool,
    /// EncryptionConfiguration to use in place of the one in the data directory
    #[arg(long, env = "SKIFF_ENCRYPTION_PROVIDER_CONFIG", value_name = "FILE")]
    pub encryption_provider_config: Option<PathBuf>,
    /// Take changes of --encryption-provider-config without a restart
    #[arg(long, env = "SKIFF_ENCRYPTION_PROVIDER_CONFIG_AUTOMATIC_RELOAD", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", default_value = "false", value_name = "BOOL")]
    pub encryption_provider_config_automatic_reload: bool,
}

impl Api {
    /// Writes the options into the configuration of an API server.
    pub fn apply(&self, config: &mut apiserver::Config) -> Result<()> {
        config.runtime_config = self.runtime_config.join(",").parse().context("--runtime-config")?;
        config.feature_gates = self.feature_gates.join(",").parse().context("--feature-gates")?;
        config.event_ttl = self.event_ttl;
        self.admission.apply(config)?;
        self.limits.apply(config)?;
        self.audit.apply(config)?;
        Ok(())
    }
}

/// A length of time as Go writes it: `1h30m`, `500ms`.
fn duration(text: &str) -> std::result::Result<Duration, String> {
    let parsed: SignedDuration = text.parse().map_err(|err: jiff::Error| err.to_string())?;
    Duration::try_from(parsed).map_err(|_| "must not be negative".to_owned())
}

/// What becomes of service account tokens that nobody uses.
#[derive(Args, Clone, Debug)]
pub struct LegacyTokens {
    /// After what time without use the tokens that old clusters made for service accounts are no longer good; after the
    /// same time again they are deleted
    #[arg(long, env = "SKIFF_LEGACY_SERVICE_ACCOUNT_TOKEN_CLEAN_UP_PERIOD", default_value = "8760h", value_parser = duration, value_name = "DURATION")]
    pub legacy_service_account_token_clean_up_period: Duration,
}

/// What `--option` says of addresses.
pub fn networks(option: &str, given: &[IpNet]) -> Result<Networks> {
    Networks::new(given).with_context(|| option.to_owned())
}

/// A range of ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

/// Reads `FROM-TO`.
pub fn port_range(text: &str) -> std::result::Result<PortRange, String> {
    let wrong = || "use FROM-TO, such as 30000-32767".to_owned();
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let (first, last) = (first.trim().parse().map_err(|_| wrong())?, last.trim().parse().map_err(|_| wrong())?);
    if first == 0 || first > last { Err(wrong()) } else { Ok(PortRange { first, last }) }
}

/// What a node is told about itself and its cluster.
#[derive(Args, Clone, Debug)]
pub struct Node {
    /// Name of this node [default: the host name]
    #[arg(long, env = "SKIFF_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// Address of this node, or one of each family [default: for each family of pods that of the default route's interface]
    #[arg(long, env = "SKIFF_NODE_IP", value_delimiter = ',', value_name = "IP")]
    pub node_ip: Vec<IpAddr>,
    /// Address of cluster DNS [default: the tenth of the service CIDR]
    #[arg(long, env = "SKIFF_CLUSTER_DNS", value_name = "IP")]
    pub cluster_dns: Option<IpAddr>,
    /// Domain of cluster names [default: cluster.local]
    #[arg(long, env = "SKIFF_CLUSTER_DOMAIN", value_name = "DOMAIN")]
    pub cluster_domain: Option<String>,
    /// Port of the kubelet's API [default: 10250]
    #[arg(long, env = "SKIFF_KUBELET_PORT", value_name = "PORT")]
    pub kubelet_port: Option<u16>,
    #[command(flatten)]
    pub other_runtime: other_runtime::OtherRuntime,
    /// The resolv.conf whose servers answer what is outside the cluster [default: /etc/resolv.conf]
    #[arg(long, env = "SKIFF_RESOLV_CONF", value_name = "FILE")]
    pub resolv_conf: Option<PathBuf>,
    #[command(flatten)]
    pub kubelet: kubelet::KubeletSettings,
    #[command(flatten)]
    pub runtime_images: image::BuiltinRuntime,
    #[command(flatten)]
    pub streams: Streams,
}

/// Where cluster names end, unless that is said.
pub const CLUSTER_DOMAIN: &str = "cluster.local";
/// The machine's resolver, unless another is said.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

impl Node {
    /// Where cluster names end.
    pub fn cluster_domain(&self) -> &str {
        self.cluster_domain.as_deref().unwrap_or(CLUSTER_DOMAIN)
    }

    /// Whose servers answer what is outside the cluster.
    pub fn resolv_conf(&self) -> PathBuf {
        self.resolv_conf.clone().unwrap_or_else(|| PathBuf::from(RESOLV_CONF))
    }
}

/// Connections of exec, attach and port-forward.
#[derive(Args, Clone, Debug)]
pub struct Streams {
    /// How long a connection of exec, attach or port-forward may be without any use
    #[arg(long, env = "SKIFF_STREAMING_CONNECTION_IDLE_TIMEOUT", default_value = "4h", value_parser = duration, value_name = "DURATION")]
    pub streaming_connection_idle_timeout: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_ranges_are_checked() {
        assert_eq!(port_range("30000-32767"), Ok(PortRange { first: 30000, last: 32767 }));
        for wrong in ["", "5", "9-8", "0-4", "1-70000", "a-b"] {
            assert!(port_range(wrong).is_err(), "{wrong}");
        }
    }
}
