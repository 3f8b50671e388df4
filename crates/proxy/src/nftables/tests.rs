//! The text of the rules as snapshots: a whole table, and what single changes do to it.

use std::sync::Arc;

use client::ObjectKey;
use serde_json::{Value, json};

use super::*;
use crate::model::{self, NodeTopology};

fn table() -> Table {
    Table::new(TableConfig {
        name: "skiff-proxy".to_owned(),
        cluster_cidrs: vec!["10.42.0.0/16".parse().expect("a network")],
        node_port_addresses: Vec::new(),
        localhost_node_ports: true,
    })
}

/// A service `default/<name>` with one port, on endpoints of which those of 10.42.0.0/24 are on this node.
fn service(name: &str, mut spec: Value, endpoints: &[&str]) -> (ObjectKey, Option<ServiceRules>) {
    if spec.get("ports").is_none() {
        spec["ports"] = json!([{"port": 80}]);
    }
    let node = |ip: &str| if ip.starts_with("10.42.0.") { "here" } else { "there" };
    let endpoints: Vec<Value> = endpoints.iter().map(|ip| json!({"addresses": [ip], "nodeName": node(ip)})).collect();
    let service = json!({"metadata": {"namespace": "default", "name": name}, "spec": spec});
    let protocol = spec["ports"][0].get("protocol").cloned().unwrap_or(json!("TCP"));
    let slice = json!({
        "metadata": {"namespace": "default", "name": name}, "addressType": "IPv4",
        "endpoints": endpoints, "ports": [{"name": "", "port": 8080, "protocol": protocol}],
    });
    let key = ObjectKey::namespaced("default", name);
    let slice = Arc::new(serde_json::from_value(slice).expect("a slice"));
    let here = NodeTopology { name: "here".to_owned(), zone: None };
    let service = serde_json::from_value(service).expect("a service");
    let rules = model::service(&service, &[slice], &here).map(|model| service_rules(&key, &model));
    (key, rules)
}

fn gone(name: &str) -> (ObjectKey, Option<ServiceRules>) {
    (ObjectKey::namespaced("default", name), None)
}

/// Compares with a snapshot; `UPDATE_SNAPSHOTS=1` writes it instead.
#[track_caller]
fn check(text: &str, file: &str) {
    let path = format!("{}/src/nftables/golden/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, text).expect("write the snapshot");
    }
    let golden = std::fs::read_to_string(&path).expect("the snapshot");
    assert_eq!(text, golden, "differs from {file}");
}

#[test]
fn a_whole_table() {
    let mut table = table();
    let node_port = json!([{"port": 80, "nodePort": 30080}]);
    let local = json!([{"port": 80, "nodePort": 30081}]);
    let services = vec![
        service("cluster", json!({"clusterIP": "10.43.0.1"}), &["10.42.0.2", "10.42.1.2"]),
        service("empty", json!({"clusterIP": "10.43.0.2", "externalIPs": ["203.0.113.2"]}), &[]),
        service("node-port", json!({"clusterIP": "10.43.0.3", "ports": node_port}), &["10.42.1.2"]),
        service(
            "local",
            json!({"clusterIP": "10.43.0.4", "externalTrafficPolicy": "Local", "ports": local}),
            &["10.42.0.2", "10.42.1.2"],
        ),
        service("sticky", json!({"clusterIP": "10.43.0.5", "sessionAffinity": "ClientIP"}), &["10.42.0.2"]),
        service("inside", json!({"clusterIP": "10.43.0.6", "internalTrafficPolicy": "Local"}), &["10.42.1.2"]),
    ];
    table.set(services);
    check(&table.replace(), "table.nft");
}

#[test]
fn single_changes() {
    let mut table = table();
    let mut text = String::new();
    let mut step = |title: &str, change| {
        let (script, stale) = table.update_text(vec![change]);
        let stale: Vec<_> =
            stale.iter().map(|flow| format!("# stale: {} -> {:?}\n", flow.frontend, flow.endpoint)).collect();
        text.push_str(&format!("# {title}\n{script}{}\n", stale.concat()));
    };
    let web = || json!({"clusterIP": "10.43.0.1"});
    step("a service without endpoints", service("web", web(), &[]));
    step("its first endpoint", service("web", web(), &["10.42.0.2"]));
    step("a second", service("web", web(), &["10.42.0.2", "10.42.1.2"]));
    step("the same again", service("web", web(), &["10.42.0.2", "10.42.1.2"]));
    step("one is replaced", service("web", web(), &["10.42.0.2", "10.42.1.9"]));
    let udp = || json!({"clusterIP": "10.43.0.2", "ports": [{"port": 53, "protocol": "UDP"}]});
    step("UDP", service("dns", udp(), &["10.42.0.2"]));
    step("UDP with another endpoint", service("dns", udp(), &["10.42.1.3"]));
    step("a second service wants the same address", service("thief", web(), &["10.42.1.7"]));
    step("and gets it when the first goes", gone("web"));
    step("affinity", service("dns", json!({"clusterIP": "10.43.0.2", "sessionAffinity": "ClientIP"}), &["10.42.1.3"]));
    step("the last goes", gone("dns"));
    check(&text, "changes.nft");
}
