//! Tests of defaulting.

use serde_json::{Value, json};

use super::*;
use crate::decode::{check_fields, normalize};
use crate::kinds;

#[track_caller]
fn defaulted(mut object: Value) -> Value {
    let (group, version) = crate::meta::split_api_version(object["apiVersion"].as_str().expect("apiVersion"));
    let kind = object["kind"].as_str().expect("kind");
    let resource = kinds::find_kind(group, version, kind).expect("a kind");
    assert_eq!(check_fields(&mut object, resource.schema).expect("is of its type"), Vec::<String>::new());
    normalize(&mut object, resource.schema);
    apply(resource, &mut object);
    let once = object.clone();
    apply(resource, &mut object);
    normalize(&mut object, resource.schema);
    assert_eq!(object, once, "defaulting twice changes nothing");
    object
}

/// Checks the spec of a defaulted object.
#[track_caller]
fn check_spec(api_version: &str, kind: &str, spec: Value, expected: Value) {
    let object = defaulted(json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}, "spec": spec}));
    assert_eq!(object["spec"], expected, "{:#}", object["spec"]);
}

fn container(image: &str, policy: &str) -> Value {
    json!({"name": "c", "image": image, "resources": {}, "imagePullPolicy": policy,
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"})
}

fn template_spec() -> Value {
    json!({"containers": [container("i:1", "IfNotPresent")], "dnsPolicy": "ClusterFirst", "restartPolicy": "Always",
        "securityContext": {}, "terminationGracePeriodSeconds": 30, "schedulerName": "default-scheduler"})
}

fn template() -> Value {
    json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}})
}

#[test]
fn a_pod_gets_upstreams_defaults() {
    let mut expected = template_spec();
    expected["enableServiceLinks"] = true.into();
    check_spec("v1", "Pod", json!({"containers": [{"name": "c", "image": "i:1"}]}), expected);
}

#[test]
fn annotations_of_old_init_containers_are_dropped() {
    let annotated = |annotations: Value| json!({"name": "x", "annotations": annotations});
    let check = |annotations: Value, left: Option<Value>| {
        let metadata = annotated(annotations);
        let spec = json!({"containers": [{"name": "c", "image": "i:1"}]});
        let template = json!({"metadata": metadata, "spec": spec});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
        assert_eq!(defaulted(pod)["metadata"].get("annotations"), left.as_ref());
        let selector = json!({"matchLabels": {"a": "b"}});
        let spec = json!({"selector": selector, "template": template});
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec});
        let deployment = defaulted(deployment);
        assert_eq!(deployment["spec"]["template"]["metadata"].get("annotations"), left.as_ref());
        assert_eq!(deployment["metadata"], metadata);
    };
    let old = "pod.beta.kubernetes.io/init-containers";
    check(json!({old: "[]", "keep": "x"}), Some(json!({"keep": "x"})));
    check(json!({old: "[]"}), None);
}

#[test]
fn images_without_a_fixed_tag_are_always_pulled() {
    for (image, policy) in [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.27", "IfNotPresent"),
        ("host:5000/nginx", "Always"),
        ("host:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:00", "IfNotPresent"),
        ("nginx:latest@sha256:00", "Always"),
    ] {
        assert_eq!(pod::pull_policy(image), policy, "{image}");
    }
}

#[test]
fn requests_of_pods_come_from_limits_but_those_of_templates_do_not() {
    let resources = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}});
    let containers = json!([{"name": "c", "image": "i:1", "resources": resources}]);
    let pod = defaulted(json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": containers}}));
    assert_eq!(pod["spec"]["containers"][0]["resources"]["requests"], json!({"cpu": "500m", "memory": "1Gi"}));
    let set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "spec": {"template": {"spec": {"containers": containers}}}});
    let set = defaulted(set);
    assert_eq!(set["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"], json!({"cpu": "500m"}));
}

