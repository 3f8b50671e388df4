//! The node: how it registers, and how often it is heard of.

use k8s_openapi::api::core::v1::Taint;

use super::super::document::KubeletConfiguration;
use super::{Config, count};

pub(super) fn set(from: &KubeletConfiguration, config: &mut Config) {
    config.max_pods = count(from.max_pods);
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
