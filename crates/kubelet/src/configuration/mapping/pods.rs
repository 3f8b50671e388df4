//! What pods get.

use std::path::PathBuf;

use super::super::document::KubeletConfiguration;
use super::super::duration::GoDuration;
use super::{Config, count};
use crate::pods::AllowedSysctls;
use crate::resources::CpuQuota;
use crate::static_pods::ManifestUrl;

pub(super) fn set(from: &KubeletConfiguration, config: &mut Config) {
    config.static_pod_path = Some(PathBuf::from(&from.static_pod_path)).filter(|path| !path.as_os_str().is_empty());
    config.static_pod_url = (!from.static_pod_url.is_empty()).then(|| ManifestUrl {
        url: from.static_pod_url.clone(),
        headers: from.static_pod_url_header.clone(),
        interval: from.http_check_frequency.get(),
    });
    config.cluster_dns = from.cluster_dns.iter().filter_map(|address| address.parse().ok()).collect();
    config.cluster_domain.clone_from(&from.cluster_domain);
    config.resolv_conf = PathBuf::from(&from.resolv_conf);
    config.pod_pids_limit = count(from.pod_pids_limit.max(0));
    config.max_back_off = from.crash_loop_back_off.max_container_restart_period.get();
    if let Some(ids) = from.user_namespaces.as_ref().and_then(|users| users.ids_per_pod) {
        config.users.ids_per_pod = count(ids);
    }
    // They have been judged.
    config.allowed_sysctls = AllowedSysctls::new(&from.allowed_unsafe_sysctls).unwrap_or_default();
    let period = i64::try_from(from.cpu_cfs_quota_period.get().as_micros()).unwrap_or(i64::MAX);
    config.cpu_quota = CpuQuota { is_enforced: from.cpu_cfs_quota, period };
    config.runtime_request_timeout = from.runtime_request_timeout.get();
    // Figures are taken when they are asked for, if at all.
    config.volume_stats = from.volume_stats_agg_period >= GoDuration::ZERO;
    config.seccomp_default = from.seccomp_default;
}
