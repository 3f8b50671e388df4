//! What all parts of a running kubelet share.

use std::borrow::Cow;
use std::sync::Arc;

use base::{Drain, Env, Spawner};
use client::{EventRecorder, EventType, Informer};
use cri::{ImageClient, RuntimeClient, SecurityModules};
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1beta1::{ClusterTrustBundle, PodCertificateRequest};
use k8s_openapi::api::core::v1::{ConfigMap, Container, Node, ObjectReference, Pod, Secret, Service};

use crate::config::Config;
use crate::csi::Drivers;
use crate::devices::Devices;
use crate::dra::ResourceClaims;
use crate::eviction::Conditions;
use crate::images::{ImageCollector, Puller};
use crate::locks::Locks;
use crate::managers::Managers;
use crate::metrics::Metrics;
use crate::node::Machine;
use crate::pods::{Allocations, NodeDns, NodeFacts, NodePods, Pulse, StatusManager, UserRanges, Workers, spec};
use crate::resources::{self, Amounts, Cgroups, NodeMemory};
use crate::server::RunningLogs;
use crate::shutdown::NodeShutdown;
use crate::sources::Watched;
use crate::static_pods::StaticPods;
use crate::stats::CpuRates;
use crate::volumes::{Claims, PodCertificates, Programs, TokenIssuer, VolumeWork};

/// What all parts of a running kubelet share.
pub struct Context {
    /// The configuration.
    pub config: Config,
    /// The node's addresses as text.
    pub node_ips: Vec<String>,
    /// Clock and randomness.
    pub env: Env,
    /// When the kubelet was started.
    pub started_at: Timestamp,
    /// The cluster.
    pub client: kube::Client,
    /// The container runtime.
    pub runtime: RuntimeClient,
    /// The runtime's images.
    pub images: ImageClient,
    /// The runtime's name, which prefixes container identifiers.
    pub runtime_name: String,
    /// The runtime's version.
    pub runtime_version: String,
    /// The node's pods.
    pub pods: NodePods,
    /// Their workers.
    pub workers: Workers,
    /// Those of them that manifests ask for.
    pub static_pods: StaticPods,
    /// The node itself.
    pub node: Informer<Node>,
    /// The cluster's services.
    pub services: Informer<Service>,
    /// ConfigMaps that pods refer to.
    pub config_maps: Watched<ConfigMap>,
    /// Secrets that pods refer to.
    pub secrets: Watched<Secret>,
    /// ClusterTrustBundles that pods refer to.
    pub trust_bundles: Watched<ClusterTrustBundle>,
    /// Requests for pods' certificates that are not answered yet.
    pub certificate_requests: Watched<PodCertificateRequest>,
    /// Certificates of pods.
    pub certificates: PodCertificates,
    /// Tokens of service accounts.
    pub tokens: TokenIssuer,
    /// Claims of pods' volumes.
    pub claims: Claims,
    /// Programs of the node that mount.
    pub programs: Programs,
    /// What goes on with pods' volumes.
    pub volume_work: VolumeWork,
    /// Targets of iSCSI disks, by their names: nobody logs out while another one logs in.
    pub targets: Locks<String>,
    /// Drivers of volumes.
    pub csi: Drivers,
    /// Devices that plugins offer.
    pub devices: Arc<Devices>,
    /// Claims of devices that drivers prepare.
    pub resource_claims: ResourceClaims,
    /// Pulls images.
    pub puller: Puller,
    /// Removes images.
    pub image_collector: ImageCollector,
    /// What the node is short of.
    pub conditions: Conditions,
    /// How much the machine and its parts work.
    pub cpu_rates: CpuRates,
    /// What pods were given of the node's CPU and memory.
    pub allocations: Allocations,
    /// What containers were given of the machine for themselves.
    pub managers: Managers,
    /// The users of pods that have their own.
    pub users: UserRanges,
    /// Writes pods' statuses.
    pub statuses: StatusManager,
    /// Whether the machine is being shut down.
    pub shutdown: NodeShutdown,
    /// What is measured.
    pub metrics: Arc<Metrics>,
    /// Whether the loop over pods answers.
    pub pulse: Pulse,
    /// Records events.
    pub recorder: EventRecorder,
    /// Cgroups of pods.
    pub cgroups: Cgroups,
    /// The logs of containers that run.
    pub logs: RunningLogs,
    /// The machine.
    pub machine: Machine,
    /// What its kernel confines containers by.
    pub modules: SecurityModules,
    /// What it has and does about the memory of containers.
    pub memory: NodeMemory,
    /// The node's part in resolver configurations.
    pub dns: NodeDns,
    /// For tasks that come and go.
    pub spawner: Spawner,
    /// Fires when the kubelet is to end.
    pub drain: Drain,
}

