//! The control plane: datastore, API server, controllers and scheduler.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use apiserver::{ApiServer, Identity};
use base::{Env, Instance, Networks};
use client::{Accounts, Informers};
use controllers::ControllerManager;
use pki::jwt::SigningKey;
use pki::{Authorities, Authority, JoinRole, JoinToken, ServiceAccountKeys, Trust};
use tokio::sync::watch;

use super::handed_out::HandedOut;
use super::start_informers;
use crate::layout;
use crate::options::EncryptionAtRest;
use crate::supervise::Parts;

/// How long certificates that this machine issues for its own use are valid.
pub const VALIDITY: Duration = Duration::from_secs(365 * 24 * 3600);

/// The namespace of the accounts that the cluster's own parts act as.
pub const ACCOUNTS: &str = "kube-system";

/// What an API server is started with beside its own configuration.
pub struct ApiServerOptions<'a> {
    pub instance: &'a Instance,
    pub token: Option<&'a str>,
    pub encryption: &'a EncryptionAtRest,
    pub kubeconfig: &'a Path,
}

/// An API server that listens but does not serve yet.
pub struct PreparedApiServer {
    authorities: Authorities,
    signing_key: PathBuf,
    server: ApiServer,
    handed_out: HandedOut,
}

impl PreparedApiServer {
    /// A component's client in this process, as a user. Its requests wait until the server is started.
    pub fn client(&self, component: &str, user: &str, groups: &[&str]) -> kube::Client {
        let identity = Identity::new(user, groups);
        client::in_process(client::in_process_service(self.server.service(identity)), component)
    }

    /// Clients in this process that act as accounts of `kube-system`.
    fn accounts(&self) -> Accounts {
        let service = self.server.service(Identity::service_account(ACCOUNTS, "default"));
        Accounts::InProcess(Arc::new(move |account| {
            client::in_process_service(service.acting_as(Identity::service_account(ACCOUNTS, account)))
        }))
    }

    /// A client in this process, as an account of `kube-system`.
    pub async fn account_client(&self, account: &str) -> Result<kube::Client> {
        Ok(self.accounts().client(account, account).await?)
    }

    /// The cluster's authorities.
    pub fn authorities(&self) -> &Authorities {
        &self.authorities
    }

    /// Whose clients the server believes, as its kubelet is to.
    pub fn clients(&self) -> Arc<Trust> {
        self.server.clients()
    }

    /// By which authorities the server is known, PEM.
    pub fn server_authorities(&self) -> watch::Receiver<String> {
        self.server.server_authorities()
    }

    /// What signs service account tokens.
    pub fn signing_key(&self) -> Result<SigningKey> {
        Ok(SigningKey::load(&self.signing_key)?)
    }

    /// Serves, as a part.
    pub fn start(self, parts: &mut Parts) {
        parts.spawn("API server", self.server.run(parts.drain()));
        parts.spawn("handed out files", self.handed_out.run(parts.drain()));
    }
}

/// Opens the datastore, builds the API server over it, and writes the administrator's kubeconfig.
pub async fn prepare_apiserver(
    mut config: apiserver::Config,
    options: ApiServerOptions<'_>,
    env: &Env,
) -> Result<PreparedApiServer> {
    let instance = options.instance;
    let authorities = Authorities::load_or_create(&config.pki_dir, env)?;
    let mut ca = authorities.server.certificate_pem();
    if let Some(path) = &config.certificate_files.root_ca {
        let given = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        ca = format!("{}\n{ca}", given.trim_end());
    }
    config.authorities = Some(authorities.clone());
    let token_file = layout::token_file(instance);
    config.join_token =
        Some(JoinToken::load_or_create(&token_file, JoinRole::Server, &ca, options.token, env).context("join token")?);

    config.encryption = encryption_source(options.encryption, instance, env)?;

    let mut store = store::EmbeddedConfig::new(layout::db_dir(instance), env.clone());
    // The datastore and the authority of one cluster belong together: a database that was copied from elsewhere is
    // refused, because nobody's credentials would fit what it holds.
    store.cluster_id = Some(cluster_id(&authorities.server));
    let store = tokio::task::spawn_blocking(move || store::Embedded::open(store)).await?;
    let store = store.context("cannot open the datastore")?;
    let signing_key = config.service_account_signing_key_file.clone().unwrap_or_else(|| config.pki_dir.join("sa.key"));
    let building = env.clone();
    let server = tokio::task::spawn_blocking(move || ApiServer::build(config, Arc::new(store), building)).await?;
    let server = server.context("cannot start the API server")?;

    let handed_out = HandedOut {
        clients: authorities.client.clone(),
        server_authorities: server.server_authorities(),
        server: format!("https://{}", reachable(server.local_address())),
        kubeconfig: options.kubeconfig.to_owned(),
        token: token_file,
        env: env.clone(),
    };
    handed_out.write_kubeconfig()?;
    Ok(PreparedApiServer { authorities, signing_key, server, handed_out })
}

