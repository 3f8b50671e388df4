//! Whether a user may do what a request asks: authorizers are asked in order, and the first with an opinion decides.

mod abac;
mod configuration;
mod metrics;
mod modes;
mod webhook;

use std::sync::Arc;

use api::status::Status;
use arc_swap::ArcSwap;
use base::{Drain, Env};
use futures::FutureExt;
use prometheus::proto::MetricFamily;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::watch;

use super::attributes::{Asked, Attributes, ResourceAttributes};
use super::identity::{ANONYMOUS, Identity, MASTERS};
use super::node::NodeAuthorizer;
use super::rbac::{Rbac, Rule};
use crate::cache::Cache;
use crate::registry::Registry;
use crate::reload::ConfigFile;

use abac::Policies;
pub use abac::PolicyFileError;
use configuration::Configured;
pub use configuration::{AuthorizationError, AuthorizationOptions, AuthorizationWebhook};
use metrics::{Decisions, Metrics};
pub use modes::{AuthorizationMode, DEFAULT_MODES, ModeError};
use webhook::WebhookAuthorizer;

/// What an authorizer, or all of them, say.
#[derive(Clone, Debug)]
pub(crate) enum Decision {
    /// It may be done, and why.
    Allow(Arc<str>),
    /// It may not, whatever others would say.
    Deny(Refused),
    /// Nothing speaks for it.
    NoOpinion(Refused),
}

/// Why something may not be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refused {
    /// What the authorizers say of it, where that is worth telling.
    pub(crate) reason: String,
    /// What kept one of them from an answer.
    pub(crate) error: Option<String>,
}

impl Decision {
    /// Allowed without a reason worth telling.
    pub(super) fn allow() -> Self {
        Self::Allow(Arc::default())
    }

    pub(super) fn no_opinion(reason: impl Into<String>) -> Self {
        Self::NoOpinion(Refused { reason: reason.into(), error: None })
    }

    pub(crate) fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }
}

/// Paths that are open to everybody, credentials or not.
const OPEN_PATHS: [&str; 7] = ["/livez", "/readyz", "/healthz", "/version", "/version/", "/cacerts", "/cacerts/client"];

/// The namespace and name of the ConfigMap with the cluster's public information.
pub(crate) const CLUSTER_INFO: (&str, &str) = ("kube-public", "cluster-info");

/// One member of the chain.
enum Authorizer {
    /// Whoever shows no credentials gets open paths, whatever is bound to him, and what joining machines must know of
    /// the cluster, if it is bound to him.
    Strangers,
    /// Administrators may do everything; no role or its loss can lock them out.
    Masters,
    Node(Arc<NodeAuthorizer>),
    Rbac(Arc<Rbac>),
    Abac(Arc<Policies>),
    Webhook(Box<WebhookAuthorizer>),
    AlwaysAllow,
    AlwaysDeny,
    /// Health, version and the authorities' certificates can be read before any role exists.
    OpenPaths,
}

/// An authorizer in a chain, and how often it had an opinion: nobody counts those of what holds in every chain.
struct Member {
    authorizer: Authorizer,
    decisions: Option<Decisions>,
}

impl From<Authorizer> for Member {
    fn from(authorizer: Authorizer) -> Self {
        Self { authorizer, decisions: None }
    }
}

/// The authorizers, in order.
struct Chain {
    members: Vec<Member>,
    /// Whether other servers are among them.
    asks_others: bool,
}

/// What became of a question so far, so that it can be asked again when the cache is fresh.
#[derive(Default)]
struct Heard {
    /// What other servers have said, in their order: they are not asked twice.
    others: Vec<Decision>,
    /// Whether somebody had no opinion who decides by what the cache has.
    may_be_stale: bool,
    /// The place of the authorizer that had an opinion.
    decided_by: Option<usize>,
}

