//! What containers get of the machine for themselves. What is wrong here is found by the validation, which makes the
//! same settings.

use api::features::FeatureGates;
use api::quantity::Quantity;

use super::super::document::KubeletConfiguration;
use super::Config;
use crate::managers::{CpuPolicy, CpuSet, MemoryPolicy, Settings, SettingsError, TopologyPolicy, TopologyScope};

pub(super) fn set(from: &KubeletConfiguration, config: &mut Config) {
    if let Ok(settings) = settings(from) {
        config.managers = settings;
    }
}

/// The settings of the managers.
pub fn settings(from: &KubeletConfiguration) -> Result<Settings, SettingsError> {
    let mut settings = Settings::default();
    let is_on = |gate: &str| from.gates().is_ok_and(|gates: FeatureGates| gates.is_on(gate));
    settings.cpu.policy = CpuPolicy::parse(&from.cpu_manager_policy)?;
    settings.cpu.set_options(&from.cpu_manager_policy_options, is_on)?;
    let cpus = &from.reserved_system_cpus;
    settings.cpu.reserved = cpus.parse::<CpuSet>().map_err(|_| SettingsError::value("reservedSystemCPUs", cpus))?;
    settings.memory.policy = MemoryPolicy::parse(&from.memory_manager_policy)?;
    for reservation in &from.reserved_memory {
        let node = u32::try_from(reservation.numa_node)
            .map_err(|_| SettingsError::value("reservedMemory", &reservation.numa_node.to_string()))?;
        for (resource, amount) in &reservation.limits {
            let bytes = Quantity::parse(amount).ok().and_then(|amount| u64::try_from(amount.value()).ok());
            let bytes = bytes.ok_or_else(|| SettingsError::value("reservedMemory", amount))?;
            settings.memory.reserved.entry(node).or_default().insert(resource.clone(), bytes);
        }
    }
    settings.topology.policy = TopologyPolicy::parse(&from.topology_manager_policy)?;
    settings.topology.scope = TopologyScope::parse(&from.topology_manager_scope)?;
    settings.topology.set_options(&from.topology_manager_policy_options)?;
    settings.cpu.check(&settings.topology)?;
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(fields: Value) -> Result<Settings, String> {
        let configuration: KubeletConfiguration = serde_json::from_value(fields).expect("a configuration");
        settings(&configuration).map_err(|err| err.to_string())
    }

    #[test]
    fn the_managers_are_set_up_as_the_configuration_says() {
        assert_eq!(of(json!({})), Ok(Settings::default()));
        let settings = of(json!({
            "cpuManagerPolicy": "static", "cpuManagerPolicyOptions": {"full-pcpus-only": "true"},
            "reservedSystemCPUs": "0,2-3", "memoryManagerPolicy": "Static",
            "reservedMemory": [{"numaNode": 1, "limits": {"memory": "1Gi"}}],
            "topologyManagerPolicy": "single-numa-node", "topologyManagerScope": "pod",
            "topologyManagerPolicyOptions": {"max-allowable-numa-nodes": "9"},
        }));
        let settings = settings.expect("nothing is wrong");
        assert!(settings.cpu.policy == CpuPolicy::Static && settings.cpu.options.full_cores);
        assert_eq!(settings.cpu.reserved.to_string(), "0,2-3");
        assert_eq!(settings.memory.reserved[&1]["memory"], 1 << 30);
        assert!(settings.topology.policy == TopologyPolicy::SingleNumaNode && settings.topology.max_nodes == 9);
    }

    #[test]
    fn what_contradicts_or_is_not_known_is_said() {
        let wrong = |fields: Value, part: &str| {
            let err = of(fields).expect_err("it is wrong");
            assert!(err.contains(part), "{err}");
        };
        wrong(json!({"cpuManagerPolicy": "dynamic"}), "unknown CPU manager policy: \"dynamic\"");
        let alpha = "CPU Manager Policy Alpha-level Options not enabled, but option \"align-by-socket\" provided";
        wrong(json!({"cpuManagerPolicyOptions": {"align-by-socket": "true"}}), alpha);
        let fields = json!({
            "cpuManagerPolicyOptions": {"distribute-cpus-across-numa": "true"},
            "featureGates": {"CPUManagerPolicyBetaOptions": false},
        });
        wrong(fields, "Beta-level Options not enabled, but option \"distribute-cpus-across-numa\" provided");
        wrong(json!({"topologyManagerPolicyOptions": {"max-allowable-numa-nodes": "7"}}), "bad value for option");
        let both = json!({"full-pcpus-only": "true", "distribute-cpus-across-cores": "true"});
        let gates = json!({"CPUManagerPolicyAlphaOptions": true});
        let fields = json!({"cpuManagerPolicyOptions": both, "featureGates": gates});
        wrong(fields, "can not be used at the same time");
    }
}
