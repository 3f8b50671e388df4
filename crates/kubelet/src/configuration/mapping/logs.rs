//! Containers' logs.

use api::quantity::Quantity;

use super::super::document::KubeletConfiguration;
use super::{Config, count};

pub(super) fn set(from: &KubeletConfiguration, config: &mut Config) {
    config.pod_logs_dir = from.pod_logs_dir.clone().into();
    config.container_log_max_bytes = count(Quantity::parse(&from.container_log_max_size).map_or(0, Quantity::value));
    config.container_log_max_files = count(from.container_log_max_files);
    config.container_log_max_workers = count(from.container_log_max_workers);
}
