//! What the runtime is and whether it works.

use std::collections::HashMap;
use std::sync::Arc;

use cri::{
    CgroupDriver, LinuxRuntimeConfiguration, RuntimeCondition, RuntimeConfigRequest, RuntimeConfigResponse,
    RuntimeFeatures, RuntimeHandler, RuntimeHandlerFeatures, RuntimeStatus, Status, StatusRequest, StatusResponse,
    UpdatePodSandboxResourcesRequest, UpdatePodSandboxResourcesResponse, UpdateRuntimeConfigRequest,
    UpdateRuntimeConfigResponse, VersionRequest, VersionResponse,
};

use crate::engine::Engine;
use crate::errors::Doing;
use crate::sandbox::Sandbox;

/// `Version`.
pub(crate) async fn version(engine: &Arc<Engine>, _: VersionRequest) -> Result<VersionResponse, Status> {
    Ok(VersionResponse {
        // The version of the kubelet's side, which has never changed.
        version: "0.1.0".to_owned(),
        runtime_name: "docker".to_owned(),
        runtime_version: engine.daemon.version.clone(),
        runtime_api_version: "v1".to_owned(),
    })
}

/// `Status`.
pub(crate) async fn status(engine: &Arc<Engine>, request: StatusRequest) -> Result<StatusResponse, Status> {
    let docker = engine.docker.ping().await.doing("reach Docker Engine").err().map(|err| err.to_string());
    let network = engine.cni.network().err().map(|err| err.to_string());
    let conditions = vec![
        condition("RuntimeReady", "DockerDaemonNotReady", docker),
        condition("NetworkReady", "NetworkPluginNotReady", network),
    ];
    let mut info = HashMap::new();
    if request.verbose {
        let config = serde_json::json!({
            "dockerVersion": engine.daemon.version,
            "dockerRootDir": engine.daemon.root_dir,
            "cniConfDir": engine.cni.conf_dir,
            "cniBinDirs": engine.cni.bin_dirs,
            "podInfraContainerImage": crate::pause::name(engine),
        });
        info.insert("config".to_owned(), config.to_string());
    }
    Ok(StatusResponse {
        status: Some(RuntimeStatus { conditions }),
        info,
        runtime_handlers: handlers(&engine.daemon.runtimes),
        features: Some(RuntimeFeatures { supplemental_groups_policy: true, ..RuntimeFeatures::default() }),
    })
}

fn condition(kind: &str, reason: &str, problem: Option<String>) -> RuntimeCondition {
    RuntimeCondition {
        r#type: kind.to_owned(),
        status: problem.is_none(),
        reason: problem.as_ref().map(|_| reason.to_owned()).unwrap_or_default(),
        message: problem.unwrap_or_default(),
    }
}

/// Docker's runtimes by their names, and the one that it takes where none is named.
fn handlers(runtimes: &[String]) -> Vec<RuntimeHandler> {
    let names = std::iter::once(String::new()).chain(runtimes.iter().cloned());
    names.map(|name| RuntimeHandler { name, features: Some(RuntimeHandlerFeatures::default()) }).collect()
}

/// `RuntimeConfig`.
pub(crate) async fn runtime_config(
    engine: &Arc<Engine>,
    _: RuntimeConfigRequest,
) -> Result<RuntimeConfigResponse, Status> {
    let driver = if engine.daemon.is_systemd { CgroupDriver::Systemd } else { CgroupDriver::Cgroupfs };
    Ok(RuntimeConfigResponse { linux: Some(LinuxRuntimeConfiguration { cgroup_driver: driver.into() }) })
}

/// `UpdateRuntimeConfig`: which addresses pods get is the network's affair.
pub(crate) async fn update_runtime_config(
    _: &Arc<Engine>,
    _: UpdateRuntimeConfigRequest,
) -> Result<UpdateRuntimeConfigResponse, Status> {
    Ok(UpdateRuntimeConfigResponse {})
}

/// `UpdatePodSandboxResources`: the pod's cgroup is the kubelet's, who has changed it.
pub(crate) async fn update_pod_sandbox_resources(
    engine: &Arc<Engine>,
    request: UpdatePodSandboxResourcesRequest,
) -> Result<UpdatePodSandboxResourcesResponse, Status> {
    Sandbox::get(engine, &request.pod_sandbox_id).await?;
    Ok(UpdatePodSandboxResourcesResponse {})
}
