//! What CRI shows of a sandbox.

use std::collections::HashMap;
use std::sync::Arc;

use cri::{
    LinuxPodSandboxStatus, Namespace, PodIp, PodSandboxNetworkStatus, PodSandboxState, PodSandboxStatus,
    PodSandboxStatusRequest, PodSandboxStatusResponse, Status,
};

use super::{Sandbox, is_host_network, namespaces, network};
use crate::container;
use crate::engine::Engine;
use crate::times::nanoseconds;

/// `PodSandboxStatus`.
pub(crate) async fn status(
    engine: &Arc<Engine>,
    request: PodSandboxStatusRequest,
) -> Result<PodSandboxStatusResponse, Status> {
    let sandbox = Sandbox::get(engine, &request.pod_sandbox_id).await?;
    let mut info = HashMap::new();
    if request.verbose {
        let text = serde_json::json!({
            "config": sandbox.record.config,
            "networkNamespace": super::network_namespace(&sandbox),
            "pid": sandbox.pid().unwrap_or(0),
        });
        info.insert("info".to_owned(), text.to_string());
    }
    Ok(PodSandboxStatusResponse {
        status: Some(status_of(engine, &sandbox)?),
        info,
        containers_statuses: container::statuses_of(engine, &sandbox.id).await?,
        timestamp: nanoseconds(engine.env.now()),
    })
}

/// The status alone.
pub(crate) fn status_of(engine: &Engine, sandbox: &Sandbox) -> Result<PodSandboxStatus, Status> {
    let config = &sandbox.record.config;
    let ips = if sandbox.is_running() && !is_host_network(config) {
        network::addresses(engine, &sandbox.id)?
    } else {
        Some(Vec::new())
    };
    let state = state(sandbox.is_running(), ips.is_some());
    let mut ips = ips.unwrap_or_default().into_iter().map(|ip| ip.to_string());
    let network = PodSandboxNetworkStatus {
        ip: ips.next().unwrap_or_default(),
        additional_ips: ips.map(|ip| PodIp { ip }).collect(),
    };
    Ok(PodSandboxStatus {
        id: sandbox.id.clone(),
        metadata: Some(sandbox.record.metadata()),
        state: state.into(),
        created_at: sandbox.record.created_at,
        network: Some(network),
        linux: Some(LinuxPodSandboxStatus { namespaces: Some(Namespace { options: Some(namespaces(config)) }) }),
        labels: config.labels.clone(),
        annotations: config.annotations.clone(),
        runtime_handler: sandbox.record.runtime_handler.clone(),
    })
}

/// A sandbox is ready when it runs and is connected.
pub(super) fn state(is_running: bool, is_connected: bool) -> PodSandboxState {
    if is_running && is_connected { PodSandboxState::SandboxReady } else { PodSandboxState::SandboxNotready }
}
