//! Services in the real kernel: connections between network namespaces.

mod support;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use client::ObjectKey;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use network::{netns, nft};
use serde_json::json;
use skiff_proxy::model::{self, NodeTopology};
use skiff_proxy::nftables::{DataPlane, ServiceRules, TableConfig, service_rules};
use support::{Host, NODE, UdpClient, service, slice, try_ask};

#[track_caller]
fn ask(netns: &Path, server: &str) -> String {
    try_ask(netns, server).unwrap_or_else(|err| panic!("connect to {server}: {err}"))
}

/// The data plane alone: what the component does with one change, without the component.
struct Plane(DataPlane);

impl Plane {
    fn new() -> Self {
        let mut plane = DataPlane::new(TableConfig {
            name: "test-proxy".to_owned(),
            cluster_cidrs: ["10.42.0.0/16", "fd42::/56"].map(|net| net.parse().expect("a network")).to_vec(),
            node_port_addresses: Vec::new(),
            localhost_node_ports: true,
        });
        plane.replace(Vec::new()).expect("an empty table");
        Self(plane)
    }

    #[track_caller]
    fn apply(&mut self, name: &str, service: Option<&Service>, slice: Option<&EndpointSlice>) {
        self.apply_all(name, service, slice.into_iter().cloned().collect());
    }

    #[track_caller]
    fn apply_all(&mut self, name: &str, service: Option<&Service>, slices: Vec<EndpointSlice>) {
        let change = change(name, service, slices);
        self.0.update(vec![change.clone()]).unwrap_or_else(|err| panic!("{err}: {change:#?}"));
    }
}

fn change(name: &str, service: Option<&Service>, slices: Vec<EndpointSlice>) -> (ObjectKey, Option<ServiceRules>) {
    let key = ObjectKey::namespaced("default", name);
    let node = NodeTopology { name: NODE.to_owned(), zone: None };
    let slices: Vec<_> = slices.into_iter().map(Arc::new).collect();
    let model = service.and_then(|service| model::service(service, &slices, &node));
    let rules = model.map(|model| service_rules(&key, &model));
    (key, rules)
}

#[test]
fn a_cluster_address_leads_to_all_endpoints_from_everywhere() {
    let host = Host::new();
    host.run(async || {
        let _network = host.with_pods(&["a", "b", "c"]).await;
        let mut plane = Plane::new();
        let web = service("web", "10.43.0.7", json!({}));
        plane.apply(
            "web",
            Some(&web),
            Some(&slice("web", &[("10.42.0.2", NODE, "ready"), ("10.42.0.3", NODE, "ready")])),
        );
        let from_pod: BTreeSet<String> = (0..40).map(|_| ask(&host.pod("c"), "10.43.0.7:80")).collect();
        assert_eq!(from_pod, ["a 10.42.0.4", "b 10.42.0.4"].map(String::from).into());
        let from_node: BTreeSet<String> = (0..40).map(|_| ask(host.netns(), "10.43.0.7:80")).collect();
        assert_eq!(from_node, ["a 10.42.0.1", "b 10.42.0.1"].map(String::from).into());
        // From outside the cluster with the node's address, so that answers come back through the node.
        assert!(ask(&host.neighbour(), "10.43.0.7:80").ends_with(" 10.42.0.1"));
        // A pod that draws itself sees the node as its client.
        let from_itself: BTreeSet<String> = (0..40).map(|_| ask(&host.pod("a"), "10.43.0.7:80")).collect();
        assert_eq!(from_itself, ["a 10.42.0.1", "b 10.42.0.2"].map(String::from).into());
        let udp = UdpClient::new(&host.pod("c"));
        assert!(udp.ask("10.43.0.7:80").expect("an answer").ends_with(" 10.42.0.4"));
    });
}

