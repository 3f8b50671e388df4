//! A server over a datastore in memory, and a client of its in-process service.

use std::net::{IpAddr, UdpSocket};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base::{DrainTrigger, Env, Tasks};
use bytes::Bytes;
use futures::FutureExt;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use skiff_apiserver::{ApiServer, Config, Identity, InProcess};
use tokio::net::TcpStream;
use tower::Service;

/// An address of this machine that is not its loopback: those are out of a proxy's reach.
pub fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent; the system only says which address it would send from.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// A running server. It ends when this is dropped.
pub struct Cluster {
    client: Client,
    _tasks: Tasks,
    _trigger: DrainTrigger,
    dir: tempfile::TempDir,
    store: Arc<dyn store::Store>,
    url: String,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    status: u16,
    body: Value,
    warnings: Vec<String>,
}

impl Answer {
    /// The headers `Warning`.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The body, or all that came where it is no JSON.
    pub fn body(&self) -> &Value {
        &self.body
    }

    /// The body, if the status is the expected one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }
}

/// The key of service account tokens, which takes a while to make.
static SIGNING_KEY: LazyLock<String> = LazyLock::new(|| pki::jwt::SigningKey::generate_pem().expect("random numbers"));

/// How long anything may take.
pub const DEADLINE: Duration = Duration::from_secs(60);

