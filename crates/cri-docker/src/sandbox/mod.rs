//! Pod sandboxes: a container that holds the namespaces, and its connection to the network.

mod list;
mod network;
mod resolv;
mod run;
mod status;
mod stop;

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::InspectContainerOptions;
use cri::{NamespaceMode, NamespaceOption, PodSandboxConfig, Status};

use crate::engine::Engine;
use crate::errors::{Doing, no_sandbox};
use crate::record::{Record, SandboxRecord};

pub(crate) use list::list;
pub(crate) use network::{POD_INTERFACE, network_namespace, pod_interfaces};
pub(crate) use run::run;
pub(crate) use status::{status, status_of};
pub(crate) use stop::{remove, stop};

/// A sandbox as it is now.
pub(crate) struct Sandbox {
    pub id: String,
    pub record: SandboxRecord,
    pub container: ContainerInspectResponse,
}

impl Sandbox {
    /// The sandbox with this id, or the only one whose id begins so; nothing where there is none.
    pub(crate) async fn find(engine: &Engine, id: &str) -> Result<Option<Self>, Status> {
        if id.is_empty() {
            return Ok(None);
        }
        let found = engine.docker.inspect_container(id, None::<InspectContainerOptions>).await;
        let container = match found.doing(format!("inspect pod sandbox {id}")) {
            Ok(container) => container,
            Err(err) if err.is_not_found() => return Ok(None),
            Err(err) => return Err(err.into()),
        };
        let labels = container.config.as_ref().and_then(|config| config.labels.as_ref());
        let Some(record) = SandboxRecord::read(labels) else { return Ok(None) };
        Ok(Some(Self { id: container.id.clone().unwrap_or_default(), record, container }))
    }

    /// The same, where one must be.
    pub(crate) async fn get(engine: &Engine, id: &str) -> Result<Self, Status> {
        Self::find(engine, id).await?.ok_or_else(|| no_sandbox(id))
    }

    /// Whether its process runs.
    pub(crate) fn is_running(&self) -> bool {
        self.container.state.as_ref().and_then(|state| state.running).unwrap_or(false)
    }

    /// Its process, while it runs.
    pub(crate) fn pid(&self) -> Option<i64> {
        self.container.state.as_ref().and_then(|state| state.pid).filter(|pid| *pid > 0 && self.is_running())
    }
}

/// Which namespaces a pod has for itself.
pub(crate) fn namespaces(config: &PodSandboxConfig) -> NamespaceOption {
    let security = config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    security.and_then(|security| security.namespace_options.clone()).unwrap_or_default()
}

/// Whether the pod is in the machine's network.
pub(crate) fn is_host_network(config: &PodSandboxConfig) -> bool {
    namespaces(config).network() == NamespaceMode::Node
}
