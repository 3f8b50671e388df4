//! What the kubelet is told of running short. Names in comments are those of upstream's configuration.

use std::time::Duration;

use super::threshold::{Amount, Signal, Statements, Threshold, ThresholdError};

/// When the node is short of something, and what it does then.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `evictionHard`, `evictionSoft`, `evictionSoftGracePeriod` and `evictionMinimumReclaim`.
    thresholds: Vec<Threshold>,
    /// `evictionPressureTransitionPeriod`: so long a condition holds after its cause has gone.
    pub transition_period: Duration,
    /// `evictionMaxPodGracePeriod`: how long a pod may take to stop that is ended softly, in seconds.
    pub max_pod_grace_period: i64,
    /// `kernelMemcgNotification`: whether the kernel is to say when memory falls below a threshold.
    pub memory_notification: bool,
    /// `localStorageCapacityIsolation`: whether pods are held to their limits of the node's disk.
    pub local_storage: bool,
    /// How often the node is looked at.
    pub interval: Duration,
}

impl Settings {
    /// The usual settings with thresholds.
    ///
    /// # Errors
    ///
    /// When one of them cannot be understood.
    pub fn with(statements: &Statements) -> Result<Self, ThresholdError> {
        Ok(Self { thresholds: statements.thresholds()?, ..Self::default() })
    }

    /// All thresholds. Where what pods may have together is limited, that limit has the thresholds of the machine.
    pub fn thresholds(&self, pods_are_limited: bool) -> Vec<Threshold> {
        let mut all = self.thresholds.clone();
        if pods_are_limited {
            let hard = self.thresholds.iter().filter(|t| t.signal == Signal::MemoryAvailable && t.grace.is_none());
            all.extend(hard.map(|t| Threshold { signal: Signal::AllocatableMemoryAvailable, ..*t }));
        }
        all
    }

    /// What pods cannot ask for, because the node would be short before they had it: of memory and of disk.
    pub fn reserved(&self, memory: i64, disk: i64) -> (i64, i64) {
        let of = |signal: Signal, capacity: i64| {
            let hard = self.thresholds.iter().find(|t| t.signal == signal && t.grace.is_none());
            hard.map_or(0, |t: &Threshold| Amount::of(t.value, capacity))
        };
        (of(Signal::MemoryAvailable, memory), of(Signal::NodeFsAvailable, disk))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            thresholds: Vec::new(),
            transition_period: Duration::from_secs(300),
            max_pod_grace_period: 0,
            memory_notification: false,
            local_storage: true,
            interval: Duration::from_secs(10),
        }
    }
}
