//! The controller manager: runs the controllers while it holds the Lease.

use std::sync::Arc;
use std::time::Duration;

use base::{Drain, Networks, TaskFailure, Tasks};
use client::leader::{self, Outcome};
use client::{Accounts, ConnectError, EventRecorder, Informers};
use ipnet::IpNet;
use tokio::sync::watch;

use crate::certificates::Signer;
use crate::context::{Context, Recorders};
use crate::registry::{self, Registration};

/// The name of the Lease and of the component.
const NAME: &str = "kube-controller-manager";

/// How long controllers may take to end after the drain signal.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(15);

/// What the controller manager needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which controllers run: `*` all, `name` this one, `-name` not this one.
    pub controllers: Vec<String>,
    /// What this process is called among candidates for leadership.
    pub identity: String,
    /// The namespace of the Lease.
    pub lease_namespace: String,
    /// The certificates of the cluster's authority, PEM, published to every namespace. None: nothing is published.
    pub root_ca: Option<watch::Receiver<String>>,
    /// The addresses of all pods; each node gets a part of each network. None: nodes get no addresses from here.
    pub cluster_cidr: Option<Networks>,
    /// The size of a node's part of an IPv4 network.
    pub node_cidr_mask_ipv4: u8,
    /// The size of a node's part of an IPv6 network.
    pub node_cidr_mask_ipv6: u8,
    /// How long a node may be silent before it counts as unreachable.
    pub node_monitor_grace_period: Duration,
    /// What signs certificates for nodes. None: requests stay unsigned.
    pub signer: Option<Signer>,
    /// How many terminated pods are kept. 0: all.
    pub terminated_pod_threshold: usize,
    /// What signs the tokens that secrets hold. None: such secrets stay empty.
    pub service_account_keys: Option<Arc<pki::ServiceAccountKeys>>,
    /// After what time without use tokens that the cluster once made for accounts are no longer good, and after what
    /// time again they are deleted.
    pub legacy_token_clean_up_period: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            controllers: vec!["*".to_owned()],
            identity: "controller-manager".to_owned(),
            lease_namespace: "kube-system".to_owned(),
            root_ca: None,
            cluster_cidr: None,
            node_cidr_mask_ipv4: 24,
            node_cidr_mask_ipv6: 64,
            node_monitor_grace_period: Duration::from_secs(40),
            signer: None,
            terminated_pod_threshold: 12_500,
            service_account_keys: None,
            legacy_token_clean_up_period: Duration::from_secs(365 * 24 * 3600),
        }
    }
}

impl Config {
    /// The size of a node's part of a network.
    pub(crate) fn node_cidr_mask(&self, network: IpNet) -> u8 {
        match network {
            IpNet::V4(_) => self.node_cidr_mask_ipv4,
            IpNet::V6(_) => self.node_cidr_mask_ipv6,
        }
    }
}

/// Why a controller manager cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is no controller of that name.
    #[error("there is no controller {name:?}; the controllers are {known}")]
    UnknownController {
        /// As configured.
        name: String,
        /// All names.
        known: String,
    },
    /// The parts of nodes would be larger than the whole, or there would be none.
    #[error("a node's part /{mask} does not fit into cluster CIDR {cluster_cidr}")]
    NodeMask {
        /// The whole.
        cluster_cidr: IpNet,
        /// The part.
        mask: u8,
    },
}

/// Why the controller manager ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A controller failed.
    #[error("controller manager failed")]
    Controller(#[from] TaskFailure),
    /// A controller has no client.
    #[error("no client for the account {account}")]
    Client {
        /// As whom it would act.
        account: &'static str,
        /// Why.
        source: ConnectError,
    },
}

/// The controllers, ready to run.
pub struct ControllerManager {
    config: Arc<Config>,
    client: kube::Client,
    accounts: Accounts,
    informers: Informers,
    enabled: Vec<&'static Registration>,
}

impl ControllerManager {
    /// Checks the configuration. With `client` it holds its Lease and records events, each controller writes as an
    /// account of its own. The caller runs `informers`.
    pub fn build(
        config: Config,
        client: kube::Client,
        accounts: Accounts,
        informers: Informers,
    ) -> Result<Self, BuildError> {
        for cluster_cidr in config.cluster_cidr.iter().flat_map(Networks::iter) {
            let mask = config.node_cidr_mask(cluster_cidr);
            if mask < cluster_cidr.prefix_len() || mask > cluster_cidr.max_prefix_len() {
                return Err(BuildError::NodeMask { cluster_cidr, mask });
            }
        }
        let enabled = enabled(&config.controllers)?;
        Ok(Self { config: Arc::new(config), client, accounts, informers, enabled })
    }