impl Chain {
    /// What the authorizers say by what the cache has now.
    async fn decide(&self, attributes: &Attributes<'_>, heard: &mut Heard) -> Decision {
        let (mut reasons, mut errors): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
        let mut asked = 0;
        for (place, Member { authorizer, .. }) in self.members.iter().enumerate() {
            let decision = match authorizer {
                Authorizer::Webhook(webhook) => {
                    if heard.others.len() == asked {
                        let said = webhook.decide(attributes).await;
                        heard.others.push(said);
                    }
                    asked += 1;
                    heard.others[asked - 1].clone()
                }
                local => local.decide(attributes),
            };
            let Decision::NoOpinion(refused) = decision else {
                heard.decided_by = Some(place);
                return decision;
            };
            heard.may_be_stale |= matches!(authorizer, Authorizer::Node(_) | Authorizer::Rbac(_));
            reasons.extend(Some(refused.reason).filter(|reason| !reason.is_empty()));
            errors.extend(refused.error);
        }
        let error = match errors.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            several => Some(format!("[{}]", several.join(", "))),
        };
        Decision::NoOpinion(Refused { reason: reasons.join("\n"), error })
    }

    /// Counts a decision that is final.
    fn count(&self, decision: Decision, heard: &Heard) -> Decision {
        let member = heard.decided_by.and_then(|place| self.members.get(place));
        if let Some(decisions) = member.and_then(|member| member.decisions.as_ref()) {
            decisions.count(&decision);
        }
        decision
    }
}

/// What authorizers are made of.
struct Parts {
    /// The modes that the server was started with.
    modes: Vec<AuthorizationMode>,
    rbac: Arc<Rbac>,
    /// Those that the first chain has.
    node: Option<Arc<NodeAuthorizer>>,
    policies: Option<Arc<Policies>>,
    metrics: Metrics,
    env: Env,
}

impl Parts {
    /// The chain of what is configured, with what holds in every chain around it.
    fn chain(&self, configured: Vec<Configured>) -> Result<Chain, AuthorizationError> {
        let mut members = vec![Authorizer::Strangers.into(), Authorizer::Masters.into()];
        let asks_others = configured.iter().any(|each| each.webhook.is_some());
        for Configured { mode, webhook } in configured {
            let missing = || AuthorizationError::NotStarted(mode);
            let name = webhook.as_ref().map(|(settings, _)| settings.name.clone());
            let decisions = self.metrics.of(mode, &name.unwrap_or_else(|| mode.as_str().to_lowercase()));
            let authorizer = match (mode, webhook) {
                (AuthorizationMode::Node, _) => Authorizer::Node(self.node.clone().ok_or_else(missing)?),
                (AuthorizationMode::Rbac, _) => Authorizer::Rbac(self.rbac.clone()),
                (AuthorizationMode::Abac, _) => Authorizer::Abac(self.policies.clone().ok_or_else(missing)?),
                (AuthorizationMode::Webhook, Some((settings, conditions))) => {
                    let name = settings.name.clone();
                    let webhook = WebhookAuthorizer::new(settings, conditions, self.env.clone());
                    let webhook = webhook.map_err(|source| AuthorizationError::Webhook { name, source })?;
                    Authorizer::Webhook(Box::new(webhook))
                }
                (AuthorizationMode::AlwaysAllow, _) => {
                    tracing::warn!("authorization mode AlwaysAllow: whoever has credentials may do everything");
                    Authorizer::AlwaysAllow
                }
                // A webhook has settings, or it is not in the chain.
                (AuthorizationMode::Webhook, None) | (AuthorizationMode::AlwaysDeny, _) => Authorizer::AlwaysDeny,
            };
            members.push(Member { authorizer, decisions: Some(decisions) });
        }
        members.push(Authorizer::OpenPaths.into());
        Ok(Chain { members, asks_others })
    }
}

/// Who decides about requests.
pub(crate) struct Authorization {
    chain: ArcSwap<Chain>,
    parts: Parts,
    /// The file that the chain is read from, if it is.
    file: Option<ConfigFile>,
    /// Escalation is judged by roles whether or not they decide about requests.
    pub(crate) rbac: Arc<Rbac>,
    /// Whether the first roles are there: before that a refusal means nothing.
    has_roles: watch::Sender<bool>,
}

impl Authorization {
    /// The chain that a file or flags describe.
    pub(crate) fn new(options: &AuthorizationOptions, cache: &Cache, env: Env) -> Result<Self, AuthorizationError> {
        let rbac = Arc::new(Rbac::new(cache));
        let policies = options.policy_file.as_deref().map(Policies::load).transpose()?.map(Arc::new);
        let (configured, file) = match &options.config_file {
            Some(path) => {
                let text = configuration::read(path)?;
                (configuration::parse(&text, &[])?, Some(ConfigFile::new(path.clone(), text, "authorization")))
            }
            None => (configuration::of_flags(options)?, None),
        };
        let modes: Vec<AuthorizationMode> = configured.iter().map(|each| each.mode).collect();
        let has_node = modes.contains(&AuthorizationMode::Node);
        let node = has_node.then(|| Arc::new(NodeAuthorizer::new(cache)));
        let parts = Parts { modes, rbac: rbac.clone(), node, policies, metrics: Metrics::new(), env };
        let chain = ArcSwap::from_pointee(parts.chain(configured)?);
        Ok(Self { chain, parts, file, rbac, has_roles: watch::Sender::new(false) })
    }

