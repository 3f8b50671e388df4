//! How long the kernel takes for many services, and for one change among many: `cargo bench -p skiff-proxy`.
//!
//! Runs in network namespaces of its own (as root). The time is that of the model, the rules and the transaction. The
//! same services are then loaded in the shape that kube-proxy gives to its nftables rules: a map from each service to
//! a chain of its own, which draws a number and goes to a chain of each endpoint. There, the time is that of the text
//! and the transaction alone.

use std::sync::Arc;
use std::time::Instant;

use client::ObjectKey;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use network::{netns, nft};
use serde_json::json;
use skiff_proxy::model::{self, NodeTopology};
use skiff_proxy::nftables::{DataPlane, ServiceRules, TableConfig, service_rules};

/// A service with two endpoints; `shift` moves them.
fn service(number: u32, shift: u32) -> (Service, EndpointSlice) {
    let [_, b, c, d] = number.to_be_bytes();
    let cluster_ip = format!("10.{}.{c}.{d}", 96 + b);
    let endpoints = endpoints(number, shift).map(|address| json!({"addresses": [address], "nodeName": "there"}));
    let name = format!("service-{number}");
    let service = json!({
        "metadata": {"namespace": "default", "name": name},
        "spec": {"clusterIP": cluster_ip, "clusterIPs": [cluster_ip], "ports": [{"name": "http", "port": 80}]},
    });
    let slice = json!({
        "metadata": {"namespace": "default", "name": name},
        "addressType": "IPv4",
        "endpoints": endpoints,
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

/// How many services are there.
const SERVICES: u32 = 5000;
/// How many changes the median is taken of.
const CHANGES: u32 = 21;
const PEER: &str = "rules of kube-proxy's shape";

/// The endpoints of one service, as addresses.
fn endpoints(number: u32, shift: u32) -> [String; 2] {
    [shift, shift + 1].map(|n| {
        let [_, _, c, d] = (number * 2 + n).to_be_bytes();
        format!("10.42.{c}.{d}")
    })
}

fn main() {
    let own = in_namespace(measure);
    let peer = in_namespace(measure_peer);
    print("load5000", own.load, peer.load);
    print("change5000", own.change, peer.change);
}

/// Milliseconds.
struct Times {
    load: f64,
    change: f64,
}

fn print(name: &str, value: f64, peer: f64) {
    println!("bench: proxy.{name} {value:.2} ms {:.1} vs {PEER}", peer / value);
}

fn in_namespace(measure: fn() -> Times) -> Times {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("bench");
    netns::create(&path).expect("a namespace (run as root)");
    let times = netns::run_in(&path, measure).expect("the namespace");
    netns::remove(&path).expect("remove");
    times
}

fn timed(step: impl FnOnce()) -> f64 {
    let started = Instant::now();
    step();
    started.elapsed().as_secs_f64() * 1e3
}

fn median(step: impl FnMut(u32) -> f64) -> f64 {
    let mut times: Vec<f64> = (1..=CHANGES).map(step).collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn measure() -> Times {
    let mut plane = DataPlane::new(TableConfig {
        name: "bench-proxy".to_owned(),
        cluster_cidrs: vec!["10.42.0.0/16".parse().expect("a network")],
        node_port_addresses: Vec::new(),
        localhost_node_ports: true,
    });
    let load = timed(|| {
        plane.replace((0..SERVICES).map(|number| rules(number, 0)).collect()).expect("load");
    });
    let change = median(|round| {
        timed(|| {
            plane.update(vec![rules(777, round)]).expect("change");
        })
    });
    Times { load, change }
}

fn measure_peer() -> Times {
    let load = timed(|| {
        let mut script = PEER_TABLE.to_owned();
        for number in 0..SERVICES {
            script += &peer_service(number);
        }
        nft::apply(&script).expect("load");
    });
    let change = median(|round| timed(|| nft::apply(&peer_change(777, round)).expect("change")));
    Times { load, change }
}

const PEER_TABLE: &str = "\
    add table ip peer\n\
    add chain ip peer masquerade-later\n\
    add rule ip peer masquerade-later meta mark set meta mark or 0x4000\n\
    add map ip peer services { type ipv4_addr . inet_proto . inet_service : verdict; }\n\
    add chain ip peer dispatch { type nat hook prerouting priority dstnat; }\n\
    add rule ip peer dispatch ip daddr . meta l4proto . th dport vmap @services\n";

/// The rules of one service: its two endpoints' chains, its own, and its element in the map.
fn peer_service(number: u32) -> String {
    let mut text = String::new();
    for (at, address) in endpoints(number, 0).iter().enumerate() {
        text += &format!("add chain ip peer endpoint-{number}-{at}\n{}", peer_endpoint(number, at, address));
    }
    let [_, b, c, d] = number.to_be_bytes();
    let own = format!("service-{number}");
    text + &format!(
        "add chain ip peer {own}\n\
         add rule ip peer {own} ip saddr != 10.42.0.0/16 jump masquerade-later\n\
         add rule ip peer {own} numgen random mod 2 vmap {{ 0 : goto endpoint-{number}-0, 1 : goto endpoint-{number}-1 }}\n\
         add element ip peer services {{ 10.{}.{c}.{d} . tcp . 80 : goto {own} }}\n",
        96 + b
    )
}

fn peer_endpoint(number: u32, at: usize, address: &str) -> String {
    let own = format!("endpoint-{number}-{at}");
    format!(
        "add rule ip peer {own} ip saddr {address} jump masquerade-later\n\
         add rule ip peer {own} meta l4proto tcp dnat to {address}:8080\n"
    )
}

/// Moves the endpoints of a service.
fn peer_change(number: u32, shift: u32) -> String {
    let chains = endpoints(number, shift);
    let chains = chains.iter().enumerate().map(|(at, address)| {
        format!("flush chain ip peer endpoint-{number}-{at}\n{}", peer_endpoint(number, at, address))
    });
    chains.collect()
}
