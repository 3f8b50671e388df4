//! Tests of warnings.

use serde_json::{Value, json};

use super::{create, update};
use crate::{kinds, meta};

fn resource(object: &Value) -> &'static kinds::Resource {
    let (group, version) = meta::split_api_version(object["apiVersion"].as_str().expect("apiVersion"));
    kinds::find_kind(group, version, object["kind"].as_str().expect("kind")).expect("a kind")
}

#[track_caller]
fn check(object: Value, expected: &[&str]) {
    assert_eq!(create(resource(&object), &object), expected, "{object:#}");
}

fn pod(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
}

#[test]
fn pods() {
    check(pod(json!({"containers": [{"name": "c"}]})), &[]);
    check(
        pod(json!({
            "nodeSelector": {"beta.kubernetes.io/os": "linux"}, "terminationGracePeriodSeconds": -1,
            "imagePullSecrets": [{"name": "a"}, {"name": "a"}, {"name": ""}],
            "volumes": [{"name": "v", "gitRepo": {}}],
            "topologySpreadConstraints": [{"topologyKey": "x"}],
            "containers": [
                {"name": "c", "resources": {"limits": {"memory": "100m"}},
                 "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}, {"name": "A", "value": "$(A)3"}],
                 "ports": [{"containerPort": 80, "protocol": "TCP"}]},
                {"name": "d", "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "TCP", "hostPort": 1}]},
            ],
        })),
        &[
            "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
            "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
            "spec.volumes[0].gitRepo: deprecated in v1.11",
            "spec.imagePullSecrets[1].name: duplicate name \"a\"",
            "spec.imagePullSecrets[2].name: invalid empty name \"\"",
            "spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
            "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
            "spec.containers[1].ports[0]: duplicate port definition with spec.containers[0].ports[0]",
            "spec.containers[1].ports[1]: overlapping port definition with spec.containers[0].ports[0]",
            "spec.containers[1].ports[1]: overlapping port definition with spec.containers[1].ports[0]",
            "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
        ],
    );
    let mut dotted = pod(json!({"containers": []}));
    dotted["metadata"]["name"] = "a.b".into();
    check(
        dotted,
        &[
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]",
        ],
    );
}

#[test]
fn workloads_are_looked_at_when_a_generation_begins() {
    let of = |generation: i64| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a.b", "generation": generation},
            "spec": {"template": {"spec": {"terminationGracePeriodSeconds": -1}}}})
    };
    let negative = "spec.template.spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1";
    let name = "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]";
    check(of(1), &[name, negative]);
    let deployments = resource(&of(1));
    assert_eq!(update(deployments, &of(2), &of(1)), [negative]);
    assert_eq!(update(deployments, &of(1), &of(1)), [""; 0]);
}

#[test]
fn services_and_addresses() {
    let service = |spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec});
    check(
        service(
            json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "sessionAffinity": "ClientIP",
            "externalName": "x", "externalIPs": ["010.0.0.1", "2001:DB8::1"], "loadBalancerSourceRanges": ["10.0.0.1/8"],
            "trafficDistribution": "PreferClose"}),
        ),
        &[
            "spec.externalIPs is ignored for headless services",
            "spec.SessionAffinity is ignored for headless services",
            "spec.externalIPs[0]: non-standard IP address \"010.0.0.1\" will be considered invalid in a future Kubernetes release: use \"10.0.0.1\"",
            "spec.externalIPs[1]: IPv6 address \"2001:DB8::1\" should be in RFC 5952 canonical format (\"2001:db8::1\")",
            "spec.loadBalancerSourceRanges[0]: non-standard CIDR value \"10.0.0.1/8\" will be considered invalid in a future Kubernetes release: use \"10.0.0.0/8\"",
            "spec.externalName is ignored when spec.type is not \"ExternalName\"",
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"",
        ],
    );
    check(
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"annotations": {"kubernetes.io/ingress.class": "n"}}}),
        &["annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"],
    );
}

#[test]
fn storage() {
    check(
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "c"}},
            "spec": {"persistentVolumeReclaimPolicy": "Recycle", "cephfs": {}}}),
        &[
            "metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use \"storageClassName\" attribute instead",
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.",
            "spec.cephfs: deprecated in v1.28, non-functional in v1.31+",
        ],
    );
    check(
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": {"resources": {"requests": {"storage": "1500m"}}}}),
        &["spec.resources.requests[storage]: fractional byte value \"1500m\" is invalid, must be an integer"],
    );
}

#[test]
fn formats_that_nothing_checks() {
    let schema = json!({"type": "object", "properties": {
        "n": {"type": "integer", "format": "int32"}, "m": {"type": "integer", "format": "int32"},
        "format": {"type": "string", "format": "date-time"}, "l": {"type": "array", "items": {"type": "string", "format": "odd"}}}});
    check(
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]}}),
        &["unrecognized format \"int32\"", "unrecognized format \"odd\""],
    );
}
