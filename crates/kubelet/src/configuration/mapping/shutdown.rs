//! How long the machine's shutdown waits for pods.

use std::time::Duration;

use super::super::document::KubeletConfiguration;
use super::{Config, count};
use crate::shutdown::Period;

pub(super) fn set(from: &KubeletConfiguration, config: &mut Config) {
    let periods = from.shutdown_grace_period_by_pod_priority.iter().map(|entry| Period {
        priority: entry.priority,
        grace: Duration::from_secs(count(entry.shutdown_grace_period_seconds)),
    });
    match from.shutdown_grace_period_by_pod_priority.is_empty() {
        true => {
            let (all, critical) = (from.shutdown_grace_period, from.shutdown_grace_period_critical_pods);
            config.shutdown.set_simple(all.get(), critical.get());
        }
        false => config.shutdown.set_by_priority(periods),
    }
}
