//! The server over real sockets: UDP and TCP, forwarding, caching, and from a pod of a real network.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base::{Env, Tasks};
use client::Informer;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;
use skiff_dns::{BuildError, Config, Dns, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

const WITHIN: Duration = Duration::from_secs(5);

/// A server on a port of its own, and the informers that it follows.
struct Server {
    address: SocketAddr,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    trigger: base::DrainTrigger,
    tasks: Tasks,
}

fn config(upstream: Vec<SocketAddr>) -> Config {
    Config {
        cluster_domain: "cluster.local".to_owned(),
        cluster_dns: Vec::new(),
        listen: vec![([127, 0, 0, 1], 0).into()],
        upstream: Upstream::Servers(upstream),
        keep_service: false,
    }
}

impl Server {
    fn start(config: Config) -> Self {
        let (services, slices, namespaces) = (Informer::detached(), Informer::detached(), Informer::detached());
        services.apply(service("web", json!({"clusterIP": "10.43.0.7"})));
        services.apply(service("other", json!({"type": "ExternalName", "externalName": "Example.com"})));
        services
            .apply(service("inner", json!({"type": "ExternalName", "externalName": "web.default.svc.cluster.local"})));
        Self::with(config, services, slices, namespaces).expect("build")
    }

    fn with(
        config: Config,
        services: Informer<Service>,
        slices: Informer<EndpointSlice>,
        namespaces: Informer<Namespace>,
    ) -> Result<Self, BuildError> {
        let dns = Dns::from_informers(config, Env::system(), services.clone(), slices.clone(), namespaces)?;
        let address = dns.local_addrs()[0];
        let (trigger, drain) = base::drain();
        let mut tasks = Tasks::new();
        tasks.spawn_fallible("dns", dns.run(drain));
        Ok(Self { address, services, slices, trigger, tasks })
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Message {
        ask_udp(self.address, &request(name, kind)).await
    }

    /// The code and the answers as text.
    async fn text(&self, name: &str, kind: RecordType) -> String {
        text(&self.ask(name, kind).await)
    }

    /// Asks until the answer is the expected one.
    async fn wait_for(&self, name: &str, kind: RecordType, expected: &str) {
        let mut last = String::new();
        let asked = tokio::time::timeout(WITHIN, async {
            while last != expected {
                last = self.text(name, kind).await;
            }
        });
        assert!(asked.await.is_ok(), "{name}: {last:?} instead of {expected:?}");
    }

    async fn stop(self) {
        self.trigger.drain();
        let failures = self.tasks.shutdown(WITHIN).await;
        assert!(failures.is_empty(), "{failures:?}");
    }
}

fn service(name: &str, spec: serde_json::Value) -> Service {
    let document = json!({"metadata": {"namespace": "default", "name": name}, "spec": spec});
    serde_json::from_value(document).expect("a service")
}

fn request(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    message
}

fn text(message: &Message) -> String {
    let record = |record: &Record| match &record.data {
        RData::A(ip) => ip.to_string(),
        RData::CNAME(name) => format!("{} -> {name}", record.name),
        other => format!("{other:?}"),
    };
    let code = message.metadata.response_code;
    let code = if code == ResponseCode::NoError { String::new() } else { format!("{code}: ") };
    format!("{code}{}", message.answers.iter().map(record).collect::<Vec<_>>().join(", "))
}

async fn ask_udp(server: SocketAddr, request: &Message) -> Message {
    let bytes = ask_bytes(server, &request.to_vec().expect("encode")).await;
    Message::from_vec(&bytes).expect("decode")
}

async fn ask_bytes(server: SocketAddr, request: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("0.0.0.0:0").await.expect("bind");
    socket.connect(server).await.expect("connect");
    let mut buffer = vec![0; 65535];
    let read = tokio::time::timeout(WITHIN, async {
        socket.send(request).await.expect("send");
        socket.recv(&mut buffer).await.expect("receive")
    });
    let read = read.await.expect("an answer");
    buffer.truncate(read);
    buffer
}

async fn ask_tcp(server: SocketAddr, requests: &[Message]) -> Vec<Message> {
    let mut stream = TcpStream::connect(server).await.expect("connect");
    let mut answers = Vec::new();
    for request in requests {
        let bytes = request.to_vec().expect("encode");
        stream.write_u16(u16::try_from(bytes.len()).expect("short")).await.expect("write");
        stream.write_all(&bytes).await.expect("write");
    }
    for _ in requests {
        let mut buffer = vec![0; usize::from(stream.read_u16().await.expect("read"))];
        stream.read_exact(&mut buffer).await.expect("read");
        answers.push(Message::from_vec(&buffer).expect("decode"));
    }
    answers
}

/// An upstream resolver: `big.test` has so many records that UDP is too small, `none.test` does not exist, everything
/// else is 192.0.2.1. Counts the questions.
async fn upstream(tasks: &mut Tasks) -> (SocketAddr, Arc<AtomicUsize>) {
    fn reply(bytes: &[u8], over_udp: bool) -> Vec<u8> {
        let request = Message::from_vec(bytes).expect("decode");
        let name = request.queries[0].name().clone();
        let mut message = Message::response(request.metadata.id, OpCode::Query);
        message.queries.clone_from(&request.queries);
        let data = |n: u8| Record::from_rdata(name.clone(), 300, RData::A(A([192, 0, 2, n].into())));
        match name.to_ascii().as_str() {
            "big.test." if over_udp => message.metadata.truncation = true,
            "big.test." => message.answers = (0..200).map(data).collect(),
            "none.test." => message.metadata.response_code = ResponseCode::NXDomain,
            _ => message.answers = vec![data(1)],
        }
        message.to_vec().expect("encode")
    }
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        // Another test may have the same port for TCP.
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("an address")).await {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().expect("an address");
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tasks.spawn("upstream", async move {
        let mut buffer = [0; 4096];
        loop {
            tokio::select! {
                received = udp.recv_from(&mut buffer) => {
                    let (read, client) = received.expect("receive");
                    counted.fetch_add(1, Ordering::SeqCst);
                    udp.send_to(&reply(&buffer[..read], true), client).await.expect("send");
                }
                accepted = tcp.accept() => {
                    let (mut stream, _) = accepted.expect("accept");
                    let mut request = vec![0; usize::from(stream.read_u16().await.expect("read"))];
                    stream.read_exact(&mut request).await.expect("read");
                    let bytes = reply(&request, false);
                    stream.write_u16(u16::try_from(bytes.len()).expect("short")).await.expect("write");
                    stream.write_all(&bytes).await.expect("write");
                }
            }
        }
    });
    (address, count)
}

#[tokio::test]
async fn the_cluster_is_answered_over_udp_and_tcp_and_follows_changes() {
    let server = Server::start(config(Vec::new()));
    server.wait_for("web.default.svc.cluster.local.", RecordType::A, "10.43.0.7").await;
    let answer = server.ask("Web.Default.svc.cluster.local.", RecordType::A).await;
    assert!(answer.metadata.authoritative && answer.metadata.recursion_available);
    assert_eq!((answer.metadata.id, answer.answers[0].ttl), (4711, 5));
    assert_eq!(answer.answers[0].name.to_ascii(), "Web.Default.svc.cluster.local.");
    let missing = server.ask("nothing.default.svc.cluster.local.", RecordType::A).await;
    assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(missing.authorities[0].record_type(), RecordType::SOA);
    let no_data = server.ask("web.default.svc.cluster.local.", RecordType::AAAA).await;
    assert_eq!((text(&no_data).as_str(), no_data.authorities.len()), ("", 1));
    assert_eq!(
        server.text("inner.default.svc.cluster.local.", RecordType::A).await,
        "inner.default.svc.cluster.local. -> web.default.svc.cluster.local., 10.43.0.7"
    );
    let twice = [request("web.default.svc.cluster.local.", RecordType::A), request("x.cluster.local.", RecordType::A)];
    let answers: Vec<_> = ask_tcp(server.address, &twice).await.iter().map(text).collect();
    assert_eq!(answers, ["10.43.0.7", "Non-Existent Domain: "]);
    server.services.apply(service("web", json!({"clusterIP": "10.43.0.8"})));
    server.wait_for("web.default.svc.cluster.local.", RecordType::A, "10.43.0.8").await;
    server.services.remove(service("web", json!({})));
    server.wait_for("web.default.svc.cluster.local.", RecordType::A, "Non-Existent Domain: ").await;
    server.stop().await;
}

#[tokio::test]
async fn large_answers_are_cut_for_udp_and_whole_over_tcp() {
    let server = Server::start(config(Vec::new()));
    let endpoints: Vec<_> = (0..100).map(|n| json!({"addresses": [format!("10.42.0.{n}")]})).collect();
    let slice = json!({
        "metadata": {"namespace": "default", "name": "many", "labels": {"kubernetes.io/service-name": "many"}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [],
    });
    server.slices.apply(serde_json::from_value(slice).expect("a slice"));
    server.services.apply(service("many", json!({"clusterIP": "None"})));
    let mut question = request("many.default.svc.cluster.local.", RecordType::A);
    let whole = async {
        loop {
            let answer = ask_tcp(server.address, std::slice::from_ref(&question)).await.remove(0);
            if answer.answers.len() == 100 {
                return answer.metadata.truncation;
            }
        }
    };
    assert!(!tokio::time::timeout(WITHIN, whole).await.expect("all endpoints"));
    let plain = ask_bytes(server.address, &question.to_vec().expect("encode")).await;
    assert!(plain.len() <= 512);
    let plain = Message::from_vec(&plain).expect("decode");
    assert!(plain.metadata.truncation && !plain.answers.is_empty() && plain.edns.is_none());
    let mut edns = Edns::new();
    edns.set_max_payload(4096).set_version(0);
    question.set_edns(edns);
    let bytes = ask_bytes(server.address, &question.to_vec().expect("encode")).await;
    let extended = Message::from_vec(&bytes).expect("decode");
    assert!(bytes.len() <= 1232 && extended.answers.len() > plain.answers.len());
    assert_eq!(extended.edns.map(|edns| edns.max_payload()), Some(1232));
    server.stop().await;
}

#[tokio::test]
async fn other_names_are_forwarded_and_remembered() {
    let mut tasks = Tasks::new();
    let (address, count) = upstream(&mut tasks).await;
    // The first upstream resolver is dead: nobody has this port.
    let dead = ([127, 0, 0, 1], 1).into();
    let server = Server::start(config(vec![dead, address]));
    assert_eq!(server.text("example.com.", RecordType::A).await, "192.0.2.1");
    assert_eq!(server.text("EXAMPLE.com.", RecordType::A).await, "192.0.2.1");
    assert_eq!(count.load(Ordering::SeqCst), 1, "the second answer is remembered");
    server.wait_for("web.default.svc.cluster.local.", RecordType::A, "10.43.0.7").await;
    assert_eq!(
        server.text("other.default.svc.cluster.local.", RecordType::A).await,
        "other.default.svc.cluster.local. -> Example.com., 192.0.2.1"
    );
    assert_eq!(server.text("none.test.", RecordType::A).await, "Non-Existent Domain: ");
    let big = ask_tcp(server.address, &[request("big.test.", RecordType::A)]).await.remove(0);
    assert_eq!(big.answers.len(), 200);
    server.stop().await;
}

#[test]
fn any_port_is_free_for_both_protocols() {
    use network::netns;

    let directory = tempfile::tempdir().expect("a directory");
    let namespace = directory.path().join("crowded");
    netns::create(&namespace).expect("a namespace (run as root)");
    let bind_often = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            // The kernel has eight ports to choose from, and every other is taken for TCP only.
            std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40007").expect("the range of ports");
            let mut taken = Vec::new();
            for port in (40000..40008u16).step_by(2) {
                taken.push(TcpListener::bind(("127.0.0.1", port)).await.expect("a free port"));
            }
            for _ in 0..20 {
                let server = Server::start(config(Vec::new()));
                assert_eq!(server.address.port() % 2, 1);
                server.stop().await;
            }
        });
    };
    netns::run_in(&namespace, bind_often).expect("in the namespace");
    netns::remove(&namespace).expect("remove the namespace");
}

