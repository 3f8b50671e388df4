//! Pods, templates and their changes, where the records have no example.

use serde_json::{Value, json};

use super::{check_create, check_status, check_update};
use crate::{meta, validation};

/// A container with these fields besides the usual ones.
fn container(fields: Value) -> Value {
    let mut container = json!({"name": "c", "image": "i:1"});
    for (field, value) in fields.as_object().into_iter().flatten() {
        container[field] = value.clone();
    }
    container
}

fn pod(spec: Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {
        "serviceAccountName": "default", "containers": [container(json!({}))]}});
    for (field, value) in spec.as_object().into_iter().flatten() {
        pod["spec"][field] = value.clone();
    }
    pod
}

/// What is wrong with pods that say this, besides the usual.
#[track_caller]
fn check(rows: &[(Value, &[&str])]) {
    for (spec, expected) in rows {
        check_create(pod(spec.clone()), expected);
    }
}

/// What is wrong with pods whose container says this.
#[track_caller]
fn check_container(rows: &[(Value, &[&str])]) {
    for (fields, expected) in rows {
        check_create(pod(json!({"containers": [container(fields.clone())]})), expected);
    }
}

#[test]
fn environments() {
    let from = |source: Value| json!({"env": [{"name": "A", "valueFrom": source}]});
    let at = "spec.containers[0].env[0].valueFrom";
    let subdomain = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    check_container(&[
        (from(json!({"fieldRef": {"fieldPath": "metadata.labels['a.b/c']"}})), &[]),
        (from(json!({"fieldRef": {"fieldPath": "spec.host"}})), &[]),
        (
            from(json!({"fieldRef": {"fieldPath": "status.phase['a']"}})),
            &[&format!(
                "{at}.fieldRef.fieldPath: Invalid value: \"status.phase['a']\": error converting fieldPath: field label does not support subscript: status.phase['a']"
            )],
        ),
        (
            from(json!({"fieldRef": {"fieldPath": "metadata.annotations['A/']"}})),
            &[
                &format!("{at}.fieldRef: Invalid value: \"a/\": name part must be non-empty"),
                &format!(
                    "{at}.fieldRef: Invalid value: \"a/\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
                ),
            ],
        ),
        (
            from(json!({"secretKeyRef": {"name": "-", "key": "k"}})),
            &[&format!("{at}.secretKeyRef.name: Invalid value: \"-\": {subdomain}")],
        ),
        (
            from(json!({"resourceFieldRef": {"resource": "limits.memory", "divisor": "1024"}})),
            &[&format!(
                "{at}.resourceFieldRef.divisor: Invalid value: \"limits.memory\": only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the memory resource"
            )],
        ),
        (
            from(json!({"fileKeyRef": {"volumeName": "v", "path": "a/../b", "key": "K"}})),
            &[
                &format!("{at}.fileKeyRef.path: Invalid value: \"a/../b\": must not contain '..'"),
                &format!("{at}.fileKeyRef.volumeName: Not found: \"v\""),
            ],
        ),
        (json!({"envFrom": [{"configMapRef": {"name": "prefix-"}}]}), &[]),
        (
            json!({"envFrom": [{"configMapRef": {"name": "A"}}]}),
            &[&format!("spec.containers[0].envFrom[0].configMapRef.name: Invalid value: \"A\": {subdomain}")],
        ),
    ]);
    check(&[(
        json!({"volumes": [{"name": "v", "hostPath": {"path": "/v"}}], "containers": [container(
            from(json!({"fileKeyRef": {"volumeName": "v", "path": "p", "key": "K"}})))]}),
        &[&format!("{at}.fileKeyRef.volumeName: Invalid value: \"v\": referenced volume must be of type emptyDir")],
    )]);
}

