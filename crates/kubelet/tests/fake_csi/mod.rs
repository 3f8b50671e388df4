//! A CSI driver on real sockets with real mounts: a volume is a directory that is bound where it is asked for.

pub mod messages;

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::{DrainTrigger, Tasks};
use futures::future::BoxFuture;
use messages::{
    Capabilities, Expand, GetStats, NodeCapability, NodeInfo, Nothing, PluginInfo, Publish, RegistrationStatus, Remove,
    Rpc, Stage, Stats, Topology, Usage,
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

pub const DRIVER: &str = "fake.csi.example.com";

/// What the driver can do: stage, say how full volumes are, expand.
pub const ALL: [i32; 3] = [1, 2, 3];

/// A driver that runs. It ends when this is dropped; what it has mounted stays.
pub struct FakeDriver {
    socket: PathBuf,
    state: Arc<Mutex<State>>,
    _running: (DrainTrigger, Tasks),
}

#[derive(Default)]
struct State {
    endpoint: PathBuf,
    data: PathBuf,
    capabilities: Vec<i32>,
    /// The names of the calls that did something.
    calls: Vec<String>,
    published: Vec<Publish>,
    staged: Vec<Stage>,
    told: Vec<RegistrationStatus>,
    /// How many more volumes the node can have than usual.
    more: i64,
    /// The method that fails.
    failing: Option<&'static str>,
}

impl FakeDriver {
    /// Starts a driver that registers with the kubelet whose directory this is; its volumes are in `data`.
    pub fn start(kubelet_dir: &Path, data: &Path, capabilities: &[i32]) -> Self {
        let socket = kubelet_dir.join(format!("plugins_registry/{DRIVER}-reg.sock"));
        let endpoint = kubelet_dir.join(format!("plugins/{DRIVER}.sock"));
        let (capabilities, data) = (capabilities.to_vec(), data.to_owned());
        let state = State { endpoint: endpoint.clone(), capabilities, data, ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let (trigger, drain) = base::drain();
        let mut tasks = Tasks::new();
        // The registration last: whoever sees it asks the other one.
        for path in [&endpoint, &socket] {
            std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            let _ = std::fs::remove_file(path);
            let incoming = UnixListenerStream::new(UnixListener::bind(path).expect("a free socket"));
            let routes = tonic::service::Routes::new(Served::<true>(Arc::clone(&state)))
                .add_service(Served::<false>(Arc::clone(&state)));
            let server = tonic::transport::Server::builder().add_routes(routes);
            let drained = drain.clone().drained_owned();
            tasks.spawn("driver", async move {
                server.serve_with_incoming_shutdown(incoming, drained).await.expect("it serves");
            });
        }
        Self { socket, state, _running: (trigger, tasks) }
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
    pub fn staged(&self) -> Option<Stage> {
        self.state().staged.last().cloned()
    }

    /// The last volume that was published.
    pub fn published(&self) -> Option<Publish> {
        self.state().published.last().cloned()
    }

    /// What the kubelet said of the registration.
    pub fn told(&self) -> Option<RegistrationStatus> {
        self.state().told.last().cloned()
    }

    /// Lets the node have more volumes from now on.
    pub fn make_room(&self, more: i64) {
        self.state().more = more;
    }

    /// Lets a method fail from now on, or none.
    pub fn fail(&self, method: Option<&'static str>) {
        self.state().failing = method;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn internal(err: impl std::fmt::Display) -> Status {
    Status::internal(err.to_string())
}

fn bind(from: &Path, to: &Path, read_only: bool) -> Result<(), Status> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>).map_err(internal)?;
    if read_only {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, to, None::<&str>, flags, None::<&str>).map_err(internal)?;
    }
    Ok(())
}

fn unbind(path: &Path) {
    // Drivers must take a volume away that is not there.
    let _ = umount2(path, MntFlags::MNT_DETACH);
}

impl State {
    fn called(&mut self, method: &'static str, volume: &str) -> Result<(), Status> {
        self.calls.push(format!("{method} {volume}"));
        match self.failing {
            Some(failing) if failing == method => Err(Status::internal("as the test wants it")),
            _ => Ok(()),
        }
    }

    fn info(&mut self, _: Nothing) -> Result<PluginInfo, Status> {
        Ok(PluginInfo {
            r#type: "CSIPlugin".to_owned(),
            name: DRIVER.to_owned(),
            endpoint: self.endpoint.display().to_string(),
            supported_versions: vec!["1.0.0".to_owned()],
        })
    }

    fn notify(&mut self, status: RegistrationStatus) -> Result<Nothing, Status> {
        self.told.push(status);
        Ok(Nothing {})
    }

    fn node_info(&mut self, _: Nothing) -> Result<NodeInfo, Status> {
        let segments = [("topology.fake.example.com/rack".to_owned(), "r1".to_owned())].into();
        let accessible_topology = Some(Topology { segments });
        Ok(NodeInfo { node_id: "node-one".to_owned(), max_volumes_per_node: 7 + self.more, accessible_topology })
    }

    fn capabilities(&mut self, _: Nothing) -> Result<Capabilities, Status> {
        let one = |kind: &i32| NodeCapability { rpc: Some(Rpc { r#type: *kind }) };
        Ok(Capabilities { capabilities: self.capabilities.iter().map(one).collect() })
    }

    fn stage(&mut self, request: Stage) -> Result<Nothing, Status> {
        self.called("NodeStageVolume", &request.volume_id)?;
        let (from, to) = (self.data.join(&request.volume_id), PathBuf::from(&request.staging_target_path));
        self.staged.push(request.clone());
        std::fs::create_dir_all(&from).map_err(internal)?;
        if request.volume_capability.is_some_and(|capability| capability.mount.is_some()) {
            bind(&from, &to, false)?;
        }
        Ok(Nothing {})
    }

    fn publish(&mut self, request: Publish) -> Result<Nothing, Status> {
        self.called("NodePublishVolume", &request.volume_id)?;
        self.published.push(request.clone());
        let to = PathBuf::from(&request.target_path);
        if request.volume_capability.as_ref().is_some_and(|capability| capability.block.is_some()) {
            std::fs::write(&to, "").map_err(internal)?;
            bind(Path::new("/dev/null"), &to, false)?;
            return Ok(Nothing {});
        }
        let from = match request.staging_target_path.as_str() {
            "" => self.data.join(&request.volume_id),
            staged => PathBuf::from(staged),
        };
        for dir in [&from, &to] {
            std::fs::create_dir_all(dir).map_err(internal)?;
        }
        unbind(&to);
        bind(&from, &to, request.readonly)?;
        Ok(Nothing {})
    }

    fn unpublish(&mut self, request: Remove) -> Result<Nothing, Status> {
        self.called("NodeUnpublishVolume", &request.volume_id)?;
        unbind(Path::new(&request.path));
        Ok(Nothing {})
    }

    fn unstage(&mut self, request: Remove) -> Result<Nothing, Status> {
        self.called("NodeUnstageVolume", &request.volume_id)?;
        unbind(Path::new(&request.path));
        Ok(Nothing {})
    }

    fn expand(&mut self, request: Expand) -> Result<Nothing, Status> {
        let bytes = request.capacity_range.unwrap_or_default().required_bytes;
        self.called("NodeExpandVolume", &format!("{} {bytes}", request.volume_id))?;
        Ok(Nothing {})
    }

    fn stats(&mut self, request: GetStats) -> Result<Stats, Status> {
        if !Path::new(&request.volume_path).exists() || request.volume_id.is_empty() {
            return Err(Status::not_found("no such volume"));
        }
        let usage = |unit| Usage { available: 60, total: 100, used: 40, unit };
        Ok(Stats { usage: vec![usage(1), usage(2)] })
    }
}

/// The services of the driver: that which registers it, or that which does its work.
#[derive(Clone)]
struct Served<const REGISTRATION: bool>(Arc<Mutex<State>>);

impl NamedService for Served<true> {
    const NAME: &'static str = "pluginregistration.Registration";
}

impl NamedService for Served<false> {
    const NAME: &'static str = "csi.v1.Node";
}

impl<const REGISTRATION: bool> Service<http::Request<Body>> for Served<REGISTRATION> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let state = Arc::clone(&self.0);
        let path = request.uri().path().to_owned();
        macro_rules! answer {
            ($method:ident) => {{
                let service = service_fn(move |request: Request<_>| {
                    let answer = lock(&state).$method(request.into_inner());
                    async move { answer.map(Response::new) }
                });
                Grpc::new(ProstCodec::default()).unary(service, request).await
            }};
        }
        Box::pin(async move {
            Ok(match path.rsplit('/').next().unwrap_or_default() {
                "GetInfo" => answer!(info),
                "NotifyRegistrationStatus" => answer!(notify),
                "NodeGetInfo" => answer!(node_info),
                "NodeGetCapabilities" => answer!(capabilities),
                "NodeStageVolume" => answer!(stage),
                "NodePublishVolume" => answer!(publish),
                "NodeUnpublishVolume" => answer!(unpublish),
                "NodeUnstageVolume" => answer!(unstage),
                "NodeExpandVolume" => answer!(expand),
                "NodeGetVolumeStats" => answer!(stats),
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}