    /// Takes up changes of the file, if there is one, until `drain`.
    pub(crate) async fn follow(&self, drain: Drain) {
        // A part of the server that ends by itself would end the server.
        let Some(file) = self.file.clone() else { return drain.drained().await };
        let apply = |text: &str| {
            let chain =
                configuration::parse(text, &self.parts.modes).and_then(|configured| self.parts.chain(configured));
            self.chain.store(Arc::new(chain.map_err(|err| err.to_string())?));
            Ok(())
        };
        file.follow(apply, &self.parts.env, drain).await;
    }

    /// What is counted.
    pub(crate) fn metrics(&self) -> Vec<MetricFamily> {
        let reloads = self.file.iter().flat_map(|file| file.reloads.collect());
        self.parts.metrics.collect().into_iter().chain(reloads).collect()
    }

    /// Says that the first roles are there.
    pub(crate) fn roles_are_there(&self) {
        self.has_roles.send_replace(true);
    }

    pub(crate) fn has_roles(&self) -> bool {
        *self.has_roles.borrow()
    }

    /// What the chain says by what the cache has now, for callers that cannot wait: where other servers are asked, this
    /// thread waits for them.
    pub(crate) fn decide_now(&self, attributes: &Attributes<'_>) -> Decision {
        let chain = self.chain.load_full();
        let mut heard = Heard::default();
        let decision = match Handle::try_current() {
            _ if !chain.asks_others => {
                let decided = chain.decide(attributes, &mut heard).now_or_never();
                decided.expect("authorizers of this process never wait")
            }
            Ok(runtime) if runtime.runtime_flavor() == RuntimeFlavor::MultiThread => {
                tokio::task::block_in_place(|| runtime.block_on(chain.decide(attributes, &mut heard)))
            }
            _ => {
                let error = Some("a thread that serves everything cannot wait for another server".to_owned());
                Decision::NoOpinion(Refused { reason: String::new(), error })
            }
        };
        chain.count(decision, &heard)
    }

    /// The rules of a user in a namespace, and what is missing from them.
    pub(crate) fn rules_for(&self, identity: &Identity, namespace: &str) -> (Vec<Rule>, Vec<String>) {
        let (mut rules, mut missing) = (Vec::new(), Vec::new());
        for member in &self.chain.load().members {
            match &member.authorizer {
                Authorizer::Rbac(rbac) => {
                    let (more, error) = rbac.rules_for(identity, namespace);
                    rules.extend(more);
                    missing.extend(error);
                }
                Authorizer::Abac(policies) => rules.extend(policies.rules_for(identity, namespace)),
                Authorizer::AlwaysAllow => rules.extend(everything()),
                Authorizer::Node(_) if NodeAuthorizer::node_of(identity).is_some() => {
                    missing.push("node authorizer does not support user rule resolution".to_owned());
                }
                Authorizer::Webhook(_) => {
                    missing.push("webhook authorizer does not support user rule resolution".to_owned());
                }
                _ => {}
            }
        }
        (rules, missing)
    }
}

fn everything() -> [Rule; 2] {
    let all = || vec!["*".to_owned()];
    [
        Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() },
        Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() },
    ]
}

impl Authorizer {
    /// What it says by what this process knows.
    fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        match self {
            Self::Strangers
                if attributes.identity.user == ANONYMOUS && !is_open(attributes) && !is_cluster_info(attributes) =>
            {
                Decision::Deny(Refused::default())
            }
            Self::Masters if attributes.identity.is_in(MASTERS) => Decision::allow(),
            Self::OpenPaths if is_open(attributes) => Decision::allow(),
            Self::Node(node) => node.decide(attributes),
            Self::Rbac(rbac) => rbac.decide(attributes),
            Self::Abac(policies) => policies.decide(attributes),
            Self::AlwaysAllow => Decision::allow(),
            Self::AlwaysDeny => Decision::no_opinion("Everything is forbidden."),
            Self::Strangers | Self::Masters | Self::OpenPaths | Self::Webhook(_) => {
                Decision::NoOpinion(Refused::default())
            }
        }
    }
}

