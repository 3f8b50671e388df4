//! `Exec`: a process run for a client.

use std::sync::Arc;
use std::time::Duration;

use bollard::exec::{CreateExecOptions, ResizeExecOptions, StartExecOptions, StartExecResults};
use cri::{ExecRequest, ExecResponse, Status};
use serde_json::Value;
use streaming::{Command, Process, Session, Streams, Wanted, status};
use tokio::sync::watch;

use super::check_streams;
use super::pump::{FromDocker, ToDocker, pump};
use crate::container::Container;
use crate::engine::Engine;
use crate::errors::{DockerError, Doing};

/// Between looks at a process that has closed its streams and not ended yet: Docker tells of its end in no other way
/// that survives Docker itself.
const LOOK: Duration = Duration::from_millis(50);

/// What to run and with which streams.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub cmd: Vec<String>,
    pub tty: bool,
    pub wanted: Wanted,
}

/// A process that runs.
pub(super) struct Running {
    pub id: String,
    pub from: FromDocker,
    pub to: ToDocker,
}

/// An address at which a client finds the process.
pub(crate) async fn exec(engine: &Arc<Engine>, request: ExecRequest) -> Result<ExecResponse, Status> {
    let container = Container::running(engine, &request.container_id).await?;
    if request.cmd.is_empty() {
        return Err(Status::invalid_argument("no command given"));
    }
    let wanted = Wanted { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr };
    check_streams(request.tty, wanted)?;
    let spec = Spec { cmd: request.cmd, tty: request.tty, wanted };
    let start = session(engine.clone(), container.id, spec);
    Ok(ExecResponse { url: engine.streaming.address(Session::Exec(Command { wanted, start: Box::pin(start) })) })
}

async fn session(engine: Arc<Engine>, container: String, spec: Spec) -> Result<Process, Value> {
    let failed = |err: &dyn std::fmt::Display| status::failed(&format!("error executing command in container: {err}"));
    let Running { id, from, to } = start(&engine, &container, &spec).await.map_err(|err| failed(&err))?;
    let (near, pump) = pump(spec.wanted);
    let (sizes, mut size) = watch::channel(None);
    let end = async move {
        let pass = pump.run(from, to);
        tokio::pin!(pass);
        loop {
            tokio::select! {
                () = &mut pass => break,
                Ok(()) = size.changed() => {
                    let wanted: Option<(u16, u16)> = *size.borrow_and_update();
                    if let Some((width, height)) = wanted {
                        // A process that has ended has no terminal any more.
                        let _ = engine.docker.resize_exec(&id, ResizeExecOptions { height, width }).await;
                    }
                }
            }
        }
        match exit_code(&engine, &id).await {
            Ok(exit_code) => status::exited(&spec.cmd, exit_code),
            Err(err) => status::failed(&format!("error executing command in container: {err}")),
        }
    };
    let resize = spec.tty.then(|| {
        Box::new(move |columns, rows| {
            // Nobody listens once the process has ended.
            let _ = sizes.send(Some((columns, rows)));
        }) as _
    });
    let streams = Streams { stdin: near.stdin, stdout: near.stdout, stderr: near.stderr, resize };
    Ok(Process { streams, end: Box::pin(end), keep: None })
}

/// Starts a process.
pub(super) async fn start(engine: &Engine, container: &str, spec: &Spec) -> Result<Running, DockerError> {
    let action = || format!("start a process in container {container}");
    let options = CreateExecOptions {
        attach_stdin: Some(spec.wanted.stdin),
        attach_stdout: Some(spec.wanted.stdout),
        attach_stderr: Some(spec.wanted.stderr),
        tty: Some(spec.tty),
        cmd: Some(spec.cmd.clone()),
        ..CreateExecOptions::default()
    };
    let id = engine.docker.create_exec(container, options).await.doing(action())?.id;
    let options = StartExecOptions { tty: spec.tty, ..StartExecOptions::default() };
    match engine.docker.start_exec(&id, Some(options)).await.doing(action())? {
        StartExecResults::Attached { output, input } => Ok(Running { id, from: output, to: input }),
        // Only what was asked for detached is so.
        StartExecResults::Detached => {
            Ok(Running { id, from: Box::pin(futures::stream::empty()), to: Box::pin(tokio::io::sink()) })
        }
    }
}

/// Waits for the end of a process.
pub(super) async fn exit_code(engine: &Engine, id: &str) -> Result<i32, DockerError> {
    loop {
        let exec = engine.docker.inspect_exec(id).await.doing("learn how the process ended")?;
        if !exec.running.unwrap_or(false) {
            return Ok(exec.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or_default());
        }
        engine.env.sleep(LOOK).await;
    }
}
