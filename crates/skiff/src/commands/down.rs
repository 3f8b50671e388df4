//! `skiff down`: stops this machine's server or agent and removes what it put into the kernel.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use base::Instance;
use ipnet::IpNet;
use nix::sys::signal::{Signal, kill};

use crate::options::user::Down;
use crate::{layout, pid};

/// How long a process may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(30);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Runs it. What is not there is no error; it may be called again after a failure.
pub fn run(options: &Down) -> Result<()> {
    let instance = options.installation.instance();
    stop(&instance)?;
    runtime::cleanup(&instance, options.purge).context("cannot remove the containers")?;
    kubelet::cleanup(&instance).context("cannot remove the pods' volumes and cgroups")?;
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

fn stop(instance: &Instance) -> Result<()> {
    let Some(pid) = pid::running(instance) else { return Ok(()) };
    kill(pid, Signal::SIGTERM).with_context(|| format!("cannot stop process {pid}"))?;
    let begun = Instant::now();
    while pid::running(instance) == Some(pid) {
        if begun.elapsed() > GRACE {
            kill(pid, Signal::SIGKILL).with_context(|| format!("cannot kill process {pid}"))?;
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}
