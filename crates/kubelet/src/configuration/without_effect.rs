//! The fields that do nothing here. All others do what upstream documents.

use serde_json::Value;

use super::document::KubeletConfiguration;

/// Fields that do nothing here, and why. One that is set to something else than its default is named at the start.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("cgroupRoot", "cgroups of pods are below that of the installation"),
    ("cgroupsPerQOS", "each quality of service always has its cgroup"),
    ("configMapAndSecretChangeDetectionStrategy", "changes are always watched"),
    ("contentType", "requests are JSON"),
    ("cpuManagerReconcilePeriod", "containers are moved when the CPUs that they share change"),
    ("enableContentionProfiling", "there is no profiler"),
    ("enableControllerAttachDetach", "volumes are always attached by a controller"),
    ("enableDebugFlagsHandler", "how the kubelet logs is set at its start"),
    ("enableProfilingHandler", "there is no profiler"),
    ("fileCheckFrequency", "manifests are watched"),
    ("hairpinMode", "the pod network decides"),
    ("iptablesDropBit", "as upstream"),
    ("iptablesMasqueradeBit", "as upstream"),
    ("kubeAPIBurst", "the API server's priority and fairness decides"),
    ("kubeAPIQPS", "the API server's priority and fairness decides"),
    ("kubeletCgroups", "the kubelet stays in the cgroup that it was started in"),
    ("logging", "how a role logs is set by --log and --log-format"),
    ("makeIPTablesUtilChains", "there is no iptables"),
    ("memoryThrottlingFactor", "it belongs to MemoryQoS, an alpha feature that is not here"),
    ("podCIDR", "it is for kubelets without a cluster, and here there is always one that gives the addresses"),
    ("readOnlyPort", "nobody is served without credentials"),
    ("rotateCertificates", "a client certificate that the kubelet has asked for is always renewed"),
    ("showHiddenMetricsForVersion", "there are no hidden metrics"),
    ("streamingConnectionIdleTimeout", "as upstream: the runtime decides"),
    ("syncFrequency", "pods are looked at when something happens"),
    ("systemCgroups", "processes of the system stay in the cgroups that they are in"),
    ("tracing", "there are no traces"),
    ("volumePluginDir", "FlexVolume is not there"),
    ("volumeStatsAggPeriod", "figures are taken when they are asked for, unless it is negative"),
];

impl KubeletConfiguration {
    /// The fields that are set to something else than their default and do nothing here, with the reason.
    pub fn without_effect(&self) -> Vec<(&'static str, &'static str)> {
        let document = |configuration: &Self| serde_json::to_value(configuration).unwrap_or(Value::Null);
        let (this, default) = (document(self), document(&Self::default()));
        WITHOUT_EFFECT.iter().copied().filter(|(field, _)| this.get(field) != default.get(field)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_does_nothing_is_named_only_where_it_is_set() {
        let of = |fields: Value| {
            let configuration: KubeletConfiguration = serde_json::from_value(fields).expect("a configuration");
            configuration.without_effect().into_iter().map(|(field, _)| field).collect::<Vec<_>>()
        };
        assert_eq!(of(json!({})), Vec::<&str>::new());
        assert_eq!(of(json!({"maxPods": 7, "readOnlyPort": 10255, "runOnce": true})), ["readOnlyPort"]);
    }

    #[test]
    fn the_list_names_fields_in_order() {
        assert!(WITHOUT_EFFECT.is_sorted_by(|a, b| a.0 < b.0));
        for (field, _) in WITHOUT_EFFECT {
            let probe = serde_json::from_value::<KubeletConfiguration>(json!({*field: {"no such": [[]]}}));
            let err = probe.expect_err("no field takes this").to_string();
            assert!(!err.starts_with(&format!("unknown field `{field}`")), "{err}");
        }
    }
}
