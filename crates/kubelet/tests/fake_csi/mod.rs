//! A CSI driver on real sockets with real mounts: a volume is a directory that is bound where it is asked for.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::{DrainTrigger, Tasks};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use plugin_api::csi::node_server::{Node, NodeServer};
use plugin_api::csi::node_service_capability::{Rpc, Type};
use plugin_api::csi::volume_capability::{AccessType, MountVolume};
use plugin_api::csi::{
    NodeExpandVolumeRequest, NodeExpandVolumeResponse, NodeGetCapabilitiesRequest, NodeGetCapabilitiesResponse,
    NodeGetInfoRequest, NodeGetInfoResponse, NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse,
    NodePublishVolumeRequest, NodePublishVolumeResponse, NodeServiceCapability, NodeStageVolumeRequest,
    NodeStageVolumeResponse, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse, NodeUnstageVolumeRequest,
    NodeUnstageVolumeResponse, Topology, VolumeCapability, VolumeUsage,
};
use plugin_api::registration::RegistrationStatus;
use plugin_api::registration::registration_server::RegistrationServer;
use testkit::{Registrant, listen};
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};

pub const DRIVER: &str = "fake.csi.example.com";

/// What the driver can do: stage, say how full volumes are, expand.
pub const ALL: [i32; 3] = [1, 2, 3];

/// A driver that runs. It ends when this is dropped; what it has mounted stays.
pub struct FakeDriver {
    socket: PathBuf,
    state: Arc<Mutex<State>>,
    registrant: Registrant,
    _running: (DrainTrigger, Tasks),
}