#[test]
fn mounts_and_devices() {
    let with = |fields: Value| json!({"volumes": [{"name": "v"}, {"name": "claim", "persistentVolumeClaim": {"claimName": "x"}}], "containers": [container(fields)]});
    let mount = |fields: Value| {
        let mut mount = json!({"name": "v", "mountPath": "/v"});
        for (field, value) in fields.as_object().into_iter().flatten() {
            mount[field] = value.clone();
        }
        mount
    };
    check(&[
        (
            with(
                json!({"volumeMounts": [mount(json!({"recursiveReadOnly": "Enabled", "mountPropagation": "HostToContainer"}))]}),
            ),
            &[
                "spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true",
                "spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when mountPropagation is None or not specified",
            ],
        ),
        (
            with(
                json!({"volumeMounts": [mount(json!({"name": "claim"}))], "volumeDevices": [{"name": "claim", "devicePath": "/v"}]}),
            ),
            &[
                "spec.containers[0].volumeMounts[0].name: Invalid value: \"claim\": must not already exist in volumeDevices",
                "spec.containers[0].volumeMounts[0].mountPath: Invalid value: \"/v\": must not already exist as a path in volumeDevices",
                "spec.containers[0].volumeDevices[0].name: Invalid value: \"claim\": must not already exist in volumeMounts",
                "spec.containers[0].volumeDevices[0].devicePath: Invalid value: \"/v\": must not already exist as a path in volumeMounts",
            ],
        ),
        (
            with(json!({"volumeDevices": [{"name": "", "devicePath": ""}, {"name": "v", "devicePath": ""}]})),
            &[
                "spec.containers[0].volumeDevices[0].name: Required value",
                "spec.containers[0].volumeDevices[0].name: Not found: \"\"",
                "spec.containers[0].volumeDevices[0].devicePath: Required value",
                "spec.containers[0].volumeDevices[1].name: Invalid value: \"v\": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
                "spec.containers[0].volumeDevices[1].devicePath: Required value",
                "spec.containers[0].volumeDevices[1].devicePath: Invalid value: \"\": must be unique",
            ],
        ),
        // What has something wrong with it cannot be mounted.
        (
            json!({"volumes": [{"name": "v", "hostPath": {"path": ""}}], "containers": [container(json!({"volumeMounts": [mount(json!({}))]}))]}),
            &[
                "spec.volumes[0].hostPath.path: Required value",
                "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
            ],
        ),
    ]);
}

#[test]
fn volumes() {
    let claim = json!({"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1"}}}}});
    let projected = |sources: Value| json!({"volumes": [{"name": "v", "projected": {"sources": sources}}]});
    check(&[
        (
            json!({"volumes": [{"name": "v", "ephemeral": claim}, {"name": "w", "persistentVolumeClaim": {"claimName": "p-v"}}]}),
            &[
                "spec.volumes[1].persistentVolumeClaim.claimName: Invalid value: \"p-v\": must not reference a PVC that gets created for an ephemeral volume",
            ],
        ),
        (
            json!({"volumes": [{"name": "v", "iscsi": {"targetPortal": "a", "iqn": "iqn.2001-04.com.example", "lun": 0}}]}),
            &["spec.volumes[0].iscsi.iqn: Invalid value: \"iqn.2001-04.com.example\": must be valid format"],
        ),
        (
            json!({"volumes": [{"name": "v", "quobyte": {"registry": ":1,a", "volume": "v"}}]}),
            &[
                "spec.volumes[0].quobyte.registry: Invalid value: \":1,a\": must be a host:port pair or multiple pairs separated by commas",
            ],
        ),
        (
            projected(json!([{"secret": {"name": "s"}, "configMap": {"name": "c"}}])),
            &["spec.volumes[0].projected.sources[0]: Forbidden: may not specify more than 1 volume type per source"],
        ),
        (
            projected(json!([{"clusterTrustBundle": {"name": "a:b:c", "path": ""}}])),
            &["spec.volumes[0].projected.sources[0].clusterTrustBundle.path: Required value"],
        ),
        (
            projected(
                json!([{"podCertificate": {"signerName": "example.com/s", "keyType": "DSA", "maxExpirationSeconds": 60}}]),
            ),
            &[
                "spec.volumes[0].projected.sources[0].podCertificate.keyType: Unsupported value: \"DSA\": supported values: \"RSA3072\", \"RSA4096\", \"ECDSAP256\", \"ECDSAP384\", \"ECDSAP521\", \"ED25519\"",
                "spec.volumes[0].projected.sources[0].podCertificate.maxExpirationSeconds: Invalid value: 60: if provided, maxExpirationSeconds must be >= 3600",
                "spec.volumes[0].projected.sources[0].podCertificate: Required value: specify at least one of credentialBundlePath, keyPath, and certificateChainPath",
            ],
        ),
    ]);
}

