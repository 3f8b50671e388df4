//! Whether a user may do what a request asks: authorizers are asked in order, and the first with an opinion decides.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use api::status::Status;
use tokio::sync::watch;

use super::attributes::{Asked, Attributes, ResourceAttributes};
use super::identity::{ANONYMOUS, Identity, MASTERS};
use super::node::NodeAuthorizer;
use super::rbac::{Rbac, Rule};
use crate::cache::Cache;
use crate::registry::Registry;

/// One way of deciding, as `--authorization-mode` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorizationMode {
    /// Kubelets may do what the pods of their node need.
    Node,
    /// Roles and bindings decide.
    Rbac,
    /// Nobody may do anything but administrators.
    AlwaysDeny,
}

/// The modes of the default chain.
pub const DEFAULT_MODES: [AuthorizationMode; 2] = [AuthorizationMode::Node, AuthorizationMode::Rbac];

/// A mode that this server does not take.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ModeError {
    /// Everybody could do everything.
    #[error(
        "authorization mode AlwaysAllow is refused: it would give everybody who reaches this server the whole cluster; \
         use RBAC and bind cluster-admin to whom you trust"
    )]
    Open,
    /// There is no such mode, or it is not implemented.
    #[error("authorization mode {0:?} is not known; the modes are Node, RBAC and AlwaysDeny")]
    Unknown(String),
}

impl FromStr for AuthorizationMode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        match text {
            "Node" => Ok(Self::Node),
            "RBAC" => Ok(Self::Rbac),
            "AlwaysDeny" => Ok(Self::AlwaysDeny),
            "AlwaysAllow" => Err(ModeError::Open),
            other => Err(ModeError::Unknown(other.to_owned())),
        }
    }
}

impl fmt::Display for AuthorizationMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "Node",
            Self::Rbac => "RBAC",
            Self::AlwaysDeny => "AlwaysDeny",
        })
    }
}

/// What an authorizer, or all of them, say.
#[derive(Debug)]
pub(crate) enum Decision {
    /// It may be done, and why.
    Allow(Arc<str>),
    /// It may not, whatever others would say.
    Deny,
    /// Nothing speaks for it; why, where that is worth telling.
    NoOpinion(Option<String>),
}

impl Decision {
    /// Allowed without a reason worth telling.
    pub(super) fn allow() -> Self {
        Self::Allow(Arc::default())
    }

    pub(crate) fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }
}

/// Paths that are open to everybody, credentials or not.
const OPEN_PATHS: [&str; 6] = ["/livez", "/readyz", "/healthz", "/version", "/version/", "/cacerts"];

/// The namespace and name of the ConfigMap with the cluster's public information.
pub(crate) const CLUSTER_INFO: (&str, &str) = ("kube-public", "cluster-info");

/// One member of the chain.
enum Authorizer {
    /// Whoever shows no credentials gets open paths, whatever is bound to him, and what joining machines must know of
    /// the cluster, if it is bound to him.
    Strangers,
    /// Administrators may do everything; no role or its loss can lock them out.
    Masters,
    Node(Box<NodeAuthorizer>),
    Rbac(Arc<Rbac>),
    AlwaysDeny,
    /// Health, version and the authority's certificate can be read before any role exists.
    OpenPaths,
}

/// The chain of authorizers.
pub(crate) struct Authorization {
    chain: Vec<Authorizer>,
    /// Escalation is judged by roles whether or not they decide about requests.
    pub(crate) rbac: Arc<Rbac>,
    /// Whether the first roles are there: before that a refusal means nothing.
    has_roles: watch::Sender<bool>,
}

impl Authorization {
    /// The chain of the modes, in their order, with what holds in every mode around it.
    pub(crate) fn new(modes: &[AuthorizationMode], cache: &Cache) -> Self {
        let rbac = Arc::new(Rbac::new(cache));
        let mode = |mode: &AuthorizationMode| match mode {
            AuthorizationMode::Node => Authorizer::Node(Box::new(NodeAuthorizer::new(cache))),
            AuthorizationMode::Rbac => Authorizer::Rbac(rbac.clone()),
            AuthorizationMode::AlwaysDeny => Authorizer::AlwaysDeny,
        };
        let first = [Authorizer::Strangers, Authorizer::Masters];
        let chain = first.into_iter().chain(modes.iter().map(mode)).chain([Authorizer::OpenPaths]).collect();
        Self { chain, rbac, has_roles: watch::Sender::new(false) }
    }

    /// Says that the first roles are there.
    pub(crate) fn roles_are_there(&self) {
        self.has_roles.send_replace(true);
    }

    pub(crate) fn has_roles(&self) -> bool {
        *self.has_roles.borrow()
    }