#[derive(Default)]
struct State {
    data: PathBuf,
    capabilities: Vec<i32>,
    /// The names of the calls that did something.
    calls: Vec<String>,
    published: Vec<NodePublishVolumeRequest>,
    staged: Vec<NodeStageVolumeRequest>,
    /// How many more volumes the node can have than usual.
    more: i64,
    /// The method that fails, and how.
    failing: Option<(&'static str, Code)>,
}

impl FakeDriver {
    /// Starts a driver that registers with the kubelet whose directory this is; its volumes are in `data`.
    pub fn start(kubelet_dir: &Path, data: &Path, capabilities: &[i32]) -> Self {
        let socket = kubelet_dir.join(format!("plugins_registry/{DRIVER}-reg.sock"));
        let endpoint = kubelet_dir.join(format!("plugins/{DRIVER}.sock"));
        let (capabilities, data) = (capabilities.to_vec(), data.to_owned());
        let state = Arc::new(Mutex::new(State { capabilities, data, ..State::default() }));
        let registrant = Registrant::new("CSIPlugin", DRIVER, &endpoint, &["1.0.0"]);
        let (trigger, drain) = base::drain();
        let mut tasks = Tasks::new();
        // The registration last: whoever sees it asks the other one.
        for path in [&endpoint, &socket] {
            let incoming = listen(path);
            let server = Server::builder()
                .add_service(RegistrationServer::new(registrant.clone()))
                .add_service(NodeServer::new(Served(Arc::clone(&state))));
            let drained = drain.clone().drained_owned();
            tasks.spawn("driver", async move {
                server.serve_with_incoming_shutdown(incoming, drained).await.expect("it serves");
            });
        }
        Self { socket, state, registrant, _running: (trigger, tasks) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Takes the driver from the node.
    pub fn leave(self) {
        std::fs::remove_file(&self.socket).expect("a socket");
    }

    /// The calls that did something, as `NodeStageVolume v1`.
    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    /// The last volume that was staged.
    pub fn staged(&self) -> Option<NodeStageVolumeRequest> {
        self.state().staged.last().cloned()
    }

    /// The last volume that was published.
    pub fn published(&self) -> Option<NodePublishVolumeRequest> {
        self.state().published.last().cloned()
    }

    /// What the kubelet said of the registration.
    pub fn told(&self) -> Option<RegistrationStatus> {
        self.registrant.told()
    }

    /// Lets the node have more volumes from now on.
    pub fn make_room(&self, more: i64) {
        self.state().more = more;
    }

    /// Lets a method fail from now on, or none.
    pub fn fail(&self, method: Option<&'static str>) {
        self.state().failing = method.map(|method| (method, Code::Internal));
    }

    /// Lets a method fail with a code of gRPC from now on.
    pub fn fail_with(&self, method: &'static str, code: Code) {
        self.state().failing = Some((method, code));
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn internal(err: impl std::fmt::Display) -> Status {
    Status::internal(err.to_string())
}

fn bind(from: &Path, to: &Path, read_only: bool) -> Result<(), Status> {
    // Drivers may be asked again for what they have done: a kubelet that failed later in the way does so.
    if is_mounted(to)? {
        return Ok(());
    }
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>).map_err(internal)?;
    if read_only {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, to, None::<&str>, flags, None::<&str>).map_err(internal)?;
    }
    Ok(())
}

fn is_mounted(path: &Path) -> Result<bool, Status> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").map_err(internal)?;
    let path = path.display().to_string();
    Ok(table.lines().any(|line| line.split(' ').nth(4) == Some(path.as_str())))
}

fn unbind(path: &Path) {
    // Drivers must take a volume away that is not there.
    let _ = umount2(path, MntFlags::MNT_DETACH);
}

impl State {
    fn called(&mut self, method: &'static str, volume: &str) -> Result<(), Status> {
        self.calls.push(format!("{method} {volume}"));
        match self.failing {
            Some((failing, code)) if failing == method => Err(Status::new(code, "as the test wants it")),
            _ => Ok(()),
        }
    }
}

/// Whether a volume is asked for as a device.
pub fn is_block(capability: Option<&VolumeCapability>) -> bool {
    capability.is_some_and(|capability| matches!(capability.access_type, Some(AccessType::Block(_))))
}

/// How a volume is asked for with a file system.
#[track_caller]
pub fn mounted(capability: Option<VolumeCapability>) -> MountVolume {
    match capability.and_then(|capability| capability.access_type) {
        Some(AccessType::Mount(mount)) => mount,
        other => panic!("{other:?}"),
    }
}

/// The driver's work.
struct Served(Arc<Mutex<State>>);

impl Served {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

#[tonic::async_trait]
impl Node for Served {
    async fn node_get_info(&self, _: Request<NodeGetInfoRequest>) -> Result<Response<NodeGetInfoResponse>, Status> {
        let segments = [("topology.fake.example.com/rack".to_owned(), "r1".to_owned())].into();
        let accessible_topology = Some(Topology { segments });
        let (node_id, max_volumes_per_node) = ("node-one".to_owned(), 7 + self.state().more);
        Ok(Response::new(NodeGetInfoResponse { node_id, max_volumes_per_node, accessible_topology }))
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        let one = |kind: &i32| NodeServiceCapability { r#type: Some(Type::Rpc(Rpc { r#type: *kind })) };
        let capabilities = self.state().capabilities.iter().map(one).collect();
        Ok(Response::new(NodeGetCapabilitiesResponse { capabilities }))
    }

    async fn node_stage_volume(
        &self,
        request: Request<NodeStageVolumeRequest>,
    ) -> Result<Response<NodeStageVolumeResponse>, Status> {
        let (request, mut state) = (request.into_inner(), self.state());
        state.called("NodeStageVolume", &request.volume_id)?;
        let (from, to) = (state.data.join(&request.volume_id), PathBuf::from(&request.staging_target_path));
        state.staged.push(request.clone());
        std::fs::create_dir_all(&from).map_err(internal)?;
        if !is_block(request.volume_capability.as_ref()) {
            bind(&from, &to, false)?;
        }
        Ok(Response::new(NodeStageVolumeResponse {}))
    }

    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let (request, mut state) = (request.into_inner(), self.state());
        state.called("NodePublishVolume", &request.volume_id)?;
        state.published.push(request.clone());
        let to = PathBuf::from(&request.target_path);
        if is_block(request.volume_capability.as_ref()) {
            std::fs::write(&to, "").map_err(internal)?;
            bind(Path::new("/dev/null"), &to, false)?;
            return Ok(Response::new(NodePublishVolumeResponse {}));
        }
        let from = match request.staging_target_path.as_str() {
            "" => state.data.join(&request.volume_id),
            staged => PathBuf::from(staged),
        };
        for dir in [&from, &to] {
            std::fs::create_dir_all(dir).map_err(internal)?;
        }
        unbind(&to);
        bind(&from, &to, request.readonly)?;
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let request = request.into_inner();
        self.state().called("NodeUnpublishVolume", &request.volume_id)?;
        unbind(Path::new(&request.target_path));
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    async fn node_unstage_volume(
        &self,
        request: Request<NodeUnstageVolumeRequest>,
    ) -> Result<Response<NodeUnstageVolumeResponse>, Status> {
        let request = request.into_inner();
        self.state().called("NodeUnstageVolume", &request.volume_id)?;
        unbind(Path::new(&request.staging_target_path));
        Ok(Response::new(NodeUnstageVolumeResponse {}))
    }

    async fn node_expand_volume(
        &self,
        request: Request<NodeExpandVolumeRequest>,
    ) -> Result<Response<NodeExpandVolumeResponse>, Status> {
        let request = request.into_inner();
        let bytes = request.capacity_range.unwrap_or_default().required_bytes;
        self.state().called("NodeExpandVolume", &format!("{} {bytes}", request.volume_id))?;
        Ok(Response::new(NodeExpandVolumeResponse::default()))
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        let request = request.into_inner();
        if !Path::new(&request.volume_path).exists() || request.volume_id.is_empty() {
            return Err(Status::not_found("no such volume"));
        }
        let usage = |unit| VolumeUsage { available: 60, total: 100, used: 40, unit };
        Ok(Response::new(NodeGetVolumeStatsResponse { usage: vec![usage(1), usage(2)] }))
    }
}