#[test]
fn ends_and_restarts() {
    let sidecar = |fields: Value| json!({"initContainers": [{"name": "i", "image": "i:1", "restartPolicy": "Always", "restartPolicyRules": fields}]});
    check(&[
        (
            json!({"containers": [container(json!({"lifecycle": {"stopSignal": "SIGUSR1"}}))]}),
            &[
                "spec.containers[0].lifecycle.stopSignal: Forbidden: may not be set for containers with empty `spec.os.name`",
            ],
        ),
        (
            json!({"os": {"name": "linux"}, "containers": [container(json!({"lifecycle": {"stopSignal": "SIGRTMIN+1"}}))]}),
            &[],
        ),
        (
            json!({"os": {"name": "windows"}, "containers": [container(json!({"lifecycle": {"stopSignal": "SIGUSR1"}}))]}),
            &[
                "spec.containers[0].lifecycle.stopSignal: Unsupported value: \"SIGUSR1\": supported values: \"SIGKILL\", \"SIGTERM\"",
            ],
        ),
        (sidecar(json!([])), &[]),
        (
            sidecar(json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}])),
            &[
                "spec.initContainers[0].restartPolicyRules: Forbidden: restartPolicyRules are not allowed for init containers with restart policy Always",
            ],
        ),
        (
            json!({"restartPolicy": "Never", "containers": [container(json!({"resizePolicy": [
                {"resourceName": "cpu", "restartPolicy": "RestartContainer"}, {"resourceName": "cpu", "restartPolicy": "NotRequired"}]}))]}),
            &[
                "spec.containers[0].resizePolicy: Invalid value: \"RestartContainer\": must be 'NotRequired' when `restartPolicy` is 'Never'",
                "spec.containers[0].resizePolicy[1]: Duplicate value: \"cpu\"",
            ],
        ),
    ]);
    check_container(&[(
        json!({"readinessProbe": {"terminationGracePeriodSeconds": 1}, "startupProbe": {"exec": {"command": ["a"]}, "successThreshold": 2}}),
        &[
            "spec.containers[0].readinessProbe: Required value: must specify a handler type",
            "spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 1: must not be set for readinessProbes",
            "spec.containers[0].startupProbe.successThreshold: Invalid value: 2: must be 1",
        ],
    )]);
}

#[test]
fn resources() {
    let resources = |resources: Value| json!({"resources": resources});
    check_container(&[
        (
            resources(json!({"limits": {"hugepages-2Mi": "3Mi", "cpu": "1"}})),
            &[
                "spec.containers[0].resources.limits[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
                "spec.containers[0].resources.requests[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
            ],
        ),
        (
            resources(json!({"claims": [{"name": "a", "request": "A"}]})),
            &[
                "spec.containers[0].resources.claims[0].request: Invalid value: \"A\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
                "spec.containers[0].resources.claims[0]: Not found: \"a\": must be one of the names in pod.spec.resourceClaims which is empty",
            ],
        ),
    ]);
    check(&[
        (
            json!({"overhead": {"things": "1"}}),
            &[
                "spec.overhead.limits[things]: Invalid value: \"things\": must be a standard resource type or fully qualified",
                "spec.overhead.limits[things]: Invalid value: \"things\": must be a standard resource for containers",
            ],
        ),
        (
            json!({"resources": {"claims": [{"name": "a"}], "limits": {"hugepages-2Mi": "2Mi", "memory": "1Gi"}},
                "containers": [container(resources(json!({"limits": {"hugepages-2Mi": "4Mi", "memory": "1Mi"}})))]}),
            &[
                "spec.resources.claims: Forbidden: claims may not be set for Resources at pod-level",
                "spec.resources.requests: Invalid value: \"4Mi\": must be equal to hugepages-2Mi limit of 2Mi",
                "spec.resources.claims[0]: Not found: \"a\": must be one of the names in pod.spec.resourceClaims which is empty",
                "spec.resources.limits[hugepages-2Mi]: Invalid value: \"2Mi\": must be greater than or equal to aggregate container limits of 4Mi",
                "spec.resources.containers[0][hugepages-2Mi].limits: Invalid value: \"4Mi\": must be less than or equal to pod limits of 2Mi",
            ],
        ),
        (
            json!({"os": {"name": "windows"}, "resources": {"limits": {"cpu": "1"}}}),
            &["spec.resources: Forbidden: may not be set for a windows pod"],
        ),
    ]);
}

