//! `ExecSync`: a process run to its end.

use std::sync::Arc;
use std::time::Duration;

use cri::{ExecSyncRequest, ExecSyncResponse, Status};
use rustix::process::{Pid, Signal, kill_process};
use streaming::Wanted;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::exec::{Running, Spec, exit_code, start};
use super::pump::pump;
use crate::container::Container;
use crate::engine::Engine;
use crate::errors::DockerError;

/// So much is kept of either stream; an answer of CRI's takes no more.
const MAX_OUTPUT: u64 = 7 * 1024 * 1024;

/// Runs a process, for at most as long as is said.
pub(crate) async fn exec_sync(engine: &Arc<Engine>, request: ExecSyncRequest) -> Result<ExecSyncResponse, Status> {
    let container = Container::running(engine, &request.container_id).await?;
    if request.cmd.is_empty() {
        return Err(Status::invalid_argument("no command given"));
    }
    let timeout = u64::try_from(request.timeout).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
    let wanted = Wanted { stdin: false, stdout: true, stderr: true };
    let running = start(engine, &container.id, &Spec { cmd: request.cmd, tty: false, wanted }).await?;
    let id = running.id.clone();
    let expired = async {
        match timeout {
            Some(timeout) => engine.env.sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        response = finish(engine, running, wanted) => Ok(response?),
        () = expired => {
            kill(engine, &id).await;
            let seconds = request.timeout;
            Err(Status::deadline_exceeded(format!("the command did not end within {seconds} seconds")))
        }
    }
}

async fn finish(engine: &Engine, running: Running, wanted: Wanted) -> Result<ExecSyncResponse, DockerError> {
    let (near, pump) = pump(wanted);
    let ((), stdout, stderr) =
        tokio::join!(pump.run(running.from, running.to), collect(near.stdout), collect(near.stderr));
    let exit_code = exit_code(engine, &running.id).await?;
    Ok(ExecSyncResponse { stdout, stderr, exit_code })
}

async fn collect(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut all = Vec::new();
    if let Some(mut stream) = stream {
        // What is beyond the limit is read and dropped, for a process whose pipe is full would hang.
        let _ = (&mut stream).take(MAX_OUTPUT).read_to_end(&mut all).await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    }
    all
}

/// Kills a process; Docker offers no way to.
async fn kill(engine: &Engine, id: &str) {
    let exec = engine.docker.inspect_exec(id).await.ok();
    let pid = exec.filter(|exec| exec.running.unwrap_or(false)).and_then(|exec| exec.pid);
    let pid = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid
        && let Err(err) = kill_process(pid, Signal::KILL)
    {
        tracing::debug!(%err, "a process that took too long cannot be killed");
    }
}
