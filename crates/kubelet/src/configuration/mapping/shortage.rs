//! What of the node is kept from pods, and what happens when it runs short.

use std::collections::BTreeMap;

use api::quantity::Quantity;

use super::super::defaults;
use super::super::document::KubeletConfiguration;
use super::super::duration::GoDuration;
use super::Config;
use crate::eviction::{Settings, Statements};
use crate::managers::CpuSet;
use crate::resources::{Amounts, Enforced, Reserved, SwapBehavior};

pub(super) fn set(from: &KubeletConfiguration, config: &mut Config) {
    config.reserved = reserved(from);
    config.qos_reserved_percent = from.qos_reserved.get("memory").and_then(|text| percent(text));
    config.fail_swap_on = from.fail_swap_on;
    config.swap_behavior = match from.memory_swap.swap_behavior.as_str() {
        "LimitedSwap" => SwapBehavior::LimitedSwap,
        _ => SwapBehavior::NoSwap,
    };
    config.single_process_oom_kill = from.single_process_oom_kill.unwrap_or(false);
    let mut settings = Settings::with(&statements(from)).unwrap_or_default();
    settings.transition_period = from.eviction_pressure_transition_period.get();
    settings.max_pod_grace_period = from.eviction_max_pod_grace_period.into();
    settings.memory_notification = from.kernel_memcg_notification;
    settings.local_storage = from.local_storage_capacity_isolation;
    config.eviction = settings;
}

fn reserved(from: &KubeletConfiguration) -> Reserved {
    let cgroup = |name: &String| Some(name.clone()).filter(|name| !name.is_empty());
    let (mut system, mut kube) = (amounts(&from.system_reserved), amounts(&from.kube_reserved));
    // CPUs that are named go before any number of them.
    let cpus = from.reserved_system_cpus.parse::<CpuSet>().unwrap_or_default();
    if !cpus.is_empty() {
        kube.remove("cpu");
        system.insert("cpu".to_owned(), i64::try_from(cpus.len() * 1000).unwrap_or(i64::MAX));
    }
    Reserved {
        system,
        kube,
        system_cgroup: cgroup(&from.system_reserved_cgroup),
        kube_cgroup: cgroup(&from.kube_reserved_cgroup),
        enforced: from.enforce_node_allocatable.iter().filter_map(|word| Enforced::parse(word)).collect(),
    }
}

/// What is said of thresholds.
pub fn statements(from: &KubeletConfiguration) -> Statements {
    let mut hard = if from.merge_default_eviction_settings { defaults::eviction_hard() } else { BTreeMap::new() };
    hard.extend(from.eviction_hard.clone());
    let grace = from.eviction_soft_grace_period.iter();
    let grace = grace.map(|(signal, text)| (signal.clone(), text.parse().unwrap_or(GoDuration::ZERO).get()));
    Statements {
        hard,
        soft: from.eviction_soft.clone(),
        grace: grace.collect(),
        minimum_reclaim: from.eviction_minimum_reclaim.clone(),
    }
}

/// A share such as `50%`.
pub fn percent(text: &str) -> Option<u8> {
    text.trim().strip_suffix('%')?.parse().ok().filter(|percent| *percent <= 100)
}

/// CPU in thousandths, all else in whole units.
fn amounts(list: &BTreeMap<String, String>) -> Amounts {
    let amount = |(name, text): (&String, &String)| {
        let quantity = Quantity::parse(text).unwrap_or(Quantity::ZERO);
        (name.clone(), if name == "cpu" { quantity.milli_value() } else { quantity.value() })
    };
    list.iter().map(amount).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_thresholds_stand_in_place_of_the_usual_ones_or_beside_them() {
        let mut from = KubeletConfiguration::default();
        assert_eq!(statements(&from).hard.len(), 5);
        from.eviction_hard = BTreeMap::from([("memory.available".to_owned(), "1Gi".to_owned())]);
        assert_eq!(statements(&from).hard, from.eviction_hard);
        from.merge_default_eviction_settings = true;
        let merged = statements(&from).hard;
        assert_eq!((merged.len(), merged["memory.available"].as_str()), (5, "1Gi"));
    }

    #[test]
    fn cpus_that_are_named_go_before_any_number_of_them() {
        let cpu = |amount: &str| BTreeMap::from([("cpu".to_owned(), amount.to_owned())]);
        let mut from = KubeletConfiguration::default();
        (from.system_reserved, from.kube_reserved) = (cpu("100m"), cpu("200m"));
        let of = |from: &KubeletConfiguration| (reserved(from).system, reserved(from).kube);
        assert_eq!(of(&from), (Amounts::from([("cpu".to_owned(), 100)]), Amounts::from([("cpu".to_owned(), 200)])));
        from.reserved_system_cpus = "0,4-5".to_owned();
        assert_eq!(of(&from), (Amounts::from([("cpu".to_owned(), 3000)]), Amounts::new()));
    }

    #[test]
    fn amounts_are_counted_as_the_node_counts_them() {
        let list = [("cpu", "1500m"), ("memory", "1Ki"), ("pid", "10")];
        let list = list.map(|(name, amount)| (name.to_owned(), amount.to_owned())).into();
        let expected = [("cpu".to_owned(), 1500), ("memory".to_owned(), 1024), ("pid".to_owned(), 10)];
        assert_eq!(amounts(&list), expected.into());
    }
}
