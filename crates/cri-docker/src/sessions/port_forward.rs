//! `PortForward`: ports inside of a sandbox.

use std::sync::Arc;

use cri::{PortForwardRequest, PortForwardResponse, Status};
use streaming::{Forward, Session, dial_in};

use crate::engine::Engine;
use crate::sandbox::{Sandbox, network_namespace};

/// An address at which a client reaches the ports.
pub(crate) async fn port_forward(
    engine: &Arc<Engine>,
    request: PortForwardRequest,
) -> Result<PortForwardResponse, Status> {
    let sandbox = Sandbox::get(engine, &request.pod_sandbox_id).await?;
    if !sandbox.is_running() {
        return Err(Status::failed_precondition(format!("pod sandbox {} is not ready", sandbox.id)));
    }
    let port = |port: &i32| u16::try_from(*port).map_err(|_| Status::invalid_argument(format!("invalid port {port}")));
    let ports = request.port.iter().map(port).collect::<Result<_, _>>()?;
    let dial = dial_in(network_namespace(&sandbox));
    let session = Session::PortForward(Forward { sandbox: sandbox.id, ports, dial });
    Ok(PortForwardResponse { url: engine.streaming.address(session) })
}
