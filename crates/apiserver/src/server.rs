//! The API server as a component: build, run, drain.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::{Drain, DrainTrigger, Env, TaskFailure, Tasks};
use edge::Edge;
use encryption::Encryption;
use pki::ServiceAccountKeys;
use pki::jwt::{SigningKey, SigningKeyError};
use store::{Store, Txn};
use tokio::sync::watch;

use crate::access::RemoteError;
use crate::access::authentication::Authenticator;
use crate::access::{Access, AuthenticationError, Authorities, AuthorizationError, Identity};
use crate::aggregation::{self, Aggregation};
use crate::allocation;
use crate::audit::{self, Audit};
use crate::bootstrap;
use crate::cache::Cache;
use crate::certificates::{AuthoritiesError, Certificates, Upkeep};
use crate::config::Config;
use crate::connect::{Dialer, FrontProxy};
use crate::definitions;
use crate::features;
use crate::flowcontrol::{self, FlowControl, InFlight, Limits};
use crate::https;
use crate::maintenance;
use crate::metrics::Metrics;
use crate::openapi::{self, OpenApi};
use crate::pipeline::{Core, InProcess};
use crate::registry::Registry;
use crate::storage::{Storage, Written};
use crate::tokens::TokenIssuer;
use crate::webhook::TlsError;

