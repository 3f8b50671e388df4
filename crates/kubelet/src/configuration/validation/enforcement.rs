//! What is kept from pods, and on which cgroups that is enforced.

use std::collections::BTreeSet;

use api::features::FeatureGates;
use api::quantity::Quantity;

use super::expect;
use crate::configuration::document::KubeletConfiguration;
use crate::configuration::mapping::percent;

/// What can be enforced, beside `none`.
const ENFORCEMENTS: [&str; 5] =
    ["pods", "system-reserved", "system-reserved-compressible", "kube-reserved", "kube-reserved-compressible"];

pub(super) fn check(configuration: &KubeletConfiguration, gates: &FeatureGates, wrong: &mut Vec<String>) {
    enforcements(configuration, wrong);
    classes(configuration, gates, wrong);
    reserved(configuration, wrong);
    expect(wrong, configuration.system_cgroups.is_empty() || !configuration.cgroup_root.is_empty(), || {
        "systemCgroups needs cgroupRoot".to_owned()
    });
}

fn enforcements(configuration: &KubeletConfiguration, wrong: &mut Vec<String>) {
    let asked = &configuration.enforce_node_allocatable;
    let has = |name: &str| asked.iter().any(|one| one == name);
    for part in ["system-reserved", "kube-reserved"] {
        let compressible = format!("{part}-compressible");
        expect(wrong, !has(part) || !has(&compressible), || {
            format!("enforceNodeAllocatable must not have both {part} and {compressible}")
        });
    }
    expect(wrong, !has("none") || asked.len() == 1, || {
        "enforceNodeAllocatable must not have more than none where it has that".to_owned()
    });
    let mut seen = BTreeSet::new();
    for name in asked.iter().filter(|name| *name != "none") {
        expect(wrong, seen.insert(name), || format!("enforceNodeAllocatable has {name} twice"));
        expect(wrong, ENFORCEMENTS.contains(&name.as_str()), || {
            format!("enforceNodeAllocatable {name:?} must be one of {ENFORCEMENTS:?}, or none")
        });
        expect(wrong, configuration.cgroups_per_qos, || format!("enforceNodeAllocatable {name} needs cgroupsPerQOS"));
        let cgroups = [
            ("system-reserved", "systemReservedCgroup", &configuration.system_reserved_cgroup),
            ("kube-reserved", "kubeReservedCgroup", &configuration.kube_reserved_cgroup),
        ];
        for (part, field, cgroup) in cgroups {
            let is_missing = name.starts_with(part) && cgroup.is_empty();
            expect(wrong, !is_missing, || format!("enforceNodeAllocatable {name} needs {field}"));
        }
    }
}

/// What is kept from pods of lower classes.
fn classes(configuration: &KubeletConfiguration, gates: &FeatureGates, wrong: &mut Vec<String>) {
    let shares = &configuration.qos_reserved;
    expect(wrong, shares.is_empty() || gates.is_on("QOSReserved"), || {
        "qosReserved needs the feature gate QOSReserved".to_owned()
    });
    for (name, share) in shares {
        expect(wrong, name == "memory", || format!("qosReserved.{name} must be memory"));
        expect(wrong, percent(share).is_some(), || format!("qosReserved.{name} {share:?} must be between 0% and 100%"));
    }
}

fn reserved(configuration: &KubeletConfiguration, wrong: &mut Vec<String>) {
    let resources = ["cpu", "memory", "ephemeral-storage", "pid"];
    for (field, amounts) in
        [("systemReserved", &configuration.system_reserved), ("kubeReserved", &configuration.kube_reserved)]
    {
        for (name, amount) in amounts {
            expect(wrong, resources.contains(&name.as_str()), || {
                format!("{field}.{name} must be one of {resources:?}")
            });
            let is_right = Quantity::parse(amount).is_ok_and(|amount| amount.sign() >= 0);
            expect(wrong, is_right, || format!("{field}.{name} {amount:?} must be a quantity that is not negative"));
        }
    }
    if !configuration.reserved_system_cpus.is_empty() {
        let has_cgroup =
            !configuration.system_reserved_cgroup.is_empty() || !configuration.kube_reserved_cgroup.is_empty();
        expect(wrong, !has_cgroup, || {
            "reservedSystemCPUs does not go with systemReservedCgroup or kubeReservedCgroup".to_owned()
        });
        let cpus = &configuration.reserved_system_cpus;
        expect(wrong, is_cpu_list(cpus), || format!("reservedSystemCPUs {cpus:?} is no list of CPUs such as 0,2-3"));
    }
    let mut seen = BTreeSet::new();
    for reservation in &configuration.reserved_memory {
        let node = reservation.numa_node;
        for (name, amount) in &reservation.limits {
            let field = format!("reservedMemory of NUMA node {node}: {name}");
            let is_known = name == "memory" || name.strip_prefix("hugepages-").is_some_and(|size| !size.is_empty());
            expect(wrong, is_known, || format!("{field} must be memory or hugepages-<size>"));
            let is_right = Quantity::parse(amount).is_ok_and(|amount| amount.sign() > 0);
            expect(wrong, is_right, || format!("{field} {amount:?} must be a quantity greater than 0"));
            expect(wrong, seen.insert((node, name)), || format!("{field} is there twice"));
        }
    }
}

fn is_cpu_list(text: &str) -> bool {
    text.split(',').all(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        matches!((first.trim().parse::<u32>(), last.trim().parse::<u32>()), (Ok(first), Ok(last)) if first <= last)
    })
}