#[test]
fn each_family_leads_to_the_endpoints_of_its_own() {
    if !testkit::can_test_ipv6() {
        return;
    }
    let host = Host::new();
    host.run(async || {
        let _network = host.with_pods_of(&["10.42.0.0/24", "fd42::/64"], &["a", "b", "c"]).await;
        let mut plane = Plane::new();
        let ports = json!([
            {"name": "tcp", "port": 80, "protocol": "TCP", "nodePort": 30080},
            {"name": "udp", "port": 80, "protocol": "UDP"},
        ]);
        let ips = json!(["10.43.0.7", "fd43::7"]);
        let web = service("web", "10.43.0.7", json!({"clusterIPs": ips, "type": "NodePort", "ports": ports}));
        let (v4, v6) = (slice("web", &[("10.42.0.2", NODE, "ready")]), slice("web", &[("fd42::3", NODE, "ready")]));
        plane.apply_all("web", Some(&web), vec![v4, v6]);
        assert_eq!(ask(&host.pod("c"), "10.43.0.7:80"), "a 10.42.0.4");
        assert_eq!(ask(&host.pod("c"), "[fd43::7]:80"), "b fd42::4");
        assert_eq!(ask(host.netns(), "[fd43::7]:80"), "b fd42::1");
        // A pod that draws itself sees the node as its client.
        assert_eq!(ask(&host.pod("b"), "[fd43::7]:80"), "b fd42::1");
        assert_eq!(ask(&host.pod("a"), "[fd42::1]:30080"), "b fd42::1");
        assert_eq!(ask(&host.pod("a"), "10.42.0.1:30080"), "a 10.42.0.1");
        let udp = UdpClient::new_on(&host.pod("c"), "[::]:0");
        assert_eq!(udp.ask("[fd43::7]:80").expect("an answer"), "b fd42::4");
        // One family loses its endpoints, the other does not.
        plane.apply_all("web", Some(&web), vec![slice("web", &[("10.42.0.2", NODE, "ready")])]);
        let refused = try_ask(&host.pod("c"), "[fd43::7]:80").map_err(|err| err.kind());
        assert_eq!(refused, Err(ErrorKind::ConnectionRefused));
        assert_eq!(ask(&host.pod("c"), "10.43.0.7:80"), "a 10.42.0.4");
    });
}

#[test]
fn one_change_changes_one_service() {
    let host = Host::new();
    host.run(async || {
        let _network = host.with_pods(&["a", "b"]).await;
        let mut plane = Plane::new();
        let (web, api) = (service("web", "10.43.0.7", json!({})), service("api", "10.43.0.8", json!({})));
        let on = |service: &str, ip: &str| slice(service, &[(ip, NODE, "ready")]);
        plane.apply("web", Some(&web), Some(&on("web", "10.42.0.2")));
        plane.apply("api", Some(&api), Some(&on("api", "10.42.0.2")));
        assert_eq!(ask(&host.pod("b"), "10.43.0.8:80"), "a 10.42.0.3");
        plane.apply("api", Some(&api), Some(&on("api", "10.42.0.3")));
        assert_eq!(ask(host.netns(), "10.43.0.8:80"), "b 10.42.0.1");
        assert_eq!(ask(host.netns(), "10.43.0.7:80"), "a 10.42.0.1");
        plane.apply("web", None, None);
        assert!(try_ask(&host.pod("a"), "10.43.0.7:80").is_err());
        assert_eq!(ask(host.netns(), "10.43.0.8:80"), "b 10.42.0.1");
    });
}

#[test]
fn a_service_without_endpoints_refuses() {
    let host = Host::new();
    host.run(async || {
        let _network = host.with_pods(&["a"]).await;
        let mut plane = Plane::new();
        let ports = json!([{"name": "tcp", "port": 80, "nodePort": 30080}]);
        let web = service("web", "10.43.0.7", json!({"type": "NodePort", "ports": ports}));
        plane.apply("web", Some(&web), None);
        let kinds = [
            (host.pod("a"), "10.43.0.7:80"),
            (host.netns().to_owned(), "10.43.0.7:80"),
            (host.neighbour(), "10.43.0.7:80"),
            (host.neighbour(), "192.0.2.1:30080"),
        ]
        .map(|(from, to)| try_ask(&from, to).map_err(|err| err.kind()));
        assert_eq!(kinds, [const { Err(ErrorKind::ConnectionRefused) }; 4]);
        // Endpoints that shut down but serve are better than none; those that do not serve are not.
        plane.apply("web", Some(&web), Some(&slice("web", &[("10.42.0.2", NODE, "terminating")])));
        assert_eq!(ask(host.netns(), "10.43.0.7:80"), "a 10.42.0.1");
        plane.apply("web", Some(&web), Some(&slice("web", &[("10.42.0.2", NODE, "gone")])));
        let refused = try_ask(host.netns(), "10.43.0.7:80").map_err(|err| err.kind());
        assert_eq!(refused, Err(ErrorKind::ConnectionRefused));
    });
}

