//! Puts the parts together and runs them.

use std::sync::Arc;
use std::time::Duration;

use base::{Drain, Env, TaskFailure, Tasks};
use client::{EventRecorder, Informers, ListSelector};
use cri as v1;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::storage::v1::CSIDriver;

use crate::config::Config;
use crate::context::{Context, Shared};
use crate::csi::{self, Attachments, Drivers};
use crate::devices::{self, Devices};
use crate::dra::{self, ResourceClaims};
use crate::eviction::{self, Conditions};
use crate::images::{self, ImageCollector, ProvidersError, Puller};
use crate::locks::Locks;
use crate::managers::{self, HintProvider, Managers, ManagersError};
use crate::metrics::{self, Metrics};
use crate::node::{self, KernelError, Machine, MachineError};
use crate::plugins;
use crate::pod_resources;
use crate::pods::{
    self, Allocations, NodeDns, NodePods, Pulse, StatusManager, UnusableUsers, UserRanges, Workers, parse_resolv_conf,
};
use crate::resources::{Amounts, CgroupError, Cgroups};
use crate::server::{self, RunningLogs, Server, ServerError};
use crate::shutdown::{self, NodeShutdown};
use crate::sources::{Watched, namespaced, of_cluster};
use crate::static_pods::{self, StaticPods};
use crate::stats::CpuRates;
use crate::volumes::{Claims, PodCertificates, Programs, TokenIssuer, VolumeWork};

/// Between attempts to reach the runtime at the start.
const RUNTIME_RETRY: Duration = Duration::from_millis(50);
/// How long the parts may take to end after the drain signal.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);
/// How long tasks that come and go may take, within that.
const SPAWNED_DEADLINE: Duration = Duration::from_secs(5);

/// The kubelet of one node.
pub struct Kubelet {
    config: Config,
    client: kube::Client,
    env: Env,
    puller: Puller,
    machine: Machine,
    cgroups: Cgroups,
    managers: Managers,
    devices: Arc<Devices>,
    server: Option<Server>,
}

