//! What a quiet user notices of another's flood, with priority and fairness and without:
//! `cargo bench -p skiff-apiserver --bench fairness`.
//!
//! A server over a datastore in memory serves HTTPS. Some users read at a steady pace, one of them is measured, and one
//! floods it from many connections as fast as it is answered. Each has threads of its own, as on machines of their own;
//! all share the processors, so that times are upper bounds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base::{Drain, Env, Tasks};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::{Value, json};
use skiff_apiserver::{ApiServer, Config, Identity, InProcess};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower::Service;

/// How long each part is measured.
const MEASURED: Duration = Duration::from_secs(5);
/// The connections of the flood.
const FLOOD: usize = 512;
/// The users that read at a steady pace, and the time from one of their requests to the next: 10,000 requests a second.
const USERS: usize = 40;
const PACE: Duration = Duration::from_millis(4);
/// How many objects a list has.
const OBJECTS: usize = 50;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

fn main() {
    for is_fair in [true, false] {
        let way = if is_fair { "fair" } else { "unfair" };
        let server = Server::start(is_fair);
        if is_fair {
            report("fairness.alone", &server.measure(0));
        }
        report(&format!("fairness.{way}"), &server.measure(FLOOD));
    }
}

fn report(name: &str, seen: &Seen) {
    let mut times = seen.times.clone();
    times.sort_by(f64::total_cmp);
    let quantile = |part: f64| times[((times.len() - 1) as f64 * part).round() as usize];
    println!("bench: {name}.quiet.p50 {:.1} ms", quantile(0.5));
    println!("bench: {name}.quiet.p99 {:.1} ms", quantile(0.99));
    println!("bench: {name}.served {:.0} requests/s", seen.served as f64 / MEASURED.as_secs_f64());
    println!("bench: {name}.refused {:.0} requests/s", seen.refused as f64 / MEASURED.as_secs_f64());
    assert_eq!(seen.quiet_refused, 0, "the quiet user is never turned away");
}

/// What the clients saw.
struct Seen {
    /// The quiet user's times, in milliseconds.
    times: Vec<f64>,
    served: usize,
    refused: usize,
    quiet_refused: usize,
}

/// Counts of all clients.
#[derive(Default)]
struct Counts {
    is_over: AtomicBool,
    /// The connections of the flood that are open: opening them is work too, but none that is measured here.
    connected: AtomicUsize,
    served: AtomicUsize,
    refused: AtomicUsize,
}

/// A server with threads of its own.
struct Server {
    address: SocketAddr,
    tls: TlsConnector,
    /// Its end ends the server.
    _trigger: base::DrainTrigger,
    _dir: tempfile::TempDir,
}

