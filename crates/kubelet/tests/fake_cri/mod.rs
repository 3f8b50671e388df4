//! A container runtime in memory behind the real protocol on a real socket: containers "run" until they are stopped or
//! the test ends them. It does what CRI says of states, identifiers, filters and events, and nothing else; where runtimes
//! differ it answers as its [profile](Profile) does.

mod profile;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::Drain;
use cri::image_service_server::ImageService;
use cri::runtime_service_server::RuntimeService;
use cri::{Request, Response, Status};
use futures::{Stream, StreamExt};
use tokio::sync::broadcast;

pub use profile::Profile;

/// The runtime. Cheap to clone; all clones are the same runtime.
#[derive(Clone)]
pub struct FakeRuntime(Arc<Inner>);

struct Inner {
    profile: Profile,
    state: Mutex<State>,
    events: broadcast::Sender<cri::ContainerEventResponse>,
}

#[derive(Default)]
struct State {
    profile: Profile,
    clock: i64,
    next_id: u32,
    pod_cidr: Option<String>,
    images: Vec<String>,
    /// Images that a registry has for those who say who they are.
    private: Vec<String>,
    sandboxes: HashMap<String, Sandbox>,
    containers: HashMap<String, Container>,
    calls: Vec<String>,
    /// The memory that containers use, by name.
    memory: HashMap<String, u64>,
    /// How many starts of containers are refused still, by name.
    refused: HashMap<String, u32>,
    /// A container that is never made: the call stays without an answer.
    stalled: Option<String>,
    /// The directory of which it says that images are there.
    image_dir: Option<PathBuf>,
    /// Images that it does not remove.
    stuck: Vec<String>,
    /// Whether it tells nobody what pods use.
    keeps_figures: bool,
}

struct Sandbox {
    config: cri::PodSandboxConfig,
    ready: bool,
    created_at: i64,
}

struct Container {
    sandbox: String,
    config: cri::ContainerConfig,
    state: cri::ContainerState,
    created_at: i64,
    started_at: i64,
    finished_at: i64,
    exit_code: i32,
    log_path: String,
}

type Answer<T> = Result<Response<T>, Status>;

impl State {
    fn tick(&mut self) -> i64 {
        // Never twice the same, so that what is newer can be told.
        let now = base::Env::system().now().as_nanosecond();
        self.clock = i64::try_from(now).expect("before 2262").max(self.clock + 1);
        self.clock
    }

    fn id(&mut self, prefix: &str) -> String {
        self.next_id += 1;
        self.profile.id(&format!("{prefix}-{}", self.next_id))
    }
}

impl FakeRuntime {
    /// A runtime that has the given images and answers as one of whom the suite is run over.
    pub fn new(images: &[&str]) -> Self {
        let profile = Profile::of_suite();
        let images = images.iter().map(|image| profile.image_name(image)).collect();
        let state = State { profile, images, ..State::default() };
        Self(Arc::new(Inner { profile, state: Mutex::new(state), events: broadcast::channel(1000).0 }))
    }

    /// Whom it answers as.
    pub fn profile(&self) -> Profile {
        self.0.profile
    }

