//! `skiff server --detach`: the same server in the background, followed until the cluster is ready.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use client::Source;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::runtime::wait::await_condition;

use crate::options::server::Server;
use crate::{layout, pid};

/// How long the cluster may take to become ready.
const DEADLINE: Duration = Duration::from_secs(90);
/// How often the new process is looked at while it makes its first files.
const LOOK: Duration = Duration::from_millis(20);
/// So many lines of the log are shown when the start fails.
const SHOWN_LINES: usize = 12;

/// Starts the server and returns when its node is ready (or, without a node, its API server).
pub async fn start(options: Server) -> Result<()> {
    let instance = options.common.instance();
    layout::prepare(&instance)?;
    if let Some(process) = pid::running(&instance)? {
        println!("skiff runs already ({process})");
        return Ok(());
    }
    let begun = Instant::now();
    let log = layout::server_log(&instance);
    let kubeconfig = options.common.write_kubeconfig.clone();
    // What an earlier cluster wrote must not be taken for this one's.
    layout::remove(&kubeconfig)?;
    let mut child = spawn(&log)?;
    progress("starting the API server");
    while !kubeconfig.exists() {
        check(&mut child, &log)?;
        if begun.elapsed() > DEADLINE {
            bail!("the API server did not start in {} s; its log is {}", DEADLINE.as_secs(), log.display());
        }
        tokio::time::sleep(LOOK).await;
    }
    let client = client::connect(Source::Kubeconfig(kubeconfig), "skiff", &base::Env::system()).await?;
    let ready = tokio::time::timeout(DEADLINE, async {
        wait_for_server(&client).await;
        progress("API server ready");
        if !options.disable_agent {
            let name = options.node.node_name.clone().map_or_else(crate::host::name, Ok)?;
            wait_for_node(client, &name).await?;
            progress(&format!("node {name} ready"));
        }
        anyhow::Ok(())
    });
    tokio::pin!(ready);
    loop {
        tokio::select! {
            result = &mut ready => {
                result.with_context(|| format!("the cluster is not ready after {} s; its log is {}", DEADLINE.as_secs(), log.display()))??;
                break;
            }
            () = tokio::time::sleep(LOOK) => check(&mut child, &log)?,
        }
    }
    println!(
        "skiff runs (process {}, ready after {:.1} s, log {})",
        child.id(),
        begun.elapsed().as_secs_f64(),
        log.display()
    );
    Ok(())
}

fn progress(text: &str) {
    println!("skiff: {text}");
    // Somebody watches; what cannot be shown is no reason to fail.
    let _ = std::io::stdout().flush();
}

fn spawn(log: &Path) -> Result<Child> {
    if let Some(dir) = log.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    let opened = File::options().create(true).append(true).open(log);
    let file = opened.with_context(|| format!("cannot write the log {}", log.display()))?;
    let program = std::env::current_exe().context("cannot find the skiff binary")?;
    let arguments = std::env::args_os().skip(1).filter(|argument| argument != "--detach");
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    // A process group of its own: the terminal's signals are not meant for it.
    command.process_group(0).spawn().context("cannot start the server")
}

fn check(child: &mut Child, log: &Path) -> Result<()> {
    let Some(status) = child.try_wait()? else { return Ok(()) };
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
    bail!("the server ended ({status}); the end of its log {}:\n{tail}", log.display())
}

async fn wait_for_server(client: &kube::Client) {
    loop {
        let request = http::Request::get("/readyz").body(Vec::new());
        if let Ok(request) = request
            && client.request_text(request).await.is_ok()
        {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn wait_for_node(client: kube::Client, name: &str) -> Result<()> {
    let ready = |node: Option<&Node>| {
        let conditions = node.and_then(|node| node.status.as_ref()?.conditions.as_ref());
        conditions.into_iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True")
    };
    await_condition(Api::<Node>::all(client), name, ready).await?;
    Ok(())
}