impl Server {
    fn start(is_fair: bool) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let tokens = dir.path().join("tokens");
        let users = (0..USERS).map(|user| format!("user-{user}")).chain(["flood".to_owned()]);
        let lines: String = users.map(|user| format!("{user},{user},{user},readers\n")).collect();
        std::fs::write(&tokens, lines).expect("written");
        let mut config = Config::new(dir.path());
        config.bind_address = [127, 0, 0, 1].into();
        config.secure_port = 0;
        config.token_auth_file = Some(tokens);
        config.priority_and_fairness = is_fair;
        let server = ApiServer::build(config, Arc::new(store::Memory::new()), Env::system()).expect("a server");
        let (address, service) = (server.local_address(), server.service(Identity::admin()));
        let (trigger, drain) = base::drain();
        std::thread::spawn(move || serve(server, drain));
        let authority = pki::Authority::load_or_create(dir.path(), "ca", &Env::system()).expect("an authority");
        let tls = TlsConnector::from(Arc::new(trusting(&authority.certificate_pem())));
        single().block_on(fill(&service));
        Self { address, tls, _trigger: trigger, _dir: dir }
    }

    /// Reads for a while beside a flood.
    fn measure(&self, flood: usize) -> Seen {
        let counts = Arc::new(Counts::default());
        std::thread::scope(|scope| {
            scope.spawn(|| single().block_on(self.flood(flood, &counts)));
            let others = (1..USERS).map(|user| self.pace(format!("user-{user}"), &counts));
            scope.spawn(|| single().block_on(futures::future::join_all(others)));
            let (times, quiet_refused) = single().block_on(async {
                while counts.connected.load(Ordering::Relaxed) < flood {
                    tokio::time::sleep(PACE).await;
                }
                tokio::time::sleep(MEASURED / 5).await;
                counts.served.store(0, Ordering::Relaxed);
                counts.refused.store(0, Ordering::Relaxed);
                let over = async {
                    tokio::time::sleep(MEASURED).await;
                    counts.is_over.store(true, Ordering::Relaxed);
                };
                futures::future::join(self.pace("user-0".to_owned(), &counts), over).await.0
            });
            let number = |count: &AtomicUsize| count.load(Ordering::Relaxed);
            Seen { times, served: number(&counts.served), refused: number(&counts.refused), quiet_refused }
        })
    }

    async fn flood(&self, connections: usize, counts: &Counts) {
        let mut open = Vec::new();
        for number in 0..connections {
            open.push((number, self.connect().await));
            counts.connected.fetch_add(1, Ordering::Relaxed);
        }
        let each = open.into_iter().map(async |(number, mut connection)| {
            let path = if number % 4 == 0 { MAPS.to_owned() } else { format!("{MAPS}/map-{}", number % OBJECTS) };
            while !counts.is_over.load(Ordering::Relaxed) {
                counts.count(get(&mut connection, &path, "flood").await);
            }
        });
        futures::future::join_all(each).await;
    }

    /// Reads at a steady pace; the times, and how often it was turned away.
    async fn pace(&self, user: String, counts: &Counts) -> (Vec<f64>, usize) {
        let mut connection = self.connect().await;
        let (mut times, mut refused) = (Vec::new(), 0);
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !counts.is_over.load(Ordering::Relaxed) {
            pace.tick().await;
            let began = Instant::now();
            let status = get(&mut connection, &format!("{MAPS}/map-1"), &user).await;
            times.push(began.elapsed().as_secs_f64() * 1e3);
            counts.count(status);
            refused += usize::from(status == 429);
        }
        (times, refused)
    }

    async fn connect(&self) -> SendRequest<Empty<Bytes>> {
        let stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.set_nodelay(true).expect("TCP has the option");
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = self.tls.connect(name, stream).await.expect("secured");
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
        tokio::spawn(async move {
            // It ends with the connection, whichever side closes it.
            let _ = connection.await;
        });
        sender
    }
}

impl Counts {
    fn count(&self, status: u16) {
        let count = match status {
            200 => &self.served,
            429 => &self.refused,
            other => panic!("answered {other}"),
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

async fn get(connection: &mut SendRequest<Empty<Bytes>>, path: &str, user: &str) -> u16 {
    let request = Request::get(path).header("host", "localhost").header("authorization", format!("Bearer {user}"));
    connection.ready().await.expect("the connection is open");
    let request = request.body(Empty::new()).expect("a request");
    let answer = connection.send_request(request).await.expect("it answers");
    let status = answer.status().as_u16();
    answer.into_body().collect().await.expect("the answer is whole");
    status
}

fn single() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn serve(server: ApiServer, drain: Drain) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut tasks = Tasks::new();
        tasks.spawn_fallible("API server", server.run(drain));
        if let Some((_, Err(failure))) = tasks.join_next().await {
            panic!("{failure}");
        }
    });
}

fn trusting(ca_pem: &str) -> rustls::ClientConfig {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).expect("PEM")).expect("an authority");
    rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Makes what is read, and lets everybody read it.
async fn fill(service: &InProcess) {
    let binding = json!({
        "metadata": {"name": "readers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "readers"}],
    });
    // The first roles take a moment.
    while post(service, &format!("{RBAC}/clusterrolebindings"), &binding).await != 201 {
        tokio::task::yield_now().await;
    }
    for number in 0..OBJECTS {
        let map = json!({"metadata": {"name": format!("map-{number}")}, "data": {"text": "x".repeat(1024)}});
        while post(service, MAPS, &map).await != 201 {
            tokio::task::yield_now().await;
        }
    }
}

async fn post(service: &InProcess, path: &str, body: &Value) -> u16 {
    let request = Request::post(path).header("content-type", "application/json");
    let request = request.body(Full::new(Bytes::from(body.to_string()))).expect("a request");
    let answer = service.clone().call(request).await.unwrap_or_else(|never| match never {});
    answer.status().as_u16()
}
