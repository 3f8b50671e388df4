//! The addresses of a cluster's pods and services.

use anyhow::Result;
use base::Networks;
use clap::Args;
use ipnet::IpNet;

use super::networks;

/// Addresses of pods.
#[derive(Args, Clone, Debug)]
pub struct Pods {
    /// Addresses of pods in the whole cluster: one network, or one of each family, the primary first
    #[arg(
        long,
        env = "SKIFF_CLUSTER_CIDR",
        default_value = "10.42.0.0/16",
        value_delimiter = ',',
        value_name = "CIDR"
    )]
    cluster_cidr: Vec<IpNet>,
}

impl Pods {
    /// The networks.
    pub fn networks(&self) -> Result<Networks> {
        networks("--cluster-cidr", &self.cluster_cidr)
    }
}

/// Addresses of services.
#[derive(Args, Clone, Debug)]
pub struct Services {
    /// Addresses of services: one network, or one of each family, the primary first
    #[arg(
        long,
        env = "SKIFF_SERVICE_CIDR",
        default_value = "10.43.0.0/16",
        value_delimiter = ',',
        value_name = "CIDR"
    )]
    service_cidr: Vec<IpNet>,
}

impl Services {
    /// The networks.
    pub fn networks(&self) -> Result<Networks> {
        networks("--service-cidr", &self.service_cidr)
    }
}

/// Both.
#[derive(Args, Clone, Debug)]
pub struct Ranges {
    #[command(flatten)]
    pub pods: Pods,
    #[command(flatten)]
    pub services: Services,
}
