//! What the runtime is and whether it works.

use std::collections::HashMap;
use std::sync::Arc;

use cri::{
    CgroupDriver, LinuxRuntimeConfiguration, RuntimeCondition, RuntimeConfigRequest, RuntimeConfigResponse,
    RuntimeFeatures, RuntimeStatus, Status, StatusRequest, StatusResponse, UpdateRuntimeConfigRequest,
    UpdateRuntimeConfigResponse, VersionRequest, VersionResponse,
};
use ipnet::IpNet;

use crate::engine::Engine;

/// The version of the interface.
const API_VERSION: &str = "v1";

pub(super) async fn version(_: &Arc<Engine>, _: VersionRequest) -> Result<VersionResponse, Status> {
    Ok(VersionResponse {
        // The version of the kubelet's side, which has never changed.
        version: "0.1.0".to_owned(),
        runtime_name: "skiff".to_owned(),
        runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
        runtime_api_version: API_VERSION.to_owned(),
    })
}

pub(super) async fn status(engine: &Arc<Engine>, request: StatusRequest) -> Result<StatusResponse, Status> {
    let ready = |kind: &str| RuntimeCondition { r#type: kind.to_owned(), status: true, ..Default::default() };
    let network = match &engine.network {
        Some(network) if !network.pod_cidrs().is_empty() => ready("NetworkReady"),
        Some(_) => network_not_ready("the node has no pod CIDR yet: a kubelet gives it, or --pod-cidr"),
        None => network_not_ready("this runtime has no pod network"),
    };
    let mut info = HashMap::new();
    if request.verbose {
        let data = serde_json::json!({"dataDir": engine.paths.data(), "runDir": engine.paths.run()});
        info.insert("config".to_owned(), data.to_string());
    }
    Ok(StatusResponse {
        status: Some(RuntimeStatus { conditions: vec![ready("RuntimeReady"), network] }),
        info,
        runtime_handlers: engine.runtime_handlers.describe(),
        features: Some(RuntimeFeatures { supplemental_groups_policy: true, ..RuntimeFeatures::default() }),
    })
}

fn network_not_ready(message: &str) -> RuntimeCondition {
    RuntimeCondition {
        r#type: "NetworkReady".to_owned(),
        status: false,
        reason: "NetworkPluginNotReady".to_owned(),
        message: message.to_owned(),
    }
}

pub(super) async fn runtime_config(_: &Arc<Engine>, _: RuntimeConfigRequest) -> Result<RuntimeConfigResponse, Status> {
    Ok(RuntimeConfigResponse {
        linux: Some(LinuxRuntimeConfiguration { cgroup_driver: CgroupDriver::Cgroupfs.into() }),
    })
}

pub(super) async fn update_runtime_config(
    engine: &Arc<Engine>,
    request: UpdateRuntimeConfigRequest,
) -> Result<UpdateRuntimeConfigResponse, Status> {
    let config = request.runtime_config.and_then(|config| config.network_config).unwrap_or_default();
    let cidrs = config.pod_cidr.split(',').map(str::trim).filter(|cidr| !cidr.is_empty());
    let cidrs = cidrs.map(|cidr| {
        cidr.parse::<IpNet>().map_err(|err| Status::invalid_argument(format!("invalid pod CIDR {cidr:?}: {err}")))
    });
    let cidrs = cidrs.collect::<Result<Vec<_>, _>>()?;
    if let Some(network) = engine.network.as_ref().filter(|_| !cidrs.is_empty()) {
        network.set_pod_cidrs(cidrs).await.map_err(|err| Status::unknown(base::error_chain(&err)))?;
    }
    Ok(UpdateRuntimeConfigResponse {})
}
