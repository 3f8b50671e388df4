//! The pod network in the real kernel: a "host" that is a network namespace, pods in further ones.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use skiff_network::netlink::Socket;
use skiff_network::{
    self as network, Attach, AttachError, Attached, Config, HostPort, NodeRoute, PodNetwork, Protocol, Reservation,
    netns,
};

/// A machine of its own, with a pod network on it.
struct Host(testkit::Host);

impl std::ops::Deref for Host {
    type Target = testkit::Host;

    fn deref(&self) -> &testkit::Host {
        &self.0
    }
}

impl Host {
    fn new() -> Self {
        Self(testkit::Host::new())
    }

    fn config(&self) -> Config {
        let nets = |text: &str| vec![text.parse().expect("a network")];
        let (cluster_cidrs, service_cidrs) = (nets("10.42.0.0/16"), nets("10.43.0.0/16"));
        Config { instance: self.instance(), cluster_cidrs, service_cidrs, mtu: Some(1400) }
    }

    async fn open(&self) -> PodNetwork {
        let network = PodNetwork::open(self.config()).await.expect("open");
        network.set_pod_cidrs(vec!["10.42.5.0/24".parse().expect("a network")]).await.expect("set pod CIDRs");
        network
    }

    async fn attach(&self, network: &PodNetwork, id: &str, host_ports: Vec<HostPort>) -> Attached {
        let path = self.pod(id);
        netns::create(&path).expect("a namespace");
        network.attach(Attach { sandbox_id: id.to_owned(), netns: path, host_ports }).await.expect("attach")
    }
}

/// Serves on `port` in a namespace: answers each connection with the client's address. The thread ends with the test.
fn serve(netns: &Path, port: u16) {
    serve_on(netns, to(ip("0.0.0.0"), port));
}

fn serve_on(netns: &Path, address: SocketAddr) {
    let listener = netns::run_in(netns, || TcpListener::bind(address)).expect("namespace").expect("bind");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let peer = stream.peer_addr().expect("a peer");
            let _ = stream.write_all(peer.ip().to_string().as_bytes());
        }
    });
}

/// Connects from a namespace and returns what the server says: the address from which it sees the client.
#[track_caller]
fn ask(netns: &Path, server: SocketAddr) -> String {
    let answer = netns::run_in(netns, || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&server, Duration::from_secs(3))?;
        stream.set_read_timeout(Some(Duration::from_secs(3)))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    });
    answer.expect("namespace").unwrap_or_else(|err| panic!("connect to {server}: {err}"))
}

/// What a runtime knows of its sandboxes.
fn known(sandboxes: &[(&str, &Attached, Vec<HostPort>)]) -> BTreeMap<String, Reservation> {
    let one = |(id, attached, host_ports): &(&str, &Attached, Vec<HostPort>)| {
        ((*id).to_owned(), Reservation { ips: attached.ips.clone(), host_ports: host_ports.clone() })
    };
    sandboxes.iter().map(one).collect()
}

