//! Whether a pod can be let in though the node is short of something.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;

use super::{Refusal, taints};
use crate::eviction::Condition;
use crate::pods::spec;
use crate::resources::{QosClass, qos_class};

const MEMORY_TAINT: &str = "node.kubernetes.io/memory-pressure";

/// Lets critical pods in always, and others where they would not be the first to go again: under pressure on memory,
/// those that ask for some of it or say that they tolerate it.
pub fn check(pod: &Pod, conditions: &BTreeSet<Condition>) -> Result<(), Refusal> {
    if conditions.is_empty() || spec::is_critical(pod) {
        return Ok(());
    }
    let only_memory = conditions.iter().all(|condition| *condition == Condition::Memory);
    let tolerates = || taints::tolerates(pod, MEMORY_TAINT, "", "NoSchedule");
    if only_memory && (qos_class(pod) != QosClass::BestEffort || tolerates()) {
        return Ok(());
    }
    let names: Vec<&str> = conditions.iter().map(|condition| condition.as_str()).collect();
    Err(Refusal::Pressure(names.join(" ")))
}

#[cfg(test)]
mod tests {
    use testkit::{Maker, pod};

    use super::*;

    #[track_caller]
    fn check_all(maker: Maker<Pod>, expected: [bool; 3]) {
        let pod = maker.build();
        let let_in = [Condition::Memory, Condition::Disk, Condition::Pid]
            .map(|condition| check(&pod, &BTreeSet::from([condition])).is_ok());
        assert_eq!(let_in, expected);
        assert!(check(&pod, &BTreeSet::new()).is_ok());
    }

    #[test]
    fn pods_are_let_in_by_what_the_node_is_short_of() {
        check_all(pod("idle").container("a", "i"), [false, false, false]);
        check_all(pod("burstable").requests(&[("cpu", "1m")]), [true, false, false]);
        check_all(
            pod("tolerant").container("a", "i").toleration(MEMORY_TAINT, "NoSchedule", None),
            [true, false, false],
        );
        check_all(pod("other").container("a", "i").toleration("a-taint", "NoSchedule", None), [false, false, false]);
        check_all(pod("critical").priority(2_000_000_000), [true, true, true]);
        check_all(pod("static").annotation("kubernetes.io/config.source", "file"), [true, true, true]);
    }

    #[test]
    fn the_refusal_names_what_is_short() {
        let pod = pod("idle").container("a", "i").build();
        let refusal = check(&pod, &BTreeSet::from([Condition::Disk, Condition::Memory])).expect_err("refused");
        assert_eq!(refusal.to_string(), "The node had condition: [MemoryPressure DiskPressure]. ");
        assert_eq!(refusal.reason(), "Evicted");
    }
}
