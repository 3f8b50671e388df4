//! How long the kernel takes for many services, and for one change among many: `cargo bench -p skiff-proxy`.
//!
//! Runs in a network namespace of its own (as root). The time is that of the model, the rules and the transaction.

use std::sync::Arc;
use std::time::Instant;

use client::ObjectKey;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use network::{netns, nft};
use serde_json::json;
use skiff_proxy::model::{self, NodeTopology};
use skiff_proxy::nftables::{ServiceRules, Table, TableConfig, service_rules};

/// A service with two endpoints; `shift` moves them.
fn service(number: u32, shift: u32) -> (Service, EndpointSlice) {
    let [_, b, c, d] = number.to_be_bytes();
    let cluster_ip = format!("10.{}.{c}.{d}", 96 + b);
    let endpoint = |n: u32| {
        let [_, _, c, d] = (number * 2 + n).to_be_bytes();
        json!({"addresses": [format!("10.42.{c}.{d}")], "nodeName": "there"})
    };
    let name = format!("service-{number}");
    let service = json!({
        "metadata": {"namespace": "default", "name": name},
        "spec": {"clusterIP": cluster_ip, "clusterIPs": [cluster_ip], "ports": [{"name": "http", "port": 80}]},
    });
    let slice = json!({
        "metadata": {"namespace": "default", "name": name},
        "addressType": "IPv4",
        "endpoints": [endpoint(shift), endpoint(shift + 1)],
        "ports": [{"name": "http", "port": 8080}],
    });
    (serde_json::from_value(service).expect("a service"), serde_json::from_value(slice).expect("a slice"))
}

fn rules(number: u32, shift: u32) -> (ObjectKey, Option<ServiceRules>) {
    let (service, slice) = service(number, shift);
    let key = ObjectKey::of(&service);
    let node = NodeTopology { name: "here".to_owned(), zone: None };
    let model = model::service(&service, &[Arc::new(slice)], &node).expect("a proxied service");
    let rules = service_rules(&key, &model);
    (key, Some(rules))
}

fn main() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("bench");
    netns::create(&path).expect("a namespace (run as root)");
    netns::run_in(&path, measure).expect("the namespace");
    netns::remove(&path).expect("remove");
}

fn measure() {
    let mut table = Table::new(TableConfig {
        name: "bench-proxy".to_owned(),
        cluster_cidrs: vec!["10.42.0.0/16".parse().expect("a network")],
        node_port_addresses: Vec::new(),
        localhost_node_ports: true,
    });
    let started = Instant::now();
    table.update((0..5000).map(|number| rules(number, 0)).collect());
    nft::apply(&table.replace()).expect("load");
    println!("bench: proxy.load5000 {:.1} ms", started.elapsed().as_secs_f64() * 1e3);

    let update = table.update((5000..10_000).map(|number| rules(number, 0)).collect());
    nft::apply(&update.script).expect("load more");
    let mut times: Vec<f64> = (0..21)
        .map(|round| {
            let started = Instant::now();
            let update = table.update(vec![rules(7777, round + 1)]);
            nft::apply(&update.script).expect("change");
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("bench: proxy.change {:.1} ms", times[times.len() / 2]);
}