    /// Serves on a socket until the drain signal.
    pub async fn serve(self, socket: &Path, drain: Drain) {
        let listener = base::bind_socket(socket).expect("a socket");
        cri::serve(listener, self.clone(), self, drain).await.expect("served");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an image.
    pub fn add_image(&self, image: &str) {
        self.state().images.push(self.0.profile.image_name(image));
    }

    /// Says from now on that images are in a directory.
    pub fn keep_images_in(&self, dir: &Path) {
        self.state().image_dir = Some(dir.to_owned());
    }

    /// Has no images any more.
    pub fn lose_images(&self) {
        self.state().images.clear();
    }

    /// Does not remove an image whoever asks for that.
    pub fn hold_image(&self, image: &str) {
        self.state().stuck.push(self.0.profile.image_name(image));
    }

    /// Whether it has an image.
    pub fn has_image(&self, image: &str) -> bool {
        self.state().images.contains(&self.0.profile.image_name(image))
    }

    /// Puts an image into a registry, for those who say who they are.
    pub fn publish(&self, image: &str) {
        self.state().private.push(image.to_owned());
    }

    /// The names of running containers, sorted.
    pub fn running(&self) -> Vec<String> {
        let state = self.state();
        let running = state.containers.values().filter(|c| c.state == cri::ContainerState::ContainerRunning);
        let mut names: Vec<String> = running.map(container_name).collect();
        names.sort();
        names
    }

    /// How many sandboxes there are, ready or not.
    pub fn sandboxes(&self) -> usize {
        self.state().sandboxes.len()
    }

    /// The cgroups above those of sandboxes.
    pub fn cgroup_parents(&self) -> Vec<String> {
        let parent = |sandbox: &Sandbox| sandbox.config.linux.clone().unwrap_or_default().cgroup_parent;
        self.state().sandboxes.values().map(parent).collect()
    }

    /// The configuration of the newest container of a name.
    pub fn config(&self, name: &str) -> Option<cri::ContainerConfig> {
        let state = self.state();
        let named = state.containers.values().filter(|container| container_name(container) == name);
        named.max_by_key(|container| container.created_at).map(|container| container.config.clone())
    }

    /// The calls so far that changed something, as `StartContainer main`.
    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    /// Says how much memory the containers of a name use.
    pub fn uses(&self, name: &str, bytes: u64) {
        self.state().memory.insert(name.to_owned(), bytes);
    }

    /// Tells nobody any more what pods use.
    pub fn keep_figures(&self) {
        self.state().keeps_figures = true;
    }

    /// Has so many starts of the containers of a name come to nothing, as if the runtime had been killed meanwhile.
    pub fn refuse_starts(&self, name: &str, count: u32) {
        self.state().refused.insert(name.to_owned(), count);
    }

    /// Does not answer who wants a container of a name made.
    pub fn stall(&self, name: &str) {
        self.state().stalled = Some(name.to_owned());
    }

    /// Ends a running container by itself.
    pub fn exit(&self, name: &str, code: i32) {
        let id = {
            let mut state = self.state();
            let now = state.tick();
            let running = |c: &Container| c.state == cri::ContainerState::ContainerRunning && container_name(c) == name;
            let found = state.containers.iter_mut().find(|(_, container)| running(container));
            let (id, container) = found.expect("a running container");
            let id = id.clone();
            container.state = cri::ContainerState::ContainerExited;
            container.exit_code = code;
            container.finished_at = now;
            id
        };
        self.tell(&id, cri::ContainerEventType::ContainerStoppedEvent);
    }

    /// Forgets the containers of a name, as if somebody had removed them.
    pub fn lose(&self, name: &str) {
        let lost: Vec<String> = {
            let state = self.state();
            let named = state.containers.iter().filter(|(_, container)| container_name(container) == name);
            named.map(|(id, _)| id.clone()).collect()
        };
        for id in lost {
            self.tell(&id, cri::ContainerEventType::ContainerDeletedEvent);
            self.state().containers.remove(&id);
        }
    }

    fn tell(&self, container: &str, kind: cri::ContainerEventType) {
        let state = self.state();
        let sandbox = state.containers.get(container).map(|c| c.sandbox.clone()).unwrap_or_default();
        let event = cri::ContainerEventResponse {
            container_id: container.to_owned(),
            container_event_type: kind as i32,
            created_at: state.clock,
            pod_sandbox_status: state.sandboxes.get(&sandbox).map(|s| sandbox_status(&sandbox, s)),
            containers_statuses: Vec::new(),
        };
        // Nobody may be listening.
        let _ = self.0.events.send(event);
    }
}

fn container_name(container: &Container) -> String {
    container.config.metadata.clone().unwrap_or_default().name
}

fn sandbox_status(id: &str, sandbox: &Sandbox) -> cri::PodSandboxStatus {
    cri::PodSandboxStatus {
        id: id.to_owned(),
        metadata: sandbox.config.metadata.clone(),
        state: if sandbox.ready { cri::PodSandboxState::SandboxReady } else { cri::PodSandboxState::SandboxNotready }
            as i32,
        created_at: sandbox.created_at,
        network: Some(cri::PodSandboxNetworkStatus { ip: "10.42.0.9".to_owned(), additional_ips: Vec::new() }),
        labels: sandbox.config.labels.clone(),
        annotations: sandbox.config.annotations.clone(),
        ..cri::PodSandboxStatus::default()
    }
}

fn container_status(profile: Profile, id: &str, container: &Container) -> cri::ContainerStatus {
    let image = container.config.image.clone().unwrap_or_default();
    let name = image.user_specified_image.clone();
    let has_ended = container.state == cri::ContainerState::ContainerExited;
    cri::ContainerStatus {
        id: id.to_owned(),
        metadata: container.config.metadata.clone(),
        state: container.state as i32,
        created_at: container.created_at,
        started_at: container.started_at,
        finished_at: container.finished_at,
        exit_code: container.exit_code,
        reason: if has_ended { profile.reason(container.exit_code) } else { "" }.to_owned(),
        image_ref: profile.image_ref(&name),
        image_id: profile.image_id(&name),
        image: Some(cri::ImageSpec { image: profile.image_name(&name), ..image }),
        labels: container.config.labels.clone(),
        annotations: container.config.annotations.clone(),
        log_path: container.log_path.clone(),
        ..cri::ContainerStatus::default()
    }
}

fn matches(labels: &HashMap<String, String>, selector: &HashMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn not_here<T>(what: &str) -> Answer<T> {
    Err(Status::unimplemented(format!("{what} is not part of the fake runtime")))
}

#[tonic::async_trait]
impl RuntimeService for FakeRuntime {
    type GetContainerEventsStream = Pin<Box<dyn Stream<Item = Result<cri::ContainerEventResponse, Status>> + Send>>;

    async fn version(&self, _: Request<cri::VersionRequest>) -> Answer<cri::VersionResponse> {
        Ok(Response::new(cri::VersionResponse {
            version: "0.1.0".to_owned(),
            runtime_name: self.0.profile.name().to_owned(),
            runtime_version: self.0.profile.version().to_owned(),
            runtime_api_version: "v1".to_owned(),
        }))
    }

    async fn status(&self, _: Request<cri::StatusRequest>) -> Answer<cri::StatusResponse> {
        let network = !self.0.profile.wants_pod_cidr() || self.state().pod_cidr.is_some();
        let condition =
            |type_: &str, status| cri::RuntimeCondition { r#type: type_.to_owned(), status, ..Default::default() };
        let conditions = vec![condition("RuntimeReady", true), condition("NetworkReady", network)];
        let status = Some(cri::RuntimeStatus { conditions });
        Ok(Response::new(cri::StatusResponse { status, ..cri::StatusResponse::default() }))
    }

    async fn update_pod_sandbox_resources(
        &self,
        _: Request<cri::UpdatePodSandboxResourcesRequest>,
    ) -> Answer<cri::UpdatePodSandboxResourcesResponse> {
        Ok(Response::new(cri::UpdatePodSandboxResourcesResponse {}))
    }

    async fn update_runtime_config(
        &self,
        request: Request<cri::UpdateRuntimeConfigRequest>,
    ) -> Answer<cri::UpdateRuntimeConfigResponse> {
        let config = request.into_inner().runtime_config.unwrap_or_default().network_config.unwrap_or_default();
        self.state().pod_cidr = Some(config.pod_cidr);
        Ok(Response::new(cri::UpdateRuntimeConfigResponse {}))
    }

    async fn run_pod_sandbox(&self, request: Request<cri::RunPodSandboxRequest>) -> Answer<cri::RunPodSandboxResponse> {
        let config = request.into_inner().config.unwrap_or_default();
        let cgroup = config.linux.as_ref().map(|linux| linux.cgroup_parent.as_str()).unwrap_or_default();
        self.0.profile.check_cgroup(cgroup)?;
        let mut state = self.state();
        let taken = state.sandboxes.iter().find(|(_, sandbox)| sandbox.config.metadata == config.metadata);
        self.0.profile.check_name("pod", taken.map(|(id, _)| id))?;
        let (id, created_at) = (state.id("sandbox"), state.tick());
        state.calls.push("RunPodSandbox".to_owned());
        state.sandboxes.insert(id.clone(), Sandbox { config, ready: true, created_at });
        Ok(Response::new(cri::RunPodSandboxResponse { pod_sandbox_id: id }))
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<cri::StopPodSandboxRequest>,
    ) -> Answer<cri::StopPodSandboxResponse> {
        let mut state = self.state();
        state.calls.push("StopPodSandbox".to_owned());
        if let Some(sandbox) = state.sandboxes.get_mut(&request.into_inner().pod_sandbox_id) {
            sandbox.ready = false;
        }
        Ok(Response::new(cri::StopPodSandboxResponse {}))
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<cri::RemovePodSandboxRequest>,
    ) -> Answer<cri::RemovePodSandboxResponse> {
        let id = request.into_inner().pod_sandbox_id;
        let mut state = self.state();
        state.sandboxes.remove(&id);
        state.containers.retain(|_, container| container.sandbox != id);
        Ok(Response::new(cri::RemovePodSandboxResponse {}))
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<cri::PodSandboxStatusRequest>,
    ) -> Answer<cri::PodSandboxStatusResponse> {
        let id = request.into_inner().pod_sandbox_id;
        let state = self.state();
        let sandbox = state.sandboxes.get(&id).ok_or_else(|| self.0.profile.missing("sandbox", &id))?;
        let status = Some(sandbox_status(&id, sandbox));
        Ok(Response::new(cri::PodSandboxStatusResponse { status, ..cri::PodSandboxStatusResponse::default() }))
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<cri::ListPodSandboxRequest>,
    ) -> Answer<cri::ListPodSandboxResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let state = self.state();
        let wanted = state.sandboxes.iter().filter(|(_, s)| matches(&s.config.labels, &filter.label_selector));
        let items = wanted.map(|(id, sandbox)| cri::PodSandbox {
            id: id.clone(),
            metadata: sandbox.config.metadata.clone(),
            labels: sandbox.config.labels.clone(),
            created_at: sandbox.created_at,
            ..cri::PodSandbox::default()
        });
        Ok(Response::new(cri::ListPodSandboxResponse { items: items.collect() }))
    }

    async fn create_container(
        &self,
        request: Request<cri::CreateContainerRequest>,
    ) -> Answer<cri::CreateContainerResponse> {
        let request = request.into_inner();
        let config = request.config.unwrap_or_default();
        if self.state().stalled.as_ref().is_some_and(|name| config.metadata.as_ref().is_some_and(|m| m.name == *name)) {
            return std::future::pending().await;
        }
        let mut state = self.state();
        if !state.sandboxes.get(&request.pod_sandbox_id).is_some_and(|sandbox| sandbox.ready) {
            return Err(self.0.profile.stopped(&request.pod_sandbox_id));
        }
        let of_sandbox = |container: &Container| container.sandbox == request.pod_sandbox_id;
        let mut others = state.containers.iter().filter(|(_, container)| of_sandbox(container));
        let taken = others.find(|(_, container)| container.config.metadata == config.metadata);
        self.0.profile.check_name("container", taken.map(|(id, _)| id))?;
        let (id, created_at) = (state.id("container"), state.tick());
        let directory = request.sandbox_config.unwrap_or_default().log_directory;
        let log_path = format!("{directory}/{}", config.log_path);
        let container = Container {
            sandbox: request.pod_sandbox_id,
            config,
            state: cri::ContainerState::ContainerCreated,
            created_at,
            started_at: 0,
            finished_at: 0,
            exit_code: 0,
            log_path,
        };
        state.calls.push(format!("CreateContainer {}", container_name(&container)));
        state.containers.insert(id.clone(), container);
        Ok(Response::new(cri::CreateContainerResponse { container_id: id }))
    }

    async fn start_container(
        &self,
        request: Request<cri::StartContainerRequest>,
    ) -> Answer<cri::StartContainerResponse> {
        let id = request.into_inner().container_id;
        {
            let mut state = self.state();
            let now = state.tick();
            let missing = || self.0.profile.missing("container", &id);
            let name = state.containers.get(&id).map(container_name).ok_or_else(missing)?;
            if let Some(refused) = state.refused.get_mut(&name).filter(|refused| **refused > 0) {
                *refused -= 1;
                return Err(Status::unavailable("the runtime is away"));
            }
            let container = state.containers.get_mut(&id).ok_or_else(missing)?;
            container.state = cri::ContainerState::ContainerRunning;
            container.started_at = now;
            let log = container.log_path.clone();
            state.calls.push(format!("StartContainer {name}"));
            drop(state);
            if let Some(parent) = Path::new(&log).parent() {
                std::fs::create_dir_all(parent).expect("a directory for logs");
            }
            std::fs::write(&log, format!("2024-01-01T00:00:00.000000000Z stdout F hello from {name}\n"))
                .expect("a log");
        }
        self.tell(&id, cri::ContainerEventType::ContainerStartedEvent);
        Ok(Response::new(cri::StartContainerResponse {}))
    }

    async fn stop_container(&self, request: Request<cri::StopContainerRequest>) -> Answer<cri::StopContainerResponse> {
        let request = request.into_inner();
        {
            let mut state = self.state();
            let now = state.tick();
            let missing = || self.0.profile.missing("container", &request.container_id);
            let container = state.containers.get_mut(&request.container_id).ok_or_else(missing)?;
            if container.state == cri::ContainerState::ContainerRunning {
                container.state = cri::ContainerState::ContainerExited;
                container.exit_code = 143;
                container.finished_at = now;
            }
            let name = container_name(container);
            state.calls.push(format!("StopContainer {name} {}", request.timeout));
        }
        self.tell(&request.container_id, cri::ContainerEventType::ContainerStoppedEvent);
        Ok(Response::new(cri::StopContainerResponse {}))
    }

    async fn remove_container(
        &self,
        request: Request<cri::RemoveContainerRequest>,
    ) -> Answer<cri::RemoveContainerResponse> {
        self.state().containers.remove(&request.into_inner().container_id);
        Ok(Response::new(cri::RemoveContainerResponse {}))
    }

    async fn list_containers(
        &self,
        request: Request<cri::ListContainersRequest>,
    ) -> Answer<cri::ListContainersResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let state = self.state();
        let wanted = state.containers.iter().filter(|(_, c)| matches(&c.config.labels, &filter.label_selector));
        let containers = wanted.map(|(id, container)| cri::Container {
            id: id.clone(),
            pod_sandbox_id: container.sandbox.clone(),
            metadata: container.config.metadata.clone(),
            state: container.state as i32,
            labels: container.config.labels.clone(),
            created_at: container.created_at,
            image: container.config.image.clone(),
            image_ref: self
                .0
                .profile
                .image_ref(&container.config.image.clone().unwrap_or_default().user_specified_image),
            ..cri::Container::default()
        });
        Ok(Response::new(cri::ListContainersResponse { containers: containers.collect() }))
    }

    async fn container_status(
        &self,
        request: Request<cri::ContainerStatusRequest>,
    ) -> Answer<cri::ContainerStatusResponse> {
        let id = request.into_inner().container_id;
        let state = self.state();
        let missing = || self.0.profile.missing("container", &id);
        let container = state.containers.get(&id).ok_or_else(missing)?;
        let status = Some(container_status(self.0.profile, &id, container));
        Ok(Response::new(cri::ContainerStatusResponse { status, ..cri::ContainerStatusResponse::default() }))
    }

    async fn get_container_events(&self, _: Request<cri::GetEventsRequest>) -> Answer<Self::GetContainerEventsStream> {
        if !self.0.profile.has_events() {
            return Ok(Response::new(Box::pin(futures::stream::empty())));
        }
        let events = tokio_stream::wrappers::BroadcastStream::new(self.0.events.subscribe());
        let events = events.filter_map(async |event| event.ok().map(Ok));
        Ok(Response::new(Box::pin(events)))
    }

    /// A command succeeds unless its first word is `false`.
    async fn exec_sync(&self, request: Request<cri::ExecSyncRequest>) -> Answer<cri::ExecSyncResponse> {
        let command = request.into_inner().cmd;
        self.state().calls.push(format!("ExecSync {}", command.join(" ")));
        let exit_code = i32::from(command.first().is_some_and(|word| word == "false"));
        Ok(Response::new(cri::ExecSyncResponse { exit_code, ..cri::ExecSyncResponse::default() }))
    }

    async fn update_container_resources(
        &self,
        _: Request<cri::UpdateContainerResourcesRequest>,
    ) -> Answer<cri::UpdateContainerResourcesResponse> {
        not_here("UpdateContainerResources")
    }

    async fn reopen_container_log(
        &self,
        _: Request<cri::ReopenContainerLogRequest>,
    ) -> Answer<cri::ReopenContainerLogResponse> {
        not_here("ReopenContainerLog")
    }

    async fn exec(&self, _: Request<cri::ExecRequest>) -> Answer<cri::ExecResponse> {
        not_here("Exec")
    }

    async fn attach(&self, _: Request<cri::AttachRequest>) -> Answer<cri::AttachResponse> {
        not_here("Attach")
    }

    async fn port_forward(&self, _: Request<cri::PortForwardRequest>) -> Answer<cri::PortForwardResponse> {
        not_here("PortForward")
    }

    async fn container_stats(&self, _: Request<cri::ContainerStatsRequest>) -> Answer<cri::ContainerStatsResponse> {
        not_here("ContainerStats")
    }

    async fn list_container_stats(
        &self,
        _: Request<cri::ListContainerStatsRequest>,
    ) -> Answer<cri::ListContainerStatsResponse> {
        not_here("ListContainerStats")
    }

    async fn pod_sandbox_stats(&self, _: Request<cri::PodSandboxStatsRequest>) -> Answer<cri::PodSandboxStatsResponse> {
        not_here("PodSandboxStats")
    }

    async fn list_pod_sandbox_stats(
        &self,
        _: Request<cri::ListPodSandboxStatsRequest>,
    ) -> Answer<cri::ListPodSandboxStatsResponse> {
        let state = self.state();
        if state.keeps_figures {
            return not_here("ListPodSandboxStats");
        }
        let of_container = |(id, container): (&String, &Container)| {
            let used = state.memory.get(&container_name(container)).copied().unwrap_or(0);
            let bytes = Some(cri::UInt64Value { value: used });
            cri::ContainerStats {
                attributes: Some(cri::ContainerAttributes {
                    id: id.clone(),
                    metadata: container.config.metadata.clone(),
                    labels: container.config.labels.clone(),
                    ..cri::ContainerAttributes::default()
                }),
                memory: Some(cri::MemoryUsage { working_set_bytes: bytes, ..cri::MemoryUsage::default() }),
                ..cri::ContainerStats::default()
            }
        };
        let one = |(id, sandbox): (&String, &Sandbox)| cri::PodSandboxStats {
            attributes: Some(cri::PodSandboxAttributes {
                id: id.clone(),
                metadata: sandbox.config.metadata.clone(),
                labels: sandbox.config.labels.clone(),
                ..cri::PodSandboxAttributes::default()
            }),
            linux: Some(cri::LinuxPodSandboxStats {
                containers: state.containers.iter().filter(|(_, c)| c.sandbox == *id).map(of_container).collect(),
                ..cri::LinuxPodSandboxStats::default()
            }),
            ..cri::PodSandboxStats::default()
        };
        Ok(Response::new(cri::ListPodSandboxStatsResponse { stats: state.sandboxes.iter().map(one).collect() }))
    }

    async fn checkpoint_container(
        &self,
        request: Request<cri::CheckpointContainerRequest>,
    ) -> Answer<cri::CheckpointContainerResponse> {
        let request = request.into_inner();
        let state = self.state();
        let missing = || self.0.profile.missing("container", &request.container_id);
        let container = state.containers.get(&request.container_id).ok_or_else(missing)?;
        if container.state != cri::ContainerState::ContainerRunning {
            return Err(Status::failed_precondition("it does not run"));
        }
        let text = format!("{} {}", container_name(container), request.timeout);
        std::fs::write(&request.location, text).expect("a place for checkpoints");
        Ok(Response::new(cri::CheckpointContainerResponse {}))
    }

    async fn list_metric_descriptors(
        &self,
        _: Request<cri::ListMetricDescriptorsRequest>,
    ) -> Answer<cri::ListMetricDescriptorsResponse> {
        not_here("ListMetricDescriptors")
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: Request<cri::ListPodSandboxMetricsRequest>,
    ) -> Answer<cri::ListPodSandboxMetricsResponse> {
        not_here("ListPodSandboxMetrics")
    }

    async fn runtime_config(&self, _: Request<cri::RuntimeConfigRequest>) -> Answer<cri::RuntimeConfigResponse> {
        match self.0.profile.cgroup_driver() {
            Some(driver) => Ok(Response::new(cri::RuntimeConfigResponse {
                linux: Some(cri::LinuxRuntimeConfiguration { cgroup_driver: driver.into() }),
            })),
            None => not_here("RuntimeConfig"),
        }
    }
}

#[tonic::async_trait]
impl ImageService for FakeRuntime {
    async fn list_images(&self, _: Request<cri::ListImagesRequest>) -> Answer<cri::ListImagesResponse> {
        let images = self.state().images.iter().map(|name| image(self.0.profile, name)).collect();
        Ok(Response::new(cri::ListImagesResponse { images }))
    }

