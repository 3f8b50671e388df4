//! A cluster in this process: the real API server over a datastore in memory, and clients without sockets.

use std::net::IpAddr;
use std::sync::Arc;

use apiserver::{ApiServer, Identity};
use base::{Drain, DrainTrigger, Env, Tasks};
use client::{Informers, Source};

/// A running API server with its informers. Dropping it ends everything.
pub struct Cluster {
    /// A client that may do everything.
    pub client: kube::Client,
    /// A client of a machine that joins the cluster.
    pub joining: kube::Client,
    /// Informers over `client`, running.
    pub informers: Informers,
    /// Clock and random numbers of the cluster.
    pub env: Env,
    /// What else runs in the cluster; its end is not looked at.
    pub tasks: Tasks,
    drain: Drain,
    _trigger: DrainTrigger,
    _directory: tempfile::TempDir,
}

impl Cluster {
    /// Starts a cluster whose wall clock begins at [`crate::epoch`] and follows tokio's, which a test may pause.
    pub async fn start() -> Self {
        let env = Env::simulated(crate::epoch(), 1);
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut config = apiserver::Config::new(directory.path());
        config.bind_address = IpAddr::from([127, 0, 0, 1]);
        config.secure_port = 0;
        let server = ApiServer::build(config, Arc::new(store::Memory::new()), env.clone()).expect("an API server");
        let client = connect(&server, Identity::new("admin", &["system:masters"])).await;
        let joining = connect(&server, Identity::new("system:bootstrap:abcdef", &["system:bootstrappers"])).await;
        let (trigger, drain) = base::drain();
        let mut tasks = Tasks::new();
        let (server_drain, informers_drain) = (drain.clone(), drain.clone());
        tasks.spawn_fallible("API server", server.run(server_drain));
        let informers = Informers::new(client.clone(), env.clone());
        let running = informers.clone();
        tasks.spawn_fallible("informers", async move { running.run(informers_drain).await });
        Self { client, joining, informers, env, tasks, drain, _trigger: trigger, _directory: directory }
    }

    /// The signal that fires when the cluster is dropped.
    pub fn drain(&self) -> Drain {
        self.drain.clone()
    }
}

async fn connect(server: &ApiServer, identity: Identity) -> kube::Client {
    client::connect(Source::in_process(server.service(identity))).await.expect("a client")
}
