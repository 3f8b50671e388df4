//! Which pods end together when the machine shuts down, and how long each group has.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use crate::pods::spec;

/// The lowest priority of critical pods.
const CRITICAL: i32 = 2_000_000_000;

/// How long pods of a priority and above, up to the next one's, have to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// The lowest priority.
    pub priority: i32,
    /// How long they have.
    pub grace: Duration,
}

/// How long the machine's shutdown waits for pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The lowest priority first. Without any, a shutdown does not wait.
    periods: Vec<Period>,
    /// The address of the bus on which logind is; the machine's, if there is none.
    pub bus: Option<String>,
    /// The directory of files that add to logind's configuration.
    pub logind_conf_dir: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self { periods: Vec::new(), bus: None, logind_conf_dir: PathBuf::from("/etc/systemd/logind.conf.d") }
    }
}

impl Settings {
    /// `shutdownGracePeriod`, of which `shutdownGracePeriodCriticalPods` is for critical pods.
    pub fn set_simple(&mut self, all: Duration, critical: Duration) {
        let usual = Period { priority: 0, grace: all.saturating_sub(critical) };
        let both = [usual, Period { priority: CRITICAL, grace: critical }];
        self.set_by_priority(both.into_iter().filter(|_| !all.is_zero()));
    }

    /// `shutdownGracePeriodByPodPriority`.
    pub fn set_by_priority(&mut self, periods: impl IntoIterator<Item = Period>) {
        self.periods = periods.into_iter().collect();
        self.periods.sort_by_key(|period| period.priority);
    }

    /// Whether a shutdown waits at all.
    pub fn is_enabled(&self) -> bool {
        !self.periods.is_empty()
    }

    /// How long it may have to wait in all.
    pub fn total(&self) -> Duration {
        self.periods.iter().map(|period| period.grace).sum()
    }

    /// Pods in the order in which they end: those of the lowest priority first.
    pub fn groups(&self, pods: Vec<Arc<Pod>>) -> Vec<(Period, Vec<Arc<Pod>>)> {
        let mut groups: Vec<_> = self.periods.iter().map(|period| (*period, Vec::new())).collect();
        for pod in pods {
            let priority = spec::spec(&pod).priority.unwrap_or(0);
            // Below the lowest one, the lowest counts.
            let above = self.periods.partition_point(|period| period.priority <= priority);
            if let Some((_, group)) = groups.get_mut(above.saturating_sub(1)) {
                group.push(pod);
            }
        }
        groups.retain(|(_, group)| !group.is_empty());
        groups
    }
}

#[cfg(test)]
mod tests {
    use testkit::pod;

    use super::*;

    fn simple(all: u64, critical: u64) -> Settings {
        let mut settings = Settings::default();
        settings.set_simple(Duration::from_secs(all), Duration::from_secs(critical));
        settings
    }

    fn by_priority(periods: &[Period]) -> Settings {
        let mut settings = Settings::default();
        settings.set_by_priority(periods.iter().copied());
        settings
    }

    fn period(priority: i32, seconds: u64) -> Period {
        Period { priority, grace: Duration::from_secs(seconds) }
    }

    #[track_caller]
    fn check(settings: &Settings, priorities: &[i32], expected: &[(u64, &[i32])]) {
        let pods = priorities.iter().map(|priority| Arc::new(pod("p").priority(*priority).build())).collect();
        let groups: Vec<(u64, Vec<i32>)> = settings
            .groups(pods)
            .into_iter()
            .map(|(period, pods)| {
                let of = |pod: &Arc<Pod>| spec::spec(pod).priority.unwrap_or_default();
                (period.grace.as_secs(), pods.iter().map(of).collect())
            })
            .collect();
        let expected: Vec<(u64, Vec<i32>)> = expected.iter().map(|(grace, pods)| (*grace, pods.to_vec())).collect();
        assert_eq!(groups, expected);
    }

    #[test]
    fn critical_pods_end_last() {
        let settings = simple(30, 10);
        check(&settings, &[2_000_001_000, -5, 0, 1_000_000], &[(20, &[-5, 0, 1_000_000]), (10, &[2_000_001_000])]);
        assert_eq!(settings.total(), Duration::from_secs(30));
    }

    #[test]
    fn periods_reach_up_to_the_next_one() {
        let settings = by_priority(&[period(1000, 5), period(10, 7), period(100, 9)]);
        check(&settings, &[5, 10, 99, 100, 5000], &[(7, &[5, 10, 99]), (9, &[100]), (5, &[5000])]);
        assert_eq!(settings.total(), Duration::from_secs(21));
    }

    #[test]
    fn without_periods_nothing_waits() {
        assert!(!simple(0, 0).is_enabled());
        assert!(!by_priority(&[]).is_enabled());
        assert!(by_priority(&[period(0, 0)]).is_enabled(), "pods are ended, and not waited for");
    }
}