fn is_open(attributes: &Attributes<'_>) -> bool {
    matches!(attributes.target, Asked::Path(path) if OPEN_PATHS.contains(&path))
        && matches!(attributes.verb, "get" | "head")
}

/// Whether it is the object that tells machines that want to join where the cluster is and whom it trusts.
fn is_cluster_info(attributes: &Attributes<'_>) -> bool {
    let Asked::Resource(asked) = attributes.target else { return false };
    let object = (asked.group, asked.resource, asked.subresource, asked.namespace, asked.name);
    attributes.verb == "get" && object == ("", "configmaps", "", CLUSTER_INFO.0, CLUSTER_INFO.1)
}

/// The decisions of a server, without requests around them: for measuring.
pub struct Access(Arc<Registry>);

impl Access {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self(registry)
    }

    /// Whether somebody may get an object, by what the watch cache has now.
    pub fn may_get(&self, identity: &Identity, group: &str, resource: &str, namespace: &str, name: &str) -> bool {
        let resource = ResourceAttributes { group, resource, namespace, name, ..ResourceAttributes::default() };
        self.0.authorization.decide_now(&Attributes::of_verb(identity, "get", resource)).is_allowed()
    }
}

/// How long a request that is refused waits for the first roles.
const ROLES_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

impl Registry {
    /// What authorization says. A refusal counts only when the cache was fresh and the first roles were there.
    pub(crate) async fn decide(&self, attributes: &Attributes<'_>) -> Result<Decision, Status> {
        let chain = self.authorization.chain.load_full();
        let mut heard = Heard::default();
        let decision = chain.decide(attributes, &mut heard).await;
        if decision.is_allowed() || matches!(decision, Decision::Deny(_)) && !heard.may_be_stale {
            return Ok(chain.count(decision, &heard));
        }
        let mut has_roles = self.authorization.has_roles.subscribe();
        // Roles that could not be made in time are no reason to refuse for another.
        let _ = tokio::time::timeout(ROLES_TIMEOUT, has_roles.wait_for(|there| *there)).await;
        self.fresh().await?;
        let decision = chain.decide(attributes, &mut heard).await;
        Ok(chain.count(decision, &heard))
    }

    /// What authorization says of a request, counted.
    pub(crate) async fn decide_request(&self, attributes: &Attributes<'_>) -> Result<Decision, Status> {
        let began = self.env.instant();
        let decision = self.decide(attributes).await?;
        let took = self.env.instant().saturating_duration_since(began);
        self.authorization.parts.metrics.decided(&decision, took);
        Ok(decision)
    }

    /// Upstream's 403 unless it may be done.
    pub(crate) async fn authorize(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        match self.decide(attributes).await? {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(refused) | Decision::NoOpinion(refused) => Err(attributes.refused(&refused)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(modes: &[AuthorizationMode], identity: &Identity, asked: (&str, &str), expected: bool) {
        let options = AuthorizationOptions { modes: modes.to_vec(), ..AuthorizationOptions::default() };
        let cache = Cache::new(crate::RuntimeConfig::default());
        let authorization = Authorization::new(&options, &cache, Env::system()).expect("good options");
        let attributes = Attributes { identity, verb: asked.0, target: Asked::Path(asked.1) };
        assert_eq!(authorization.decide_now(&attributes).is_allowed(), expected, "{} {asked:?}", identity.user);
    }

    #[test]
    fn without_roles_only_administrators_may_more_than_health_and_version() {
        let (masters, stranger) = (Identity::new("root", &[MASTERS]), Identity::anonymous());
        let somebody = Identity::new("somebody", &[]);
        for modes in [DEFAULT_MODES.as_slice(), &[AuthorizationMode::AlwaysDeny]] {
            check(modes, &masters, ("post", "/anything"), true);
            check(modes, &stranger, ("get", "/metrics"), false);
            check(modes, &stranger, ("post", "/healthz"), false);
            check(modes, &somebody, ("get", "/apis"), false);
        }
        check(&[AuthorizationMode::AlwaysAllow], &somebody, ("post", "/anything"), true);
        check(&[AuthorizationMode::AlwaysAllow], &stranger, ("get", "/metrics"), false);
        check(&[AuthorizationMode::AlwaysDeny, AuthorizationMode::AlwaysAllow], &somebody, ("get", "/apis"), true);
        check(&DEFAULT_MODES, &stranger, ("get", "/readyz"), true);
        check(&DEFAULT_MODES, &somebody, ("get", "/version"), true);
        check(&DEFAULT_MODES, &somebody, ("get", "/healthz/ping"), false);
    }
}
