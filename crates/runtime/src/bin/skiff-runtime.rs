//! The container runtime alone, as a process of its own: `skiff-runtime serve <data-dir> <run-dir> [<pod-cidr>]`.
//!
//! It is what the tests kill, and what tools that speak CRI can be pointed at without a cluster.

use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use base::{Env, Instance};
use network::PodNetwork;
use skiff_runtime::{Config, Runtime};

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match args.split_first() {
        Some((mode, rest)) if mode == "shim" => skiff_runtime::shim::main(rest.iter().cloned()),
        Some((mode, [data_dir, run_dir, pod_cidr @ ..])) if mode == "serve" && pod_cidr.len() < 2 => {
            match serve(PathBuf::from(data_dir), PathBuf::from(run_dir), pod_cidr.first()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(err) => {
                    eprintln!("error: {err}");
                    ExitCode::FAILURE
                }
            }
        }
        _ => {
            eprintln!("usage: skiff-runtime serve <data-dir> <run-dir> [<pod-cidr>]");
            ExitCode::from(2)
        }
    }
}

fn serve(data_dir: PathBuf, run_dir: PathBuf, pod_cidr: Option<&OsString>) -> Result<(), Box<dyn Error>> {
    base::logging::init("info", base::logging::Format::Text)?;
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    threads.block_on(async {
        let (trigger, drain) = base::drain();
        let mut config = Config::new(Instance::new(data_dir, run_dir), Env::system());
        if let Some(pod_cidr) = pod_cidr {
            let pod_cidr: ipnet::IpNet = pod_cidr.to_string_lossy().parse()?;
            let instance = config.instance.clone();
            let network =
                network::Config { instance, cluster_cidrs: vec![pod_cidr], service_cidrs: Vec::new(), mtu: None };
            let network = PodNetwork::open(network).await?;
            network.set_pod_cidrs(vec![pod_cidr]).await?;
            config.pod_network = Some(network);
        }
        let runtime = Runtime::build(config).await?;
        let run = runtime.run(drain);
        tokio::pin!(run);
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            result = &mut run => return Ok(result?),
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        trigger.drain();
        Ok(run.await?)
    })
}