impl Cluster {
    /// Starts a server and waits until the namespace `default` is there.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts a server whose configuration is changed.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        Self::start_on(Arc::new(store::Memory::new()), dir, change).await
    }

    /// Ends this server and starts another on what it has stored.
    pub async fn restart(self) -> Self {
        self.restart_with(|_| {}).await
    }

    /// The same, with a changed configuration.
    pub async fn restart_with(self, change: impl FnOnce(&mut Config)) -> Self {
        let Self { store, dir, _tasks: tasks, _trigger: trigger, .. } = self;
        drop((tasks, trigger));
        Self::start_on(store, dir, change).await
    }

    /// What the server has stored.
    pub fn store(&self) -> &dyn store::Store {
        &*self.store
    }

    /// Starts a server on a datastore.
    pub async fn start_on(
        store: Arc<dyn store::Store>,
        dir: tempfile::TempDir,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let key = dir.path().join("sa.key");
        if !key.exists() {
            pki::write_private(&key, &SIGNING_KEY).expect("written");
        }
        let mut config = Config::new(dir.path());
        config.bind_address = [127, 0, 0, 1].into();
        config.secure_port = 0;
        change(&mut config);
        let server = ApiServer::build(config, store.clone(), Env::system()).expect("it builds");
        let service = server.service(Identity::admin());
        let url = format!("https://{}", server.local_address());
        let (trigger, drain) = base::drain();
        let mut tasks = Tasks::new();
        tasks.spawn_fallible("api server", server.run(drain));
        let cluster = Self { client: Client { service }, _tasks: tasks, _trigger: trigger, dir, store, url };
        cluster.eventually("/api/v1/namespaces/default").await;
        cluster
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("https://")
    }

    /// A kubeconfig for a user of this cluster.
    pub fn kubeconfig(&self, user: &str, groups: &[&str]) -> String {
        self.kubeconfig_by(self.dir.path(), user, groups)
    }

    /// A kubeconfig with a client certificate of another CA.
    pub fn foreign_kubeconfig(&self) -> String {
        let other = tempfile::tempdir().expect("a directory");
        self.kubeconfig_by(other.path(), "system:admin", &["system:masters"])
    }

    fn kubeconfig_by(&self, ca: &std::path::Path, user: &str, groups: &[&str]) -> String {
        let (own, client) = self.issue(ca, user, groups);
        pki::kubeconfig::Kubeconfig {
            server: &self.url,
            certificate_authority: &own.certificate_pem(),
            name: "test",
            client: &client,
        }
        .to_yaml()
    }

    /// This cluster's authority, and a client's certificate of the authority in `ca`.
    fn issue(&self, ca: &std::path::Path, user: &str, groups: &[&str]) -> (pki::Authority, pki::KeyPairPem) {
        let own = pki::Authority::load_or_create(self.dir.path(), "ca", &Env::system()).expect("an authority");
        (own, issue((ca, "client-ca"), user, groups))
    }

    /// A connection that is secured and shows who the user is.
    pub async fn connect(&self, user: &str, groups: &[&str]) -> Secured {
        self.secured(Some(issue((self.dir.path(), "client-ca"), user, groups)), &[]).await
    }

    /// The same with a certificate of the authority `ca` in another directory.
    pub async fn connect_by(&self, dir: &std::path::Path, user: &str, groups: &[&str]) -> Secured {
        self.secured(Some(issue((dir, "ca"), user, groups)), &[]).await
    }

    /// The same for HTTP/2.
    pub async fn connect_http2(&self, user: &str, groups: &[&str]) -> Secured {
        self.secured(Some(issue((self.dir.path(), "client-ca"), user, groups)), &["h2"]).await
    }

    /// A connection of a front proxy of that name.
    pub async fn connect_front_proxy(&self, name: &str) -> Secured {
        self.secured(Some(issue((self.dir.path(), "front-proxy-ca"), name, &[])), &[]).await
    }

    /// A connection that shows no certificate.
    pub async fn connect_anonymous(&self) -> Secured {
        self.secured(None, &[]).await
    }

    async fn secured(&self, client: Option<pki::KeyPairPem>, protocols: &[&str]) -> Secured {
        let stream = TcpStream::connect(self.address()).await.expect("it listens");
        self.secure(stream, client, protocols).await.expect("secured")
    }

    /// Secures a connection, which the server may end.
    pub async fn secure(
        &self,
        stream: TcpStream,
        client: Option<pki::KeyPairPem>,
        protocols: &[&str],
    ) -> std::io::Result<Secured> {
        use rustls_pki_types::pem::PemObject;
        use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
        let own = pki::Authority::load_or_create(self.dir.path(), "ca", &Env::system()).expect("an authority");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(own.certificates().remove(0)).expect("an authority");
        let config = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match client {
            Some(client) => {
                let chain = CertificateDer::pem_slice_iter(client.certificate.as_bytes());
                let chain = chain.collect::<Result<_, _>>().expect("PEM");
                let key = PrivateKeyDer::from_pem_slice(client.key.as_bytes()).expect("PEM");
                config.with_client_auth_cert(chain, key).expect("a certificate with its key")
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("localhost").expect("a name");
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// The answer over a connection to a request that is sent as it is written, without what any client would mend.
    pub async fn raw(&self, mut connection: Secured, request: &str) -> Answer {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        // Who is refused early may not hear all of it.
        let _ = connection.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(DEADLINE, connection.read_to_end(&mut answer)).await.expect("in time");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        let warnings = head.lines().filter_map(|line| line.strip_prefix("warning: ")).map(str::to_owned).collect();
        let body = serde_json::from_str(body).unwrap_or_else(|_| Value::String(answer.clone()));
        Answer { status, body, warnings }
    }

    /// The directory of the keys.
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// The keys of service account tokens.
    pub fn keys(&self) -> pki::ServiceAccountKeys {
        let signing = pki::jwt::SigningKey::load(&self.dir.path().join("sa.key")).expect("a key");
        pki::ServiceAccountKeys::new(signing, Vec::new())
    }

    /// Requests that somebody else makes.
    pub fn as_user(&self, user: &str, groups: &[&str]) -> Client {
        Client { service: self.client.service.acting_as(Identity::new(user, groups)) }
    }
}

impl std::ops::Deref for Cluster {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// A secured connection.
pub type Secured = tokio_rustls::client::TlsStream<TcpStream>;

/// A client's certificate of the authority of that name in a directory.
fn issue((dir, authority): (&std::path::Path, &str), user: &str, groups: &[&str]) -> pki::KeyPairPem {
    let request = pki::IssueRequest {
        common_name: user.to_owned(),
        organizations: groups.iter().map(|group| (*group).to_owned()).collect(),
        dns_names: Vec::new(),
        ips: Vec::new(),
        usage: pki::Usage::Client,
        validity: Duration::from_secs(3600),
    };
    let issuer = pki::Authority::load_or_create(dir, authority, &Env::system()).expect("an authority");
    issuer.issue(&request).expect("a certificate")
}

/// Makes requests as somebody.
pub struct Client {
    service: InProcess,
}

impl Client {
    /// Asks until the answer has the status, for what holds a moment after a write.
    pub async fn eventually_answers(&self, path: &str, status: u16) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while self.get(path).await.status != status {
            assert!(tokio::time::Instant::now() < deadline, "{path} never answered {status}");
            tokio::task::yield_now().await;
        }
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: Option<Value>,
    ) -> Response<skiff_apiserver::Body> {
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        self.request(method, path, &[("content-type", content_type)], bytes).await
    }

    /// The answer to a request, its body still to come.
    pub async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response<skiff_apiserver::Body> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        let answered = tokio::time::timeout(DEADLINE, self.service.clone().call(request)).await;
        answered.expect("in time").unwrap_or_else(|never| match never {})
    }

    /// The status of the answer to a request whose body breaks off.
    pub async fn broken(&self, method: &str, path: &str, sent: &'static str) -> u16 {
        let pieces = futures::stream::iter([
            Ok(http_body::Frame::data(Bytes::from_static(sent.as_bytes()))),
            Err(std::io::Error::other("the client is gone")),
        ]);
        let request = Request::builder().method(method).uri(path).body(http_body_util::StreamBody::new(pieces));
        let answered = self.service.clone().call(request.expect("a request")).await;
        answered.unwrap_or_else(|never| match never {}).status().as_u16()
    }

    /// The answer to a request whose body never ends.
    pub async fn pending(&self, method: &str, path: &str) -> Answer {
        let pieces = futures::stream::pending::<Result<http_body::Frame<Bytes>, std::io::Error>>();
        let request = Request::builder().method(method).uri(path).body(http_body_util::StreamBody::new(pieces));
        let answered = self.service.clone().call(request.expect("a request"));
        let answered = tokio::time::timeout(DEADLINE, answered).await.expect("in time");
        Self::read(answered.unwrap_or_else(|never| match never {})).await
    }

    /// A request whose body never ends, until this is dropped.
    pub fn held(&self, method: &str, path: &str) -> Tasks {
        let pieces = futures::stream::pending::<Result<http_body::Frame<Bytes>, std::io::Error>>();
        let request = Request::builder().method(method).uri(path).body(http_body_util::StreamBody::new(pieces));
        let answered = self.service.clone().call(request.expect("a request"));
        let mut tasks = Tasks::new();
        tasks.spawn("a request", async move { drop(answered.await) });
        tasks
    }

    /// The answer to a GET, as soon as it has the status.
    pub async fn until_fetched(&self, path: &str, status: u16) -> Response<Bytes> {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let answer = self.fetch(path, &[]).await;
            if answer.status() == status {
                return answer;
            }
            assert!(tokio::time::Instant::now() < deadline, "{path} never answered {status}: {answer:?}");
            tokio::task::yield_now().await;
        }
    }

    /// Posts until the answer has the status.
    pub async fn until_posted(&self, path: &str, status: u16) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while self.request("POST", path, &[], Bytes::new()).await.status() != status {
            assert!(tokio::time::Instant::now() < deadline, "{path} never answered {status}");
            tokio::task::yield_now().await;
        }
    }

    /// The whole answer to a request: status, type of the content, and body.
    pub async fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> (u16, String, Bytes) {
        let response = self.request(method, path, headers, body).await;
        let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        let (status, content_type) = (response.status().as_u16(), content_type.unwrap_or_default().to_owned());
        let body = tokio::time::timeout(DEADLINE, response.into_body().collect()).await.expect("in time");
        (status, content_type, body.expect("a body").to_bytes())
    }

    /// What a GET with further headers answers: status, headers and the bytes of the body.
    pub async fn fetch(&self, path: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
        let (parts, body) = self.request("GET", path, headers, Bytes::new()).await.into_parts();
        let body = tokio::time::timeout(DEADLINE, body.collect()).await.expect("in time");
        Response::from_parts(parts, body.expect("a body").to_bytes())
    }

    async fn call(&self, method: &str, path: &str, content_type: &str, body: Option<Value>) -> Answer {
        Self::read(self.send(method, path, content_type, body).await).await
    }

    async fn read(response: Response<skiff_apiserver::Body>) -> Answer {
        let status = response.status().as_u16();
        let warnings = response.headers().get_all("warning").iter().filter_map(|value| value.to_str().ok());
        let warnings = warnings.map(str::to_owned).collect();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Answer { status, body, warnings }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, "application/json", None).await
    }

    /// The answer in the form that an `Accept` header asks for.
    pub async fn get_as(&self, path: &str, accept: &str) -> Answer {
        Self::read(self.request("GET", path, &[("accept", accept)], Bytes::new()).await).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, "application/json", Some(body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.call("PUT", path, "application/json", Some(body)).await
    }

    pub async fn patch(&self, path: &str, content_type: &str, body: Value) -> Answer {
        self.call("PATCH", path, content_type, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, "application/json", None).await
    }

    pub async fn delete_with(&self, path: &str, options: Value) -> Answer {
        self.call("DELETE", path, "application/json", Some(options)).await
    }

    /// The object at a path, as soon as it is there.
    pub async fn eventually(&self, path: &str) -> Value {
        self.eventually_with(path, |_| true).await
    }

    /// The object at a path, as soon as it is as wanted.
    pub async fn eventually_with(&self, path: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        self.poll(path, |answer| answer.status == 200 && is_wanted(&answer.body)).await.body
    }

    /// Waits until there is nothing at a path.
    pub async fn until_gone(&self, path: &str) {
        self.poll(path, |answer| answer.status == 404).await;
    }

    async fn poll(&self, path: &str, is_wanted: impl Fn(&Answer) -> bool) -> Answer {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let answer = self.get(path).await;
            if is_wanted(&answer) {
                return answer;
            }
            assert!(tokio::time::Instant::now() < deadline, "{path}: {answer:?}");
            tokio::task::yield_now().await;
        }
    }

    /// The answer to a GET, as soon as it is as wanted.
    pub async fn until(&self, path: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let Answer { status, body, .. } = self.get(path).await;
            if status == 200 && wanted(&body) {
                return body;
            }
            assert!(tokio::time::Instant::now() < deadline, "{path}: no {what}: {status} {body}");
            tokio::task::yield_now().await;
        }
    }

    /// Waits until a GET has this status.
    pub async fn until_status(&self, path: &str, wanted: u16) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let Answer { status, body, .. } = self.get(path).await;
            if status == wanted {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{path}: {status} {body}");
            tokio::task::yield_now().await;
        }
    }

    pub async fn watch(&self, path: &str) -> Watch {
        let response = self.send("GET", path, "application/json", None).await;
        assert_eq!(response.status(), 200);
        Watch { body: response.into_body(), rest: Vec::new() }
    }
}

/// A running watch.
pub struct Watch {
    body: skiff_apiserver::Body,
    rest: Vec<u8>,
}

impl Watch {
    /// The next events, each as its type and the object's name.
    pub async fn take(&mut self, count: usize) -> Vec<String> {
        let mut seen = Vec::new();
        while seen.len() < count {
            seen.push(self.next().await.expect("the watch goes on"));
        }
        seen
    }

    /// All events until the watch ends.
    pub async fn rest(mut self) -> Vec<String> {
        let mut seen = Vec::new();
        while let Some(event) = self.next().await {
            seen.push(event);
        }
        seen
    }

    /// Lets the watch find out that everything it had was taken.
    pub async fn settle(&mut self) {
        while self.body.frame().now_or_never().is_some() {}
    }

    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line).expect("a line is JSON");
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                return Some(format!("{} {}", text(&event["type"]), text(&event["object"]["metadata"]["name"])));
            }
            let frame = tokio::time::timeout(DEADLINE, self.body.frame()).await.expect("in time");
            let frame = frame?.expect("it does not break");
            self.rest.extend_from_slice(&frame.into_data().expect("data"));
        }
    }
}
