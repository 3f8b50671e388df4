//! Component: the kubelet, which runs a node's pods.
//!
//! It reaches the cluster through a [`kube::Client`] and the container runtime through CRI, whichever runtime that is.
//! Each pod has one task ([`pods`]) that is woken by the API, by the runtime's events, by probes and by timers, and
//! brings what runs in line with what should run. All state can be rebuilt: after a restart the kubelet adopts what
//! the runtime has.

mod cleanup;
mod config;
mod configuration;
mod context;
mod csi;
mod devices;
mod dra;
mod environment;
mod eviction;
mod images;
mod kubelet;
mod locks;
mod managers;
mod metrics;
mod node;
mod plugins;
mod pod_resources;
mod pods;
mod probes;
mod resources;
mod server;
mod shutdown;
mod sources;
mod static_pods;
mod stats;
mod volumes;

pub use cleanup::{cleanup, cleanup_slices};
pub use config::Config;
pub use configuration::{
    ConfigurationError, GoDuration, InvalidDuration, KubeletConfiguration, Sources as ConfigurationSources,
    is_configuration,
};
pub use eviction::{Settings as EvictionSettings, Statements as EvictionStatements, ThresholdError};
pub use images::{ImageSettings, InvalidDockerConfig, ProvidersError, Verification, docker_config};
pub use kubelet::{BuildError, Kubelet, RunError};
pub use managers::{Settings as ManagersSettings, SettingsError as ManagersSettingsError};
pub use pods::{AllowedSysctls, InvalidSysctl, UserSettings};
pub use resources::{Amounts, CgroupDriver, CgroupError, CgroupSettings, CpuQuota, Enforced, Reserved, SwapBehavior};
pub use server::AccessSettings;
pub use shutdown::{Period as ShutdownPeriod, Settings as ShutdownSettings};
pub use volumes::UnmountError;
