//! The node: how it registers, and how often it is heard of.

use k8s_openapi::api::core::v1::Taint;

use super::super::document::KubeletConfiguration;
use super::{Config, count};
use crate::resources::CgroupDriver;

pub(super) fn set(from: &KubeletConfiguration, config: &mut Config) {
    config.max_pods = count(from.max_pods);
    config.pods_per_core = count(from.pods_per_core);
    config.status_update_interval = from.node_status_update_frequency.get();
    config.status_max_images = usize::try_from(from.node_status_max_images).ok();
    config.lease_seconds = from.node_lease_duration_seconds;
    config.fail_cgroup_v1 = from.fail_cgroup_v1;
    config.cgroups.driver = CgroupDriver::parse(&from.cgroup_driver).unwrap_or_default();
    config.event_rate = (count(from.event_record_qps), count(from.event_burst));
    config.oom_score_adj = Some(from.oom_score_adj);
    config.max_open_files = Some(count(from.max_open_files));
    config.protect_kernel_defaults = from.protect_kernel_defaults;
    config.status_interval = from.node_status_report_frequency.get();
    config.register_node = from.register_node;
    let taint = |taint: &super::super::parts::Taint| Taint {
        key: taint.key.clone(),
        value: Some(taint.value.clone()).filter(|value| !value.is_empty()),
        effect: taint.effect.clone(),
        time_added: None,
    };
    config.register_with_taints = from.register_with_taints.iter().map(taint).collect();
    config.provider_id = Some(from.provider_id.clone()).filter(|id| !id.is_empty());
}
