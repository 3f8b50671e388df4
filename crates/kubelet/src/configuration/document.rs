//! `KubeletConfiguration` of `kubelet.config.k8s.io/v1beta1`, as v1.35 has it: all its fields, in upstream's order.
//!
//! A document that is read is complete: what a file leaves out is upstream's default ([`super::defaults`]). Written, it
//! leaves out what upstream's encoder leaves out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::duration::GoDuration;
use super::parts::{
    Authentication, Authorization, CrashLoopBackOff, Logging, MemoryReservation, MemorySwap,
    ShutdownGracePeriodByPodPriority, Taint, Tracing, UserNamespaces,
};

/// The version of the document.
pub const API_VERSION: &str = "kubelet.config.k8s.io/v1beta1";
/// The kind of the document.
pub const KIND: &str = "KubeletConfiguration";

/// What a kubelet is told.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KubeletConfiguration {
    /// Whether the node's HTTPS server is there.
    pub enable_server: bool,
    /// The directory (or one file) with the manifests of static pods.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub static_pod_path: String,
    /// Where pods' logs go.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod_logs_dir: String,
    /// The longest time between two looks at a pod.
    pub sync_frequency: GoDuration,
    /// Between looks at the manifests of static pods.
    pub file_check_frequency: GoDuration,
    /// Between requests of manifests from `staticPodURL`.
    pub http_check_frequency: GoDuration,
    /// From where manifests of static pods are asked for.
    #[serde(rename = "staticPodURL", skip_serializing_if = "String::is_empty")]
    pub static_pod_url: String,
    /// The headers of those requests.
    #[serde(rename = "staticPodURLHeader", skip_serializing_if = "BTreeMap::is_empty")]
    pub static_pod_url_header: BTreeMap<String, Vec<String>>,
    /// The server's address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// The server's port.
    #[serde(skip_serializing_if = "is_unset")]
    pub port: i32,
    /// The port of a server that knows nobody.
    #[serde(skip_serializing_if = "is_unset")]
    pub read_only_port: i32,
    /// The server's certificate.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tls_cert_file: String,
    /// The key of the server's certificate.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tls_private_key_file: String,
    /// The cipher suites of TLS 1.2 that the server takes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tls_cipher_suites: Vec<String>,
    /// The oldest version of TLS that the server takes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tls_min_version: String,
    /// Whether the client certificate is renewed.
    #[serde(skip_serializing_if = "is_unset")]
    pub rotate_certificates: bool,
    /// Whether the server's certificate is asked of the cluster.
    #[serde(rename = "serverTLSBootstrap", skip_serializing_if = "is_unset")]
    pub server_tls_bootstrap: bool,
    /// How the server knows who asks.
    pub authentication: Authentication,
    /// How the server decides who may.
    pub authorization: Authorization,
    /// How many pulls begin in a second; 0 for no limit.
    #[serde(rename = "registryPullQPS")]
    pub registry_pull_qps: i32,
    /// How many pulls may begin at once after a quiet time.
    #[serde(skip_serializing_if = "is_unset")]
    pub registry_burst: i32,
    /// For which images that are here a pod needs credentials of its own.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image_pull_credentials_verification_policy: String,
    /// The images that need none under `NeverVerifyAllowlistedImages`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub preloaded_images_verification_allowlist: Vec<String>,
    /// How many events are recorded in a second; 0 for no limit.
    #[serde(rename = "eventRecordQPS")]
    pub event_record_qps: i32,
    /// How many events may be recorded at once after a quiet time.
    #[serde(skip_serializing_if = "is_unset")]
    pub event_burst: i32,
    /// Whether the server lets people into containers and at logs.
    pub enable_debugging_handlers: bool,
    /// Whether waits for locks are profiled.
    #[serde(skip_serializing_if = "is_unset")]
    pub enable_contention_profiling: bool,
    /// The port of the health server; 0 for none.
    pub healthz_port: i32,
    /// The address of the health server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub healthz_bind_address: String,
    /// How little the kernel wants to end the kubelet for its memory.
    pub oom_score_adj: i32,
    /// The cluster's domain.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster_domain: String,
    /// Addresses of the cluster's DNS.
    #[serde(rename = "clusterDNS", skip_serializing_if = "Vec::is_empty")]
    pub cluster_dns: Vec<String>,
    /// How long a connection of exec may be without use; the runtime decides.
    pub streaming_connection_idle_timeout: GoDuration,
    /// How often the node is looked at.
    pub node_status_update_frequency: GoDuration,
    /// How often the node's status is written though nothing has changed.
    pub node_status_report_frequency: GoDuration,
    /// For how long the node's Lease holds.
    #[serde(skip_serializing_if = "is_unset")]
    pub node_lease_duration_seconds: i32,
    /// An unused image younger than this is kept.
    #[serde(rename = "imageMinimumGCAge")]
    pub image_minimum_gc_age: GoDuration,
    /// An image without use for so long is removed; 0 for never.
    #[serde(rename = "imageMaximumGCAge")]
    pub image_maximum_gc_age: GoDuration,
    /// At which use of the disk images are removed.
    #[serde(rename = "imageGCHighThresholdPercent")]
    pub image_gc_high_threshold_percent: i32,
    /// Down to which use of the disk images are removed.
    #[serde(rename = "imageGCLowThresholdPercent")]
    pub image_gc_low_threshold_percent: i32,
    /// How old figures of volumes may be.
    pub volume_stats_agg_period: GoDuration,
    /// The cgroup for the kubelet itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kubelet_cgroups: String,
    /// The cgroup for processes that are in none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub system_cgroups: String,
    /// The cgroup above those of pods.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cgroup_root: String,
    /// Whether each quality of service has its cgroup.
    #[serde(rename = "cgroupsPerQOS")]
    pub cgroups_per_qos: bool,
    /// Who makes cgroups.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cgroup_driver: String,
    /// Whether containers get CPUs of their own.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cpu_manager_policy: String,
    /// Whether out of memory ends one process of a container, not all of them.
    #[serde(rename = "singleProcessOOMKill", skip_serializing_if = "Option::is_none")]
    pub single_process_oom_kill: Option<bool>,
    /// Options of the CPU manager's policy.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub cpu_manager_policy_options: BTreeMap<String, String>,
    /// How often the CPU manager looks at containers.
    pub cpu_manager_reconcile_period: GoDuration,
    /// Whether containers get memory of one NUMA node.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub memory_manager_policy: String,
    /// How the nearness of CPUs, memory and devices counts.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub topology_manager_policy: String,
    /// For what nearness is asked: containers or whole pods.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub topology_manager_scope: String,
    /// Options of the topology manager's policy.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub topology_manager_policy_options: BTreeMap<String, String>,
    /// Shares of resources for guaranteed pods alone.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub qos_reserved: BTreeMap<String, String>,
    /// How long the runtime may take for an answer.
    pub runtime_request_timeout: GoDuration,
    /// How a pod reaches itself through its Service.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hairpin_mode: String,
    /// How many pods the node takes.
    #[serde(skip_serializing_if = "is_unset")]
    pub max_pods: i32,
    /// The addresses of pods where there is no cluster.
    #[serde(rename = "podCIDR", skip_serializing_if = "String::is_empty")]
    pub pod_cidr: String,
    /// How many processes a pod may have; -1 for the node's own limit.
    pub pod_pids_limit: i64,
    /// The resolver configuration from which pods inherit; empty for none.
    pub resolv_conf: String,
    /// Gone: upstream refuses it too.
    #[serde(skip_serializing_if = "is_unset")]
    pub run_once: bool,
    /// Whether limits of CPU are enforced.
    #[serde(rename = "cpuCFSQuota")]
    pub cpu_cfs_quota: bool,
    /// The period over which they are.
    #[serde(rename = "cpuCFSQuotaPeriod")]
    pub cpu_cfs_quota_period: GoDuration,
    /// How many images the node's status names; -1 for all.
    pub node_status_max_images: i32,
    /// How many files the kubelet may have open.
    #[serde(skip_serializing_if = "is_unset")]
    pub max_open_files: i64,
    /// How the kubelet speaks with the API server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub content_type: String,
    /// How many requests the kubelet makes in a second.
    #[serde(rename = "kubeAPIQPS")]
    pub kube_api_qps: i32,
    /// How many it may make at once after a quiet time.
    #[serde(rename = "kubeAPIBurst", skip_serializing_if = "is_unset")]
    pub kube_api_burst: i32,
    /// Whether images are pulled one by one.
    pub serialize_image_pulls: bool,
    /// How many images are pulled at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parallel_image_pulls: Option<i32>,
    /// Below what pods are evicted at once.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub eviction_hard: BTreeMap<String, String>,
    /// Below what pods are evicted after a while.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub eviction_soft: BTreeMap<String, String>,
    /// After what while.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub eviction_soft_grace_period: BTreeMap<String, String>,
    /// How long pressure is reported after its end.
    pub eviction_pressure_transition_period: GoDuration,
    /// The longest time that a pod has to end when it is evicted.
    #[serde(skip_serializing_if = "is_unset")]
    pub eviction_max_pod_grace_period: i32,
    /// How much an eviction has to bring.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub eviction_minimum_reclaim: BTreeMap<String, String>,
    /// Whether `evictionHard` is added to the usual thresholds.
    pub merge_default_eviction_settings: bool,
    /// How many pods a CPU takes; 0 for no limit.
    #[serde(skip_serializing_if = "is_unset")]
    pub pods_per_core: i32,
    /// Whether a controller attaches volumes.
    pub enable_controller_attach_detach: bool,
    /// Whether the kernel's settings are checked and left alone.
    #[serde(skip_serializing_if = "is_unset")]
    pub protect_kernel_defaults: bool,
    /// Whether the kubelet leaves its marks in iptables.
    #[serde(rename = "makeIPTablesUtilChains")]
    pub make_iptables_util_chains: bool,
    /// Without effect, upstream too.
    pub iptables_masquerade_bit: i32,
    /// Without effect, upstream too.
    pub iptables_drop_bit: i32,
    /// Features that are on or off.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub feature_gates: BTreeMap<String, bool>,
    /// Whether the kubelet refuses a machine that swaps.
    pub fail_swap_on: bool,
    /// How pods use swap.
    pub memory_swap: MemorySwap,
    /// A container's log is rotated when it is larger.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container_log_max_size: String,
    /// So many files are kept of a container's log.
    pub container_log_max_files: i32,
    /// How many logs are rotated at a time.
    pub container_log_max_workers: i32,
    /// Between looks at the sizes of logs.
    pub container_log_monitor_interval: GoDuration,
    /// How changes of ConfigMaps and Secrets are seen.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub config_map_and_secret_change_detection_strategy: String,
    /// What the system keeps for itself.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub system_reserved: BTreeMap<String, String>,
    /// What the cluster's parts keep for themselves.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub kube_reserved: BTreeMap<String, String>,
    /// The CPUs that the system keeps for itself.
    #[serde(rename = "reservedSystemCPUs", skip_serializing_if = "String::is_empty")]
    pub reserved_system_cpus: String,
    /// Of which version hidden metrics are shown.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub show_hidden_metrics_for_version: String,
    /// The cgroup on which `systemReserved` is enforced.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub system_reserved_cgroup: String,
    /// The cgroup on which `kubeReserved` is enforced.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kube_reserved_cgroup: String,
    /// On what the limits of the node are enforced.
    pub enforce_node_allocatable: Vec<String>,
    /// Settings of the kernel that pods may change beside the safe ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_unsafe_sysctls: Vec<String>,
    /// The directory of FlexVolume drivers.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub volume_plugin_dir: String,
    /// What a cloud calls the node.
    #[serde(rename = "providerID", skip_serializing_if = "String::is_empty")]
    pub provider_id: String,
    /// Whether the kernel is to tell of memory that runs out.
    #[serde(skip_serializing_if = "is_unset")]
    pub kernel_memcg_notification: bool,
    /// How the kubelet logs.
    pub logging: Logging,
    /// Whether the server shows the machine's logs.
    pub enable_system_log_handler: bool,
    /// Whether it searches them.
    pub enable_system_log_query: bool,
    /// How long the machine's shutdown waits for pods.
    pub shutdown_grace_period: GoDuration,
    /// How much of that is for critical pods.
    pub shutdown_grace_period_critical_pods: GoDuration,
    /// The same by the priority of pods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shutdown_grace_period_by_pod_priority: Vec<ShutdownGracePeriodByPodPriority>,
    /// How containers that fail are restarted.
    pub crash_loop_back_off: CrashLoopBackOff,
    /// Memory of NUMA nodes that pods do not get.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reserved_memory: Vec<MemoryReservation>,
    /// Whether the server profiles the kubelet.
    pub enable_profiling_handler: bool,
    /// Whether the server changes how the kubelet logs.
    pub enable_debug_flags_handler: bool,
    /// Whether containers that name no seccomp profile get the runtime's.
    pub seccomp_default: bool,
    /// At which share of its limit a container's memory is slowed down.
    pub memory_throttling_factor: f64,
    /// Taints with which the node registers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub register_with_taints: Vec<Taint>,
    /// Whether the kubelet makes its Node.
    pub register_node: bool,
    /// Where traces go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
    /// Whether pods ask for and are held to room on the disk.
    pub local_storage_capacity_isolation: bool,
    /// The socket of the container runtime.
    pub container_runtime_endpoint: String,
    /// The socket of the image service, if it is another.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image_service_endpoint: String,
    /// Whether the kubelet refuses a machine with cgroup v1. Upstream's is true; here v1 works.
    pub fail_cgroup_v1: bool,
    /// Users of pods that have their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_namespaces: Option<UserNamespaces>,
}

/// Whether upstream's encoder leaves a value out.
fn is_unset<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
