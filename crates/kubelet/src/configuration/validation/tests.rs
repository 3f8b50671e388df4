use serde_json::{Value, json};

use super::*;

fn configuration(fields: Value) -> KubeletConfiguration {
    serde_json::from_value(fields).expect("a configuration")
}

#[track_caller]
fn check_error(fields: Value, expected: &str) {
    let wrong = check(&configuration(fields)).expect_err("it is wrong");
    assert!(wrong.iter().any(|message| message.contains(expected)), "{wrong:?}");
}

#[test]
fn what_upstream_takes_is_taken() {
    for fields in [
        json!({}),
        json!({"healthzPort": 0, "registryPullQPS": 0, "nodeStatusMaxImages": -1, "imageMaximumGCAge": "3m"}),
        json!({"cpuCFSQuotaPeriod": "5ms", "featureGates": {"CustomCPUCFSQuotaPeriod": true}}),
        json!({"enforceNodeAllocatable": ["none"], "cgroupsPerQOS": false}),
        json!({"enforceNodeAllocatable": ["pods", "kube-reserved"], "kubeReservedCgroup": "/kube"}),
        json!({"shutdownGracePeriod": "30s", "shutdownGracePeriodCriticalPods": "10s"}),
        json!({"shutdownGracePeriodByPodPriority": [{"priority": 0, "shutdownGracePeriodSeconds": 5}]}),
        json!({"reservedSystemCPUs": "0,2-3", "reservedMemory": [{"numaNode": 0, "limits": {"memory": "1Gi"}}]}),
        json!({"authentication": {"anonymous": {"enabled": true}}, "crashLoopBackOff": {"maxContainerRestartPeriod": "2s"}}),
        json!({"registerWithTaints": [{"key": "a/b", "effect": "NoSchedule"}, {"key": "a/b", "effect": "NoExecute"}]}),
        json!({
            "imagePullCredentialsVerificationPolicy": "NeverVerifyAllowlistedImages",
            "preloadedImagesVerificationAllowlist": ["r.io:5000/a", "r.io/team/*"],
        }),
    ] {
        assert_eq!(check(&configuration(fields.clone())), Ok(()), "{fields}");
    }
}

#[test]
fn numbers_have_bounds() {
    check_error(json!({"port": 70000}), "port 70000 must be between 1 and 65535");
    check_error(json!({"oomScoreAdj": 1001}), "oomScoreAdj 1001");
    check_error(json!({"eventBurst": -1}), "eventBurst -1 must not be negative");
    check_error(json!({"containerLogMaxFiles": 1}), "containerLogMaxFiles 1 must be at least 2");
    check_error(json!({"nodeStatusMaxImages": -2}), "nodeStatusMaxImages -2");
    check_error(json!({"memoryThrottlingFactor": 1.5}), "memoryThrottlingFactor 1.5");
    check_error(json!({"userNamespaces": {"idsPerPod": 1000}}), "userNamespaces.idsPerPod 1000");
    check_error(json!({"imageGCLowThresholdPercent": 90}), "must be less than imageGCHighThresholdPercent 85");
    check_error(json!({"imageMaximumGCAge": "1m"}), "imageMaximumGCAge 1m0s must be greater than");
    check_error(json!({"maxParallelImagePulls": 3}), "needs serializeImagePulls false");
    check_error(json!({"containerLogMonitorInterval": "1s"}), "containerLogMonitorInterval 1s");
    check_error(json!({"cpuCFSQuotaPeriod": "5ms"}), "needs the feature gate CustomCPUCFSQuotaPeriod");
    check_error(json!({"syncFrequency": "-1s"}), "syncFrequency -1s must be greater than 0");
}

#[test]
fn words_are_those_that_mean_something() {
    check_error(json!({"hairpinMode": "veth"}), "hairpinMode \"veth\" must be one of");
    check_error(json!({"topologyManagerScope": "node"}), "topologyManagerScope");
    check_error(json!({"memorySwap": {"swapBehavior": "All"}}), "memorySwap.swapBehavior");
    check_error(json!({"address": "here"}), "address \"here\" is no IP address");
    check_error(json!({"clusterDNS": ["10.0.0.10", "x"]}), "clusterDNS \"x\"");
    check_error(json!({"containerLogMaxSize": "much"}), "containerLogMaxSize \"much\"");
    check_error(json!({"podLogsDir": "logs"}), "podLogsDir \"logs\"");
    check_error(json!({"podLogsDir": "/a/../b"}), "podLogsDir");
    check_error(json!({"featureGates": {"Nope": true}}), "featureGates: unrecognized feature gate: Nope");
    check_error(json!({"reservedSystemCPUs": "3-1"}), "reservedSystemCPUs \"3-1\"");
    check_error(json!({"containerRuntimeEndpoint": "tcp://h:1"}), "containerRuntimeEndpoint");
    check_error(json!({"systemReserved": {"gpu": "1"}}), "systemReserved.gpu");
    check_error(json!({"kubeReserved": {"cpu": "-1"}}), "kubeReserved.cpu \"-1\"");
    check_error(json!({"registerWithTaints": [{"key": "a", "effect": "No"}]}), "registerWithTaints[0].effect \"No\"");
}

#[test]
fn some_fields_need_or_exclude_others() {
    check_error(json!({"tlsCertFile": "/c"}), "must be set together");
    check_error(json!({"tlsMinVersion": "VersionSSL30"}), "unknown version of TLS \"VersionSSL30\"");
    check_error(json!({"systemCgroups": "/s"}), "systemCgroups needs cgroupRoot");
    check_error(json!({"enforceNodeAllocatable": ["none", "pods"]}), "must not have more than none");
    check_error(json!({"enforceNodeAllocatable": ["pods", "pods"]}), "has pods twice");
    check_error(json!({"enforceNodeAllocatable": ["system-reserved"]}), "needs systemReservedCgroup");
    check_error(json!({"cgroupsPerQOS": false}), "enforceNodeAllocatable pods needs cgroupsPerQOS");
    check_error(json!({"preloadedImagesVerificationAllowlist": ["a"]}), "NeverVerifyAllowlistedImages");
    check_error(json!({"shutdownGracePeriodCriticalPods": "10s"}), "must not be greater than shutdownGracePeriod");
    check_error(json!({"shutdownGracePeriod": "500ms"}), "must be 0 or at least 1s");
    check_error(json!({"allowedUnsafeSysctls": ["vm.swappiness"]}), "\"vm.swappiness\" is not known to be namespaced");
    check_error(json!({"qosReserved": {"memory": "50%"}}), "qosReserved needs the feature gate QOSReserved");
    let reserving = |share: &str| json!({"qosReserved": {"memory": share}, "featureGates": {"QOSReserved": true}});
    check_error(reserving("101%"), "qosReserved.memory \"101%\" must be between 0% and 100%");
    check_error(json!({"runOnce": true}), "runOnce");
    check_error(json!({"enableSystemLogQuery": true}), "NodeLogQuery");
    let open = json!({"authentication": {"anonymous": {"enabled": true}}, "authorization": {"mode": "AlwaysAllow"}});
    check_error(open, "would let anybody into containers");
}
