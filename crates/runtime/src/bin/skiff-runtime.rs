//! The container runtime alone, as a process of its own:
//! `skiff-runtime serve <data-dir> <run-dir> [pod-cidr=<network>] [cdi=<dir>]
//! [start-timeout=<seconds>] [handler=<name>:<program>]...`.
//!
//! It is what the tests kill, and what tools that speak CRI can be pointed at without a cluster.

use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use base::{Env, Instance};
use network::PodNetwork;
use skiff_runtime::{Config, Runtime};

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match args.split_first() {
        Some((mode, rest)) if mode == "shim" => skiff_runtime::shim::main(rest.iter().cloned()),
        Some((mode, [data_dir, run_dir, settings @ ..])) if mode == "serve" => {
            match serve(PathBuf::from(data_dir), PathBuf::from(run_dir), settings) {
                Ok(()) => ExitCode::SUCCESS,
                Err(err) => {
                    eprintln!("error: {err}");
                    ExitCode::FAILURE
                }
            }
        }
        _ => {
            eprintln!("usage: skiff-runtime serve <data-dir> <run-dir> [<setting>=<value>]...");
            ExitCode::from(2)
        }
    }
}

fn serve(data_dir: PathBuf, run_dir: PathBuf, settings: &[OsString]) -> Result<(), Box<dyn Error>> {
    base::logging::init("info", base::logging::Format::Text)?;
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    threads.block_on(async {
        let (trigger, drain) = base::drain();
        let mut config = Config::new(Instance::new(data_dir, run_dir), Env::system());
        for setting in settings {
            apply(&mut config, &setting.to_string_lossy()).await?;
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

async fn apply(config: &mut Config, setting: &str) -> Result<(), Box<dyn Error>> {
    match setting.split_once('=') {
        Some(("pod-cidr", pod_cidr)) => {
            let pod_cidr: ipnet::IpNet = pod_cidr.parse()?;
            let instance = config.instance.clone();
            let network =
                network::Config { instance, cluster_cidrs: vec![pod_cidr], service_cidrs: Vec::new(), mtu: None };
            let network = PodNetwork::open(network).await?;
            network.set_pod_cidrs(vec![pod_cidr]).await?;
            config.pod_network = Some(network);
        }
        Some(("start-timeout", seconds)) => config.start_timeout = Duration::from_secs(seconds.parse()?),
        Some(("cdi", dir)) => config.cdi_dirs = vec![PathBuf::from(dir)],
        Some(("handler", handler)) => {
            let (name, program) = handler.split_once(':').ok_or("a handler is a name and a program")?;
            config.runtime_handlers.insert(name.to_owned(), PathBuf::from(program));
        }
        _ => return Err(format!("unknown setting {setting:?}").into()),
    }
    Ok(())
}