#[test]
fn probes_ports_and_references_in_containers() {
    let pod = defaulted(json!({"apiVersion": "v1", "kind": "Pod", "spec": {"hostNetwork": true, "containers": [{
        "name": "c", "image": "i:1", "ports": [{"containerPort": 80}],
        "livenessProbe": {"httpGet": {"port": 80}}, "readinessProbe": {"grpc": {"port": 1}, "periodSeconds": 3},
        "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "B", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}]}]}}));
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["ports"], json!([{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]));
    assert_eq!(
        container["livenessProbe"],
        json!({"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10,
            "successThreshold": 1, "failureThreshold": 3})
    );
    assert_eq!(
        container["readinessProbe"],
        json!({"grpc": {"port": 1, "service": ""}, "timeoutSeconds": 1, "periodSeconds": 3, "successThreshold": 1,
            "failureThreshold": 3})
    );
    assert_eq!(container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"], "v1");
    assert_eq!(container["env"][1]["valueFrom"]["resourceFieldRef"]["divisor"], "0");
}

#[test]
fn volumes_get_modes_and_sources() {
    let pod = defaulted(json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [], "volumes": [
        {"name": "a"}, {"name": "b", "secret": {"secretName": "s"}}, {"name": "c", "hostPath": {"path": "/x"}},
        {"name": "d", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]}}));
    assert_eq!(
        pod["spec"]["volumes"],
        json!([{"name": "a", "emptyDir": {}}, {"name": "b", "secret": {"secretName": "s", "defaultMode": 420}},
            {"name": "c", "hostPath": {"path": "/x", "type": ""}},
            {"name": "d", "projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}]}}])
    );
}

#[test]
fn a_deployment_rolls() {
    check_spec(
        "apps/v1",
        "Deployment",
        json!({"selector": {"matchLabels": {"a": "b"}}, "template": template()}),
        json!({"selector": {"matchLabels": {"a": "b"}}, "replicas": 1, "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600, "strategy": {"type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": template_spec()}}),
    );
    let recreate = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"strategy": {"type": "Recreate"}}});
    assert_eq!(defaulted(recreate)["spec"]["strategy"], json!({"type": "Recreate"}));
}

#[test]
fn a_job_takes_the_labels_of_its_pods() {
    let job = defaulted(json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": template()}}));
    assert_eq!(job["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!(job["spec"]["completions"], 1);
    assert_eq!(job["spec"]["backoffLimit"], 6);
    let parallel = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"parallelism": 3, "template": template()}});
    assert_eq!(defaulted(parallel)["spec"].get("completions"), None);
}

#[test]
fn services_by_type() {
    check_spec(
        "v1",
        "Service",
        json!({"ports": [{"port": 80}]}),
        json!({"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "sessionAffinity": "None",
            "type": "ClusterIP", "internalTrafficPolicy": "Cluster"}),
    );
    check_spec(
        "v1",
        "Service",
        json!({"type": "LoadBalancer", "sessionAffinity": "ClientIP", "ports": [{"port": 80, "targetPort": "http"}]}),
        json!({"ports": [{"port": 80, "protocol": "TCP", "targetPort": "http"}], "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}, "type": "LoadBalancer",
            "externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster",
            "allocateLoadBalancerNodePorts": true}),
    );
}

#[test]
fn secrets_keep_only_encoded_data() {
    let secret =
        defaulted(json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": "eA=="}, "stringData": {"b": "y"}}));
    assert_eq!(secret["data"], json!({"a": "eA==", "b": "eQ=="}));
    assert_eq!(secret["type"], "Opaque");
    assert_eq!(secret.get("stringData"), None);
}

#[test]
fn a_network_policy_names_its_types() {
    check_spec(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        json!({}),
        json!({"podSelector": {}, "policyTypes": ["Ingress"]}),
    );
    check_spec(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        json!({"egress": [{"ports": [{"port": 53}]}]}),
        json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
            "egress": [{"ports": [{"port": 53, "protocol": "TCP"}]}]}),
    );
}

#[test]
fn a_stateful_set_and_its_claims() {
    let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": {"template": template(),
        "volumeClaimTemplates": [{"metadata": {"name": "v"}}]}});
    let set = defaulted(set);
    assert_eq!(
        set["spec"]["volumeClaimTemplates"],
        json!([{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "v"},
            "spec": {"resources": {}, "volumeMode": "Filesystem"}, "status": {"phase": "Pending"}}])
    );
    assert_eq!(set["status"], json!({"replicas": 0, "availableReplicas": 0}));
}

#[test]
fn every_row_names_a_kind() {
    for (group, kind, _) in KINDS {
        let known = kinds::all().iter().any(|row| row.group == *group && row.kind == *kind);
        assert!(known || *kind == "TokenRequest", "{group} {kind}");
    }
}

#[test]
fn networks_of_nodes() {
    let both = || json!({"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"]});
    check_spec("v1", "Node", json!({"podCIDR": "10.0.0.0/24"}), both());
    check_spec("v1", "Node", json!({"podCIDRs": ["10.0.0.0/24"]}), both());
    check_spec("v1", "Node", json!({"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.1.0.0/24"]}), both());
}
