//! What a configuration may say: upstream's rules, each with a message that names the field.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Component, Path};

use api::features::FeatureGates;
use api::quantity::Quantity;
use api::validation::names;
use edge::TlsSettings;

use super::document::KubeletConfiguration;
use super::duration::GoDuration;
use crate::pods::AllowedSysctls;

mod enforcement;
mod eviction;
mod lifecycle;

/// Judges a configuration; all that is wrong with it.
pub fn check(configuration: &KubeletConfiguration) -> Result<(), Vec<String>> {
    let gates = match configuration.gates() {
        Ok(gates) => gates,
        Err(err) => return Err(vec![format!("featureGates: {err}")]),
    };
    let mut wrong = Vec::new();
    numbers(configuration, &mut wrong);
    choices(configuration, &mut wrong);
    durations(configuration, &gates, &mut wrong);
    server(configuration, &mut wrong);
    images(configuration, &gates, &mut wrong);
    logs(configuration, &gates, &mut wrong);
    taints(configuration, &mut wrong);
    if let Err(err) = AllowedSysctls::new(&configuration.allowed_unsafe_sysctls) {
        wrong.push(format!("allowedUnsafeSysctls: {err}"));
    }
    enforcement::check(configuration, &gates, &mut wrong);
    eviction::check(configuration, &mut wrong);
    if wrong.is_empty()
        && let Err(err) = super::mapping::managers_settings(configuration)
    {
        wrong.push(err.to_string());
    }
    lifecycle::check(configuration, &gates, &mut wrong);
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

impl KubeletConfiguration {
    /// The features that are on.
    pub fn gates(&self) -> Result<FeatureGates, api::features::FeatureGatesError> {
        FeatureGates::of(self.feature_gates.iter().map(|(name, value)| (name.as_str(), *value)))
    }
}

/// Refuses a value unless it is right.
fn expect(wrong: &mut Vec<String>, is_right: bool, message: impl FnOnce() -> String) {
    if !is_right {
        wrong.push(message());
    }
}

fn numbers(configuration: &KubeletConfiguration, wrong: &mut Vec<String>) {
    let from = i64::from;
    for (field, value, low, high) in [
        ("healthzPort", from(configuration.healthz_port), 0, 65535),
        ("imageGCHighThresholdPercent", from(configuration.image_gc_high_threshold_percent), 0, 100),
        ("imageGCLowThresholdPercent", from(configuration.image_gc_low_threshold_percent), 0, 100),
        ("iptablesDropBit", from(configuration.iptables_drop_bit), 0, 31),
        ("iptablesMasqueradeBit", from(configuration.iptables_masquerade_bit), 0, 31),
        ("oomScoreAdj", from(configuration.oom_score_adj), -1000, 1000),
        ("port", from(configuration.port), 1, 65535),
        ("readOnlyPort", from(configuration.read_only_port), 0, 65535),
    ] {
        expect(wrong, (low..=high).contains(&value), || format!("{field} {value} must be between {low} and {high}"));
    }
    for (field, value) in [
        ("eventBurst", from(configuration.event_burst)),
        ("eventRecordQPS", from(configuration.event_record_qps)),
        ("evictionMaxPodGracePeriod", from(configuration.eviction_max_pod_grace_period)),
        ("kubeAPIBurst", from(configuration.kube_api_burst)),
        ("kubeAPIQPS", from(configuration.kube_api_qps)),
        ("maxOpenFiles", configuration.max_open_files),
        ("maxPods", from(configuration.max_pods)),
        ("podsPerCore", from(configuration.pods_per_core)),
        ("registryBurst", from(configuration.registry_burst)),
        ("registryPullQPS", from(configuration.registry_pull_qps)),
    ] {
        expect(wrong, value >= 0, || format!("{field} {value} must not be negative"));
    }
    for (field, value, low) in [
        ("containerLogMaxFiles", configuration.container_log_max_files, 2),
        ("containerLogMaxWorkers", configuration.container_log_max_workers, 1),
        ("nodeLeaseDurationSeconds", configuration.node_lease_duration_seconds, 1),
        ("nodeStatusMaxImages", configuration.node_status_max_images, -1),
    ] {
        expect(wrong, value >= low, || format!("{field} {value} must be at least {low}"));
    }
    let factor = configuration.memory_throttling_factor;
    expect(wrong, factor > 0.0 && factor <= 1.0, || {
        format!("memoryThrottlingFactor {factor} must be greater than 0 and at most 1")
    });
    if let Some(ids) = configuration.user_namespaces.as_ref().and_then(|namespaces| namespaces.ids_per_pod) {
        let is_right = ids > 0 && ids < 1 << 32 && ids % 65536 == 0;
        expect(wrong, is_right, || format!("userNamespaces.idsPerPod {ids} must be a multiple of 65536 below 1<<32"));
    }
}

fn choices(configuration: &KubeletConfiguration, wrong: &mut Vec<String>) {
    let choices: [(&str, &str, &[&str]); 8] = [
        ("authorization.mode", &configuration.authorization.mode, &["AlwaysAllow", "Webhook"]),
        ("cgroupDriver", &configuration.cgroup_driver, &["cgroupfs", "systemd"]),
        (
            "configMapAndSecretChangeDetectionStrategy",
            &configuration.config_map_and_secret_change_detection_strategy,
            &["Cache", "Get", "Watch"],
        ),
        ("hairpinMode", &configuration.hairpin_mode, &["hairpin-veth", "none", "promiscuous-bridge"]),
        ("logging.format", &configuration.logging.format, &["json", "text"]),
        ("memorySwap.swapBehavior", &configuration.memory_swap.swap_behavior, &["", "LimitedSwap", "NoSwap"]),
        (
            "topologyManagerPolicy",
            &configuration.topology_manager_policy,
            &["best-effort", "none", "restricted", "single-numa-node"],
        ),
        ("topologyManagerScope", &configuration.topology_manager_scope, &["container", "pod"]),
    ];
    for (field, value, choices) in choices {
        expect(wrong, choices.contains(&value), || format!("{field} {value:?} must be one of {choices:?}"));
    }
}

fn durations(configuration: &KubeletConfiguration, gates: &FeatureGates, wrong: &mut Vec<String>) {
    let period = configuration.cpu_cfs_quota_period;
    let (usual, low, high) = (GoDuration::millis(100), GoDuration::millis(1), GoDuration::seconds(1));
    if gates.is_on("CustomCPUCFSQuotaPeriod") {
        expect(wrong, (low..=high).contains(&period), || {
            format!("cpuCFSQuotaPeriod {period} must be between {low} and {high}")
        });
    } else {
        expect(wrong, period == usual, || {
            format!("cpuCFSQuotaPeriod {period} needs the feature gate CustomCPUCFSQuotaPeriod")
        });
    }
    for (field, value) in [
        ("fileCheckFrequency", configuration.file_check_frequency),
        ("httpCheckFrequency", configuration.http_check_frequency),
        ("nodeStatusReportFrequency", configuration.node_status_report_frequency),
        ("nodeStatusUpdateFrequency", configuration.node_status_update_frequency),
        ("runtimeRequestTimeout", configuration.runtime_request_timeout),
        ("syncFrequency", configuration.sync_frequency),
    ] {
        expect(wrong, value > GoDuration::ZERO, || format!("{field} {value} must be greater than 0"));
    }
}

fn server(configuration: &KubeletConfiguration, wrong: &mut Vec<String>) {
    let mut addresses = vec![
        ("address", configuration.address.as_str()),
        ("healthzBindAddress", configuration.healthz_bind_address.as_str()),
    ];
    addresses.extend(configuration.cluster_dns.iter().map(|address| ("clusterDNS", address.as_str())));
    for (field, value) in addresses {
        expect(wrong, value.parse::<IpAddr>().is_ok(), || format!("{field} {value:?} is no IP address"));
    }
    if let Err(err) = TlsSettings::new(&configuration.tls_min_version, &configuration.tls_cipher_suites) {
        wrong.push(format!("tlsMinVersion, tlsCipherSuites: {err}"));
    }
    let is_half = configuration.tls_cert_file.is_empty() != configuration.tls_private_key_file.is_empty();
    expect(wrong, !is_half, || "tlsCertFile and tlsPrivateKeyFile must be set together".to_owned());
    let (anonymous, mode) = (configuration.authentication.anonymous.enabled, &configuration.authorization.mode);
    expect(wrong, !anonymous || mode != "AlwaysAllow", || {
        "authentication.anonymous.enabled with authorization.mode AlwaysAllow would let anybody into containers"
            .to_owned()
    });
    let endpoints = [
        ("containerRuntimeEndpoint", &configuration.container_runtime_endpoint, true),
        ("imageServiceEndpoint", &configuration.image_service_endpoint, false),
    ];
    for (field, value, is_needed) in endpoints {
        let path = value.strip_prefix("unix://").unwrap_or(value);
        let is_right = Path::new(path).is_absolute() || value.is_empty() && !is_needed;
        expect(wrong, is_right, || format!("{field} {value:?} must be a socket such as unix:///run/cri.sock"));
    }
}

fn images(configuration: &KubeletConfiguration, gates: &FeatureGates, wrong: &mut Vec<String>) {
    let (high, low) = (configuration.image_gc_high_threshold_percent, configuration.image_gc_low_threshold_percent);
    expect(wrong, low < high, || {
        format!("imageGCLowThresholdPercent {low} must be less than imageGCHighThresholdPercent {high}")
    });
    let (least, most) = (configuration.image_minimum_gc_age, configuration.image_maximum_gc_age);
    for (field, age) in [("imageMinimumGCAge", least), ("imageMaximumGCAge", most)] {
        expect(wrong, age >= GoDuration::ZERO, || format!("{field} {age} must not be negative"));
    }
    expect(wrong, most <= GoDuration::ZERO || most > least, || {
        format!("imageMaximumGCAge {most} must be greater than imageMinimumGCAge {least}")
    });
    if let Some(pulls) = configuration.max_parallel_image_pulls {
        expect(wrong, pulls >= 1, || format!("maxParallelImagePulls {pulls} must be at least 1"));
        expect(wrong, pulls <= 1 || !configuration.serialize_image_pulls, || {
            format!("maxParallelImagePulls {pulls} needs serializeImagePulls false")
        });
    }
    let policy = &configuration.image_pull_credentials_verification_policy;
    let policies = ["AlwaysVerify", "NeverVerify", "NeverVerifyAllowlistedImages", "NeverVerifyPreloadedImages"];
    expect(wrong, policies.contains(&policy.as_str()), || {
        format!("imagePullCredentialsVerificationPolicy {policy:?} must be one of {policies:?}")
    });
    let allowed = &configuration.preloaded_images_verification_allowlist;
    expect(wrong, allowed.is_empty() || policy == policies[2], || {
        format!("preloadedImagesVerificationAllowlist needs imagePullCredentialsVerificationPolicy {}", policies[2])
    });
    for image in allowed {
        let name = image.strip_suffix("/*").unwrap_or(image);
        let last = name.rsplit('/').next().unwrap_or_default();
        let is_right = !name.is_empty() && !name.contains(['*', '@', ' ']) && !last.contains(':');
        expect(wrong, is_right, || {
            format!(
                "preloadedImagesVerificationAllowlist: {image:?} must be a name without a tag or digest, or end with /*"
            )
        });
    }
    let is_default = policy == policies[3] && allowed.is_empty();
    expect(wrong, is_default || gates.is_on("KubeletEnsureSecretPulledImages"), || {
        "imagePullCredentialsVerificationPolicy needs the feature gate KubeletEnsureSecretPulledImages".to_owned()
    });
}

fn logs(configuration: &KubeletConfiguration, gates: &FeatureGates, wrong: &mut Vec<String>) {
    let interval = configuration.container_log_monitor_interval;
    expect(wrong, interval >= GoDuration::seconds(3), || {
        format!("containerLogMonitorInterval {interval} must be at least 3s")
    });
    let size = &configuration.container_log_max_size;
    let bytes = Quantity::parse(size).map(Quantity::value).unwrap_or_default();
    expect(wrong, bytes > 0, || format!("containerLogMaxSize {size:?} must be a positive quantity"));
    let dir = &configuration.pod_logs_dir;
    let path = Path::new(dir);
    let is_clean = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    expect(wrong, path.is_absolute() && is_clean && dir.is_ascii(), || {
        format!("podLogsDir {dir:?} must be an absolute path without detours, in ASCII")
    });
    if configuration.enable_system_log_query {
        expect(wrong, gates.is_on("NodeLogQuery"), || {
            "enableSystemLogQuery needs the feature gate NodeLogQuery".to_owned()
        });
        expect(wrong, configuration.enable_system_log_handler, || {
            "enableSystemLogQuery needs enableSystemLogHandler".to_owned()
        });
    }
    let rate = configuration.tracing.as_ref().and_then(|tracing| tracing.sampling_rate_per_million);
    expect(wrong, rate.is_none_or(|rate| (0..=1_000_000).contains(&rate)), || {
        "tracing.samplingRatePerMillion must be between 0 and 1000000".to_owned()
    });
}

fn taints(configuration: &KubeletConfiguration, wrong: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (index, taint) in configuration.register_with_taints.iter().enumerate() {
        let field = format!("registerWithTaints[{index}]");
        let mut reasons = names::qualified_name(&taint.key);
        reasons.extend(names::label_value(&taint.value));
        wrong.extend(reasons.into_iter().map(|reason| format!("{field}: {reason}")));
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        expect(wrong, effects.contains(&taint.effect.as_str()), || {
            format!("{field}.effect {:?} must be one of {effects:?}", taint.effect)
        });
        expect(wrong, taint.time_added.is_none(), || format!("{field}.timeAdded must not be set"));
        expect(wrong, seen.insert((&taint.key, &taint.effect)), || format!("{field}: key and effect are there twice"));
    }
}

#[cfg(test)]
mod tests;
