//! What roles are assembled from: the control plane, a node, and joining.

pub mod cni;
pub mod control_plane;
pub mod handed_out;
pub mod join;
pub mod node;
pub mod other_runtime;
pub mod renewal;
pub mod serving;
#[cfg(test)]
mod years;

use std::net::IpAddr;

use anyhow::{Context, Result};
use base::Env;
use client::{Informers, Source};
use ipnet::IpNet;

use crate::options::components;
use crate::supervise::Parts;

/// The address of cluster DNS where none is given: the tenth of the service CIDR.
pub fn default_dns(service_cidr: IpNet) -> Result<IpAddr> {
    let tenth = base::nth_address(&service_cidr, 10);
    tenth.with_context(|| format!("the service CIDR {service_cidr} has fewer than ten addresses"))
}

/// What this replica is called in Leases.
pub fn identity(given: Option<&str>, env: &Env) -> Result<String> {
    match given {
        Some(name) => Ok(name.to_owned()),
        None => Ok(format!("{}_{}", crate::host::name()?, env.random().uuid())),
    }
}

/// The client of a component that runs alone, and its informers, which run as a part.
pub async fn connect_alone(
    parts: &mut Parts,
    component: &str,
    connection: &components::Connection,
    env: &Env,
) -> Result<(kube::Client, Informers)> {
    let client = client::connect(Source::Kubeconfig(connection.kubeconfig.clone()), component, env).await?;
    Ok((client.clone(), start_informers(parts, client, env)))
}

/// Informers over a client, which run as a part.
pub fn start_informers(parts: &mut Parts, client: kube::Client, env: &Env) -> Informers {
    let informers = Informers::new(client, env.clone());
    let (running, drain) = (informers.clone(), parts.drain());
    parts.spawn("informers", async move { running.run(drain).await });
    informers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_dns_is_the_tenth_service_address() {
        assert_eq!(default_dns("10.43.0.0/16".parse().unwrap()).unwrap().to_string(), "10.43.0.10");
        assert_eq!(default_dns("fd43::/112".parse().unwrap()).unwrap().to_string(), "fd43::a");
        assert!(default_dns("10.43.0.0/30".parse().unwrap()).is_err());
    }
}
