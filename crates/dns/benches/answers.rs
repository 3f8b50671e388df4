//! How many answers a second one client with 64 questions in flight gets: `cargo bench -p skiff-dns`.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use base::Env;
use client::Informer;
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use k8s_openapi::api::core::v1::Service;
use serde_json::json;
use skiff_dns::{Config, Dns, Upstream};

const SERVICES: usize = 5000;
const IN_FLIGHT: usize = 64;
const TIME: Duration = Duration::from_secs(3);

fn main() {
    let services = Informer::<Service>::detached();
    for number in 0..SERVICES {
        let ip = format!("10.43.{}.{}", number / 250, number % 250 + 1);
        let spec = json!({"clusterIP": ip, "ports": [{"name": "http", "port": 80}]});
        let document = json!({"metadata": {"namespace": "default", "name": format!("s{number}")}, "spec": spec});
        services.apply(serde_json::from_value(document).expect("a service"));
    }
    let config = Config {
        cluster_domain: "cluster.local".to_owned(),
        cluster_dns: Vec::new(),
        listen: vec![([127, 0, 0, 1], 0).into()],
        upstream: Upstream::Servers(Vec::new()),
        keep_service: false,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let build = Dns::from_informers(config, Env::system(), services, Informer::detached(), Informer::detached());
    let dns = build.expect("build");
    let address = dns.local_addrs()[0];
    let (trigger, drain) = base::drain();
    // One thread serves, this one asks: the figure is that of one core.
    let server = std::thread::spawn(move || runtime.block_on(dns.run(drain)));
    let rate = measure(address);
    println!("bench: dns.answers {rate:.0} /s");
    trigger.drain();
    server.join().expect("the server").expect("no failure");
}

fn measure(address: std::net::SocketAddr) -> f64 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    socket.connect(address).expect("connect");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    let questions: Vec<Vec<u8>> = (0..SERVICES).map(question).collect();
    let mut buffer = [0; 512];
    let (mut sent, mut answered) = (0, 0u32);
    let mut send = || {
        socket.send(&questions[sent % SERVICES]).expect("send");
        sent += 1;
    };
    (0..IN_FLIGHT).for_each(|_| send());
    let started = Instant::now();
    while started.elapsed() < TIME {
        // A lost packet is replaced by a new question.
        if let Ok(read) = socket.recv(&mut buffer)
            && buffer[3] & 0xf == 0
            && read > 0
        {
            answered += 1;
        }
        send();
    }
    f64::from(answered) / started.elapsed().as_secs_f64()
}

fn question(number: usize) -> Vec<u8> {
    let id = u16::try_from(number).expect("small");
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    let name = Name::from_ascii(format!("s{number}.default.svc.cluster.local.")).expect("a name");
    message.add_query(Query::query(name, RecordType::A));
    message.to_vec().expect("encode")
}
