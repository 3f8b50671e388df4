//! The peer: an etcd of one member on this machine, durable as it is by default, asked over gRPC on the loopback
//! interface as an API server asks it: connections are kept open and requests share them.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base::Env;
use tempfile::TempDir;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

const START_DEADLINE: Duration = Duration::from_secs(20);

/// `etcdserverpb.PutRequest`, as far as it is needed.
#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `etcdserverpb.RangeRequest`, for one key.
#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

/// An answer that nobody reads.
#[derive(Clone, PartialEq, prost::Message)]
struct Answer {}

/// A running etcd. Dropping it ends it and removes its data.
pub struct Etcd {
    child: Child,
    endpoint: Endpoint,
    /// How the figures name it.
    pub name: String,
    _dir: TempDir,
}

impl Etcd {
    /// Starts it; nothing where it is not installed.
    pub async fn start(env: &Env) -> Option<Self> {
        let version = Command::new("etcd").arg("--version").output().ok()?;
        let version = String::from_utf8_lossy(&version.stdout).into_owned();
        let version = version.lines().next().and_then(|line| line.rsplit(' ').next()).unwrap_or_default().to_owned();
        let dir = TempDir::new().expect("a directory can be made");
        let [clients, peers] = [free_port(), free_port()].map(|port| format!("http://127.0.0.1:{port}"));
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(dir.path());
        command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
        command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        command.args(["--initial-cluster", &format!("default={peers}")]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let endpoint = Endpoint::from_shared(clients).expect("an address");
        let etcd = Self { child, endpoint, name: format!("etcd {version} over gRPC"), _dir: dir };
        let began = Instant::now();
        while !etcd.serves().await {
            assert!(began.elapsed() < START_DEADLINE, "etcd does not serve");
            env.sleep(Duration::from_millis(50)).await;
        }
        Some(etcd)
    }

    async fn serves(&self) -> bool {
        match self.endpoint.connect().await {
            Ok(channel) => Client(Grpc::new(channel)).try_put("start".to_owned(), Vec::new()).await.is_ok(),
            Err(_) => false,
        }
    }

    /// A connection.
    pub async fn connect(&self) -> Client {
        Client(Grpc::new(self.endpoint.connect().await.expect("etcd serves")))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection to etcd; clones share it.
#[derive(Clone)]
pub struct Client(Grpc<Channel>);

impl Client {
    /// Writes a value; it is on the disk when this returns.
    pub async fn put(&mut self, key: String, value: &[u8]) {
        self.try_put(key, value.to_vec()).await.expect("etcd writes");
    }

    async fn try_put(&mut self, key: String, value: Vec<u8>) -> Result<(), tonic::Status> {
        self.call("/etcdserverpb.KV/Put", PutRequest { key: key.into_bytes(), value }).await
    }

    /// Reads a value, linearizably.
    pub async fn get(&mut self, key: String) {
        self.call("/etcdserverpb.KV/Range", RangeRequest { key: key.into_bytes() }).await.expect("etcd reads");
    }

    async fn call<M>(&mut self, method: &'static str, message: M) -> Result<(), tonic::Status>
    where
        M: prost::Message + Send + Sync + 'static,
    {
        self.0.ready().await.map_err(|err| tonic::Status::unavailable(err.to_string()))?;
        let codec = ProstCodec::<M, Answer>::default();
        let path = http::uri::PathAndQuery::from_static(method);
        self.0.unary(tonic::Request::new(message), path, codec).await.map(drop)
    }
}

/// A port that nobody listens on just now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    listener.local_addr().expect("it is bound").port()
}
