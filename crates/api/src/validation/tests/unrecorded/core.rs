//! Services, endpoints, nodes, namespaces and quotas, where the records have no example.

use serde_json::{Value, json};

use super::{check_create, check_status, check_update, prepared};
use crate::validation;

fn merged(mut base: Value, spec: Value) -> Value {
    for (field, value) in spec.as_object().into_iter().flatten() {
        base["spec"][field] = value.clone();
    }
    base
}

fn service(spec: Value) -> Value {
    merged(json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}]}}), spec)
}

#[test]
fn services() {
    let only_balanced = "may only be used when `type` is 'LoadBalancer'";
    for (spec, expected) in [
        (json!({"type": "LoadBalancer", "ports": [{"port": 10250}]}), vec![]),
        (
            json!({"externalIPs": ["0.0.0.0", "x", "::ffff:127.0.0.1"]}),
            vec![
                "spec.externalIPs[0]: Invalid value: \"0.0.0.0\": may not be unspecified (0.0.0.0)",
                "spec.externalIPs[1]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                "spec.externalIPs[2]: Invalid value: \"::ffff:127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            ],
        ),
        (
            json!({"loadBalancerSourceRanges": ["x"], "ports": [{"port": 80, "nodePort": 30000}], "trafficDistribution": "Far"}),
            vec![
                "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
                &format!("spec.LoadBalancerSourceRanges: Forbidden: {only_balanced}"),
                "spec.LoadBalancerSourceRanges[0]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                "spec.trafficDistribution: Unsupported value: \"Far\": supported values: \"PreferClose\", \"PreferSameZone\", \"PreferSameNode\"",
            ],
        ),
        (
            json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 70000}),
            vec!["spec.healthCheckNodePort: Invalid value: 70000: must be between 1 and 65535, inclusive"],
        ),
    ] {
        check_create(service(spec), &expected);
    }
    check_update(
        service(json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30001})),
        |new| new["spec"]["healthCheckNodePort"] = 30002.into(),
        &["spec.healthCheckNodePort: Forbidden: field is immutable"],
    );
    check_status(
        service(json!({})),
        json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}}),
        &["status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"],
    );
}

#[test]
fn endpoints() {
    let with = |address: Value| {
        json!({"apiVersion": "v1", "kind": "Endpoints", "subsets": [{"addresses": [address],
            "ports": [{"port": 1, "appProtocol": ""}]}]})
    };
    check_create(
        with(json!({"ip": "x"})),
        &[
            "subsets[0].addresses[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "subsets[0].addresses[0].ip: Invalid value: \"x\": must be a valid IP address",
            "subsets[0].ports[0].appProtocol: Invalid value: \"\": name part must be non-empty",
            "subsets[0].ports[0].appProtocol: Invalid value: \"\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        ],
    );
}

#[test]
fn nodes() {
    let node = |spec: Value, status: Value| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "spec": spec, "status": status});
    let taint = json!({"key": "a", "effect": "NoSchedule"});
    check_create(
        node(json!({"taints": [taint, taint]}), json!({"capacity": {"pods": "1500m"}})),
        &[
            "metadata.taints[1]: Duplicate value: {\"effect\":\"NoSchedule\",\"key\":\"a\"}: taints must be unique by key and effect pair",
            "status.capacity.pods: Invalid value: \"1500m\": must be an integer",
            "status.allocatable.pods: Invalid value: \"1500m\": must be an integer",
        ],
    );
    let info = |capacity: i64| {
        let mut info = json!({"swap": {"capacity": capacity}});
        for field in [
            "machineID",
            "systemUUID",
            "bootID",
            "kernelVersion",
            "osImage",
            "containerRuntimeVersion",
            "kubeletVersion",
            "kubeProxyVersion",
            "operatingSystem",
            "architecture",
        ] {
            info[field] = "".into();
        }
        info
    };
    check_create(
        node(json!({}), json!({"nodeInfo": info(0)})),
        &["metadata.nodeSwapStatus.capacity: Invalid value: 0: must be greater than zero"],
    );
    let podless = "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid";
    check_update(
        node(json!({"podCIDRs": ["10.0.0.0/24"], "externalID": "a"}), json!({})),
        |new| {
            new["spec"]["podCIDRs"] = json!(["10.0.1.0/24"]);
            new["spec"]["externalID"] = "b".into();
            new["spec"]["configSource"] =
                json!({"configMap": {"namespace": "a", "name": "b", "kubeletConfigKey": "k", "uid": "u"}});
        },
        &[
            podless,
            "spec.configSource.configMap.uid: Forbidden: uid must not be set in spec",
            "spec.externalID: Forbidden: may not be updated",
        ],
    );
    // Upstream judges the whole node and then what changes, and tells of the taints of both.
    check_update(
        node(json!({}), json!({})),
        |new| new["spec"]["taints"] = json!([{"key": "a", "effect": ""}]),
        &["metadata.taints[0].effect: Required value", "metadata.taints[0].effect: Required value"],
    );
}

