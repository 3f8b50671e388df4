//! Admission: what is refused or completed before an object is validated, and what is refused or warned of after that.
//!
//! Plugins run in the order of [`PLUGINS`]. They look at other objects in the watch cache; because a cache can be behind, a
//! refusal counts only when the cache was fresh.

mod always_pull_images;
mod anti_affinity;
mod certificates;
pub(crate) mod control_config;
mod default_class;
mod deny_external_ips;
mod documents;
mod event_rate_limit;
mod extended_resource_toleration;
mod image_policy;
mod limit_ranger;
pub(crate) mod matching;
mod metrics;
mod namespace_exists;
mod namespace_lifecycle;
mod node_restriction;
mod node_taint;
mod owner_references;
mod plugin;
mod pod_node_selector;
mod pod_priority;
mod pod_security;
mod pod_toleration_restriction;
mod pod_tolerations;
mod pod_topology_labels;
mod policies;
mod reinvocation;
mod resource_quota;
mod runtime_class;
mod service_account;
mod storage_protection;
mod trust_bundle_attest;
mod volume_resize;
mod webhooks;

use std::sync::Arc;

use api::status::Status;
use base::Env;
use prometheus::proto::MetricFamily;
use serde_json::Value;

use crate::access::{RemoteError, rbac};
use crate::cache::{Cache, Derived, Object};
use crate::config::Config;
use crate::registry::{Caller, Registry, Scope};

use documents::Documents;
use matching::Configurations;
use metrics::{Metrics, Times};
pub use plugin::{AdmissionPlugins, PluginsError};
use plugin::{Handler, Plugin};
pub use pod_security::PodSecurityConfiguration;
use reinvocation::{Callers, Calls, Reinvocation};
pub(crate) use resource_quota::Charge;
use resource_quota::QuotaLocks;

/// What a plugin is asked about.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) scope: Scope<'a>,
    pub(crate) caller: Caller<'a>,
    pub(crate) operation: Operation,
    /// The name in the request's path, if it has one.
    pub(crate) path_name: Option<&'a str>,
    /// The object before an update.
    pub(crate) old: Option<&'a Value>,
    /// The rounds of those that change the object.
    pub(crate) reinvocation: Option<&'a Reinvocation>,
}

/// What is done to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    /// Of the object or a subresource, which the caller names.
    Update,
    Delete,
    /// To what runs in a pod, behind a service or on a node.
    Connect,
}

const OPERATIONS: [Operation; 4] = [Operation::Create, Operation::Update, Operation::Delete, Operation::Connect];

impl Operation {
    /// The name in rules and reviews.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// Marks pods that a kubelet reports, which it runs without having been told to.
const MIRROR: &str = "kubernetes.io/config.mirror";

impl<'a> Attributes<'a> {
    /// A question about objects of a resource.
    pub(crate) fn new(registry: &'a Registry, scope: Scope<'a>, caller: Caller<'a>, operation: Operation) -> Self {
        Self { registry, scope, caller, operation, path_name: None, old: None, reinvocation: None }
    }

    /// Whether it is about objects of a resource themselves.
    fn is(&self, group: &str, plural: &str) -> bool {
        self.is_subresource(group, plural, "")
    }

    fn is_subresource(&self, group: &str, plural: &str, subresource: &str) -> bool {
        self.scope.resource.group == group
            && self.scope.resource.plural == plural
            && self.caller.subresource == subresource
    }

    /// Those that change objects are about to be called.
    fn begin_round(&self, callers: Callers, object: &Value) -> Calls {
        self.reinvocation.map(|rounds| rounds.begin(callers, object)).unwrap_or_default()
    }

    /// They have been called, and have left the object like this.
    fn end_round(&self, callers: Callers, calls: Calls, object: &Value) {
        if let Some(rounds) = self.reinvocation {
            rounds.end(callers, calls, object);
        }
    }

    /// The objects of a built-in resource in the namespace of the request, by name.
    fn in_namespace(&self, group: &str, version: &str, plural: &str) -> Vec<Arc<Object>> {
        let Some((namespace, resource)) = self.scope.namespace.zip(api::kinds::find(group, version, plural)) else {
            return Vec::new();
        };
        let Ok(cache) = self.registry.resource_cache(resource) else { return Vec::new() };
        cache.snapshot(0).range(Some(namespace)).cloned().collect()
    }

    /// The name of what the request is about; nothing while the server has yet to make one.
    pub(crate) fn name<'o>(&'o self, object: Option<&'o Value>) -> &'o str {
        self.path_name.or_else(|| object.or(self.old).map(api::meta::name)).unwrap_or_default()
    }