#[test]
fn placement() {
    let selector =
        json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]});
    let spread = |fields: Value| {
        let mut constraint = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"});
        for (field, value) in fields.as_object().into_iter().flatten() {
            constraint[field] = value.clone();
        }
        constraint
    };
    check(&[
        (
            json!({"topologySpreadConstraints": [spread(json!({})), spread(json!({})), spread(json!({}))]}),
            &[
                "spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: Duplicate value: \"{zone, DoNotSchedule}\"",
                "spec.topologySpreadConstraints[1].{topologyKey, whenUnsatisfiable}: Duplicate value: \"{zone, DoNotSchedule}\"",
            ],
        ),
        (
            json!({"topologySpreadConstraints": [spread(json!({"matchLabelKeys": ["a"], "labelSelector": selector}))]}),
            &[
                "spec.topologySpreadConstraints[0][0]: Invalid value: \"a\": exists in both matchLabelKeys and labelSelector",
            ],
        ),
        (
            json!({"topologySpreadConstraints": [spread(json!({"matchLabelKeys": ["/"]}))]}),
            &[
                "spec.topologySpreadConstraints[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set",
            ],
        ),
        (
            json!({"tolerations": [{"key": "a", "operator": "Gt", "value": "1"}, {"key": "a", "effect": "Never"}]}),
            &[
                "spec.tolerations[0].operator: Unsupported value: \"Gt\": supported values: \"Equal\", \"Exists\", \"Lt\", \"Gt\"",
                "spec.tolerations[1].effect: Unsupported value: \"Never\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
            ],
        ),
        (
            json!({"nodeName": "n", "schedulingGates": [{"name": "a"}]}),
            &["spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"],
        ),
    ]);
    let requirement = json!({"key": "a", "operator": "In", "values": ["-"]});
    let term = json!({"matchExpressions": [requirement]});
    check(&[(
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]},
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": term}]}}}),
        &[
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values[0]: Invalid value: \"-\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        ],
    )]);
}