/// A socket that passes each request on to a server that is named later, and its answer back.
async fn relay(tasks: &mut Tasks) -> (SocketAddr, tokio::sync::oneshot::Sender<SocketAddr>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
    let address = socket.local_addr().expect("an address");
    let (sender, target) = tokio::sync::oneshot::channel();
    tasks.spawn("relay", async move {
        let Ok(target) = target.await else { return };
        let mut clients = std::collections::HashMap::new();
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let id = [buffer[0], buffer[1]];
            if from != target {
                clients.insert(id, from);
            }
            let to = if from == target { clients.get(&id).copied() } else { Some(target) };
            if let Some(to) = to {
                socket.send_to(&buffer[..length], to).await.expect("relay");
            }
        }
    });
    (address, sender)
}

#[tokio::test]
async fn a_loop_of_forwarders_ends() {
    // Two servers that forward to each other, one of them through a relay, as its address is known only then.
    let mut tasks = Tasks::new();
    let (between, target) = relay(&mut tasks).await;
    let first = Server::start(config(vec![between]));
    let second = Server::start(config(vec![first.address]));
    target.send(second.address).expect("the relay waits");
    let answer = first.text("example.com.", RecordType::A).await;
    assert_eq!(answer, "Server Failure: ");
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn without_upstream_resolvers_other_names_fail() {
    let server = Server::start(config(Vec::new()));
    assert_eq!(server.text("example.com.", RecordType::A).await, "Server Failure: ");
    server.stop().await;
}

#[tokio::test]
async fn nonsense_is_refused_and_does_no_harm() {
    let server = Server::start(config(Vec::new()));
    let garbage = ask_bytes(server.address, &[0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xff]).await;
    assert_eq!((&garbage[..2], garbage[3] & 0xf), ([0x12, 0x34].as_slice(), 1), "FORMERR");
    let mut notify = request("cluster.local.", RecordType::SOA);
    notify.metadata.op_code = OpCode::Notify;
    assert_eq!(ask_udp(server.address, &notify).await.metadata.response_code, ResponseCode::NotImp);
    let transfer = request("cluster.local.", RecordType::AXFR);
    assert_eq!(ask_udp(server.address, &transfer).await.metadata.response_code, ResponseCode::Refused);
    // A response is not answered, or two servers could keep each other busy.
    let mut response = Message::response(1, OpCode::Query);
    response.add_answer(Record::from_rdata(Name::root(), 0, RData::TXT(TXT::new(vec!["x".to_owned()]))));
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
    socket.send_to(&response.to_vec().expect("encode"), server.address).await.expect("send");
    server.wait_for("web.default.svc.cluster.local.", RecordType::A, "10.43.0.7").await;
    assert!(socket.try_recv(&mut [0; 16]).is_err());
    server.stop().await;
}

#[test]
fn pods_reach_the_cluster_dns_address_through_their_gateway() {
    use network::{Attach, PodNetwork, netns};

    let directory = tempfile::tempdir().expect("a directory");
    let host = directory.path().join("host");
    netns::create(&host).expect("a namespace (run as root)");
    let instance = base::Instance::new(directory.path().join("data"), directory.path().join("run"));
    let net = |text: &str| text.parse().expect("a network");
    let pod = netns::directory(&instance).join("pod");
    netns::create(&pod).expect("a namespace");
    let on_host = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let config = network::Config {
                instance: instance.clone(),
                cluster_cidrs: vec![net("10.42.0.0/16")],
                service_cidrs: vec![net("10.43.0.0/16")],
                mtu: Some(1500),
            };
            let network = PodNetwork::open(config).await.expect("open");
            network.set_pod_cidrs(vec![net("10.42.0.0/24")]).await.expect("set pod CIDRs");
            let attach = Attach { sandbox_id: "pod".to_owned(), netns: pod.clone(), host_ports: Vec::new() };
            network.attach(attach).await.expect("attach");
            let cluster_dns: Vec<IpAddr> = vec!["10.43.0.10".parse().expect("an address")];
            let server = Server::start(Config { cluster_dns, listen: Vec::new(), ..config_of_pods() });
            let socket = netns::run_in(&pod, || std::net::UdpSocket::bind("0.0.0.0:0")).expect("pod").expect("bind");
            socket.set_nonblocking(true).expect("nonblocking");
            let socket = UdpSocket::from_std(socket).expect("a socket");
            socket.connect("10.43.0.10:53").await.expect("connect");
            let question = request("web.default.svc.cluster.local.", RecordType::A).to_vec().expect("encode");
            let answered = tokio::time::timeout(WITHIN, async {
                loop {
                    socket.send(&question).await.expect("send");
                    let mut buffer = [0; 512];
                    let read = socket.recv(&mut buffer).await.expect("an answer from the address that was asked");
                    let text = text(&Message::from_vec(&buffer[..read]).expect("decode"));
                    if text == "10.43.0.7" {
                        return;
                    }
                }
            });
            answered.await.expect("the service's address");
            server.stop().await;
            let addresses = network::netlink::Socket::open().and_then(|mut socket| socket.addresses()).expect("list");
            assert!(addresses.iter().all(|address| address.net.addr().to_string() != "10.43.0.10"), "{addresses:?}");
        });
    };
    netns::run_in(&host, on_host).expect("the host");
    netns::remove(&pod).expect("remove");
    netns::remove(&host).expect("remove");
}

fn config_of_pods() -> Config {
    config(Vec::new())
}
