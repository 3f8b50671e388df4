//! A cluster in this process: the real API server over a datastore in memory, and clients without sockets.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apiserver::{ApiServer, Identity, InProcess};
use base::{Drain, DrainTrigger, Env, Tasks};
use client::{Accounts, Informers};
use pki::jwt::SigningKey;
use pki::kubeconfig::Kubeconfig;
use pki::{Authorities, IssueRequest, ServiceAccountKeys, Usage};
use store::Store;

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
    service: InProcess,
    drain: Drain,
    port: u16,
    store: Arc<dyn Store>,
    _trigger: DrainTrigger,
    directory: tempfile::TempDir,
}

impl Cluster {
    /// Starts a cluster whose wall clock begins at [`crate::epoch`] and follows tokio's, which a test may pause.
    pub async fn start() -> Self {
        Self::start_in(Env::simulated(crate::epoch(), 1)).await
    }

    /// The same with other time and randomness: clients by HTTPS need a clock that agrees with their own.
    pub async fn start_in(env: Env) -> Self {
        Self::start_with(env, |_| {}).await
    }

    /// The same with a changed configuration.
    pub async fn start_with(env: Env, change: impl FnOnce(&mut apiserver::Config)) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self::start_on(Arc::new(store::Memory::new()), directory, env, change).await
    }

    /// Ends this cluster at once, and starts another on what it has stored.
    pub async fn restart_with(self, change: impl FnOnce(&mut apiserver::Config)) -> Self {
        let Self { store, directory, env, tasks, _trigger: trigger, .. } = self;
        drop((tasks, trigger));
        Self::start_on(store, directory, env, change).await
    }

    async fn start_on(
        store: Arc<dyn Store>,
        directory: tempfile::TempDir,
        env: Env,
        change: impl FnOnce(&mut apiserver::Config),
    ) -> Self {
        let mut config = apiserver::Config::new(directory.path());
        config.bind_address = IpAddr::from([127, 0, 0, 1]);
        config.secure_port = 0;
        change(&mut config);
        let server = ApiServer::build(config, store.clone(), env.clone()).expect("an API server");
        let client = connect(&server, Identity::new("admin", &["system:masters"]));
        let joining = connect(&server, Identity::new("system:bootstrap:abcdef", &["system:bootstrappers"]));
        let service = server.service(Identity::new("admin", &["system:masters"]));
        let port = server.local_address().port();
        let (trigger, drain) = base::drain();
        let mut tasks = Tasks::new();
        let (server_drain, informers_drain) = (drain.clone(), drain.clone());
        tasks.spawn_fallible("API server", server.run(server_drain));
        let informers = Informers::new(client.clone(), env.clone());
        let running = informers.clone();
        tasks.spawn_fallible("informers", async move { running.run(informers_drain).await });
        Self { client, joining, informers, env, tasks, service, drain, port, store, _trigger: trigger, directory }
    }

    /// What the API server has stored.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Where clients come by HTTPS.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The cluster's authorities, as another process finds them.
    pub fn authorities(&self) -> Authorities {
        Authorities::load_or_create(self.directory.path(), &self.env).expect("the cluster's own")
    }

    /// What signs the tokens of service accounts.
    pub fn service_account_keys(&self) -> ServiceAccountKeys {
        let signing = SigningKey::load(&self.directory.path().join("sa.key")).expect("the cluster's own");
        ServiceAccountKeys::new(signing, Vec::new())
    }

    /// Writes a kubeconfig of an administrator, for clients that come by HTTPS.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_of("admin", &["system:masters"])
    }

    /// Writes a kubeconfig of a user, in place of the one that was written before.
    pub fn kubeconfig_of(&self, user: &str, groups: &[&str]) -> PathBuf {
        let authorities = self.authorities();
        let request = IssueRequest {
            common_name: user.to_owned(),
            organizations: groups.iter().map(|group| (*group).to_owned()).collect(),
            dns_names: Vec::new(),
            ips: Vec::new(),
            usage: Usage::Client,
            validity: Duration::from_secs(3600),
        };
        let client = authorities.client.issue(&request).expect("a certificate");
        let path = self.directory.path().join("admin.kubeconfig");
        let (server, certificate_authority) = (self.url(), authorities.server.certificate_pem());
        let kubeconfig = Kubeconfig {
            server: &server,
            certificate_authority: &certificate_authority,
            name: "test",
            client: &client,
        };
        kubeconfig.write(&path).expect("a writable directory");
        path
    }

    /// Clients that act as accounts of `kube-system`.
    pub fn accounts(&self) -> Accounts {
        let service = self.service.clone();
        Accounts::InProcess(Arc::new(move |account| {
            client::in_process_service(service.acting_as(Identity::service_account("kube-system", account)))
        }))
    }

    /// A client that acts as somebody else.
    pub fn client_of(&self, user: &str, groups: &[&str]) -> kube::Client {
        let service = self.service.acting_as(Identity::new(user, groups));
        client::in_process(client::in_process_service(service), "test")
    }

    /// The signal that fires when the cluster is dropped.
    pub fn drain(&self) -> Drain {
        self.drain.clone()
    }
}

fn connect(server: &ApiServer, identity: Identity) -> kube::Client {
    client::in_process(client::in_process_service(server.service(identity)), "test")
}