    async fn image_status(&self, request: Request<cri::ImageStatusRequest>) -> Answer<cri::ImageStatusResponse> {
        let wanted = request.into_inner().image.unwrap_or_default().image;
        let profile = self.0.profile;
        let is_meant = |name: &&String| {
            **name == profile.image_name(&wanted) || [profile.image_id(name), profile.image_ref(name)].contains(&wanted)
        };
        let found = self.state().images.iter().find(is_meant).map(|name| image(profile, name));
        Ok(Response::new(cri::ImageStatusResponse { image: found, ..cri::ImageStatusResponse::default() }))
    }

    async fn pull_image(&self, request: Request<cri::PullImageRequest>) -> Answer<cri::PullImageResponse> {
        let request = request.into_inner();
        let image = request.image.unwrap_or_default().image;
        let mut state = self.state();
        state.calls.push(format!("PullImage {image}"));
        let profile = self.0.profile;
        if state.private.contains(&image) {
            if request.auth.unwrap_or_default().username.is_empty() {
                return Err(Status::permission_denied(format!("{image} is not for everybody")));
            }
            state.images.push(profile.image_name(&image));
            return Ok(Response::new(cri::PullImageResponse { image_ref: profile.image_ref(&image) }));
        }
        Err(Status::not_found(format!("no registry has {image}")))
    }