#[test]
fn node_ports_and_external_addresses_lead_to_endpoints() {
    let host = Host::new();
    host.run(async || {
        let _network = host.with_pods(&["a", "b"]).await;
        let mut plane = Plane::new();
        network::sysctl::set("ipv4/conf/all/route_localnet", "1").expect("a writable /proc/sys");
        let ports = json!([{"name": "tcp", "port": 80, "nodePort": 30080}]);
        let spec = json!({
            "type": "LoadBalancer", "ports": ports, "externalIPs": ["10.43.200.1"],
            "ingress": [{"ip": "10.43.200.2"}, {"ip": "10.43.200.3", "ipMode": "Proxy"}],
            "loadBalancerSourceRanges": ["192.0.2.2/32"],
        });
        let web = service("web", "10.43.0.7", spec);
        plane.apply("web", Some(&web), Some(&slice("web", &[("10.42.0.2", NODE, "ready")])));
        for to in ["192.0.2.1:30080", "10.43.200.1:80", "10.43.200.2:80"] {
            assert_eq!(ask(&host.neighbour(), to), "a 10.42.0.1", "{to}");
        }
        assert_eq!(ask(host.netns(), "127.0.0.1:30080"), "a 10.42.0.1");
        assert_eq!(ask(host.netns(), "192.0.2.1:30080"), "a 10.42.0.1");
        assert_eq!(ask(&host.pod("b"), "192.0.2.1:30080"), "a 10.42.0.1");
        assert_eq!(ask(&host.pod("a"), "192.0.2.1:30080"), "a 10.42.0.1");
        assert!(try_ask(&host.pod("b"), "10.43.200.2:80").is_err(), "not in the source ranges");
        assert!(try_ask(&host.pod("b"), "10.43.200.3:80").is_err(), "the load balancer translates itself");
    });
}

#[test]
fn a_local_external_policy_keeps_the_source_address() {
    let host = Host::new();
    host.run(async || {
        let _network = host.with_pods(&["a", "b"]).await;
        let mut plane = Plane::new();
        let ports = json!([{"name": "tcp", "port": 80, "nodePort": 30080}]);
        let spec = json!({"type": "NodePort", "ports": ports, "externalTrafficPolicy": "Local"});
        let web = service("web", "10.43.0.7", spec);
        plane.apply(
            "web",
            Some(&web),
            Some(&slice("web", &[("10.42.0.2", NODE, "ready"), ("10.42.0.3", "there", "ready")])),
        );
        let answers: BTreeSet<String> = (0..20).map(|_| ask(&host.neighbour(), "192.0.2.1:30080")).collect();
        assert_eq!(answers, ["a 192.0.2.2"].map(String::from).into());
        let from_inside: BTreeSet<String> = (0..40).map(|_| ask(host.netns(), "192.0.2.1:30080")).collect();
        assert_eq!(from_inside, ["a 10.42.0.1", "b 10.42.0.1"].map(String::from).into());
        plane.apply("web", Some(&web), Some(&slice("web", &[("10.42.0.3", "there", "ready")])));
        let dropped = try_ask(&host.neighbour(), "192.0.2.1:30080").map_err(|err| err.kind());
        assert_eq!(dropped, Err(ErrorKind::TimedOut));
        assert_eq!(ask(host.netns(), "192.0.2.1:30080"), "b 10.42.0.1");
    });
}

