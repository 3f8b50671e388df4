//! Services, endpoints, ingresses and network policies, next to what the records have.

use serde_json::{Value, json};

use super::{check_create, check_update};

fn service(spec: Value) -> Value {
    let mut service = json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}]}});
    for (field, value) in spec.as_object().into_iter().flatten() {
        service["spec"][field] = value.clone();
    }
    service
}

#[test]
fn ports_of_services() {
    let twice = json!([{"name": "a", "port": 80, "nodePort": 30001}, {"name": "b", "port": 81, "nodePort": 30001}]);
    check_create(
        service(json!({"type": "NodePort", "ports": twice})),
        &["spec.ports[1].nodePort: Duplicate value: 30001"],
    );
}

#[test]
fn who_may_reach_services() {
    check_create(
        service(json!({"loadBalancerSourceRanges": ["10.0.0.0/8", "x"]})),
        &[
            "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
            "spec.LoadBalancerSourceRanges[1]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
        ],
    );
    let annotated = |key: &str, value: &str| {
        let mut service = service(json!({}));
        service["metadata"]["annotations"][key] = value.into();
        service
    };
    let ranges = "service.beta.kubernetes.io/load-balancer-source-ranges";
    check_create(
        annotated(ranges, "10.0.0.0/8"),
        &[
            "metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]: Forbidden: may only be used when `type` is 'LoadBalancer'",
        ],
    );
    let mut topology = annotated("service.kubernetes.io/topology-mode", "Auto");
    topology["metadata"]["annotations"]["service.kubernetes.io/topology-aware-hints"] = "Disabled".into();
    check_create(
        topology,
        &[
            "metadata.annotations[service.kubernetes.io/topology-mode]: Invalid value: \"Auto\": must match annotations[service.kubernetes.io/topology-aware-hints] when both are specified",
        ],
    );
}

#[test]
fn services_lose_a_family_when_they_say_so() {
    let dual = || {
        service(json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"], "ipFamilies": ["IPv4", "IPv6"],
            "ipFamilyPolicy": "RequireDualStack"}))
    };
    check_update(
        dual(),
        |new| new["spec"]["clusterIPs"] = json!(["10.0.0.1"]),
        &[
            "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": must be set to 'SingleStack' when releasing the secondary clusterIP",
        ],
    );
    check_update(
        dual(),
        |new| new["spec"]["clusterIPs"] = json!(["10.0.0.1", "fd00::2"]),
        &["spec.clusterIPs[1]: Invalid value: [\"10.0.0.1\",\"fd00::2\"]: may not change once set"],
    );
    check_update(
        dual(),
        |new| {
            new["spec"]["clusterIPs"] = json!(["10.0.0.1"]);
            new["spec"]["ipFamilies"] = json!(["IPv4"]);
            new["spec"]["ipFamilyPolicy"] = "SingleStack".into();
        },
        &[],
    );
}

#[test]
fn policies_tell_every_mistake() {
    let policy = |rule: Value| json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"podSelector": {}, "ingress": [rule]}});
    check_create(
        policy(json!({"ports": [{"port": 80, "endPort": 0}]})),
        &[
            "spec.ingress[0].ports[0].endPort: Invalid value: 0: must be between 1 and 65535, inclusive",
            "spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`",
        ],
    );
    check_create(
        policy(json!({"from": [{"podSelector": {}, "ipBlock": {"cidr": ""}}]})),
        &[
            "spec.ingress[0].from[0].ipBlock.cidr: Required value",
            "spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer",
        ],
    );
}

#[test]
fn a_path_without_a_type_is_judged_no_further() {
    check_create(
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": {"rules": [{"http": {"paths": [{"path": "/", "backend": {}}]}}]}}),
        &["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"],
    );
}
