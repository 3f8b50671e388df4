//! What of the node is kept for the system and for Kubernetes itself, and what holds them and the pods to their parts.
//! Names in comments are those of upstream's configuration.
//!
//! Upstream: <https://kubernetes.io/docs/tasks/administer-cluster/reserve-compute-resources/>.

use super::amounts::Amounts;
use super::cgroups::{CgroupError, Cgroups, GroupLimits};
use super::linux::shares;

/// Somebody who is held to a part of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforced {
    /// All pods together.
    Pods,
    /// The system.
    System,
    /// The system, but only where that costs time and not lives: its share of the CPU.
    SystemCompressible,
    /// Kubernetes itself.
    Kube,
    /// The same within the same bounds.
    KubeCompressible,
}

impl Enforced {
    const ALL: [Self; 5] = [Self::Pods, Self::System, Self::SystemCompressible, Self::Kube, Self::KubeCompressible];

    /// As `enforceNodeAllocatable` says it.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == word)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::System => "system-reserved",
            Self::SystemCompressible => "system-reserved-compressible",
            Self::Kube => "kube-reserved",
            Self::KubeCompressible => "kube-reserved-compressible",
        }
    }
}

/// What is kept back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// `systemReserved`: `cpu` in thousandths, `memory`, `ephemeral-storage` and `pid`.
    pub system: Amounts,
    /// `kubeReserved`.
    pub kube: Amounts,
    /// `systemReservedCgroup`.
    pub system_cgroup: Option<String>,
    /// `kubeReservedCgroup`.
    pub kube_cgroup: Option<String>,
    /// `enforceNodeAllocatable`.
    pub enforced: Vec<Enforced>,
}

impl Default for Reserved {
    fn default() -> Self {
        Self {
            system: Amounts::new(),
            kube: Amounts::new(),
            system_cgroup: None,
            kube_cgroup: None,
            enforced: vec![Enforced::Pods],
        }
    }
}

impl Reserved {
    /// Whether pods are held to their part.
    pub fn enforces_pods(&self) -> bool {
        self.enforced.contains(&Enforced::Pods)
    }

    /// What is left for pods of what there is.
    pub fn rest(&self, capacity: &Amounts) -> Amounts {
        let mut rest = capacity.clone();
        for (name, amount) in &mut rest {
            let kept = |amounts: &Amounts| amounts.get(name).copied().unwrap_or(0);
            *amount = (*amount - kept(&self.system) - kept(&self.kube)).max(0);
        }
        rest
    }

    /// What all pods together are limited to; `capacity` has `pid` too.
    pub fn pod_limits(&self, capacity: &Amounts) -> GroupLimits {
        if self.enforces_pods() { limits(&self.rest(capacity)) } else { limits(capacity) }
    }

    /// Holds the system and Kubernetes itself to their parts.
    pub async fn apply(&self, cgroups: &Cgroups) -> Result<(), CgroupError> {
        for (who, cgroup, amounts) in [
            (Enforced::System, &self.system_cgroup, &self.system),
            (Enforced::SystemCompressible, &self.system_cgroup, &self.system),
            (Enforced::Kube, &self.kube_cgroup, &self.kube),
            (Enforced::KubeCompressible, &self.kube_cgroup, &self.kube),
        ] {
            let Some(cgroup) = cgroup.as_ref().filter(|_| self.enforced.contains(&who)) else { continue };
            let all = limits(amounts);
            let only_time = GroupLimits { cpu_shares: all.cpu_shares, ..GroupLimits::default() };
            let is_whole = matches!(who, Enforced::System | Enforced::Kube);
            cgroups.limit_existing(cgroup, if is_whole { &all } else { &only_time }).await?;
        }
        Ok(())
    }
}

fn limits(amounts: &Amounts) -> GroupLimits {
    let of = |name: &str| amounts.get(name).copied();
    GroupLimits { cpu_shares: of("cpu").map(shares), memory: of("memory"), pids: of("pid") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(list: &[(&str, i64)]) -> Amounts {
        list.iter().map(|(name, amount)| ((*name).to_owned(), *amount)).collect()
    }

    #[test]
    fn pods_have_what_is_not_kept_back() {
        let capacity = amounts(&[("cpu", 2000), ("memory", 1000), ("pid", 500), ("pods", 10)]);
        let mut reserved = Reserved {
            system: amounts(&[("cpu", 500), ("pid", 100)]),
            kube: amounts(&[("cpu", 250), ("memory", 1200)]),
            ..Reserved::default()
        };
        let expected = amounts(&[("cpu", 1250), ("memory", 0), ("pid", 400), ("pods", 10)]);
        assert_eq!(reserved.rest(&capacity), expected);
        let limits = GroupLimits { cpu_shares: Some(1280), memory: Some(0), pids: Some(400) };
        assert_eq!(reserved.pod_limits(&capacity), limits);
        reserved.enforced.clear();
        let limits = GroupLimits { cpu_shares: Some(2048), memory: Some(1000), pids: Some(500) };
        assert_eq!(reserved.pod_limits(&capacity), limits);
    }

    #[test]
    fn words_say_who_is_held_to_a_part() {
        for (word, expected) in [
            ("pods", Some(Enforced::Pods)),
            ("kube-reserved-compressible", Some(Enforced::KubeCompressible)),
            ("none", None),
        ] {
            assert_eq!(Enforced::parse(word), expected);
        }
    }
}