/// The kubelet cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No address of the node was given.
    #[error("the node needs at least one address")]
    NoAddress,
    /// The machine cannot be looked at.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The kernel does not do what the kubelet counts on, and is not to be touched.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The machine swaps, and the kubelet is told not to stand that.
    #[error("running with swap on is not supported, please disable swap or set --fail-swap-on flag to false")]
    SwapOn,
    /// The machine has cgroup v1, and the configuration refuses that.
    #[error("this machine has cgroup v1, which failCgroupV1 refuses")]
    CgroupV1,
    /// The cgroups cannot be used.
    #[error(transparent)]
    Cgroups(#[from] CgroupError),
    /// What containers are to have for themselves cannot be given.
    #[error(transparent)]
    Managers(#[from] ManagersError),
    /// The programs that know credentials for images cannot be used.
    #[error(transparent)]
    Providers(#[from] ProvidersError),
    /// Pods cannot have the users that they are to have.
    #[error(transparent)]
    Users(#[from] UnusableUsers),
    /// The server cannot be set up.
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// The kubelet stopped though it should run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// One of its parts ended early.
    #[error(transparent)]
    Task(#[from] TaskFailure),
    /// The cgroups above those of pods cannot be made or limited.
    #[error(transparent)]
    Cgroups(#[from] CgroupError),
}

impl Kubelet {
    /// Looks at the machine, and takes the server's port.
    pub fn build(mut config: Config, client: kube::Client, env: Env) -> Result<Self, BuildError> {
        for (field, reason) in config.configuration.without_effect() {
            tracing::warn!(field, reason, "a field of the kubelet's configuration does nothing");
        }
        node::prepare(&config)?;
        let puller = Puller::new(&config, env.clone())?;
        if config.node_ips.is_empty() {
            return Err(BuildError::NoAddress);
        }
        let machine = Machine::look(config.instance.data_dir())?;
        if config.fail_swap_on && machine.swap_bytes > 0 {
            return Err(BuildError::SwapOn);
        }
        config.max_pods = machine.max_pods(config.max_pods, config.pods_per_core);
        config.users = config.users.of_machine(config.max_pods)?;
        let cgroups = Cgroups::of_machine(&config.instance.name())?;
        if config.fail_cgroup_v1 && !cgroups.is_v2() {
            return Err(BuildError::CgroupV1);
        }
        let devices = Arc::new(Devices::restore(config.kubelet_dir().join("device-plugins"), env.clone()));
        let managers = build_managers(&config, &machine, &devices)?;
        let server = config.enable_server.then(|| Server::bind(&config, &env)).transpose()?;
        Ok(Self { config, client, env, puller, machine, cgroups, managers, devices, server })
    }

    /// The server's port; 0 where there is none.
    pub fn port(&self) -> u16 {
        self.server.as_ref().map_or(0, Server::port)
    }

    /// Runs until the drain signal. Containers are left running.
    pub async fn run(self, drain: Drain) -> Result<(), RunError> {
        let Self { config, client, env, puller, machine, cgroups, managers, devices, server } = self;
        let metrics = Arc::new(Metrics::new(&config.node_name));
        let client = metrics::measured(&client, &metrics, &env);
        let Some((runtime, images, version)) = drain.until(connect(&config, &env, &metrics)).await else {
            return Ok(());
        };
        tracing::info!(runtime = version.runtime_name, version = version.runtime_version, "connected to the runtime");
        let driver = node::cgroup_driver(&runtime, config.cgroups.driver).await;
        let cgroups = cgroups.driven_by(driver, &config.cgroups).measured(metrics.cgroups.clone(), env.clone());
        cgroups.prepare().await?;
        config.reserved.apply(&cgroups).await?;
        let (spawner, mut spawned) = base::spawner();
        let follow = || (spawner.clone(), drain.clone());
        let informers = Informers::new(client.clone(), env.clone());
        let (recorder, event_writer) =
            EventRecorder::new(client.clone(), env.clone(), "kubelet", Some(&config.node_name));
        let dns = NodeDns {
            servers: config.cluster_dns.iter().map(ToString::to_string).collect(),
            domain: config.cluster_domain.clone(),
            host: parse_resolv_conf(&std::fs::read_to_string(&config.resolv_conf).unwrap_or_default()),
        };
        let port = server.as_ref().map_or(0, Server::port);
        let static_pods = StaticPods::new(env.clone(), config.static_pod_url.is_some());
        let bound = ListSelector::fields(format!("spec.nodeName={}", config.node_name));
        let context: Shared = Arc::new(Context {
            node_ips: config.node_ips.iter().map(ToString::to_string).collect(),
            runtime,
            images,
            runtime_name: version.runtime_name,
            runtime_version: version.runtime_version,
            pods: NodePods::new(informers.filtered::<Pod>(bound), static_pods.clone()),
            workers: Workers::default(),
            static_pods,
            node: informers.filtered::<Node>(ListSelector::fields(format!("metadata.name={}", config.node_name))),
            services: informers.of::<Service>(),
            config_maps: Watched::new(namespaced(&client), env.clone(), follow()),
            secrets: Watched::new(namespaced(&client), env.clone(), follow()),
            trust_bundles: Watched::new(of_cluster(&client), env.clone(), follow()),
            certificate_requests: Watched::new(namespaced(&client), env.clone(), follow()),
            certificates: PodCertificates::default(),
            tokens: TokenIssuer::default(),
            claims: Claims::default(),
            programs: Programs(config.program_dirs.clone()),
            volume_work: VolumeWork::default(),
            targets: Locks::default(),
            csi: Drivers::new(env.clone(), informers.of::<CSIDriver>(), Attachments::restore(&config.kubelet_dir())),
            devices,
            resource_claims: ResourceClaims::restore(config.kubelet_dir()),
            puller,
            image_collector: ImageCollector::default(),
            conditions: Conditions::default(),
            cpu_rates: CpuRates::default(),
            allocations: Allocations::default(),
            managers,
            users: UserRanges::restore(&config.kubelet_dir().join("pods"), config.users),
            statuses: StatusManager::new(client.clone(), env.clone(), Arc::clone(&metrics)),
            shutdown: NodeShutdown::restore(&config.kubelet_dir()),
            metrics,
            pulse: Pulse::default(),
            recorder,
            memory: node::memory(&config, &machine, &cgroups),
            logs: RunningLogs::default(),
            cgroups,
            machine,
            modules: cri::SecurityModules::below(&config.machine_root),
            dns,
            spawner,
            drain: drain.clone(),
            client,
            started_at: env.now(),
            env,
            config,
        });
        let mut tasks = Tasks::new();
        {
            let drain = drain.clone();
            tasks.spawn("tasks", async move {
                spawned.run_until(drain.drained(), |err| tracing::error!(err = %err, "task failed")).await;
                for err in spawned.shutdown(SPAWNED_DEADLINE).await {
                    tracing::warn!(err = %err, "task did not end well");
                }
            });
        }
        {
            let drain = drain.clone();
            tasks.spawn_fallible("informers", async move { informers.run(drain).await });
        }
        let (events_per_second, burst) = context.config.event_rate;
        tasks.spawn("events", event_writer.limited(events_per_second, burst).run(drain.clone()));
        {
            let (statuses, drain) = (context.statuses.clone(), drain.clone());
            tasks.spawn_fallible("pod statuses", async move { statuses.run(drain).await });
        }
        tasks.spawn("node", node::run(Arc::clone(&context), port, drain.clone()));
        tasks.spawn("node lease", node::renew(Arc::clone(&context), drain.clone()));
        tasks.spawn("pods", pods::run(Arc::clone(&context), drain.clone()));
        tasks.spawn("static pods", static_pods::follow(Arc::clone(&context), drain.clone()));
        tasks.spawn("static pods of a server", static_pods::follow_url(Arc::clone(&context), drain.clone()));
        tasks.spawn_fallible("mirror pods", static_pods::run(Arc::clone(&context), drain.clone()));
        tasks.spawn("volume limits", csi::keep_limits(Arc::clone(&context), drain.clone()));
        tasks.spawn("plugins", plugins::run(Arc::clone(&context), drain.clone()));
        {
            let (shared, drain) = (Arc::clone(&context), drain.clone());
            let withdrawal = async move {
                drain.until(dra::withdraw_all(&shared)).await;
            };
            context.spawner.spawn("resource slices", withdrawal);
        }
        tasks.spawn("device plugins", devices::serve(Arc::clone(&context), drain.clone()));
        tasks.spawn("pod resources", pod_resources::serve(Arc::clone(&context), drain.clone()));
        tasks.spawn("oom", node::watch_oom(Arc::clone(&context), drain.clone()));
        tasks.spawn("shares", node::share(Arc::clone(&context), drain.clone()));
        tasks.spawn("eviction", eviction::run(Arc::clone(&context), drain.clone()));
        tasks.spawn("images", images::collect(Arc::clone(&context), drain.clone()));
        tasks.spawn("node shutdown", shutdown::run(Arc::clone(&context), drain.clone()));
        tasks.spawn("server", server::run(server, Arc::clone(&context), drain.clone()));
        watch(tasks, &drain).await
    }
}

fn build_managers(config: &Config, machine: &Machine, devices: &Arc<Devices>) -> Result<Managers, ManagersError> {
    let (capacity, allocatable) = (machine.capacity(config.max_pods), machine.allocatable(config));
    let amount = |amounts: &Amounts, name: &str| amounts.get(name).copied().unwrap_or(0);
    let kept = |name: &str| u64::try_from(amount(&capacity, name) - amount(&allocatable, name)).unwrap_or(0);
    let inputs = managers::Inputs {
        memory: u64::try_from(machine.memory_bytes).unwrap_or(0),
        reserved_cpu: kept("cpu"),
        reserved_memory: kept("memory").saturating_sub(machine.huge_page_bytes()),
        dir: &config.kubelet_dir(),
        further: vec![Arc::clone(devices) as Arc<dyn HintProvider>],
    };
    Managers::build(&config.managers, inputs)
}

/// Waits for the runtime: it may be starting beside the kubelet.
async fn connect(
    config: &Config,
    env: &Env,
    metrics: &Arc<Metrics>,
) -> (v1::RuntimeClient, v1::ImageClient, v1::VersionResponse) {
    let metrics = Arc::clone(metrics);
    let calls = v1::Calls {
        env: env.clone(),
        limit: config.runtime_request_timeout,
        observer: Arc::new(move |operation, took, failed| metrics.runtime.called(operation, took, failed)),
    };
    let mut warned = false;
    loop {
        let attempt = async {
            let (mut runtime, mut images) =
                v1::connect_with(&config.cri_socket, calls.clone()).await.map_err(|err| err.to_string())?;
            if let Some(socket) = &config.image_socket {
                images = v1::connect_with(socket, calls.clone()).await.map_err(|err| err.to_string())?.1;
            }
            let request = v1::VersionRequest { version: "v1".to_owned() };
            let version = runtime.version(request).await.map_err(|err| err.message().to_owned())?.into_inner();
            Ok::<_, String>((runtime, images, version))
        };
        match attempt.await {
            Ok(connected) => return connected,
            Err(err) if !warned => {
                tracing::info!(socket = %config.cri_socket.display(), err, "waiting for the container runtime");
                warned = true;
            }
            Err(_) => {}
        }
        env.sleep(RUNTIME_RETRY).await;
    }
}

/// Waits for the drain signal; a part that ends before it ends the kubelet.
async fn watch(mut tasks: Tasks, drain: &Drain) -> Result<(), RunError> {
    let outcome = tasks.run_until(drain).await;
    for err in tasks.shutdown(SHUTDOWN_DEADLINE).await {
        tracing::warn!(err = %err, "kubelet part did not end well");
    }
    outcome.map_err(RunError::from)
}
