//! Fifteen years of a cluster's keys, on a clock that the test moves: every certificate is issued anew time and again,
//! every authority has its successors and the first ones end, and no request fails.
//!
//! The API server, its controllers and a node that has joined are those of production, and speak TLS over connections of
//! this machine. Time stands still while they do; it passes in steps, as on a machine that sleeps.

use std::future::ready;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::Env;
use client::Source;
use controllers::{ControllerManager, Signer};
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use jiff::SignedDuration;
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, ServiceAccount};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use pki::{Authorities, Clock, JoinRole, JoinToken, Presenter, Trust};
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use testkit::Cluster;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;

use super::handed_out::HandedOut;
use super::join::{self, Joined, server};
use super::renewal::{ClientRenewal, ServingRenewal, client_of};
use crate::supervise::Parts;

const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const DAY: Duration = Duration::from_secs(24 * 3600);
const STEP: Duration = Duration::from_secs(28 * 24 * 3600);
const STEPS: u32 = 15 * 365 / 28 + 1;
/// What is left of each certificate after a step: kubelets ask in the last tenth of a year at the latest.
const LEFT: SignedDuration = SignedDuration::from_hours(24 * 7);
/// The same of authorities, which live ten years and have successors after two thirds.
const AUTHORITIES_LEFT: SignedDuration = SignedDuration::from_hours(24 * 365 * 3);
/// How long anything may take, by the machine's clock.
const DEADLINE: Duration = Duration::from_secs(60);
/// What passes while something is waited for.
const TICK: Duration = Duration::from_millis(10);

/// Those that have to do with keys.
const CONTROLLERS: [&str; 4] = [
    "certificatesigningrequest-approving-controller",
    "certificatesigningrequest-signing-controller",
    "certificatesigningrequest-cleaner-controller",
    "root-ca-certificate-publisher-controller",
];

/// Time that passes only when the test says so.
struct Time {
    _held: std::sync::mpsc::Sender<()>,
}

impl Time {
    /// Of a paused clock, which would jump to the next timer whenever everybody waits for a connection, were it not for a
    /// thread that is busy.
    fn stand_still() -> Self {
        let (held, dropped) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || dropped.recv());
        Self { _held: held }
    }

    /// Lets time pass at once, after whatever can be done without.
    async fn pass(&self, time: Duration) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        tokio::time::advance(time).await;
    }

    /// Lets time pass while somebody works.
    async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let (began, mut work) = (Instant::now(), pin!(work));
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.pass(TICK) => assert!(began.elapsed() < DEADLINE, "work never ended"),
            }
        }
    }

    /// Lets time pass until something is there.
    async fn until<T>(&self, what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = found().await {
                return found;
            }
            assert!(began.elapsed() < DEADLINE, "never came: {what}");
            self.pass(100 * TICK).await;
        }
    }
}

/// The control plane, and what it hands out.
struct ControlPlane {
    cluster: Cluster,
    authorities: Authorities,
    pki_dir: PathBuf,
    kubeconfig: PathBuf,
    token: PathBuf,
}

impl ControlPlane {
    async fn start(home: &Path, parts: &mut Parts) -> Self {
        let (kubeconfig, token) = (home.join("admin.kubeconfig"), home.join("token"));
        // It begins on this day, which is the one that servers of HTTP put into the head of every answer, and which
        // machines that join compare with their own.
        let env = Env::simulated(Env::system().now(), 1);
        let mut made = None;
        let cluster = Cluster::start_with(env.clone(), |config| {
            let authorities = Authorities::load_or_create(&config.pki_dir, &env).expect("authorities");
            let ca = authorities.server.certificate_pem();
            config.authorities = Some(authorities.clone());
            config.join_token = JoinToken::load_or_create(&token, JoinRole::Server, &ca, None, &env).ok();
            config.certificate_files.kubelet_ca = Some(config.pki_dir.join("ca.crt"));
            made = Some((authorities, config.pki_dir.clone()));
        })
        .await;
        let (authorities, pki_dir) = made.expect("it was configured");
        let config = controllers::Config {
            controllers: CONTROLLERS.map(str::to_owned).to_vec(),
            signer: Some(Signer::new(&authorities)),
            root_ca: Some(authorities.server.subscribe()),
            ..controllers::Config::default()
        };
        let client = cluster.client_of("system:kube-controller-manager", &[]);
        let manager = ControllerManager::build(config, client, cluster.accounts(), cluster.informers.clone());
        parts.spawn("controllers", manager.expect("a valid configuration").run(parts.drain()));
        let handed_out = HandedOut {
            clients: authorities.client.clone(),
            server_authorities: authorities.server.subscribe(),
            server: cluster.url(),
            kubeconfig: kubeconfig.clone(),
            token: token.clone(),
            env,
        };
        handed_out.write_kubeconfig().expect("a writable directory");
        parts.spawn("handed out files", handed_out.run(parts.drain()));
        Self { cluster, authorities, pki_dir, kubeconfig, token }
    }

