//! Containers' logs.

use api::quantity::Quantity;

use super::super::document::KubeletConfiguration;
use super::{Config, count};

pub(super) fn set(from: &KubeletConfiguration, config: &mut Config) {
    config.pod_logs_dir = from.pod_logs_dir.clone().into();
    config.container_log_max_bytes = count(Quantity::parse(&from.container_log_max_size).map_or(0, Quantity::value));
    config.container_log_max_files = count(from.container_log_max_files);
    // Where nobody says anything it is shorter than upstream's: in ten seconds a container fills a small disk.
    if from.container_log_monitor_interval != KubeletConfiguration::default().container_log_monitor_interval {
        config.container_log_interval = from.container_log_monitor_interval.get();
    }
    config.container_log_max_workers = count(from.container_log_max_workers);
}
