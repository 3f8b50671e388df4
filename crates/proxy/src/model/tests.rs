//! From objects to the model, data first.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

/// Endpoints as `address:port`, those on this node with a star.
fn text(endpoints: &[Endpoint]) -> String {
    let one = |endpoint: &Endpoint| {
        let star = if endpoint.local { "*" } else { "" };
        format!("{}:{}{star}", endpoint.ip, endpoint.port)
    };
    endpoints.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn model(spec: Value, endpoints: Value) -> Option<Service> {
    let document = json!({"metadata": {"namespace": "default", "name": "web"}, "spec": spec});
    let slice = json!({
        "metadata": {"namespace": "default", "name": "web-1"},
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080}, {"name": "dns", "port": 53, "protocol": "UDP"}],
    });
    let slice = Arc::new(serde_json::from_value(slice).expect("a slice"));
    // The same slice twice: during a change of slices an endpoint is in both.
    let slices = [Arc::clone(&slice), slice];
    let node = NodeTopology { name: "here".to_owned(), zone: Some("z1".to_owned()) };
    service(&serde_json::from_value(document).expect("a service"), &slices, &node)
}

/// Which endpoints a service with one port gets: for traffic that may leave the node, and for traffic that stays.
#[track_caller]
fn check(endpoints: Value, cluster: &str, local: &str) {
    let spec = json!({"clusterIP": "10.43.0.7", "ports": [{"name": "http", "port": 80}]});
    let model = model(spec, endpoints).expect("a proxied service");
    let port = &model.ports[0];
    assert_eq!((text(&port.cluster_endpoints).as_str(), text(&port.local_endpoints).as_str()), (cluster, local));
}

fn endpoint(ip: &str, node: &str, conditions: Value, hints: Value) -> Value {
    json!({"addresses": [ip], "nodeName": node, "conditions": conditions, "hints": hints})
}

#[test]
fn ready_endpoints_are_used_and_missing_conditions_mean_ready() {
    let ready = |ip, node| endpoint(ip, node, json!({}), Value::Null);
    let not = |ip, node| endpoint(ip, node, json!({"ready": false}), Value::Null);
    check(
        json!([ready("10.42.1.2", "there"), ready("10.42.0.2", "here"), not("10.42.0.3", "here")]),
        "10.42.0.2:8080* 10.42.1.2:8080",
        "10.42.0.2:8080*",
    );
    check(json!([not("10.42.0.3", "here")]), "", "");
    check(json!([]), "", "");
}

#[test]
fn endpoints_that_shut_down_serve_where_none_is_ready() {
    let leaving = json!({"ready": false, "serving": true, "terminating": true});
    let gone = json!({"ready": false, "serving": false, "terminating": true});
    let ready = endpoint("10.42.1.2", "there", json!({"ready": true}), Value::Null);
    let leaving = endpoint("10.42.0.2", "here", leaving, Value::Null);
    let gone = endpoint("10.42.0.3", "here", gone, Value::Null);
    check(json!([leaving, gone]), "10.42.0.2:8080*", "10.42.0.2:8080*");
    check(json!([leaving, ready, gone]), "10.42.1.2:8080", "10.42.0.2:8080*");
}

#[test]
fn families_do_not_stand_in_for_each_other() {
    let leaving = json!({"ready": false, "serving": true, "terminating": true});
    let (v4, v6) =
        (endpoint("10.42.0.2", "here", json!({}), Value::Null), endpoint("fd42::2", "here", leaving, Value::Null));
    check(json!([v4, v6]), "10.42.0.2:8080* fd42::2:8080*", "10.42.0.2:8080* fd42::2:8080*");
}

#[test]
fn hints_are_followed_where_all_have_them_and_one_is_meant_for_here() {
    let zone = |zone: &str| json!({"forZones": [{"name": zone}]});
    let node = |node: &str| json!({"forNodes": [{"name": node}], "forZones": [{"name": "z1"}]});
    let at = |ip, hints| endpoint(ip, "there", json!({"ready": true}), hints);
    check(json!([at("10.42.1.2", zone("z1")), at("10.42.1.3", zone("z2"))]), "10.42.1.2:8080", "");
    check(json!([at("10.42.1.2", zone("z3")), at("10.42.1.3", zone("z2"))]), "10.42.1.2:8080 10.42.1.3:8080", "");
    check(json!([at("10.42.1.2", zone("z1")), at("10.42.1.3", Value::Null)]), "10.42.1.2:8080 10.42.1.3:8080", "");
    check(json!([at("10.42.1.2", node("here")), at("10.42.1.3", node("x"))]), "10.42.1.2:8080", "");
    check(json!([at("10.42.1.2", node("y")), at("10.42.1.3", node("x"))]), "10.42.1.2:8080 10.42.1.3:8080", "");
}

#[test]
fn ports_are_matched_by_name_and_protocol() {
    let spec = json!({"clusterIP": "10.43.0.7", "ports": [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns", "port": 53},
        {"name": "http", "port": 80},
    ]});
    let endpoints = json!([{"addresses": ["10.42.0.2"], "nodeName": "here"}]);
    let ports = model(spec, endpoints).expect("a proxied service").ports;
    let found: Vec<_> = ports.iter().map(|port| text(&port.cluster_endpoints)).collect();
    assert_eq!(found, ["10.42.0.2:53*", "", "10.42.0.2:8080*"]);
}

#[test]
fn services_of_others_are_left_alone() {
    for spec in [
        json!({"clusterIP": "None", "ports": [{"port": 80}]}),
        json!({"type": "ExternalName", "externalName": "example.com"}),
        json!({"ports": [{"port": 80}]}),
    ] {
        assert_eq!(model(spec.clone(), json!([])), None, "{spec}");
    }
}

#[test]
fn everything_that_decides_over_a_connection_is_taken_over() {
    let spec = json!({
        "type": "LoadBalancer", "clusterIP": "10.43.0.7", "clusterIPs": ["10.43.0.7", "fd00::7"],
        "externalIPs": ["203.0.113.1"], "loadBalancerSourceRanges": [" 192.0.2.0/24"],
        "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local", "healthCheckNodePort": 31000,
        "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
        "ports": [{"name": "http", "port": 80, "nodePort": 30080}],
    });
    let endpoints = json!([{"addresses": ["10.42.0.2"], "nodeName": "here"}]);
    let model = model(spec, endpoints).expect("a proxied service");
    assert_eq!(model.health_check, Some(HealthCheck { node_port: 31000, local_endpoints: 1 }));
    let port = &model.ports[0];
    let ips = |ips: &[IpAddr]| ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    assert_eq!(ips(&port.cluster_ips), "10.43.0.7 fd00::7");
    assert_eq!(ips(&port.external_ips), "203.0.113.1");
    assert_eq!((port.node_port, port.affinity_seconds), (Some(30080), Some(60)));
    assert_eq!((port.external_local, port.internal_local, port.source_ranges.len()), (true, true, 1));
}