    fn env(&self) -> &Env {
        &self.cluster.env
    }

    /// A client as a kubeconfig says.
    async fn client(&self, kubeconfig: &Path) -> kube::Client {
        client::connect(Source::Kubeconfig(kubeconfig.to_owned()), "test", self.env()).await.expect("a client")
    }

    /// Joins the cluster with the token of this day.
    async fn join(&self, dir: &Path, node: &str, time: &Time) -> Joined {
        let token = std::fs::read_to_string(&self.token).expect("readable");
        let (url, token) = (self.cluster.url(), token.trim());
        time.during(join::join(dir, &url, token, node, self.env())).await.expect("it joins")
    }

    /// Makes a token of the account `web` for so long.
    async fn token(&self, admin: &kube::Client, lifetime: Duration) -> String {
        let seconds = i64::try_from(lifetime.as_secs()).expect("some years");
        let spec = TokenRequestSpec { expiration_seconds: Some(seconds), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), "default");
        let issued = accounts.create_token_request("web", &PostParams::default(), &request).await;
        issued.expect("a token").status.expect("with a status").token
    }

    /// Who somebody is that believes what is published to pods and shows a token.
    async fn user_of(&self, admin: &kube::Client, token: &str) -> Option<String> {
        let published = Api::<ConfigMap>::namespaced(admin.clone(), "default").get("kube-root-ca.crt").await;
        let ca = published.expect("it is published").data.expect("with data").remove("ca.crt");
        let client =
            server::connect(&self.cluster.url(), ca.as_deref(), Some(token), self.env()).await.expect("a client");
        let review = Api::all(client).create(&PostParams::default(), &SelfSubjectReview::default()).await;
        review.expect("answered").status?.user_info?.username
    }

    /// Whether extension API servers believe who asks them, by what is published for them.
    async fn is_front_proxy_believed(&self, admin: &kube::Client) -> bool {
        let published = Api::<ConfigMap>::namespaced(admin.clone(), "kube-system");
        let published = published.get("extension-apiserver-authentication").await.expect("it is published");
        let ca = published.data.expect("with data").remove("requestheader-client-ca-file").expect("an authority");
        let shown = std::fs::read_to_string(self.pki_dir.join("front-proxy-client.crt")).expect("readable");
        believes(&Trust::new(&ca).expect("authorities"), &chain(&shown), self.env())
    }
}

fn chain(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().expect("PEM")
}

