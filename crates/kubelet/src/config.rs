//! The kubelet's configuration.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::Instance;
use edge::{ConnectionLimits, TlsSettings};
use k8s_openapi::api::core::v1::Taint;
use pki::{Presenter, Trust};

use crate::configuration::KubeletConfiguration;
use crate::csi;
use crate::eviction;
use crate::images::ImageSettings;
use crate::managers;
use crate::pods::{AllowedSysctls, UserSettings};
use crate::resources::{CgroupSettings, CpuQuota, Reserved, SwapBehavior};
use crate::server::AccessSettings;
use crate::shutdown;
use crate::static_pods::ManifestUrl;
use crate::volumes::Programs;

/// What the kubelet is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name.
    pub node_name: String,
    /// The node's addresses, the first one first; at least one.
    pub node_ips: Vec<IpAddr>,
    /// Labels that the node registers with, beside its own.
    pub node_labels: Vec<(String, String)>,
    /// `registerNode`: whether the kubelet makes its Node.
    pub register_node: bool,
    /// `registerWithTaints`: taints of a Node that it makes.
    pub register_with_taints: Vec<Taint>,
    /// `providerID`: what a cloud calls the node.
    pub provider_id: Option<String>,
    /// The container runtime's socket.
    pub cri_socket: PathBuf,
    /// `runtimeRequestTimeout`: how long the runtime may take to answer, unless it is asked for what takes longer.
    pub runtime_request_timeout: Duration,
    /// `imageServiceEndpoint`: the socket of the image service, if it is another.
    pub image_socket: Option<PathBuf>,
    /// The installation: cgroups of pods are below `/<instance>/kubepods`.
    pub instance: Instance,
    /// `--pod-manifest-path`: the directory (or one file) with the manifests of static pods, if there are any.
    pub static_pod_path: Option<PathBuf>,
    /// `staticPodURL` and what belongs to it: the web server with more of them, if there is one.
    pub static_pod_url: Option<ManifestUrl>,
    /// Where pods' logs go.
    pub pod_logs_dir: PathBuf,
    /// The server's certificate.
    pub serving: Arc<Presenter>,
    /// The authorities whose client certificates the server accepts.
    pub client_ca: Arc<Trust>,
    /// Addresses of the cluster's DNS.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's domain.
    pub cluster_domain: String,
    /// The server's address.
    pub bind_address: IpAddr,
    /// The server's port; 0 for any that is free.
    pub port: u16,
    /// `enableServer`: whether the server is there.
    pub enable_server: bool,
    /// What clients get of the server before it knows who they are.
    pub connections: ConnectionLimits,
    /// `tlsMinVersion` and `tlsCipherSuites`.
    pub tls: TlsSettings,
    /// Whom the server believes, and for how long.
    pub access: AccessSettings,
    /// `enableDebuggingHandlers`: whether the server lets people into containers and at logs.
    pub debugging_handlers: bool,
    /// `enableSystemLogHandler`: whether it shows the machine's logs.
    pub system_logs: bool,
    /// `enableSystemLogQuery`: whether it searches them, and the machine's journal.
    pub system_log_query: bool,
    /// Where those are.
    pub system_logs_dir: PathBuf,
    /// `healthzBindAddress` and `healthzPort`: where health is told without TLS, if it is.
    pub healthz: Option<SocketAddr>,
    /// How many pods the node takes.
    pub max_pods: u32,
    /// The node's resolver configuration, from which pods inherit.
    pub resolv_conf: PathBuf,
    /// `failSwapOn`: whether a machine that swaps is refused.
    pub fail_swap_on: bool,
    /// `memorySwap.swapBehavior`: which containers may swap.
    pub swap_behavior: SwapBehavior,
    /// `singleProcessOOMKill`: whether a container that has no memory left loses one process and not all.
    pub single_process_oom_kill: bool,
    /// What of the node is not for pods.
    pub reserved: Reserved,
    /// `qosReserved`: how much of the memory that pods ask for others may not have, in percent.
    pub qos_reserved_percent: Option<u8>,
    /// What happens when the node runs short of something.
    pub eviction: eviction::Settings,
    /// How images are pulled and removed.
    pub images: ImageSettings,
    /// `--container-log-max-size`: a container's log is rotated when it is larger, in bytes.
    pub container_log_max_bytes: u64,
    /// `--container-log-max-files`: so many files are kept of a container's log, the current one included.
    pub container_log_max_files: usize,
    /// `containerLogMaxWorkers`: how many logs are rotated at a time.
    pub container_log_max_workers: usize,
    /// `allowedUnsafeSysctls`: settings of the kernel that pods may change, beside those that only they feel.
    pub allowed_sysctls: AllowedSysctls,
    /// `userNamespaces`: the users of pods that have their own.
    pub users: UserSettings,
    /// `volumeStatsAggPeriod`: whether it is told how full volumes are.
    pub volume_stats: bool,
    /// `containerLogMonitorInterval`: between looks at the sizes of logs.
    pub container_log_interval: Duration,
    /// How many processes a pod may have; 0 for no limit.
    pub pod_pids_limit: i64,
    /// `cpuCFSQuota` and `cpuCFSQuotaPeriod`: how limits of CPU are enforced.
    pub cpu_quota: CpuQuota,
    /// `--seccomp-default`: whether containers that name no seccomp profile get the runtime's.
    pub seccomp_default: bool,
    /// Where the node's programs are that mount what the kernel alone cannot.
    pub program_dirs: Vec<PathBuf>,
    /// How CPUs, memory and devices are given to containers for themselves.
    pub managers: managers::Settings,
    /// The machine's root: below it is said which machine it is, and which security modules the kernel has.
    pub machine_root: PathBuf,
    /// How volumes of drivers are waited for.
    pub csi: csi::Settings,
    /// `nodeStatusUpdateFrequency`: how often the node is looked at.
    pub status_update_interval: Duration,
    /// `nodeStatusReportFrequency`: how often its status is written though nothing has changed.
    pub status_interval: Duration,
    /// `nodeStatusMaxImages`: how many images the status names, if not all.
    pub status_max_images: Option<usize>,
    /// `nodeLeaseDurationSeconds`: for how long the node's Lease holds.
    pub lease_seconds: i32,
    /// `podsPerCore`: how many pods a CPU takes; 0 for no limit.
    pub pods_per_core: u32,
    /// `crashLoopBackOff.maxContainerRestartPeriod`: the longest wait before a container that failed is started again.
    pub max_back_off: Duration,
    /// `eventRecordQPS` and `eventBurst`: how many events are written in a second, if there is a limit, and at once.
    pub event_rate: (u32, u32),
    /// `oomScoreAdj`: how readily the kernel kills the kubelet when memory runs out, if that is for it to say.
    pub oom_score_adj: Option<i32>,
    /// `maxOpenFiles`: how many files it may have open at least.
    pub max_open_files: Option<u64>,
    /// `protectKernelDefaults`: whether a kernel is refused that does not do what the kubelet counts on.
    pub protect_kernel_defaults: bool,
    /// `failCgroupV1`: whether a machine with cgroup v1 is refused.
    pub fail_cgroup_v1: bool,
    /// `shutdownGracePeriod` and its like: how long the machine's shutdown waits for pods.
    pub shutdown: shutdown::Settings,
    /// How the kubelet comes to its cgroups.
    pub cgroups: CgroupSettings,
    /// `--root-dir`: where the kubelet keeps what it makes.
    root_dir: PathBuf,
    /// What all of this was made from, as `/configz` shows it.
    pub configuration: Arc<KubeletConfiguration>,
}

