//! The latest result of each probe, by container instance.

use std::collections::HashMap;

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProbeKind {
    /// Restarts a container that no longer works.
    Liveness,
    /// Takes a pod out of services while it cannot serve.
    Readiness,
    /// Says when a container has started; the others wait for it.
    Startup,
}

impl ProbeKind {
    /// As events begin: `Liveness probe failed: ...`.
    pub fn title(self) -> &'static str {
        match self {
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
            Self::Startup => "Startup",
        }
    }
}

/// What a probe says of a container, thresholds applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is fine.
    Success,
    /// It is not.
    Failure,
    /// It was not asked yet.
    Unknown,
}

/// The results of a pod's probes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProbeResults {
    by_instance: HashMap<(String, ProbeKind), Outcome>,
}

impl ProbeResults {
    /// The result of a probe of a container's instance, if it has that probe and runs.
    pub fn get(&self, instance_id: &str, kind: ProbeKind) -> Option<Outcome> {
        self.by_instance.get(&(instance_id.to_owned(), kind)).copied()
    }

    /// Notes a result.
    pub fn set(&mut self, instance_id: &str, kind: ProbeKind, outcome: Outcome) {
        self.by_instance.insert((instance_id.to_owned(), kind), outcome);
    }

    /// Forgets the results of instances that are not kept.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.by_instance.retain(|(id, _), _| keep(id));
    }
}