fn believes(trust: &Trust, chain: &[CertificateDer<'_>], env: &Env) -> bool {
    let [leaf, intermediates @ ..] = chain else { return false };
    trust.verify_client_cert(leaf, intermediates, Clock::now(env)).is_ok()
}

/// A server in the place of a kubelet's, which shows what that one shows and believes whom that one believes.
async fn kubelet(parts: &mut Parts, presenter: Arc<Presenter>, clients: Arc<Trust>, env: &Env) -> u16 {
    let listener = TcpListener::bind((LOCALHOST, 0)).await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let tls = Arc::new(edge::server_config(presenter, &edge::TlsSettings::default(), env).expect("a certificate"));
    let limits = edge::ConnectionLimits::default();
    let edge = edge::Edge { listener, tls, limits, grace: Duration::ZERO, env: env.clone() };
    let env = env.clone();
    let welcome = move |client: edge::Client| {
        let (clients, env) = (clients.clone(), env.clone());
        move |_: http::Request<Incoming>| {
            let is_believed = believes(&clients, &client.certificates, &env);
            let status = if is_believed { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
            let answer = Response::builder().status(status).body(Full::new(Bytes::from_static(b"ok")));
            ready(answer.expect("an answer"))
        }
    };
    parts.spawn_endless("kubelet", edge.serve(welcome, parts.drain()));
    port
}

/// A node that has joined, with what keeps its certificates.
struct Member {
    client: kube::Client,
    joined: Joined,
    dir: PathBuf,
}

impl Member {
    async fn start(plane: &ControlPlane, dir: &Path, parts: &mut Parts, time: &Time) -> Self {
        let joined = plane.join(dir, "n2", time).await;
        let client = plane.client(&joined.kubeconfig).await;
        let renewal = ClientRenewal::new(client.clone(), &joined, plane.env()).expect("credentials");
        parts.spawn_endless("the node's credentials", renewal.run(parts.drain()));
        let ips = [LOCALHOST];
        let presenter = ServingRenewal::start(parts, client.clone(), dir, ("n2", &ips), plane.env()).expect("one");
        let clients = join::follow_authorities(parts, &joined.client_ca_file, plane.env()).expect("authorities");
        let port = kubelet(parts, presenter, clients, plane.env()).await;
        let node = testkit::node("n2").with(|node| node.metadata.uid = None).build();
        let nodes: Api<Node> = Api::all(client.clone());
        nodes.create(&PostParams::default(), &node).await.expect("it is the node");
        let status = json!({"status": {
            "addresses": [{"type": "InternalIP", "address": LOCALHOST}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        }});
        nodes.patch_status("n2", &PatchParams::default(), &Patch::Merge(&status)).await.expect("its status");
        Self { client, joined, dir: dir.to_owned() }
    }
}

/// A watch that began on the first day, over a connection of its own.
struct Watched {
    lines: Lines<BufReader<ReadHalf<TlsStream<TcpStream>>>>,
    _write: WriteHalf<TlsStream<TcpStream>>,
}

impl Watched {
    async fn start(plane: &ControlPlane, token: &str) -> Self {
        let tls = pki::tls_client(plane.env()).expect("versions").dangerous();
        let tls = tls.with_custom_certificate_verifier(plane.authorities.server.trust()).with_no_client_auth();
        let address = plane.cluster.url().trim_start_matches("https://").to_owned();
        let stream = TcpStream::connect(&address).await.expect("it listens");
        let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
        let stream = connector.connect(LOCALHOST.into(), stream).await.expect("secured");
        let (read, mut write) = tokio::io::split(stream);
        let seconds = 20 * 365 * DAY.as_secs();
        let path = format!("/api/v1/namespaces/default/configmaps?watch=1&resourceVersion=0&timeoutSeconds={seconds}");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n");
        write.write_all(request.as_bytes()).await.expect("written");
        Self { lines: BufReader::new(read).lines(), _write: write }
    }

    /// Reads on until a text comes.
    async fn until(&mut self, text: &str) {
        while !self.lines.next_line().await.expect("the watch goes on").expect("the watch goes on").contains(text) {}
    }
}

/// What is shown and believed, and whether it is good for a while.
struct Shown(Vec<String>);

impl Shown {
    fn now(plane: &ControlPlane, member: &Member) -> Option<Self> {
        let own = ["apiserver", "apiserver-kubelet-client", "front-proxy-client"];
        let files = own.iter().map(|name| plane.pki_dir.join(name).with_extension("crt"));
        let files = files.chain([member.dir.join("kubelet-serving.crt")]);
        let mut all: Vec<String> = files.map(|path| std::fs::read_to_string(path).ok()).collect::<Option<_>>()?;
        for kubeconfig in [&plane.kubeconfig, &member.joined.kubeconfig] {
            all.push(client_of(kubeconfig).ok()?.certificate);
        }
        Some(Self(all))
    }

    fn left(pem: &str, env: &Env) -> Option<SignedDuration> {
        Some(pki::inspect(pem).ok()?.first()?.not_after.duration_since(env.now()))
    }

    /// All that there is, if nothing of it ends soon.
    fn fresh(plane: &ControlPlane, member: &Member) -> Option<Self> {
        let shown = Self::now(plane, member)?;
        let is_fresh = |pem: &String| Self::left(pem, plane.env()).is_some_and(|left| left > LEFT);
        let authorities = plane.authorities.all().map(|authority| authority.certificate_pem());
        let have_time = |pem: &String| Self::left(pem, plane.env()).is_some_and(|left| left > AUTHORITIES_LEFT);
        let is_told = std::fs::read_to_string(&member.joined.ca_file).ok()? == authorities[0];
        (shown.0.iter().all(is_fresh) && authorities.iter().all(have_time) && is_told).then_some(shown)
    }
}

/// Approves whatever serving certificates are asked for, as an administrator's own controller would.
async fn approve(admin: &kube::Client) {
    let requests: Api<CertificateSigningRequest> = Api::all(admin.clone());
    let approval = json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "Test"}]}});
    for request in requests.list(&ListParams::default()).await.expect("listed").items {
        let is_open = request.status.as_ref().is_none_or(|status| status.conditions.is_none());
        if let (true, Some(name)) = (is_open, request.metadata.name) {
            let patched = requests.patch_approval(&name, &PatchParams::default(), &Patch::Merge(&approval)).await;
            patched.expect("approved");
        }
    }
}

