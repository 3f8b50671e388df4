//! A device plugin.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::{Drain, DrainTrigger, Tasks};
use futures::{Stream, StreamExt};
use plugin_api::device_plugin::device_plugin_server::{self, DevicePluginServer};
use plugin_api::device_plugin::registration_client::RegistrationClient;
use plugin_api::device_plugin::{
    AllocateRequest, AllocateResponse, ContainerAllocateResponse, ContainerPreferredAllocationResponse, Device,
    DevicePluginOptions, Empty, ListAndWatchResponse, NumaNode, PreStartContainerRequest, PreStartContainerResponse,
    PreferredAllocationRequest, PreferredAllocationResponse, RegisterRequest, TopologyInfo,
};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::{DEADLINE, connect, listen};
use crate::poll_async;

/// What a container is given with devices.
type Answer = Arc<dyn Fn(&[String]) -> ContainerAllocateResponse + Send + Sync>;

/// A device near to NUMA node 0.
pub fn device(id: &str, health: &str) -> Device {
    let topology = Some(TopologyInfo { nodes: vec![NumaNode { id: 0 }] });
    Device { id: id.to_owned(), health: health.to_owned(), topology }
}

/// A plugin that runs. It ends when this is dropped.
pub struct DevicePlugin {
    dir: PathBuf,
    resource: String,
    served: Served,
    _running: (DrainTrigger, Tasks),
}

#[derive(Clone)]
struct Served {
    state: Arc<Mutex<State>>,
    answer: Answer,
    lists: Arc<watch::Sender<Vec<Device>>>,
    drain: Drain,
}

#[derive(Default)]
struct State {
    options: DevicePluginOptions,
    calls: Vec<String>,
    failing: bool,
}

impl DevicePlugin {
    /// Starts a plugin beside the kubelet whose directory this is; it has yet to register. A container is given what
    /// `answer` says for its devices.
    pub fn start(
        kubelet_dir: &Path,
        resource: &str,
        devices: &[Device],
        answer: impl Fn(&[String]) -> ContainerAllocateResponse + Send + Sync + 'static,
    ) -> Self {
        let dir = kubelet_dir.join("device-plugins");
        let (trigger, drain) = base::drain();
        let options = DevicePluginOptions { pre_start_required: true, get_preferred_allocation_available: true };
        let state = Arc::new(Mutex::new(State { options, ..State::default() }));
        let lists = Arc::new(watch::channel(devices.to_vec()).0);
        let served = Served { state, answer: Arc::new(answer), lists, drain };
        let mut plugin = Self { dir, resource: resource.to_owned(), served, _running: (trigger, Tasks::new()) };
        plugin.listen();
        plugin
    }

    fn socket(&self) -> PathBuf {
        self.dir.join(format!("{}.sock", self.resource.replace('/', "-")))
    }

    /// Serves on the socket, which a kubelet removes when it starts.
    fn listen(&mut self) {
        let incoming = listen(&self.socket());
        let server = Server::builder().add_service(DevicePluginServer::new(self.served.clone()));
        let drained = self.served.drain.clone().drained_owned();
        self._running.1.spawn("plugin", async move {
            server.serve_with_incoming_shutdown(incoming, drained).await.expect("it serves");
        });
    }

    /// Registers with the kubelet, as often as it takes until one is there.
    pub async fn register(&mut self) {
        let (kubelet, socket, resource) = (self.dir.join("kubelet.sock"), self.socket(), self.resource.clone());
        let attempt = async || {
            let channel = connect(kubelet.clone()).await.ok()?;
            if !socket.exists() {
                return Some(None);
            }
            let request = RegisterRequest {
                version: "v1beta1".to_owned(),
                endpoint: socket.file_name().expect("a name").to_string_lossy().into_owned(),
                resource_name: resource.clone(),
                options: None,
            };
            RegistrationClient::new(channel).register(request).await.ok().map(Some)
        };
        while poll_async(DEADLINE, &attempt).await.expect("a kubelet").is_none() {
            self.listen();
        }
    }

    /// Lists other devices from now on.
    pub fn list(&self, devices: &[Device]) {
        self.served.lists.send_replace(devices.to_vec());
    }

    /// What the plugin was asked so far, as `Allocate a b`.
    pub fn calls(&self) -> Vec<String> {
        self.served.state().calls.clone()
    }

    /// Whether `Allocate` fails from now on.
    pub fn fail(&self, failing: bool) {
        self.served.state().failing = failing;
    }
}

impl Served {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn called(&self, method: &str, ids: &[String]) {
        self.state().calls.push(format!("{method} {}", ids.join(" ")));
    }
}

#[tonic::async_trait]
impl device_plugin_server::DevicePlugin for Served {
    type ListAndWatchStream = Pin<Box<dyn Stream<Item = Result<ListAndWatchResponse, Status>> + Send>>;

    async fn get_device_plugin_options(&self, _: Request<Empty>) -> Result<Response<DevicePluginOptions>, Status> {
        Ok(Response::new(self.state().options))
    }

    async fn list_and_watch(&self, _: Request<Empty>) -> Result<Response<Self::ListAndWatchStream>, Status> {
        let lists = WatchStream::new(self.lists.subscribe()).map(|devices| Ok(ListAndWatchResponse { devices }));
        Ok(Response::new(Box::pin(lists.take_until(self.drain.clone().drained_owned()))))
    }

    /// Prefers the last ones.
    async fn get_preferred_allocation(
        &self,
        request: Request<PreferredAllocationRequest>,
    ) -> Result<Response<PreferredAllocationResponse>, Status> {
        let one = request.into_inner().container_requests.remove(0);
        let (mut ids, size) = (one.available_device_i_ds, usize::try_from(one.allocation_size).unwrap_or(0));
        ids.sort();
        let device_i_ds = ids.split_off(ids.len().saturating_sub(size));
        let container_responses = vec![ContainerPreferredAllocationResponse { device_i_ds }];
        Ok(Response::new(PreferredAllocationResponse { container_responses }))
    }

    async fn allocate(&self, request: Request<AllocateRequest>) -> Result<Response<AllocateResponse>, Status> {
        let ids = request.into_inner().container_requests.remove(0).devices_ids;
        self.called("Allocate", &ids);
        if self.state().failing {
            return Err(Status::unknown("as the test wants it"));
        }
        let answer = (self.answer)(&ids);
        Ok(Response::new(AllocateResponse { container_responses: vec![answer] }))
    }

    async fn pre_start_container(
        &self,
        request: Request<PreStartContainerRequest>,
    ) -> Result<Response<PreStartContainerResponse>, Status> {
        self.called("PreStartContainer", &request.into_inner().devices_ids);
        Ok(Response::new(PreStartContainerResponse {}))
    }
}