    /// Runs until the drain signal. While another process holds the Lease this one waits; when this one loses the
    /// Lease its controllers end, and it waits again.
    pub async fn run(self, drain: Drain) -> Result<(), RunError> {
        while !drain.is_draining() {
            let config = leader::Config::new(self.config.lease_namespace.clone(), NAME, self.config.identity.clone());
            let env = self.informers.env().clone();
            let outcome =
                leader::elect(config, self.client.clone(), env, drain.clone(), |term| self.run_term(term)).await;
            match outcome {
                Outcome::NeverElected => {}
                Outcome::Ended(result) | Outcome::Lost(result) => result?,
            }
        }
        Ok(())
    }

    /// Runs all controllers until the drain signal; ends early when one fails.
    async fn run_term(&self, term: Drain) -> Result<(), RunError> {
        let mut tasks = Tasks::new();
        let (events_trigger, events_drain) = base::drain();
        let mut recorder = |component: &str| {
            let env = self.informers.env().clone();
            let (recorder, writer) = EventRecorder::new(self.client.clone(), env, component, None);
            tasks.spawn(format!("events of {component}"), writer.run(events_drain.clone()));
            recorder
        };
        let recorders = Recorders {
            replica_set: recorder("replicaset-controller"),
            deployment: recorder("deployment-controller"),
            node: recorder("node-controller"),
            taint_eviction: recorder("taint-eviction-controller"),
            endpoint_slice: recorder("endpoint-slice-controller"),
            resource_claim: recorder("resourceclaim-controller"),
        };
        let context = Context::new(self.client.clone(), self.informers.clone(), Arc::clone(&self.config), recorders);
        let mut controllers = Tasks::new();
        for registration in &self.enabled {
            let account = registration.account;
            let client = match account {
                "" => self.client.clone(),
                account => {
                    let client = self.accounts.client(account, NAME).await;
                    client.map_err(|source| RunError::Client { account, source })?
                }
            };
            controllers.spawn_fallible(
                registration.name,
                (registration.run)(context.clone().acting_with(client), term.clone()),
            );
        }
        tracing::info!(controllers = self.enabled.len(), "controllers started");
        let mut ended: Result<(), TaskFailure> = Ok(());
        while ended.is_ok() {
            ended = tokio::select! {
                () = term.drained() => break,
                Some((_, result)) = controllers.join_next() => result,
                Some((_, result)) = tasks.join_next() => result,
                else => break,
            };
        }
        // A controller that failed takes the others with it: dropping the set ends them at their next await.
        let failures = if ended.is_ok() { controllers.shutdown(SHUTDOWN_DEADLINE).await } else { Vec::new() };
        events_trigger.drain();
        let event_failures = tasks.shutdown(SHUTDOWN_DEADLINE).await;
        ended?;
        failures.into_iter().chain(event_failures).next().map_or(Ok(()), |failure| Err(failure.into()))
    }
}

fn enabled(wanted: &[String]) -> Result<Vec<&'static Registration>, BuildError> {
    for name in wanted {
        let plain = name.strip_prefix('-').unwrap_or(name);
        if plain != "*" && !registry::all().iter().any(|registration| registration.name == plain) {
            let known: Vec<&str> = registry::all().iter().map(|registration| registration.name).collect();
            return Err(BuildError::UnknownController { name: plain.to_owned(), known: known.join(", ") });
        }
    }
    let has = |name: &str| wanted.iter().any(|wanted| wanted == name);
    let runs = |name: &str| !has(&format!("-{name}")) && (has("*") || has(name));
    Ok(registry::all().iter().filter(|registration| runs(registration.name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(wanted: &[&str], expected: Result<usize, &str>) {
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        let got = enabled(&wanted).map(|enabled| enabled.len());
        match expected {
            Ok(count) => assert_eq!(got.expect("known names"), count),
            Err(text) => assert!(got.expect_err("an unknown name").to_string().starts_with(text)),
        }
    }

    #[test]
    fn controllers_are_chosen_by_name() {
        let all = registry::all().len();
        check(&["*"], Ok(all));
        check(&["*", "-deployment-controller"], Ok(all - 1));
        check(&["deployment-controller"], Ok(1));
        check(&["*", "-deployment"], Err("there is no controller \"deployment\""));
    }
}