#[test]
fn quotas() {
    let quota = |spec: Value| merged(json!({"apiVersion": "v1", "kind": "ResourceQuota", "spec": {}}), spec);
    check_create(
        quota(
            json!({"hard": {"storage": "1"}, "scopeSelector": {"matchExpressions": [{"scopeName": "Terminating", "operator": "In", "values": ["a"]}]}}),
        ),
        &[
            "spec.hard[storage]: Invalid value: \"storage\": must be a standard resource for quota",
            "spec.scopeSelector.matchExpressions.operator: Invalid value: \"In\": must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity",
        ],
    );
    check_update(
        quota(json!({"scopes": ["Terminating"]})),
        |new| new["spec"]["scopes"] = json!(["NotTerminating", "BestEffort"]),
        &["spec.scopes: Invalid value: [\"NotTerminating\",\"BestEffort\"]: field is immutable"],
    );
}

#[test]
fn finalizers_of_namespaces() {
    let (resource, mut namespace) =
        prepared(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}));
    namespace["spec"] = json!({"finalizers": ["kubernetes", "mine"]});
    let found: Vec<String> = validation::finalize(resource, &namespace).iter().map(ToString::to_string).collect();
    let why = "name is neither a standard finalizer name nor is it fully qualified";
    assert_eq!(found, [format!("spec.finalizers[1]: Invalid value: \"mine\": {why}")]);
}

#[test]
fn volumes_and_claims() {
    let volume = |spec: Value| {
        merged(
            json!({"apiVersion": "v1", "kind": "PersistentVolume", "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                "csi": {"driver": "d", "volumeHandle": "h"}}}),
            spec,
        )
    };
    let terms = |key: &str| json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": key, "operator": "Exists"}]}]}});
    check_create(
        volume(
            json!({"csi": {"driver": "d", "volumeHandle": ""}, "accessModes": ["ReadWriteOncePod", "ReadWriteOncePod"]}),
        ),
        &["spec.csi.volumeHandle: Required value"],
    );
    let old = || volume(json!({"nodeAffinity": terms("beta.kubernetes.io/os"), "volumeAttributesClassName": "a"}));
    check_update(
        old(),
        |new| {
            new["spec"]["nodeAffinity"] = terms("kubernetes.io/os");
            new["spec"]["csi"]["controllerExpandSecretRef"] = json!({"name": "a", "namespace": "b"});
        },
        &[],
    );
    check_update(
        old(),
        |new| {
            new["spec"]["nodeAffinity"] = terms("other");
            new["spec"].as_object_mut().expect("a spec").remove("volumeAttributesClassName");
        },
        &[
            "nodeAffinity: Invalid value: {\"required\":{\"nodeSelectorTerms\":[{\"matchExpressions\":[{\"key\":\"other\",\"operator\":\"Exists\"}]}]}}: field is immutable, except for updating from beta label to GA",
            "spec.volumeAttributesClassName: Forbidden: update from non-nil value to nil is forbidden",
        ],
    );
    let claim = |status: Value| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "status": status, "spec": {"accessModes": ["ReadWriteOnce"],
            "volumeAttributesClassName": "a", "resources": {"requests": {"storage": "1"}}}})
    };
    let bound = json!({"phase": "Bound", "currentVolumeAttributesClassName": "a"});
    check_update(claim(bound.clone()), |new| new["spec"]["storageClassName"] = "late".into(), &[]);
    check_update(
        claim(bound.clone()),
        |new| new["spec"]["volumeAttributesClassName"] = "".into(),
        &[
            "spec.volumeAttributesClassName: Forbidden: update to empty string is forbidden when status.currentVolumeAttributesClassName is not nil",
        ],
    );
    check_status(
        claim(bound),
        json!({"phase": "Bound", "allocatedResourceStatuses": {"storage": "Never"}}),
        &[
            "status.allocatedResourceStatuses: Unsupported value: \"storage\": supported values: \"ControllerResizeInProgress\", \"ControllerResizeInfeasible\", \"NodeResizeInProgress\", \"NodeResizeInfeasible\", \"NodeResizePending\"",
        ],
    );
}