/// The configuration of the encryption at rest: the one that is named, or the installation's own, which is made at the
/// first start. Once it is there it is used, since what it encrypted must be read.
fn encryption_source(options: &EncryptionAtRest, instance: &Instance, env: &Env) -> Result<Option<encryption::Source>> {
    if let Some(path) = options.encryption_provider_config.clone() {
        let automatic_reload = options.encryption_provider_config_automatic_reload;
        return Ok(Some(encryption::Source { path, automatic_reload }));
    }
    let path = layout::encryption_file(instance);
    if !path.exists() {
        if !options.secrets_encryption {
            return Ok(None);
        }
        let configuration = encryption::EncryptionConfiguration::secrets(env);
        pki::write_private(&path, &configuration.to_json())?;
    } else if !options.secrets_encryption {
        tracing::warn!(path = %path.display(), "--secrets-encryption=false has no effect: the installation has a key");
    }
    Ok(Some(encryption::Source { path, automatic_reload: true }))
}

/// The address at which this machine's own users reach a listener.
fn reachable(address: std::net::SocketAddr) -> std::net::SocketAddr {
    let loopback: std::net::IpAddr = match address {
        std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    if address.ip().is_unspecified() { (loopback, address.port()).into() } else { address }
}

/// What the datastore knows its cluster by: it stays when the authority has a successor.
fn cluster_id(authority: &Authority) -> String {
    authority.lineage().chars().take(32).collect()
}

/// What the controllers are told.
pub struct ControllerOptions {
    pub identity: String,
    pub cluster_cidr: Networks,
    /// The certificates of the authority of servers, PEM.
    pub root_ca: watch::Receiver<String>,
    pub node_monitor_grace_period: Duration,
    /// Sign what was asked for and approved.
    pub authorities: Option<Authorities>,
    /// Signs the service account tokens of secrets.
    pub signing_key: Option<SigningKey>,
    pub legacy_token_clean_up_period: Duration,
}

/// Starts the controller manager.
pub fn start_controllers(
    parts: &mut Parts,
    options: ControllerOptions,
    client: kube::Client,
    accounts: Accounts,
    informers: Informers,
) -> Result<()> {
    let config = controllers::Config {
        identity: options.identity,
        root_ca: Some(options.root_ca),
        cluster_cidr: Some(options.cluster_cidr),
        node_monitor_grace_period: options.node_monitor_grace_period,
        signer: options.authorities.as_ref().map(controllers::Signer::new),
        service_account_keys: options.signing_key.map(|key| Arc::new(ServiceAccountKeys::new(key, Vec::new()))),
        legacy_token_clean_up_period: options.legacy_token_clean_up_period,
        ..controllers::Config::default()
    };
    let manager = ControllerManager::build(config, client, accounts, informers)?;
    parts.spawn("controller manager", manager.run(parts.drain()));
    Ok(())
}

/// Starts the scheduler.
pub fn start_scheduler(parts: &mut Parts, identity: String, informers: Informers) {
    let scheduler = scheduler::Scheduler::build(scheduler::Config { identity }, informers);
    parts.spawn("scheduler", scheduler.run(parts.drain()));
}

/// Starts controllers and scheduler in the API server's process, each as the user that it would be alone.
pub async fn start_components(
    parts: &mut Parts,
    server: &PreparedApiServer,
    options: ControllerOptions,
    env: &Env,
) -> Result<()> {
    let identity = options.identity.clone();
    let client = server.client("kube-controller-manager", "system:kube-controller-manager", &[]);
    let informers = start_informers(parts, client.clone(), env);
    start_controllers(parts, options, client, server.accounts(), informers)?;
    let client = server.client("kube-scheduler", "system:kube-scheduler", &[]);
    let informers = start_informers(parts, client, env);
    start_scheduler(parts, identity, informers);
    Ok(())
}