    /// The namespace of the request. A namespace is in itself.
    pub(crate) fn namespace<'o>(&'o self, object: Option<&'o Value>) -> &'o str {
        let resource = self.scope.resource;
        if resource.group.is_empty() && resource.plural == "namespaces" {
            return self.name(object);
        }
        self.scope.namespace.unwrap_or_default()
    }

    /// Warns the client of something.
    fn warn(&self, warning: String) {
        self.caller.warn(warning);
    }

    /// Notes something for the audit log, if somebody reads that.
    fn annotate(&self, key: impl Into<String>, value: impl FnOnce() -> String) {
        if let Some(annotations) = self.caller.annotations {
            annotations.add(key, value());
        }
    }

    /// 403 about the object.
    pub(crate) fn forbidden(&self, object: &Value, why: impl std::fmt::Display) -> Status {
        let name = match self.name(Some(object)) {
            "" => api::meta::generate_name(object).unwrap_or_default(),
            name => name,
        };
        Status::forbidden(&self.scope.resource.group, &self.scope.resource.plural, name, why)
    }
}

/// Every plugin, in upstream's order.
const PLUGINS: [&Plugin; 34] = [
    &namespace_exists::AUTO_PROVISION,
    &namespace_lifecycle::PLUGIN,
    &namespace_exists::EXISTS,
    &anti_affinity::PLUGIN,
    &limit_ranger::PLUGIN,
    &service_account::PLUGIN,
    &node_restriction::PLUGIN,
    &node_taint::PLUGIN,
    &always_pull_images::PLUGIN,
    &image_policy::PLUGIN,
    &pod_security::PLUGIN,
    &pod_node_selector::PLUGIN,
    &pod_priority::PLUGIN,
    &pod_tolerations::PLUGIN,
    &pod_toleration_restriction::PLUGIN,
    &event_rate_limit::PLUGIN,
    &extended_resource_toleration::PLUGIN,
    &default_class::STORAGE,
    &storage_protection::PLUGIN,
    &owner_references::PLUGIN,
    &volume_resize::PLUGIN,
    &runtime_class::PLUGIN,
    &certificates::APPROVAL,
    &certificates::SIGNING,
    &trust_bundle_attest::PLUGIN,
    &certificates::SUBJECT_RESTRICTION,
    &default_class::INGRESS,
    &deny_external_ips::PLUGIN,
    &pod_topology_labels::PLUGIN,
    &policies::mutating::PLUGIN,
    &webhooks::MUTATING,
    &policies::validating::PLUGIN,
    &webhooks::VALIDATING,
    &resource_quota::PLUGIN,
];

/// When a plugin is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Admit,
    Validate,
}

impl Phase {
    fn as_str(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Validate => "validate",
        }
    }
}

/// What the plugins that are on do in a phase of an operation.
struct Step {
    phase: Phase,
    operation: Operation,
    handlers: Vec<(Handler, Times)>,
    times: Times,
}

impl Step {
    fn all(plugins: &[&Plugin], metrics: &Metrics) -> Vec<Self> {
        let phases = [Phase::Admit, Phase::Validate];
        let all = phases.into_iter().flat_map(|phase| OPERATIONS.map(|operation| (phase, operation)));
        let step = |(phase, operation)| {
            let handlers = plugins.iter().flat_map(|plugin| {
                let handlers = match phase {
                    Phase::Admit => plugin.admit,
                    Phase::Validate => plugin.validate,
                };
                let handlers = handlers.iter().filter(move |(of, _)| *of == operation);
                handlers.map(move |(_, handler)| (*handler, metrics.of_plugin(plugin, phase, operation)))
            });
            Self { phase, operation, handlers: handlers.collect(), times: metrics.of_step(phase, operation) }
        };
        all.map(step).collect()
    }

    async fn run(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
        let env = &attributes.registry.env;
        let began = env.instant();
        let mut last = began;
        let mut outcome = Ok(());
        for (handler, times) in &self.handlers {
            outcome = match handler {
                Handler::Now(handler) => ask(*handler, attributes, object).await,
                Handler::Later(handler) => handler(attributes, object).await,
            };
            let now = env.instant();
            times.took(now.saturating_duration_since(last), outcome.is_err());
            last = now;
            if outcome.is_err() {
                break;
            }
        }
        self.times.took(last.saturating_duration_since(began), outcome.is_err());
        outcome
    }
}

