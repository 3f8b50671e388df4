//! A driver of dynamic resources.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::{DrainTrigger, Tasks};
use plugin_api::dra::dra_plugin_server::{DraPlugin, DraPluginServer};
use plugin_api::dra::{
    Claim, Device, NodePrepareResourceResponse, NodePrepareResourcesRequest, NodePrepareResourcesResponse,
    NodeUnprepareResourceResponse, NodeUnprepareResourcesRequest, NodeUnprepareResourcesResponse,
};
use plugin_api::registration::registration_server::RegistrationServer;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::{Registrant, listen};

/// The devices of a claim.
type Devices = Arc<dyn Fn(&Claim) -> Vec<Device> + Send + Sync>;

/// A driver that runs. It ends when this is dropped; its socket stays.
pub struct DraDriver {
    socket: PathBuf,
    registrant: Registrant,
    served: Served,
    _running: (DrainTrigger, Tasks),
}

#[derive(Clone)]
struct Served {
    devices: Devices,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    calls: Vec<String>,
    failing: bool,
}

impl DraDriver {
    /// Starts a driver that registers with the kubelet whose directory this is. A claim is prepared with the devices
    /// that `devices` says.
    pub fn start(
        kubelet_dir: &Path,
        name: &str,
        devices: impl Fn(&Claim) -> Vec<Device> + Send + Sync + 'static,
    ) -> Self {
        let socket = kubelet_dir.join(format!("plugins_registry/{name}-reg.sock"));
        let endpoint = kubelet_dir.join(format!("plugins/{name}/dra.sock"));
        let registrant = Registrant::new("DRAPlugin", name, &endpoint, &["v1.DRAPlugin", "v1beta1.DRAPlugin"]);
        let served = Served { devices: Arc::new(devices), state: Arc::default() };
        let (trigger, drain) = base::drain();
        let mut tasks = Tasks::new();
        // The registration last: whoever sees it asks the other one.
        for path in [&endpoint, &socket] {
            let incoming = listen(path);
            let server = Server::builder()
                .add_service(RegistrationServer::new(registrant.clone()))
                .add_service(DraPluginServer::new(served.clone()));
            let drained = drain.clone().drained_owned();
            tasks.spawn("driver", async move {
                server.serve_with_incoming_shutdown(incoming, drained).await.expect("it serves");
            });
        }
        Self { socket, registrant, served, _running: (trigger, tasks) }
    }

    /// Takes the driver from the node.
    pub fn leave(self) {
        std::fs::remove_file(&self.socket).expect("a socket");
    }

    /// What it was asked so far, as `prepare one two`.
    pub fn calls(&self) -> Vec<String> {
        self.served.state().calls.clone()
    }

    /// Whether the kubelet has taken it.
    pub fn is_registered(&self) -> bool {
        self.registrant.told().is_some_and(|told| told.plugin_registered)
    }

    /// Whether it fails to prepare claims from now on.
    pub fn fail(&self, failing: bool) {
        self.served.state().failing = failing;
    }
}

impl Served {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn called(&self, what: &str, claims: &[Claim]) {
        let names: Vec<&str> = claims.iter().map(|claim| claim.name.as_str()).collect();
        self.state().calls.push(format!("{what} {}", names.join(" ")));
    }
}

#[tonic::async_trait]
impl DraPlugin for Served {
    async fn node_prepare_resources(
        &self,
        request: Request<NodePrepareResourcesRequest>,
    ) -> Result<Response<NodePrepareResourcesResponse>, Status> {
        let claims = request.into_inner().claims;
        self.called("prepare", &claims);
        let failing = self.state().failing;
        let answer = |claim: Claim| {
            let devices = (self.devices)(&claim);
            let error = if failing { "as the test wants it".to_owned() } else { String::new() };
            (claim.uid, NodePrepareResourceResponse { devices, error })
        };
        Ok(Response::new(NodePrepareResourcesResponse { claims: claims.into_iter().map(answer).collect() }))
    }

    async fn node_unprepare_resources(
        &self,
        request: Request<NodeUnprepareResourcesRequest>,
    ) -> Result<Response<NodeUnprepareResourcesResponse>, Status> {
        let claims = request.into_inner().claims;
        self.called("unprepare", &claims);
        let answer = |claim: Claim| (claim.uid, NodeUnprepareResourceResponse::default());
        Ok(Response::new(NodeUnprepareResourcesResponse { claims: claims.into_iter().map(answer).collect() }))
    }
}