    async fn remove_image(&self, request: Request<cri::RemoveImageRequest>) -> Answer<cri::RemoveImageResponse> {
        let wanted = request.into_inner().image.unwrap_or_default().image;
        let (mut state, profile) = (self.state(), self.0.profile);
        let is_meant = |name: &String| *name == wanted || profile.image_id(name) == wanted;
        if state.stuck.iter().any(is_meant) {
            return Err(Status::internal(format!("image {wanted} is held")));
        }
        state.images.retain(|name| !is_meant(name));
        Ok(Response::new(cri::RemoveImageResponse {}))
    }

    async fn image_fs_info(&self, _: Request<cri::ImageFsInfoRequest>) -> Answer<cri::ImageFsInfoResponse> {
        let Some(dir) = self.state().image_dir.clone() else { return not_here("ImageFsInfo") };
        let fs_id = Some(cri::FilesystemIdentifier { mountpoint: dir.display().to_string() });
        let image_filesystems = vec![cri::FilesystemUsage { fs_id, ..cri::FilesystemUsage::default() }];
        Ok(Response::new(cri::ImageFsInfoResponse { image_filesystems, ..cri::ImageFsInfoResponse::default() }))
    }
}

fn image(profile: Profile, name: &str) -> cri::Image {
    let (id, repo_tags) = (profile.image_id(name), vec![name.to_owned()]);
    cri::Image { id, repo_tags, repo_digests: vec![profile.image_ref(name)], size: 1000, ..cri::Image::default() }
}