/// The plugins that are on.
pub(crate) struct Admission {
    steps: Vec<Step>,
    metrics: Metrics,
    charges_quota: bool,
    quota_locks: QuotaLocks,
    event_limits: event_rate_limit::EventLimits,
    /// Where ImagePolicyWebhook is on.
    image_reviews: Option<image_policy::ImageReviews>,
    policies: policies::Policies,
    documents: Derived<Documents>,
    mutating_webhooks: Derived<Configurations<webhooks::Mutating>>,
    validating_webhooks: Derived<Configurations<webhooks::Validating>>,
}

impl Admission {
    pub(crate) fn new(config: &Config, cache: &Cache, env: &Env) -> Result<Self, RemoteError> {
        let settings = config.admission.image_policy.as_ref();
        let settings = settings.filter(|_| config.admission_plugins.has(image_policy::PLUGIN.name));
        let (metrics, plugins) = (Metrics::new(), config.admission_plugins.enabled().collect::<Vec<_>>());
        Ok(Self {
            steps: Step::all(&plugins, &metrics),
            metrics,
            charges_quota: config.admission_plugins.has(resource_quota::PLUGIN.name),
            image_reviews: settings
                .map(|settings| image_policy::ImageReviews::new(settings, env.clone()))
                .transpose()?,
            quota_locks: QuotaLocks::default(),
            event_limits: event_rate_limit::EventLimits::new(&config.admission.event_limits),
            policies: policies::Policies::new(cache),
            documents: Derived::new(cache),
            mutating_webhooks: Derived::new(cache),
            validating_webhooks: Derived::new(cache),
        })
    }

    /// What plugins count.
    pub(crate) fn metrics(&self) -> Vec<MetricFamily> {
        self.policies.metrics().into_iter().chain(self.metrics.collect()).collect()
    }

    /// Whether there are webhooks: to them everything is shown as the datastore has it, once.
    fn has_webhooks(&self) -> bool {
        let mutating = self.mutating_webhooks.read(|all| !all.all().is_empty());
        mutating || self.validating_webhooks.read(|all| !all.all().is_empty())
    }

    async fn run(&self, phase: Phase, attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
        let mut steps = self.steps.iter();
        match steps.find(|step| step.phase == phase && step.operation == attributes.operation) {
            Some(step) => step.run(attributes, object).await,
            None => Ok(()),
        }
    }
}

/// Asks what looks at the watch cache: a refusal counts only when that was fresh.
async fn ask(
    handler: fn(&Attributes<'_>, &mut Value) -> Result<(), Status>,
    attributes: &Attributes<'_>,
    object: &mut Value,
) -> Result<(), Status> {
    if handler(attributes, object).is_ok() {
        return Ok(());
    }
    attributes.registry.fresh().await?;
    handler(attributes, object)
}

/// Makes ready to look at objects for a request: webhooks are not to be called for what is no longer so.
pub(crate) async fn prepare(registry: &Registry) -> Result<(), Status> {
    if registry.admission.has_webhooks() {
        registry.fresh().await?;
    }
    Ok(())
}

/// Whether a webhook or policy has changed an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// Its form is what the request and the server's own plugins made it.
    AsItWas,
    /// What the server does with objects of requests it has to do again.
    Changed,
}

/// Admits what is to be done: completes the object of a create or an update, or refuses.
pub(crate) async fn admit(attributes: &Attributes<'_>, object: &mut Value) -> Result<Admitted, Status> {
    let admission = &attributes.registry.admission;
    let rounds = Reinvocation::default();
    let attributes = &Attributes { reinvocation: Some(&rounds), ..*attributes };
    admission.run(Phase::Admit, attributes, object).await?;
    if rounds.has_changed() {
        rounds.begin_second();
        admission.run(Phase::Admit, attributes, object).await?;
    }
    if matches!(attributes.operation, Operation::Create | Operation::Update) {
        ask(rbac::check_escalation, attributes, object).await?;
        ask(policies::permission::check, attributes, object).await?;
    }
    Ok(if rounds.has_changed() { Admitted::Changed } else { Admitted::AsItWas })
}

/// Judges what is to be done when nothing is left to complete.
pub(crate) async fn validate(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    attributes.registry.admission.run(Phase::Validate, attributes, object).await
}

/// Uses up quota for an object that is about to be written: last, when nothing else can refuse it.
pub(crate) async fn charge(attributes: &Attributes<'_>, object: &Value) -> Result<Charge, Status> {
    match attributes.registry.admission.charges_quota {
        true => resource_quota::charge(attributes, object).await,
        false => Ok(Charge::default()),
    }
}