#[test]
fn a_client_stays_with_its_endpoint_where_the_service_says_so() {
    let host = Host::new();
    host.run(async || {
        let _network = host.with_pods(&["a", "b", "c"]).await;
        let mut plane = Plane::new();
        let web = service("web", "10.43.0.7", json!({"sessionAffinity": "ClientIP"}));
        let endpoints = [("10.42.0.2", NODE, "ready"), ("10.42.0.3", NODE, "ready")];
        plane.apply("web", Some(&web), Some(&slice("web", &endpoints)));
        let answers: BTreeSet<String> = (0..30).map(|_| ask(&host.pod("c"), "10.43.0.7:80")).collect();
        assert_eq!(answers.len(), 1, "{answers:?}");
        // Another endpoint does not move the client; the loss of its own does.
        let mut more = endpoints.to_vec();
        more.push(("10.42.0.4", NODE, "ready"));
        plane.apply("web", Some(&web), Some(&slice("web", &more)));
        let same: BTreeSet<String> = (0..30).map(|_| ask(&host.pod("c"), "10.43.0.7:80")).collect();
        assert_eq!(same, answers);
        let (other, ip) = if answers.contains("a 10.42.0.4") { ("b", "10.42.0.3") } else { ("a", "10.42.0.2") };
        plane.apply("web", Some(&web), Some(&slice("web", &[(ip, NODE, "ready")])));
        assert_eq!(ask(&host.pod("c"), "10.43.0.7:80"), format!("{other} 10.42.0.4"));
        plane.apply("web", None, None);
        let left = nft::list_table("inet", "test-proxy").expect("list").expect("the table");
        assert!(!left.contains("clients-") && !left.contains("sticky4-"), "{left}");
    });
}

#[test]
fn the_same_table_arises_step_by_step_and_at_once() {
    let host = Host::new();
    netns::run_in(host.netns(), || {
        let random = base::Random::seeded(11);
        let mut plane = Plane::new();
        let lines = || {
            let text = nft::list_table("inet", "test-proxy").expect("list").expect("the table");
            // Elements are listed in the order of their hashes, and shared chains outlive their last user.
            let words = text.split([',', '\n']).map(|line| line.trim().to_owned());
            words.map(|w| w.trim_start_matches("elements = { ").trim_end_matches(" }").to_owned()).collect::<BTreeSet<_>>()
        };
        for step in 0..150 {
            let number = random.below(12);
            let name = format!("s{number}");
            let kinds = [
                json!({}),
                json!({"sessionAffinity": "ClientIP"}),
                json!({"type": "NodePort", "externalTrafficPolicy": "Local", "ports": [{"name": "tcp", "port": 80, "nodePort": 30000 + number}]}),
                json!({"type": "NodePort", "ports": [{"name": "tcp", "port": 80, "nodePort": 30000 + number / 2}]}),
                json!({"internalTrafficPolicy": "Local"}),
            ];
            let spec = kinds[random.below(5) as usize].clone();
            let service = service(&name, &format!("10.43.0.{}", number / 2 + 1), spec);
            let endpoints: Vec<(String, &str)> = (0..random.below(4))
                .map(|_| (format!("10.42.0.{}", random.below(9) + 2), if random.below(2) == 0 { NODE } else { "there" }))
                .collect();
            let endpoints: Vec<_> = endpoints.iter().map(|(ip, node)| (ip.as_str(), *node, "ready")).collect();
            if random.below(5) == 0 {
                plane.apply(&name, None, None);
            } else {
                plane.apply(&name, Some(&service), Some(&slice(&name, &endpoints)));
            }
            if step % 30 == 29 {
                let by_steps = lines();
                plane.0.replace(Vec::new()).expect("replace");
                let at_once = lines();
                let missing: Vec<_> = at_once.difference(&by_steps).collect();
                assert!(missing.is_empty(), "step {step}: {missing:?}");
                let too_much = by_steps.difference(&at_once);
                let shared = ["endpoint4-", "endpoints4-", "cluster4-", "nodeport4-", "external4-", "dnat ip to", "meta mark set", "type "];
                let too_much: Vec<_> = too_much.filter(|line| !shared.iter().any(|s| line.contains(s))).collect();
                assert!(too_much.is_empty(), "step {step}: {too_much:?}");
            }
        }
    })
    .expect("the host");
}
