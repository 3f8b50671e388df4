//! The addresses of a cluster's pods and services.

use anyhow::{Result, ensure};
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

    /// The networks of one machine's pods as the option `name` gives them, none or parts of the cluster's.
    pub fn part(&self, name: &str, wanted: &[IpNet]) -> Result<Vec<IpNet>> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let all = self.networks()?;
        let wanted: Vec<IpNet> = networks(name, wanted)?.iter().collect();
        for network in &wanted {
            ensure!(all.iter().any(|whole| whole.contains(network)), "{name}: {network} is not within --cluster-cidr");
        }
        Ok(wanted)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(wanted: &[&str], expected: Option<&[&str]>) {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a network")).collect::<Vec<IpNet>>();
        let pods = Pods { cluster_cidr: parse(&["10.42.0.0/16", "fd42::/56"]) };
        assert_eq!(pods.part("--pod-cidr", &parse(wanted)).ok(), expected.map(parse));
    }

    #[test]
    fn a_machines_pods_are_some_of_the_clusters() {
        check(&[], Some(&[]));
        check(&["10.42.9.1/24"], Some(&["10.42.9.0/24"]));
        check(&["10.42.9.0/24", "fd42::/64"], Some(&["10.42.9.0/24", "fd42::/64"]));
        check(&["10.43.0.0/24"], None);
        check(&["10.42.1.0/24", "10.42.2.0/24"], None);
    }
}
