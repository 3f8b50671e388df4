//! The pod network as the plugin of another container runtime asks for it: over the socket, in the real kernel.

use std::path::PathBuf;

use base::Env;
use cni::{Answer, Code, Command, NetworkConfig, PortMapping, Request, RuntimeConfig};
use skiff_network::netlink::Socket;
use skiff_network::{CniServer, Config, PodNetwork, netns};
use testkit::Host;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// A node whose network answers plugins.
struct Node<'a> {
    host: &'a Host,
    socket: PathBuf,
}

impl Node<'_> {
    fn request(&self, command: Command, pod: &str) -> Request {
        let mapped = PortMapping { host_port: 8080, container_port: 80, protocol: "TCP".to_owned(), host_ip: None };
        Request {
            command,
            container_id: pod.to_owned(),
            netns: Some(self.host.pod(pod)),
            if_name: "eth0".to_owned(),
            config: NetworkConfig {
                runtime_config: RuntimeConfig { port_mappings: vec![mapped] },
                ..NetworkConfig::default()
            },
        }
    }

    async fn ask(&self, request: &Request) -> Answer {
        let mut stream = UnixStream::connect(&self.socket).await.expect("it listens");
        stream.write_all(&serde_json::to_vec(request).expect("JSON")).await.expect("it reads");
        stream.shutdown().await.expect("the request ends");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("it answers");
        serde_json::from_slice(&answer).expect("an answer")
    }

    #[track_caller]
    fn check_failed(&self, answer: Answer, code: Code, part: &str) {
        let Answer::Failed(failure) = answer else { panic!("{answer:?}") };
        assert_eq!(failure.code, code);
        assert!(failure.message.contains(part), "{}", failure.message);
    }
}

/// Opens a node's network, serves it, and does something with it.
fn with_node(action: impl AsyncFnOnce(&Node<'_>, &PodNetwork) + Send) {
    let host = Host::new();
    host.run(async || {
        let nets = |text: &str| vec![text.parse().expect("a network")];
        let (cluster_cidrs, service_cidrs) = (nets("10.42.0.0/16"), nets("10.43.0.0/16"));
        let config = Config { instance: host.instance(), cluster_cidrs, service_cidrs, mtu: Some(1400) };
        let network = PodNetwork::open(config).await.expect("open");
        let socket = host.instance().run_dir().join("cni.sock");
        let server = CniServer::bind(&socket, network.clone(), Env::system()).expect("a socket");
        let (trigger, drain) = base::drain();
        let node = Node { host: &host, socket };
        let acting = async {
            action(&node, &network).await;
            trigger.drain();
        };
        tokio::join!(server.run(drain), acting);
    });
}

#[test]
fn a_pod_is_connected_looked_at_and_disconnected() {
    with_node(async |node, network| {
        let add = node.request(Command::Add, "a");
        netns::create(&node.host.pod("a")).expect("a namespace");
        node.check_failed(node.ask(&add).await, Code::TryAgainLater, "no pod CIDR is set");
        network.set_pod_cidrs(vec!["10.42.5.0/24".parse().expect("a network")]).await.expect("set pod CIDRs");

        let Answer::Connected(success) = node.ask(&add).await else { panic!("it is not connected") };
        assert_eq!(success.ips[0].address.to_string(), "10.42.5.2/32");
        assert_eq!(success.routes[0].gw.to_string(), "10.42.5.1");
        assert_eq!(success.interfaces[0].sandbox, node.host.pod("a").to_string_lossy());
        assert_eq!(node.ask(&node.request(Command::Check, "a")).await, Answer::Done);

        // The port of the node is the first pod's.
        netns::create(&node.host.pod("b")).expect("a namespace");
        node.check_failed(node.ask(&node.request(Command::Add, "b")).await, Code::Node, "host port 8080/tcp is in use");

        // Somebody has taken the interface away behind the node's back.
        netns::run_in(&node.host.pod("a"), || Socket::open().and_then(|mut socket| socket.delete_link("eth0")))
            .expect("a namespace")
            .expect("deleted");
        node.check_failed(node.ask(&node.request(Command::Check, "a")).await, Code::UnknownContainer, "not connected");

        // A runtime may ask again, and after the namespace is gone.
        netns::remove(&node.host.pod("a")).expect("removed");
        for _ in 0..2 {
            let gone = Request { netns: None, ..node.request(Command::Del, "a") };
            assert_eq!(node.ask(&gone).await, Answer::Done);
        }
        assert!(matches!(node.ask(&node.request(Command::Add, "b")).await, Answer::Connected(_)), "the port is free");
        node.ask(&node.request(Command::Del, "b")).await;
    });
}

#[test]
fn what_makes_no_sense_is_told() {
    with_node(async |node, network| {
        network.set_pod_cidrs(vec!["10.42.5.0/24".parse().expect("a network")]).await.expect("set pod CIDRs");
        let other = Request { if_name: "net1".to_owned(), ..node.request(Command::Add, "a") };
        node.check_failed(node.ask(&other).await, Code::InvalidConfig, "is eth0, not net1");
        let mut odd = node.request(Command::Add, "a");
        odd.config.runtime_config.port_mappings[0].protocol = "icmp".to_owned();
        node.check_failed(node.ask(&odd).await, Code::InvalidConfig, r#"protocol "icmp""#);
        node.check_failed(
            node.ask(&node.request(Command::Check, "a")).await,
            Code::UnknownContainer,
            "a is not connected",
        );
        assert_eq!(node.ask(&node.request(Command::Del, "never")).await, Answer::Done);

        let mut stream = UnixStream::connect(&node.socket).await.expect("it listens");
        stream.write_all(b"no request").await.expect("it reads");
        stream.shutdown().await.expect("it ends");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("it answers");
        let answer = serde_json::from_slice(&answer).expect("an answer");
        node.check_failed(answer, Code::Undecodable, "expected");
    });
}