fn to(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn pods_reach_each_other_and_the_node_and_back() {
    let host = Host::new();
    host.run(async || {
        let network = host.open().await;
        let a = host.attach(&network, "a", Vec::new()).await;
        let b = host.attach(&network, "b", Vec::new()).await;
        assert_eq!((a.ips[0], b.ips[0], a.gateways[0]), (ip("10.42.5.2"), ip("10.42.5.3"), ip("10.42.5.1")));
        serve(&host.pod("b"), 80);
        serve(host.netns(), 81);
        assert_eq!(ask(&host.pod("a"), to(b.ips[0], 80)), "10.42.5.2");
        assert_eq!(ask(host.netns(), to(b.ips[0], 80)), "10.42.5.1");
        assert_eq!(ask(&host.pod("a"), to(a.gateways[0], 81)), "10.42.5.2");
        assert_eq!(ask(&host.pod("b"), to(b.ips[0], 80)), "10.42.5.3");
    });
}

#[test]
fn pods_have_an_address_of_each_family() {
    if !testkit::can_test_ipv6() {
        return;
    }
    let host = Host::new();
    host.run(async || {
        let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a network")).collect();
        let mut config = host.config();
        config.cluster_cidrs = nets(&["10.42.0.0/16", "fd42::/56"]);
        config.service_cidrs = nets(&["10.43.0.0/16", "fd43::/112"]);
        let network = PodNetwork::open(config).await.expect("open");
        network.set_pod_cidrs(nets(&["10.42.5.0/24", "fd42:0:0:5::/64"])).await.expect("set pod CIDRs");
        let a = host.attach(&network, "a", Vec::new()).await;
        let b = host.attach(&network, "b", Vec::new()).await;
        assert_eq!(a.ips, [ip("10.42.5.2"), ip("fd42:0:0:5::2")]);
        assert_eq!(b.gateways, [ip("10.42.5.1"), ip("fd42:0:0:5::1")]);
        serve_on(&host.pod("b"), to(ip("::"), 80));
        serve_on(host.netns(), to(ip("::"), 81));
        assert_eq!(ask(&host.pod("a"), to(b.ips[1], 80)), "fd42:0:0:5::2");
        assert_eq!(ask(&host.pod("b"), to(b.ips[1], 80)), "fd42:0:0:5::3");
        assert_eq!(ask(host.netns(), to(b.ips[1], 80)), "fd42:0:0:5::1");
        assert_eq!(ask(&host.pod("a"), to(a.gateways[1], 81)), "fd42:0:0:5::2");
        // A listener on any address takes connections of both families.
        assert_eq!(ask(&host.pod("a"), to(b.ips[0], 80)), "::ffff:10.42.5.2");
    });
}

#[test]
fn traffic_that_leaves_the_cluster_is_masqueraded_and_routes_lead_to_other_nodes() {
    let host = Host::new();
    let neighbour = host.add_neighbour(1400);
    host.run(async || {
        let network = host.open().await;
        host.attach(&network, "a", Vec::new()).await;
        serve(&neighbour, 80);
        assert_eq!(ask(&host.pod("a"), to(ip("192.0.2.2"), 80)), "192.0.2.1");

        // The neighbour as another node: its pod address is on its loopback, and it knows the way back.
        netns::run_in(&neighbour, || {
            let mut socket = Socket::open().expect("a socket");
            let loopback = socket.link("lo").expect("a link").expect("the link");
            socket.add_address(&loopback, "10.42.6.2/32".parse().expect("a network")).expect("an address");
            let back = network::netlink::Route {
                destination: "10.42.5.0/24".parse().expect("a network"),
                gateway: Some(ip("192.0.2.1")),
                link: None,
                protocol: 4,
            };
            socket.replace_route(back).expect("a route");
        })
        .expect("the neighbour");
        let route = NodeRoute { pod_cidr: "10.42.6.0/24".parse().expect("a network"), node_ip: ip("192.0.2.2") };
        let unreachable = NodeRoute { node_ip: ip("198.51.100.1"), pod_cidr: "10.42.7.0/24".parse().expect("a net") };
        let refused = network.sync_routes(vec![unreachable, route]).await.expect_err("a node out of reach");
        assert!(refused.to_string().starts_with("add route to 10.42.7.0/24: "), "{refused}");
        assert_eq!(ask(&host.pod("a"), to(ip("10.42.6.2"), 80)), "10.42.5.2");
        network.sync_routes(Vec::new()).await.expect("no routes");
        let left = Socket::open().and_then(|mut socket| socket.routes()).expect("routes");
        let ours = left.iter().filter(|route| route.protocol == network::ROUTE_PROTOCOL);
        let ours: Vec<_> = ours.map(|route| route.destination.to_string()).collect();
        assert_eq!(ours, ["10.43.0.0/16"]);
    });
    netns::remove(&neighbour).expect("remove");
}

#[test]
fn host_ports_lead_to_the_pod_from_everywhere() {
    let host = Host::new();
    let neighbour = host.add_neighbour(1400);
    host.run(async || {
        let network = host.open().await;
        let port = HostPort { protocol: Protocol::Tcp, host_ip: None, host_port: 8080, container_port: 80 };
        let a = host.attach(&network, "a", vec![port]).await;
        host.attach(&network, "b", Vec::new()).await;
        serve(&host.pod("a"), 80);
        assert_eq!(ask(&neighbour, to(ip("192.0.2.1"), 8080)), "192.0.2.2");
        assert_eq!(ask(host.netns(), to(ip("127.0.0.1"), 8080)), "10.42.5.1");
        assert_eq!(ask(&host.pod("b"), to(ip("192.0.2.1"), 8080)), "10.42.5.3");
        assert_eq!(ask(&host.pod("a"), to(ip("192.0.2.1"), 8080)), a.gateways[0].to_string());

        let again = Attach { sandbox_id: "c".to_owned(), netns: host.pod("b"), host_ports: vec![port] };
        let refused = network.attach(again).await.expect_err("the port is taken");
        assert!(matches!(&refused, AttachError::HostPortInUse { sandbox_id, .. } if sandbox_id == "a"), "{refused}");
        network.detach("a").await.expect("detach");
        let table = network::nft::list_table("inet", &network::table_name(&host.instance(), "net")).expect("list");
        assert!(!table.expect("the table").contains("8080"));
    });
    netns::remove(&neighbour).expect("remove");
}

#[test]
fn a_restart_keeps_what_is_there_and_gives_back_what_is_gone() {
    let host = Host::new();
    host.run(async || {
        let network = host.open().await;
        let a = host.attach(&network, "a", Vec::new()).await;
        host.attach(&network, "b", Vec::new()).await;
        drop(network);

        let network = PodNetwork::open(host.config()).await.expect("open");
        assert_eq!(network.attached("a"), Some(a.clone()));
        network.retain(known(&[("a", &a, Vec::new())])).await.expect("retain");
        assert_eq!(network.attached("b"), None);
        let c = host.attach(&network, "c", Vec::new()).await;
        assert_eq!(c.ips, [ip("10.42.5.4")]);
        serve(&host.pod("a"), 80);
        assert_eq!(ask(&host.pod("c"), to(a.ips[0], 80)), "10.42.5.4");

        // A second attempt after a crash in the middle of the first gets the same address.
        let again = Attach { sandbox_id: "c".to_owned(), netns: host.pod("c"), host_ports: Vec::new() };
        assert_eq!(network.attach(again).await.expect("attach"), c);
        assert_eq!(ask(&host.pod("c"), to(a.ips[0], 80)), "10.42.5.4");
    });
}

#[test]
fn a_damaged_file_costs_no_sandbox_its_address_and_gives_none_out_twice() {
    let port = HostPort { protocol: Protocol::Tcp, host_ip: None, host_port: 8080, container_port: 80 };
    for damaged in ["", r#"{"ips":["10.42.5.9"],"hostPorts":[]}"#] {
        let host = Host::new();
        host.run(async || {
            let network = host.open().await;
            let a = host.attach(&network, "a", vec![port]).await;
            let b = host.attach(&network, "b", Vec::new()).await;
            drop(network);
            let file = |id: &str| host.instance().run_dir().join(format!("network/sandboxes/{id}.json"));
            for id in ["a", "b", "gone"] {
                std::fs::write(file(id), damaged).expect("written");
            }

            let network = PodNetwork::open(host.config()).await.expect("open");
            // Of one that is being taken away there is no file, and its address may be another's.
            let ending = Attached { ips: b.ips.clone(), ..a.clone() };
            let all = [("a", &a, vec![port]), ("b", &b, Vec::new()), ("ending", &ending, Vec::new())];
            network.retain(known(&all)).await.expect("retain");
            assert_eq!((network.attached("a"), network.attached("b")), (Some(a.clone()), Some(b.clone())));
            assert_eq!((network.attached("ending"), network.attached("gone")), (None, None));
            assert!(!file("gone").exists());
            let c = host.attach(&network, "c", Vec::new()).await;
            assert!(!a.ips.contains(&c.ips[0]) && !b.ips.contains(&c.ips[0]), "{c:?}");
            serve(&host.pod("a"), 80);
            assert_eq!(ask(&host.pod("c"), to(ip("10.42.5.1"), 8080)), c.ips[0].to_string(), "its port leads to it");
            drop(network);

            let network = PodNetwork::open(host.config()).await.expect("open");
            assert_eq!(network.attached("a"), Some(a), "it is on the disk as well");
        });
    }
}

#[test]
fn a_failed_attempt_leaves_nothing() {
    let host = Host::new();
    host.run(async || {
        let network = host.open().await;
        let nowhere = Attach { sandbox_id: "x".to_owned(), netns: host.pod("x"), host_ports: Vec::new() };
        network.attach(nowhere).await.expect_err("there is no such namespace");
        assert_eq!(network.attached("x"), None);
        let bad = Attach { sandbox_id: "../x".to_owned(), netns: host.pod("x"), host_ports: Vec::new() };
        assert!(matches!(network.attach(bad).await, Err(AttachError::InvalidSandboxId(_))));
    });
}

#[test]
fn cleanup_leaves_nothing_of_the_instance() {
    let host = Host::new();
    let neighbour = host.add_neighbour(1400);
    host.run(async || {
        let network = host.open().await;
        host.attach(&network, "a", Vec::new()).await;
        let route = NodeRoute { pod_cidr: "10.42.6.0/24".parse().expect("a network"), node_ip: ip("192.0.2.2") };
        network.sync_routes(vec![route]).await.expect("routes");
        drop(network);
        // Another instance's route, which stays.
        let other = network::netlink::Route {
            destination: "10.42.7.0/24".parse().expect("a network"),
            gateway: Some(ip("192.0.2.2")),
            link: None,
            protocol: network::ROUTE_PROTOCOL,
        };
        Socket::open().and_then(|mut socket| socket.replace_route(other)).expect("a route");
        let cluster = ["10.42.0.0/16".parse().expect("a network")];
        network::cleanup(&host.instance(), &cluster).expect("cleanup");
        let links = Socket::open().and_then(|mut socket| socket.links()).expect("links");
        let left: Vec<_> =
            links.iter().filter(|link| link.name.starts_with("skiff") || link.name.starts_with("veth")).collect();
        assert!(left.is_empty(), "{left:?}");
        let table = network::table_name(&host.instance(), "net");
        assert_eq!(network::nft::list_table("inet", &table).expect("list"), None);
        assert!(!host.pod("a").exists());
        network::cleanup(&host.instance(), &cluster).expect("a second time");
        let routes = Socket::open().and_then(|mut socket| socket.routes()).expect("routes");
        let ours = routes.iter().filter(|route| route.protocol == network::ROUTE_PROTOCOL);
        assert_eq!(ours.map(|route| route.destination.to_string()).collect::<Vec<_>>(), ["10.42.7.0/24"]);
    });
    netns::remove(&neighbour).expect("remove");
}
