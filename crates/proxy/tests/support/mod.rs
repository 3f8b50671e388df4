//! A machine made of network namespaces, with pods, a neighbour and services.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use network::netlink::{Route, Socket};
use network::{Attach, PodNetwork, netns};
use serde_json::{Value, json};

pub const NODE: &str = "here";
/// Longer than a packet takes that is sent again, or a busy machine to answer: silence is what it shows.
const TIMEOUT: Duration = Duration::from_secs(4);

/// A node in a namespace of its own, with a neighbour on 192.0.2.2 that is on no cluster network.
pub struct Host(testkit::Host);

impl std::ops::Deref for Host {
    type Target = testkit::Host;

    fn deref(&self) -> &testkit::Host {
        &self.0
    }
}

impl Host {
    pub fn new() -> Self {
        let host = testkit::Host::new();
        let neighbour = host.add_neighbour(1500);
        netns::run_in(&neighbour, || {
            // Cluster addresses are reached through the node, as from a router of the site.
            let mut socket = Socket::open().expect("a socket");
            let destination = "10.43.0.0/16".parse().expect("a network");
            let gateway = Some("192.0.2.1".parse().expect("an address"));
            socket.replace_route(Route { destination, gateway, link: None, protocol: 4 }).expect("a route");
        })
        .expect("the neighbour");
        Self(host)
    }

    /// The pod network with pods 10.42.0.2, 10.42.0.3, ... of the given names, each serving on TCP and UDP port 8080.
    pub async fn with_pods(&self, names: &[&str]) -> PodNetwork {
        self.with_pods_of(&["10.42.0.0/24"], names).await
    }

    /// The same with an address of each of these networks: pods fd42::2, fd42::3, ... for fd42::/64.
    pub async fn with_pods_of(&self, cidrs: &[&str], names: &[&str]) -> PodNetwork {
        let net = |text: &str| text.parse().expect("a network");
        let config = network::Config {
            instance: self.instance(),
            cluster_cidrs: vec![net("10.42.0.0/16"), net("fd42::/56")],
            service_cidrs: vec![net("10.43.0.0/16"), net("fd43::/112")],
            mtu: Some(1500),
        };
        let network = PodNetwork::open(config).await.expect("open");
        network.set_pod_cidrs(cidrs.iter().map(|cidr| net(cidr)).collect()).await.expect("set pod CIDRs");
        let any = if cidrs.iter().any(|cidr| cidr.contains(':')) { "::" } else { "0.0.0.0" };
        for name in names {
            let path = self.pod(name);
            netns::create(&path).expect("a namespace");
            let attach = Attach { sandbox_id: (*name).to_owned(), netns: path.clone(), host_ports: Vec::new() };
            network.attach(attach).await.expect("attach");
            serve(&path, name, any, 8080);
        }
        network
    }
}

/// Answers each connection and datagram with the server's name and the client's address. The threads end with the test.
fn serve(netns: &Path, name: &str, any: &str, port: u16) {
    let any = (any, port);
    let listener = netns::run_in(netns, || TcpListener::bind(any)).expect("namespace").expect("bind");
    let socket = netns::run_in(netns, || UdpSocket::bind(any)).expect("namespace").expect("bind");
    let (name, udp_name) = (name.to_owned(), name.to_owned());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let peer = stream.peer_addr().expect("a peer").ip().to_canonical();
            let _ = stream.write_all(format!("{name} {peer}").as_bytes());
        }
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(format!("{udp_name} {}", peer.ip().to_canonical()).as_bytes(), peer);
        }
    });
}

/// What a server says to a client in a namespace.
pub fn try_ask(netns: &Path, server: &str) -> std::io::Result<String> {
    let server: SocketAddr = server.parse().expect("an address and port");
    let answer = netns::run_in(netns, || {
        let mut stream = TcpStream::connect_timeout(&server, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    });
    answer.expect("namespace")
}

/// A UDP client that keeps its port.
pub struct UdpClient(UdpSocket);

impl UdpClient {
    pub fn new(netns: &Path) -> Self {
        Self::new_on(netns, "0.0.0.0:0")
    }

    pub fn new_on(netns: &Path, address: &str) -> Self {
        let socket = netns::run_in(netns, || UdpSocket::bind(address)).expect("namespace").expect("bind");
        socket.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        Self(socket)
    }

    pub fn ask(&self, server: &str) -> std::io::Result<String> {
        self.0.send_to(b"?", server)?;
        let mut buffer = [0; 64];
        let (read, _) = self.0.recv_from(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..read]).into_owned())
    }
}

/// A service `default/<name>` with one port 80 of both TCP and UDP, whose spec is extended by `spec`.
pub fn service(name: &str, cluster_ip: &str, spec: Value) -> Service {
    let mut document = json!({
        "metadata": {"namespace": "default", "name": name},
        "spec": {
            "clusterIP": cluster_ip, "clusterIPs": [cluster_ip],
            "ports": [
                {"name": "tcp", "port": 80, "protocol": "TCP"},
                {"name": "udp", "port": 80, "protocol": "UDP"},
            ],
        },
    });
    if let Some(ingress) = spec.get("ingress") {
        document["status"]["loadBalancer"]["ingress"] = ingress.clone();
    }
    for (field, value) in spec.as_object().into_iter().flatten().filter(|(field, _)| *field != "ingress") {
        document["spec"][field] = value.clone();
    }
    serde_json::from_value(document).expect("a service")
}

/// One endpoint: its address, node and state (`ready`, `terminating`, `gone` for not even serving).
pub fn slice(service: &str, endpoints: &[(&str, &str, &str)]) -> EndpointSlice {
    let endpoint = |(ip, node, state): &(&str, &str, &str)| {
        json!({"addresses": [ip], "nodeName": node, "conditions": {
            "ready": *state == "ready",
            "serving": *state != "gone",
            "terminating": *state != "ready",
        }})
    };
    let document = json!({
        "metadata": {
            "namespace": "default", "name": format!("{service}-1"),
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": if endpoints.iter().any(|(ip, ..)| ip.contains(':')) { "IPv6" } else { "IPv4" },
        "endpoints": endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": [
            {"name": "tcp", "port": 8080, "protocol": "TCP"},
            {"name": "udp", "port": 8080, "protocol": "UDP"},
        ],
    });
    serde_json::from_value(document).expect("a slice")
}