#[test]
fn security_and_systems() {
    check(&[
        (
            json!({"hostUsers": false, "hostPID": true, "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "x"}}],
                "containers": [container(json!({"volumeDevices": [{"name": "v", "devicePath": "/v"}]}))]}),
            &[
                "spec.HostPID: Forbidden: when `hostUsers` is false",
                "spec.containers[0].volumeDevices: Forbidden: when `hostUsers` is false",
            ],
        ),
        (
            json!({"securityContext": {"appArmorProfile": {"type": "Localhost"}, "seccompProfile": {"type": "Never", "localhostProfile": "a"}}}),
            &[
                "spec.securityContext.seccompProfile.type: Unsupported value: \"Never\": supported values: \"Localhost\", \"RuntimeDefault\", \"Unconfined\"",
                "spec.securityContext.seccompProfile.localhostProfile: Invalid value: {\"localhostProfile\":\"a\",\"type\":\"Never\"}: can only be set when seccomp type is Localhost",
                "spec.securityContext.appArmorProfile.localhostProfile: Required value: must be set when AppArmor type is Localhost",
            ],
        ),
        (
            json!({"os": {"name": "windows"}, "hostPID": true, "securityContext": {"seLinuxChangePolicy": "Recursive", "runAsUser": 1}}),
            &[
                "spec.hostPID: Forbidden: cannot be set for a windows pod",
                "spec.securityContext.runAsUser: Forbidden: cannot be set for a windows pod",
                "spec.securityContext.seLinuxChangePolicy: Forbidden: cannot be set for a windows pod",
            ],
        ),
        (json!({"os": {"name": ""}}), &["spec.os.name: Required value"]),
        (
            json!({"hostnameOverride": "A", "setHostnameAsFQDN": true}),
            &[
                "spec.hostnameOverride: Forbidden: may not be specified when setHostnameAsFQDN is true",
                "spec.hostnameOverride: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            ],
        ),
    ]);
}

#[test]
fn annotations_of_profiles() {
    let annotated = |annotations: Value, spec: Value| {
        let mut pod = pod(spec);
        pod["metadata"]["annotations"] = annotations;
        pod
    };
    let seccomp = |kind: &str| json!({"securityContext": {"seccompProfile": {"type": kind}}});
    check_create(
        annotated(json!({"seccomp.security.alpha.kubernetes.io/pod": "docker/default"}), seccomp("RuntimeDefault")),
        &[],
    );
    check_create(
        annotated(json!({"seccomp.security.alpha.kubernetes.io/pod": "never"}), seccomp("Unconfined")),
        &[
            "metadata.annotations.seccomp.security.alpha.kubernetes.io/pod: Invalid value: \"never\": must be a valid seccomp profile",
            "spec.securityContext.seccompProfile.type: Forbidden: seccomp type in annotation and field must match",
        ],
    );
    check_create(
        annotated(
            json!({"container.apparmor.security.beta.kubernetes.io/c": "localhost/a",
                "container.apparmor.security.beta.kubernetes.io/d": "no"}),
            json!({"securityContext": {"appArmorProfile": {"type": "Localhost", "localhostProfile": "b"}}}),
        ),
        &[
            "metadata.annotations[container.apparmor.security.beta.kubernetes.io/d]: Invalid value: \"d\": container not found",
            "metadata.annotations[container.apparmor.security.beta.kubernetes.io/d]: Invalid value: \"no\": invalid AppArmor profile name: \"no\"",
            "spec.containers[0].securityContext.appArmorProfile.localhostProfile: Forbidden: apparmor profile in annotation and field must match",
        ],
    );
    let twice =
        "metadata.annotations[kubernetes.io/config.mirror]: Forbidden: may not remove or update mirror pod annotation";
    check_update(
        annotated(json!({"kubernetes.io/config.mirror": "a"}), json!({"nodeName": "n"})),
        |new| new["metadata"]["annotations"] = json!({}),
        &[twice],
    );
    check_update(
        pod(json!({})),
        |new| {
            new["metadata"]["annotations"] = json!({"container.apparmor.security.beta.kubernetes.io/c": "unconfined"})
        },
        &[
            "metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: Forbidden: may not add AppArmor annotations",
        ],
    );
}

#[test]
fn changes_of_gated_pods() {
    let term = |requirements: Value| json!({"matchExpressions": requirements});
    let affinity = |terms: Value| json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
    let requirement = |key: &str| json!({"key": key, "operator": "Exists"});
    let gated = |terms: Value| pod(json!({"schedulingGates": [{"name": "a"}], "affinity": affinity(terms)}));
    let old = || gated(json!([term(json!([requirement("a")]))]));
    let at = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    check_update(
        old(),
        |new| new["spec"]["affinity"] = affinity(json!([term(json!([requirement("a"), requirement("b")]))])),
        &[],
    );
    check_update(
        old(),
        |new| new["spec"]["affinity"] = affinity(json!([term(json!([requirement("b"), requirement("a")]))])),
        &[&format!(
            "{at}[0]: Invalid value: {{\"matchExpressions\":[{{\"key\":\"b\",\"operator\":\"Exists\"}},{{\"key\":\"a\",\"operator\":\"Exists\"}}]}}: only additions are allowed (no mutations or deletions)"
        )],
    );
    check_update(
        old(),
        |new| drop(new["spec"].as_object_mut().expect("a spec").remove("affinity")),
        &[&format!("{at}: Invalid value: []: no additions/deletions to non-empty NodeSelectorTerms list are allowed")],
    );
    check_update(
        old(),
        |new| new["spec"]["schedulingGates"] = json!([{"name": "b"}]),
        &["spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'b'"],
    );
    check_update(
        pod(json!({"activeDeadlineSeconds": 5})),
        |new| new["spec"]["activeDeadlineSeconds"] = (-1).into(),
        &[
            "spec.activeDeadlineSeconds: Invalid value: -1: must be between 1 and 2147483647, inclusive",
            "spec.activeDeadlineSeconds: Invalid value: -1: must be between 0 and 2147483647, inclusive",
        ],
    );
}

#[test]
fn statuses() {
    let spec = json!({"restartPolicy": "Never", "nodeName": "n", "containers": [container(json!({}))], "initContainers": [
        {"name": "side", "image": "i:1", "restartPolicy": "Always"}, {"name": "once", "image": "i:1"}]});
    let ended = |name: &str| json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 1}}});
    let running = |name: &str| json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": {"running": {}}});
    let mut old = pod(spec);
    old["status"] = json!({"qosClass": "BestEffort", "containerStatuses": [ended("c")], "initContainerStatuses": [ended("side"), ended("once")]});
    check_status(
        old.clone(),
        json!({"qosClass": "BestEffort", "containerStatuses": [running("c")], "initContainerStatuses": [running("side"), running("once")]}),
        &[
            "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state",
            "status.initContainerStatuses[1].state: Forbidden: may not be transitioned to non-terminated state",
        ],
    );
    check_status(
        old.clone(),
        json!({"qosClass": "Burstable", "nominatedNodeName": "m", "observedGeneration": -1, "hostIP": "10.0.0.1",
            "hostIPs": [{"ip": "10.0.0.2"}, {"ip": "10.0.0.3"}], "conditions": [{"type": "/", "status": "True"}],
            "resourceClaimStatuses": [{"name": "r"}]}),
        &[
            "status.conditions[0].Type: Invalid value: \"/\": prefix part must be non-empty",
            "status.conditions[0].Type: Invalid value: \"/\": name part must be non-empty",
            "status.conditions[0].Type: Invalid value: \"/\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
            "status.nominatedNodeName: Forbidden: may not be set on pods that are already bound to a node",
            "status.observedGeneration: Invalid value: -1: must be a non-negative integer",
            "status.qosClass: Invalid value: \"Burstable\": field is immutable",
            "status.resourceClaimStatuses[0].name: Invalid value: \"r\": must match the name of an entry in `spec.resourceClaims`",
            "status.hostIPs[0].ip: Invalid value: \"10.0.0.2\": must be equal to `hostIP`",
            "status.hostIPs: Invalid value: [{\"ip\":\"10.0.0.2\"},{\"ip\":\"10.0.0.3\"}]: may specify no more than one IP for each IP family",
        ],
    );
    // A rule of the container lets it run again.
    old["spec"]["containers"][0]["restartPolicy"] = "Never".into();
    old["spec"]["containers"][0]["restartPolicyRules"] =
        json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}]);
    check_status(old, json!({"qosClass": "BestEffort", "containerStatuses": [running("c")]}), &[]);
}

#[test]
fn ephemeral_containers_of_static_pods() {
    let mut old = pod(json!({"nodeName": "n"}));
    old["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "a"});
    let (resource, old) = super::prepared(old);
    let found = validation::ephemeral_containers_update(resource, &old, &old);
    assert_eq!(meta::name(&old), "p");
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, ["[]: Forbidden: static pods do not support ephemeral containers"]);
}

#[test]
fn ports_of_templates_on_the_network_of_the_node() {
    let template = |port: Value| {
        json!({"apiVersion": "v1", "kind": "PodTemplate", "template": {"spec": {"hostNetwork": true,
            "containers": [container(json!({"ports": [port]}))]}}})
    };
    check_create(template(json!({"containerPort": 80})), &[]);
    check_create(
        template(json!({"containerPort": 80, "hostPort": 81})),
        &[
            "template.spec.containers[0].ports[0].containerPort: Invalid value: 80: must match `hostPort` when `hostNetwork` is true",
        ],
    );
}
