//! Calls about processes in containers, at once or by streams.

use std::sync::Arc;
use std::time::Duration;

use cri::{
    AttachRequest, AttachResponse, ExecRequest, ExecResponse, ExecSyncRequest, ExecSyncResponse, PortForwardRequest,
    PortForwardResponse, Status,
};
use streaming::Wanted;

use super::errors::{no_container, no_sandbox};
use crate::container::{self, Container, ContainerState, ExecSpec};
use crate::engine::Engine;
use crate::sandbox::SandboxPhase;
use crate::sessions;

fn find_running(engine: &Engine, id: &str) -> Result<Arc<Container>, Status> {
    let container = engine.container(id).ok_or_else(|| no_container(id))?;
    if !matches!(container.state(), ContainerState::Running(_)) {
        return Err(Status::failed_precondition(format!("container {id} is not running")));
    }
    Ok(container)
}

pub(super) async fn exec_sync(engine: &Arc<Engine>, request: ExecSyncRequest) -> Result<ExecSyncResponse, Status> {
    let container = find_running(engine, &request.container_id)?;
    let timeout = u64::try_from(request.timeout).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
    let output = container::exec_sync(engine, &container, request.cmd, timeout).await?;
    let (stdout, stderr) = (output.stdout, output.stderr);
    Ok(ExecSyncResponse { stdout, stderr, exit_code: output.exit_code })
}

pub(super) async fn exec(engine: &Arc<Engine>, request: ExecRequest) -> Result<ExecResponse, Status> {
    let container = find_running(engine, &request.container_id)?;
    if request.cmd.is_empty() {
        return Err(Status::invalid_argument("no command given"));
    }
    if request.tty && request.stderr {
        return Err(Status::invalid_argument("tty and stderr cannot both be true"));
    }
    check_streams(request.stdin, request.stdout, request.stderr)?;
    let wanted = Wanted { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr };
    let output = [request.stdout, request.stderr];
    let spec = ExecSpec { cmd: request.cmd, tty: request.tty, stdin: request.stdin, output };
    Ok(ExecResponse { url: engine.streaming.address(sessions::exec(container, spec, wanted)) })
}

pub(super) async fn attach(engine: &Arc<Engine>, request: AttachRequest) -> Result<AttachResponse, Status> {
    let container = find_running(engine, &request.container_id)?;
    if request.tty && request.stderr {
        return Err(Status::invalid_argument("tty and stderr cannot both be true"));
    }
    check_streams(request.stdin, request.stdout, request.stderr)?;
    let wanted = Wanted { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr };
    Ok(AttachResponse { url: engine.streaming.address(sessions::attach(container, wanted)) })
}

fn check_streams(stdin: bool, stdout: bool, stderr: bool) -> Result<(), Status> {
    if stdin || stdout || stderr {
        return Ok(());
    }
    Err(Status::invalid_argument("one of stdin, stdout and stderr must be true"))
}

pub(super) async fn port_forward(
    engine: &Arc<Engine>,
    request: PortForwardRequest,
) -> Result<PortForwardResponse, Status> {
    let id = &request.pod_sandbox_id;
    let sandbox = engine.sandbox(id).ok_or_else(|| no_sandbox(id))?;
    if sandbox.record().phase != SandboxPhase::Ready {
        return Err(Status::failed_precondition(format!("pod sandbox {id} is not ready")));
    }
    let port = |port: &i32| u16::try_from(*port).map_err(|_| Status::invalid_argument(format!("invalid port {port}")));
    let ports = request.port.iter().map(port).collect::<Result<_, _>>()?;
    Ok(PortForwardResponse { url: engine.streaming.address(sessions::port_forward(&sandbox, ports)) })
}