    /// What the chain says by what the cache has now.
    pub(crate) fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        let mut reasons: Vec<String> = Vec::new();
        for authorizer in &self.chain {
            match authorizer.decide(attributes) {
                Decision::NoOpinion(reason) => reasons.extend(reason),
                decided => return decided,
            }
        }
        Decision::NoOpinion(Some(reasons.join("\n")).filter(|reason| !reason.is_empty()))
    }

    /// The rules of a user in a namespace, and what is missing from them.
    pub(crate) fn rules_for(&self, identity: &Identity, namespace: &str) -> (Vec<Rule>, Vec<String>) {
        let (mut rules, mut missing) = (Vec::new(), Vec::new());
        for authorizer in &self.chain {
            match authorizer {
                Authorizer::Rbac(rbac) => {
                    let (more, error) = rbac.rules_for(identity, namespace);
                    rules.extend(more);
                    missing.extend(error);
                }
                Authorizer::Node(_) if NodeAuthorizer::node_of(identity).is_some() => {
                    missing.push("node authorizer does not support user rule resolution".to_owned());
                }
                _ => {}
            }
        }
        (rules, missing)
    }
}

impl Authorizer {
    fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        match self {
            Self::Strangers
                if attributes.identity.user == ANONYMOUS && !is_open(attributes) && !is_cluster_info(attributes) =>
            {
                Decision::Deny
            }
            Self::Masters if attributes.identity.is_in(MASTERS) => Decision::allow(),
            Self::OpenPaths if is_open(attributes) => Decision::allow(),
            Self::Node(node) => node.decide(attributes),
            Self::Rbac(rbac) => rbac.decide(attributes),
            Self::AlwaysDeny => Decision::Deny,
            Self::Strangers | Self::Masters | Self::OpenPaths => Decision::NoOpinion(None),
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
        self.0.authorization.decide(&Attributes::of_verb(identity, "get", resource)).is_allowed()
    }
}

/// How long a request that is refused waits for the first roles.
const ROLES_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

impl Registry {
    /// What authorization says. A refusal counts only when the cache was fresh and the first roles were there.
    pub(crate) async fn decide(&self, attributes: &Attributes<'_>) -> Result<Decision, Status> {
        match self.authorization.decide(attributes) {
            Decision::NoOpinion(_) => {}
            decided => return Ok(decided),
        }
        let mut has_roles = self.authorization.has_roles.subscribe();
        // Roles that could not be made in time are no reason to refuse for another.
        let _ = tokio::time::timeout(ROLES_TIMEOUT, has_roles.wait_for(|there| *there)).await;
        self.fresh().await?;
        Ok(self.authorization.decide(attributes))
    }

    /// Upstream's 403 unless it may be done.
    pub(crate) async fn authorize(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        match self.decide(attributes).await? {
            Decision::Allow(_) => Ok(()),
            Decision::Deny => Err(attributes.forbidden("")),
            Decision::NoOpinion(reason) => Err(attributes.forbidden(&reason.unwrap_or_default())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_mode(text: &str, expected: Result<AuthorizationMode, &str>) {
        let got = text.parse::<AuthorizationMode>().map_err(|err| err.to_string());
        match expected {
            Ok(mode) => assert_eq!(got.as_ref().map(ToString::to_string), Ok(mode.to_string())),
            Err(part) => assert!(got.as_ref().is_err_and(|err| err.contains(part)), "{got:?}"),
        }
    }

    #[test]
    fn modes_are_named_as_upstream_names_them() {
        check_mode("Node", Ok(AuthorizationMode::Node));
        check_mode("RBAC", Ok(AuthorizationMode::Rbac));
        check_mode("AlwaysDeny", Ok(AuthorizationMode::AlwaysDeny));
        check_mode("AlwaysAllow", Err("the whole cluster"));
        check_mode("Webhook", Err("the modes are Node, RBAC and AlwaysDeny"));
        check_mode("rbac", Err("\"rbac\" is not known"));
    }

    #[track_caller]
    fn check(modes: &[AuthorizationMode], identity: &Identity, asked: (&str, &str), expected: bool) {
        let authorization = Authorization::new(modes, &Cache::new(crate::RuntimeConfig::default()));
        let attributes = Attributes { identity, verb: asked.0, target: Asked::Path(asked.1) };
        assert_eq!(authorization.decide(&attributes).is_allowed(), expected, "{} {asked:?}", identity.user);
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
        check(&DEFAULT_MODES, &stranger, ("get", "/readyz"), true);
        check(&DEFAULT_MODES, &somebody, ("get", "/version"), true);
        check(&DEFAULT_MODES, &somebody, ("get", "/healthz/ping"), false);
    }
}
