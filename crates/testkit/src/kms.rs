//! A key management plugin: gRPC on a unix socket, with keys in memory, that misbehaves on demand.
//!
//! Its messages are written down here a second time, so that a mistake in those of the server does not cancel out.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{DrainTrigger, Tasks};
use futures::future::BoxFuture;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

/// How long connections may take to end.
const DEADLINE: Duration = Duration::from_secs(30);

/// A running plugin. It ends when this is dropped.
pub struct KmsPlugin {
    socket: PathBuf,
    shared: Arc<Shared>,
    running: Option<(Tasks, DrainTrigger)>,
}

/// What a plugin says. Tests change it.
#[derive(Clone, Debug)]
pub struct Said {
    /// In `Status`.
    pub version: String,
    /// In `Status`.
    pub healthz: String,
    /// In `Status`.
    pub key_id: String,
    /// In `Encrypt`, where it is another than in `Status`.
    pub encrypts_with: Option<String>,
    /// In `Encrypt`.
    pub annotations: BTreeMap<String, Vec<u8>>,
    /// In `Encrypt` in place of what was encrypted.
    pub ciphertext: Option<Vec<u8>>,
    /// In `Decrypt` in place of what was decrypted.
    pub plaintext: Option<Vec<u8>>,
    /// To everything.
    pub failure: Option<Code>,
    /// It takes requests and never answers.
    pub is_stuck: bool,
}

#[derive(Default)]
struct Shared {
    said: Mutex<Said>,
    encrypted: AtomicUsize,
    decrypted: AtomicUsize,
}

impl Default for Said {
    fn default() -> Self {
        Self {
            version: "v2".to_owned(),
            healthz: "ok".to_owned(),
            key_id: "1".to_owned(),
            encrypts_with: None,
            annotations: [("kek.kms.example.com".to_owned(), b"local".to_vec())].into(),
            ciphertext: None,
            plaintext: None,
            failure: None,
            is_stuck: false,
        }
    }
}

impl KmsPlugin {
    /// Starts a plugin on a socket in a directory.
    pub fn start(dir: &Path) -> Self {
        let mut plugin = Self { socket: dir.join("kms.sock"), shared: Arc::default(), running: None };
        plugin.resume();
        plugin
    }

    /// What configurations name.
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Changes what it says.
    pub fn say(&self, change: impl FnOnce(&mut Said)) {
        change(&mut self.shared.said());
    }

    /// How often it has encrypted and decrypted.
    pub fn calls(&self) -> (usize, usize) {
        (self.shared.encrypted.load(Ordering::Relaxed), self.shared.decrypted.load(Ordering::Relaxed))
    }

    /// Ends it, with all connections.
    pub async fn stop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
        if let Some((tasks, trigger)) = self.running.take() {
            trigger.drain();
            tasks.shutdown(DEADLINE).await;
        }
    }

    /// Starts it again, with the same keys.
    pub fn resume(&mut self) {
        let listener = UnixListener::bind(&self.socket).expect("the socket is free");
        let (trigger, drain) = base::drain();
        let server = tonic::transport::Server::builder().add_service(Served(self.shared.clone()));
        let mut tasks = Tasks::new();
        tasks.spawn("key management plugin", async move {
            let incoming = UnixListenerStream::new(listener);
            server.serve_with_incoming_shutdown(incoming, drain.drained_owned()).await.expect("it serves");
        });
        self.running = Some((tasks, trigger));
    }
}

impl Shared {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it says, if it says anything.
    async fn answer(&self) -> Result<Said, Status> {
        let said = self.said().clone();
        if said.is_stuck {
            std::future::pending::<()>().await;
        }
        match said.failure {
            Some(code) => Err(Status::new(code, "as the test wants it")),
            None => Ok(said),
        }
    }

    async fn status(self: Arc<Self>, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let Said { version, healthz, key_id, .. } = self.answer().await?;
        Ok(Response::new(StatusResponse { version, healthz, key_id }))
    }

    async fn encrypt(self: Arc<Self>, request: Request<EncryptRequest>) -> Result<Response<EncryptResponse>, Status> {
        let EncryptRequest { plaintext, uid } = request.into_inner();
        let said = self.answer().await?;
        assert!(!uid.is_empty(), "requests are named");
        self.encrypted.fetch_add(1, Ordering::Relaxed);
        let key_id = said.encrypts_with.unwrap_or(said.key_id);
        let ciphertext = said.ciphertext.unwrap_or_else(|| scramble(&key_id, &plaintext));
        Ok(Response::new(EncryptResponse { ciphertext, key_id, annotations: said.annotations }))
    }

    async fn decrypt(self: Arc<Self>, request: Request<DecryptRequest>) -> Result<Response<DecryptResponse>, Status> {
        let request = request.into_inner();
        let said = self.answer().await?;
        assert!(!request.uid.is_empty(), "requests are named");
        self.decrypted.fetch_add(1, Ordering::Relaxed);
        if request.annotations != said.annotations {
            return Err(Status::invalid_argument("these are not the annotations that came with it"));
        }
        let plaintext = said.plaintext.unwrap_or_else(|| scramble(&request.key_id, &request.ciphertext));
        Ok(Response::new(DecryptResponse { plaintext }))
    }
}

/// Encrypts and decrypts, well enough to see that both were done with one key.
fn scramble(key_id: &str, text: &[u8]) -> Vec<u8> {
    text.iter().zip(key_id.bytes().cycle()).map(|(byte, key)| byte ^ key ^ 0xa5).collect()
}

/// The plugin as a service.
#[derive(Clone)]
struct Served(Arc<Shared>);

impl NamedService for Served {
    const NAME: &'static str = "v2.KeyManagementService";
}

impl Service<http::Request<Body>> for Served {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let shared = self.0.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/v2.KeyManagementService/Status" => {
                    let codec = ProstCodec::<StatusResponse, StatusRequest>::default();
                    Grpc::new(codec).unary(service_fn(move |request| shared.clone().status(request)), request).await
                }
                "/v2.KeyManagementService/Encrypt" => {
                    let codec = ProstCodec::<EncryptResponse, EncryptRequest>::default();
                    Grpc::new(codec).unary(service_fn(move |request| shared.clone().encrypt(request)), request).await
                }
                "/v2.KeyManagementService/Decrypt" => {
                    let codec = ProstCodec::<DecryptResponse, DecryptRequest>::default();
                    Grpc::new(codec).unary(service_fn(move |request| shared.clone().decrypt(request)), request).await
                }
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct StatusResponse {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    healthz: String,
    #[prost(string, tag = "3")]
    key_id: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct DecryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    key_id: String,
    #[prost(btree_map = "string, bytes", tag = "4")]
    annotations: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct DecryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct EncryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct EncryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(btree_map = "string, bytes", tag = "3")]
    annotations: BTreeMap<String, Vec<u8>>,
}
