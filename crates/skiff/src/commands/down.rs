//! `skiff down`: stops this machine's server or agent and removes what it put into the kernel.

use std::time::Duration;

use anyhow::{Context, Result};
use ipnet::IpNet;

use crate::assembly::other_runtime;
use crate::options::user::Down;
use crate::{layout, pid};

/// How long a process may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(30);

/// Runs it. What is not there is no error; it may be called again after a failure.
pub fn run(options: &Down) -> Result<()> {
    let instance = options.installation.instance();
    if let Some(process) = pid::running(&instance)? {
        process.stop(GRACE)?;
    }
    if let Some(socket) = layout::noted_runtime(&instance) {
        super::block_on(other_runtime::remove_pods(&instance, &socket))?;
    }
    for file in layout::noted_cni(&instance) {
        layout::remove(&file)?;
    }
    runtime::cleanup(&instance, options.purge).context("cannot remove the containers")?;
    let slices = async { kubelet::cleanup_slices(&instance.name()).await.context("cannot remove the pods' slices") };
    super::block_on(slices)?;
    kubelet::cleanup(&layout::noted_kubelet_dir(&instance)).context("cannot remove the pods' volumes")?;
    proxy::cleanup(&instance).context("cannot remove the services' rules")?;
    let every_address: [IpNet; 2] = [
        IpNet::new(std::net::Ipv4Addr::UNSPECIFIED.into(), 0)?,
        IpNet::new(std::net::Ipv6Addr::UNSPECIFIED.into(), 0)?,
    ];
    network::cleanup(&instance, &every_address).context("cannot remove the pod network")?;
    dns::cleanup(&layout::noted_dns(&instance)).context("cannot remove the cluster DNS address")?;
    layout::remove(instance.run_dir())?;
    if options.purge {
        layout::remove(&layout::pod_logs_dir(&instance))?;
        layout::remove(instance.data_dir())?;
        layout::remove(&options.write_kubeconfig)?;
    }
    println!("skiff is down");
    Ok(())
}