/// The requests of one step, none of which may fail.
struct Requests<'a> {
    plane: &'a ControlPlane,
    member: &'a Member,
    admin: &'a kube::Client,
    /// A token of the first day that is good for all the years.
    early_token: &'a str,
}

impl Requests<'_> {
    async fn make(&self, step: u32, watched: &mut Watched) {
        let Self { plane, member, admin, early_token } = self;
        Api::<Namespace>::all((*admin).clone()).get("default").await.expect("the administrator reads");
        Api::<Node>::all(member.client.clone()).get("n2").await.expect("the node reads itself");
        let asked = http::Request::get("/api/v1/nodes/n2/proxy/healthz").body(Vec::new()).expect("a request");
        assert_eq!(admin.request_text(asked).await.expect("the kubelet answers"), "ok");
        let token = plane.token(admin, Duration::from_secs(3600)).await;
        for token in [early_token, token.as_str()] {
            let user = plane.user_of(admin, token).await;
            assert_eq!(user.as_deref(), Some("system:serviceaccount:default:web"));
        }
        assert!(plane.is_front_proxy_believed(admin).await, "extension API servers believe the server");
        let maps: Api<ConfigMap> = Api::namespaced((*admin).clone(), "default");
        let patch = Patch::Merge(json!({"data": {"step": format!("step-{step}-")}}));
        maps.patch("steps", &PatchParams::default(), &patch).await.expect("written");
        watched.until(&format!("step-{step}-")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_request_fails_in_fifteen_years() {
    let (time, home, mut parts) = (Time::stand_still(), tempfile::tempdir().expect("a directory"), Parts::new());
    let plane = ControlPlane::start(home.path(), &mut parts).await;
    let admin = plane.client(&plane.kubeconfig).await;
    let account = testkit::object::<ServiceAccount>("default/web").with(|made| made.metadata.uid = None).build();
    let map = testkit::object::<ConfigMap>("default/steps").with(|made| made.metadata.uid = None).build();
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), "default");
    time.until("the namespace", async || accounts.create(&PostParams::default(), &account).await.ok()).await;
    let maps: Api<ConfigMap> = Api::namespaced(admin.clone(), "default");
    maps.create(&PostParams::default(), &map).await.expect("created");
    let subject = json!({"kind": "ServiceAccount", "namespace": "default", "name": "web"});
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"});
    let binding = json!({"metadata": {"name": "web"}, "roleRef": role, "subjects": [subject]});
    let binding = serde_json::from_value(binding).expect("a binding");
    let bindings: Api<RoleBinding> = Api::namespaced(admin.clone(), "default");
    bindings.create(&PostParams::default(), &binding).await.expect("created");
    time.until("the authority in the namespace", async || maps.get("kube-root-ca.crt").await.ok()).await;
    let member = Member::start(&plane, &home.path().join("n2"), &mut parts, &time).await;
    let fresh = async || {
        approve(&admin).await;
        Shown::fresh(&plane, &member)
    };
    let mut shown = time.until("the first certificates", &fresh).await;
    let early_token = plane.token(&admin, 16 * 365 * DAY).await;
    let mut watched = Watched::start(&plane, &early_token).await;

    let requests = Requests { plane: &plane, member: &member, admin: &admin, early_token: &early_token };
    let first = plane.authorities.all().map(|authority| authority.certificates().remove(0));
    let mut renewals = vec![0; shown.0.len()];
    for step in 0..STEPS {
        requests.make(2 * step, &mut watched).await;
        time.pass(STEP).await;
        // As it is after the machine's sleep, and once all is renewed that was due.
        time.pass(Duration::ZERO).await;
        requests.make(2 * step + 1, &mut watched).await;
        let fresh = time.until("certificates that last", &fresh).await;
        for (count, (before, now)) in renewals.iter_mut().zip(shown.0.iter().zip(&fresh.0)) {
            *count += u32::from(before != now);
        }
        shown = fresh;
    }
    assert!(renewals.iter().all(|count| *count > 14), "{renewals:?}");
    for (authority, first) in plane.authorities.all().into_iter().zip(&first) {
        let trusted = authority.certificates();
        assert!(
            !trusted.contains(first) && trusted.len() == 2,
            "{}: two successors, of which both are good",
            authority.name()
        );
    }
}
