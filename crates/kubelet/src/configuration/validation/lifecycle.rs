//! How containers are restarted, how the machine ends, and what is not there any more.

use api::features::FeatureGates;

use super::expect;
use crate::configuration::document::KubeletConfiguration;
use crate::configuration::duration::GoDuration;

pub(super) fn check(configuration: &KubeletConfiguration, gates: &FeatureGates, wrong: &mut Vec<String>) {
    shutdown(configuration, gates, wrong);
    let (period, low, high) = (
        configuration.crash_loop_back_off.max_container_restart_period,
        GoDuration::seconds(1),
        GoDuration::seconds(300),
    );
    expect(wrong, (low..=high).contains(&period), || {
        format!("crashLoopBackOff.maxContainerRestartPeriod {period} must be between 1s and 300s")
    });
    expect(wrong, period == high || gates.is_on("KubeletCrashLoopBackOffMax"), || {
        "crashLoopBackOff.maxContainerRestartPeriod needs the feature gate KubeletCrashLoopBackOffMax".to_owned()
    });
    expect(wrong, !configuration.run_once, || "runOnce is not there any more".to_owned());
}

fn shutdown(configuration: &KubeletConfiguration, gates: &FeatureGates, wrong: &mut Vec<String>) {
    let (all, critical) = (configuration.shutdown_grace_period, configuration.shutdown_grace_period_critical_pods);
    expect(wrong, critical <= all, || {
        format!("shutdownGracePeriodCriticalPods {critical} must not be greater than shutdownGracePeriod {all}")
    });
    for (field, period) in [("shutdownGracePeriod", all), ("shutdownGracePeriodCriticalPods", critical)] {
        let is_right = period == GoDuration::ZERO || period >= GoDuration::seconds(1);
        expect(wrong, is_right, || format!("{field} {period} must be 0 or at least 1s"));
    }
    let is_simple = all != GoDuration::ZERO || critical != GoDuration::ZERO;
    expect(wrong, !is_simple || gates.is_on("GracefulNodeShutdown"), || {
        "shutdownGracePeriod needs the feature gate GracefulNodeShutdown".to_owned()
    });
    let by_priority = &configuration.shutdown_grace_period_by_pod_priority;
    if by_priority.is_empty() {
        return;
    }
    expect(wrong, gates.is_on("GracefulNodeShutdownBasedOnPodPriority"), || {
        "shutdownGracePeriodByPodPriority needs the feature gate GracefulNodeShutdownBasedOnPodPriority".to_owned()
    });
    expect(wrong, !is_simple, || "shutdownGracePeriodByPodPriority does not go with shutdownGracePeriod".to_owned());
    for entry in by_priority {
        let seconds = entry.shutdown_grace_period_seconds;
        expect(wrong, seconds >= 0, || {
            format!("shutdownGracePeriodByPodPriority: {seconds} seconds must not be negative")
        });
    }
}
