//! The sub-commands, one module each.

mod agent;
mod apiserver;
mod cert;
mod controller_manager;
mod cri_docker;
mod dns;
mod down;
mod image;
mod kubeconfig;
mod kubelet;
mod proxy;
mod runtime;
mod scheduler;
mod secrets_encrypt;
mod server;
mod status;
mod table;
pub mod token;

use anyhow::{Context, Result};

use crate::cli::Command;
use crate::options::Common;
use crate::options::user::Reach;

/// The stack of a worker thread; only what is used of it takes memory.
const STACK_BYTES: usize = 8 << 20;

/// Runs a sub-command to its end.
pub fn run(command: Command) -> Result<()> {
    match command {
        Command::Server(options) => server::run(*options),
        Command::Agent(options) => role(&options.common.clone(), agent::run(*options)),
        Command::Apiserver(options) => role(&options.common.clone(), apiserver::run(*options)),
        Command::ControllerManager(options) => role(&options.common.clone(), controller_manager::run(*options)),
        Command::Scheduler(options) => role(&options.common.clone(), scheduler::run(*options)),
        Command::Kubelet(options) => role(&options.common.clone(), kubelet::run(*options)),
        Command::Runtime(options) => role(&options.common.clone(), runtime::run(*options)),
        Command::CriDocker(options) => role(&options.common.clone(), cri_docker::run(*options)),
        Command::Proxy(options) => role(&options.common.clone(), proxy::run(*options)),
        Command::Dns(options) => role(&options.common.clone(), dns::run(*options)),
        Command::Image(options) => block_on(image::run(options)),
        Command::Kubeconfig(options) => kubeconfig::run(&options),
        Command::Cert(options) => cert::run(options),
        Command::Token(options) => token::run(options),
        Command::SecretsEncrypt(options) => block_on(secrets_encrypt::run(options)),
        Command::Status(options) => block_on(status::run(options)),
        Command::Down(options) => down::run(&options),
    }
}

/// Runs a role: logs go to standard error, directories exist, as many files may be open as the system lets.
fn role(common: &Common, future: impl Future<Output = Result<()>>) -> Result<()> {
    base::logging::init(&common.log, common.log_format)?;
    match base::raise_open_files() {
        Ok(limit) => tracing::debug!(?limit, "limit of open files raised"),
        Err(err) => tracing::warn!(%err, "limit of open files cannot be raised"),
    }
    crate::layout::prepare(&common.instance())?;
    block_on(future)
}

/// A client of the running cluster that the user means.
async fn reach(options: Reach) -> Result<kube::Client> {
    let path = options.kubeconfig.display().to_string();
    client::connect(client::Source::Kubeconfig(options.kubeconfig), "skiff", &base::Env::system())
        .await
        .with_context(|| format!("no cluster is known at {path}: start one with `skiff server`, or set KUBECONFIG"))
}

fn block_on(future: impl Future<Output = Result<()>>) -> Result<()> {
    // The futures of a request that is served in this process nest deeply, most of all in builds without optimization.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(STACK_BYTES).build();
    runtime.context("cannot start the asynchronous runtime")?.block_on(future)
}