/// Why an API server could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A certificate authority could not be loaded or made.
    #[error(transparent)]
    Authority(#[from] pki::AuthorityError),
    /// A certificate could not be issued or used.
    #[error(transparent)]
    Certificate(#[from] pki::LeafError),
    /// A certificate in files cannot be presented.
    #[error(transparent)]
    CertificateFiles(#[from] pki::PairFilesError),
    /// The service account key could not be loaded or made.
    #[error(transparent)]
    ServiceAccountKey(#[from] SigningKeyError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The encryption at rest cannot be set up.
    #[error(transparent)]
    Encryption(#[from] encryption::LoadError),
    /// An authority of clients cannot be used.
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
    /// A way of authentication cannot be set up.
    #[error(transparent)]
    Authentication(#[from] AuthenticationError),
    /// The chain of authorizers cannot be set up.
    #[error(transparent)]
    Authorization(#[from] AuthorizationError),
    /// The server that is asked about images cannot be asked.
    #[error("admission plugin ImagePolicyWebhook: {0}")]
    ImagePolicy(#[source] RemoteError),
    /// The server that audit events go to cannot be asked.
    #[error("--audit-webhook-config-file: {0}")]
    AuditWebhook(#[source] RemoteError),
    /// The `kubernetes` Service would lead to an address of another family than its own.
    #[error(
        "the first network of Services, {services}, must be of the same family as the advertised address {advertised}"
    )]
    Families {
        /// The primary network of Services.
        services: ipnet::IpNet,
        /// Where other nodes reach this server.
        advertised: std::net::IpAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Why an API server stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A part of it ended early.
    #[error(transparent)]
    Task(#[from] TaskFailure),
    /// The datastore cannot be read or written.
    #[error("cannot open the datastore: {0}")]
    Datastore(String),
    /// The datastore was filled under another CA: its service accounts and nodes would all be locked out.
    #[error(
        "the datastore belongs to another cluster: its CA certificate has the SHA-256 hash {expected}, {} has {found}; \
         restore that CA or use an empty data directory", path.display()
    )]
    OtherCluster {
        /// The hash in the datastore.
        expected: String,
        /// The hash of this server's CA.
        found: String,
        /// This server's CA.
        path: PathBuf,
    },
    /// The listening socket could not be used.
    #[error("cannot serve on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// An API server over a datastore.
pub struct ApiServer {
    core: Arc<Core>,
    listener: TcpListener,
    address: SocketAddr,
    tls: rustls::ServerConfig,
    env: Env,
    trigger: DrainTrigger,
    upkeep: Upkeep,
    /// What writes audit events, if they are kept.
    audit: Vec<audit::Writer>,
}

impl ApiServer {
    /// Loads or makes keys and certificates and listens; nothing is served before [`ApiServer::run`].
    ///
    /// Reads and writes files: call it where blocking is allowed.
    pub fn build(mut config: Config, store: Arc<dyn Store>, env: Env) -> Result<Self, BuildError> {
        let (services, advertised) = (config.service_cluster_ip_range.primary(), config.advertised_address());
        if !advertised.is_loopback() && advertised.is_ipv4() != services.addr().is_ipv4() {
            return Err(BuildError::Families { services, advertised });
        }
        let wanted = SocketAddr::new(config.bind_address, config.secure_port);
        let listen = |source| BuildError::Listen { address: wanted, source };
        let listener = TcpListener::bind(wanted).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        config.secure_port = address.port();

        for gate in features::without_effect(&config.feature_gates) {
            tracing::warn!(gate, "feature gate is set, but changes nothing in this server");
        }
        let (certificates, mut upkeep) = Certificates::load(&config, &env)?;
        let keys = Arc::new(service_account_keys(&config)?);

        let encryption = match config.encryption.clone() {
            Some(source) => Encryption::load(source, env.clone())?,
            None => Encryption::none(env.clone()),
        };
        let storage = Arc::new(Storage::new(store, encryption));
        let config = Arc::new(config);
        // Drains with the signal that `run` is given, and with this value.
        let (trigger, drain) = base::drain();
        let cache = Arc::new(Cache::new(config.runtime_config.clone()));
        let registry = Arc::new(Registry::new(storage, cache, env.clone(), config.clone(), drain)?);
        let authorities = Authorities::load(&config, &certificates.authorities, &mut upkeep)?;
        let authenticator = Authenticator::new(&authorities, keys.clone(), &config, env.clone())?;
        let log = config.audit.clone().map(|config| Audit::new(config, env.clone())).transpose();
        let log = log.map_err(BuildError::AuditWebhook)?;
        let (log, audit) = log.map_or((None, Vec::new()), |(audit, writers)| (Some(Arc::new(audit)), writers));
        let core = Core {
            audit: log,
            documents: Arc::new(OpenApi::new(env.clone())),
            authenticator,
            authorities,
            tokens: TokenIssuer::new(keys.clone(), &config, env.clone()),
            aggregation: Aggregation::new(FrontProxy::new(&certificates.front_proxy, &env)),
            metrics: Metrics::new(),
            limits: limits(&config, &env),
            dialer: Dialer::new(&certificates, &env)?,
            certificates,
            keys,
            config,
            registry,
            background: tokio::sync::Mutex::new(Tasks::new()),
        };
        let tls = edge::server_config(core.certificates.serving.clone(), &edge::TlsSettings::default(), &env)
            .map_err(TlsError::from)?;
        Ok(Self { core: Arc::new(core), listener, address, tls, env, trigger, upkeep, audit })
    }

    /// Where it listens.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// The API for a client in this process that acts as `identity`. Requests wait a moment for [`ApiServer::run`] to
    /// load the datastore.
    pub fn service(&self, identity: Identity) -> InProcess {
        InProcess::new(self.core.clone(), identity)
    }

    /// Whose clients this server believes.
    pub fn clients(&self) -> Arc<pki::Trust> {
        self.core.authorities.clients.clone()
    }

    /// By which authorities clients are to know this server, PEM, and tells when they change.
    pub fn server_authorities(&self) -> watch::Receiver<String> {
        self.core.certificates.server_authorities.clone()
    }

    /// The decisions of this server's authorization.
    pub fn access(&self) -> Access {
        Access::new(self.core.registry.clone())
    }

    /// Serves until `drain`, then ends watches and lets other requests finish.
    pub async fn run(self, drain: Drain) -> Result<(), RunError> {
        let Self { core, listener, address, tls, env, trigger, upkeep, audit } = self;
        let listener =
            tokio::net::TcpListener::from_std(listener).map_err(|source| RunError::Listen { address, source })?;
        let registry = core.registry.clone();
        claim(&core).await?;
        let mut tasks = Tasks::new();
        let (cache_trigger, cache_drain) = base::drain();
        for writer in audit {
            // Requests in flight are noted to their end.
            tasks.spawn("audit events", writer.run(env.clone(), cache_drain.clone()));
        }
        tasks.spawn_fallible(
            "watch cache",
            registry.cache.clone().run(registry.storage.clone(), env.clone(), cache_drain),
        );
        upkeep.spawn(&mut tasks, &registry.drain);
        tasks.spawn("encryption", registry.storage.clone().run(registry.drain.clone()));
        tasks.spawn(
            "bootstrap objects",
            bootstrap::run(registry.clone(), core.certificates.server_authorities.clone(), registry.drain.clone()),
        );
        tasks.spawn("addresses of Services", allocation::repair(registry.clone(), registry.drain.clone()));
        if let Limits::Fair(control) = &core.limits {
            tasks.spawn("flow control", control.clone().run(registry.clone(), registry.drain.clone()));
            tasks.spawn("flow schemas", flowcontrol::maintain(registry.clone(), registry.drain.clone()));
        }
        tasks.spawn("definitions", definitions::run(registry.clone(), registry.drain.clone()));
        let (following, of, until) = (core.clone(), env.clone(), registry.drain.clone());
        tasks.spawn("authentication configuration", async move { following.authenticator.follow(&of, until).await });
        let following = (registry.authorization.clone(), registry.drain.clone());
        tasks.spawn("authorization configuration", async move { following.0.follow(following.1).await });
        tasks.spawn("aggregation", aggregation::run(core.clone(), registry.drain.clone()));
        tasks.spawn("openapi", openapi::build_ahead(core.documents.clone(), registry.clone(), registry.drain.clone()));
        tasks.spawn("compaction", maintenance::compact(registry.clone(), registry.drain.clone()));
        tasks.spawn("event expiry", maintenance::expire_events(registry.clone(), registry.drain.clone()));
        let (limits, grace) = (core.config.connections.clone(), core.config.shutdown_grace);
        let edge = Edge { listener, tls: Arc::new(tls), limits, grace, env: env.clone() };
        tasks.spawn("https", https::serve(edge, core.clone(), registry.drain.clone()));
        tracing::info!(%address, "API server is serving");
        let outcome = tasks.run_until(&drain).await.map_err(RunError::from);
        trigger.drain();
        let tunnels = std::mem::take(&mut *core.background.lock().await);
        for failure in tunnels.shutdown(core.config.shutdown_grace).await {
            tracing::debug!(err = %failure, "tunnel was cut off at shutdown");
        }
        // The cache feeds requests in flight, so it ends last.
        cache_trigger.drain();
        for failure in tasks.shutdown(core.config.shutdown_grace + Duration::from_secs(2)).await {
            tracing::warn!(err = %failure, "part of the API server did not end well");
        }
        outcome
    }
}

fn limits(config: &Config, env: &Env) -> Limits {
    let (reads, changes) = (config.max_requests_in_flight, config.max_mutating_requests_in_flight);
    match config.priority_and_fairness {
        true => Limits::Fair(FlowControl::new(reads + changes, env.clone())),
        false => Limits::InFlight(InFlight::new(reads, changes)),
    }
}

/// The key that says to which cluster a datastore belongs. It is the first that is written.
const CLUSTER_KEY: &str = "/skiff/cluster";

/// Makes a new datastore this cluster's own, or refuses another cluster's.
async fn claim(core: &Core) -> Result<(), RunError> {
    let failed = |err: &dyn std::error::Error| RunError::Datastore(err.to_string());
    let found = core.certificates.authorities.server.lineage().to_owned();
    let value = serde_json::json!({"caHash": found}).to_string();
    let claimed = core.registry.storage.write(Txn::create(CLUSTER_KEY, value)).await.map_err(|err| failed(&err))?;
    let Written::Mismatch(Some(current)) = claimed else { return Ok(()) };
    let current = current.map_err(|err| failed(&err))?;
    let kept: serde_json::Value = serde_json::from_slice(&current.kv.value).map_err(|err| failed(&err))?;
    let expected = kept["caHash"].as_str().unwrap_or_default().to_owned();
    if expected == found {
        return Ok(());
    }
    Err(RunError::OtherCluster { expected, found, path: core.config.pki_dir.join("ca.crt") })
}

/// The key that is named must be there; one of this server's own is made at the first start.
fn service_account_keys(config: &Config) -> Result<ServiceAccountKeys, SigningKeyError> {
    let signing = match &config.service_account_signing_key_file {
        Some(path) => SigningKey::load(path)?,
        None => SigningKey::load_or_create(&config.pki_dir.join("sa.key"))?,
    };
    let others = ServiceAccountKeys::read_public(&config.service_account_key_files)?;
    Ok(ServiceAccountKeys::new(signing, others))
}