impl Config {
    /// A configuration with the usual values where there are any.
    pub fn new(
        node_name: impl Into<String>,
        node_ips: Vec<IpAddr>,
        instance: Instance,
        serving: Arc<Presenter>,
        client_ca: Arc<Trust>,
    ) -> Self {
        Self {
            node_name: node_name.into(),
            node_labels: Vec::new(),
            register_node: true,
            register_with_taints: Vec::new(),
            provider_id: None,
            cri_socket: instance.run_dir().join("cri.sock"),
            runtime_request_timeout: Duration::from_secs(120),
            image_socket: None,
            static_pod_path: None,
            static_pod_url: None,
            pod_logs_dir: PathBuf::from("/var/log/pods"),
            serving,
            client_ca,
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            bind_address: if node_ips.iter().any(IpAddr::is_ipv6) {
                // Takes connections of IPv4 too.
                IpAddr::from([0_u16; 8])
            } else {
                IpAddr::from([0_u8; 4])
            },
            node_ips,
            port: 10250,
            enable_server: true,
            connections: ConnectionLimits::default(),
            tls: TlsSettings::default(),
            access: AccessSettings::default(),
            debugging_handlers: true,
            system_logs: true,
            system_log_query: false,
            system_logs_dir: PathBuf::from("/var/log"),
            healthz: None,
            max_pods: 110,
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            fail_swap_on: false,
            swap_behavior: SwapBehavior::NoSwap,
            single_process_oom_kill: false,
            reserved: Reserved::default(),
            qos_reserved_percent: None,
            eviction: eviction::Settings::default(),
            images: ImageSettings::new(instance.data_dir().join("kubelet")),
            container_log_max_bytes: 10 << 20,
            container_log_max_files: 5,
            container_log_max_workers: 1,
            allowed_sysctls: AllowedSysctls::default(),
            users: UserSettings::default(),
            volume_stats: true,
            container_log_interval: Duration::from_secs(1),
            pod_pids_limit: 0,
            cpu_quota: CpuQuota::default(),
            seccomp_default: false,
            program_dirs: Programs::default().0,
            managers: managers::Settings::default(),
            machine_root: PathBuf::from("/"),
            csi: csi::Settings::default(),
            status_update_interval: Duration::from_secs(10),
            status_interval: Duration::from_secs(300),
            status_max_images: Some(50),
            lease_seconds: 40,
            pods_per_core: 0,
            max_back_off: Duration::from_secs(300),
            event_rate: (50, 100),
            oom_score_adj: None,
            max_open_files: None,
            protect_kernel_defaults: false,
            fail_cgroup_v1: false,
            shutdown: shutdown::Settings::default(),
            cgroups: CgroupSettings::default(),
            root_dir: instance.data_dir().join("kubelet"),
            configuration: Arc::default(),
            instance,
        }
    }

    /// Puts what the kubelet makes somewhere else.
    pub fn set_root_dir(&mut self, dir: PathBuf) {
        self.images.docker_configs = ImageSettings::new(dir.clone()).docker_configs;
        self.root_dir = dir;
    }

    /// Where the kubelet keeps what it makes.
    pub fn kubelet_dir(&self) -> PathBuf {
        self.root_dir.clone()
    }

    /// Where the kubelet keeps what it makes for one pod.
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root_dir.join("pods").join(uid)
    }
}