impl Context {
    /// Records an event about a pod, or about one of its containers.
    pub fn event(
        &self,
        pod: &Pod,
        container: Option<&str>,
        kind: EventType,
        reason: impl Into<Cow<'static, str>>,
        message: String,
    ) {
        self.recorder.event(&pod_reference(pod, container), kind, reason, message);
    }

    /// What sandbox and container configurations take from the node.
    pub fn node_facts(&self) -> NodeFacts<'_> {
        NodeFacts {
            pod_logs_dir: &self.config.pod_logs_dir,
            dns: &self.dns,
            cpu_quota: self.config.cpu_quota,
            seccomp_default: self.config.seccomp_default,
            seccomp_profiles: self.config.kubelet_dir().join("seccomp"),
        }
    }

    /// Name and version of the runtime, as the node's status has them.
    pub fn runtime_version(&self) -> String {
        format!("{}://{}", self.runtime_name, self.runtime_version)
    }

    /// What the node has.
    pub fn capacity(&self) -> Amounts {
        let mut amounts = self.machine.capacity(self.config.max_pods);
        amounts.extend(self.devices.capacity());
        amounts
    }

    /// What the node can give to pods.
    pub fn allocatable(&self) -> Amounts {
        let mut amounts = self.machine.allocatable(&self.config);
        amounts.extend(self.devices.allocatable());
        amounts
    }

    /// What the runtime is told of a container's resources. The time on CPUs that are its own is not limited.
    pub fn container_resources(&self, pod: &Pod, container: &Container) -> cri::LinuxContainerResources {
        let mut wanted = resources::container_resources(pod, container, &self.memory, self.config.cpu_quota);
        if self.managers.own_cpus(spec::uid(pod), &container.name).is_some() {
            wanted.cpu_quota = -1;
        }
        let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
        let limits = resources::huge_page_limits(&resources::amounts(limits), self.machine.huge_page_sizes());
        let limit = |(page_size, limit): (String, i64)| cri::HugepageLimit { page_size, limit: limit.unsigned_abs() };
        wanted.hugepage_limits = limits.into_iter().map(limit).collect();
        wanted
    }

    /// What a pod's cgroup is set to.
    pub fn pod_limits(&self, pod: &Pod) -> resources::PodLimits {
        let mut limits = resources::pod_cgroup_limits(pod, self.config.pod_pids_limit, self.config.cpu_quota);
        limits.huge_pages = resources::huge_page_limits(&resources::pod_requests(pod), self.machine.huge_page_sizes());
        limits.cpu_quota = limits.cpu_quota.filter(|_| !self.managers.has_own_cpus(spec::uid(pod)));
        limits
    }

    /// The cgroup of a pod.
    pub fn pod_cgroup(&self, pod: &Pod) -> String {
        self.cgroups.pod_path(resources::qos_class(pod), spec::uid(pod))
    }
}

/// A reference to a pod, or to one of its containers, as events carry it.
pub fn pod_reference(pod: &Pod, container: Option<&str>) -> ObjectReference {
    let field_path = container.map(|name| {
        let list = if spec::init_containers(pod).iter().any(|container| container.name == name) {
            "initContainers"
        } else if spec::containers(pod).iter().any(|container| container.name == name) {
            "containers"
        } else {
            "ephemeralContainers"
        };
        format!("spec.{list}{{{name}}}")
    });
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
        field_path,
    }
}

/// The context as it is handed around.
pub type Shared = Arc<Context>;
