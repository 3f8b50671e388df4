//! Admission: what is refused or completed before an object is validated, and what is refused or warned of after that.
//!
//! Plugins run in the order of [`CREATE`], [`UPDATE`] and [`DELETE`]. They look at other objects in the watch cache; because a
//! cache can be behind, a refusal counts only when the cache was fresh.

mod certificates;
mod default_class;
mod limit_ranger;
mod namespace_lifecycle;
mod node_restriction;
mod node_taint;
mod pod_priority;
mod pod_security;
mod pod_tolerations;
mod resource_quota;
mod runtime_class;
mod service_account;
mod storage_protection;
mod volume_resize;

use std::sync::Arc;

use api::status::Status;
use serde_json::Value;

use crate::access::rbac;
use crate::cache::Object;
use crate::registry::{Caller, Registry, Scope};

pub use pod_security::PodSecurityConfiguration;
pub(crate) use resource_quota::{Charge, QuotaLocks};

/// What a plugin is asked about.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) scope: Scope<'a>,
    pub(crate) caller: Caller<'a>,
    pub(crate) operation: Operation,
    /// The object before an update.
    pub(crate) old: Option<&'a Value>,
}

/// What is done to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    /// Of the object or a subresource, which the caller names.
    Update,
    Delete,
}

/// Marks pods that a kubelet reports, which it runs without having been told to.
const MIRROR: &str = "kubernetes.io/config.mirror";

impl Attributes<'_> {
    /// Whether it is about objects of a resource themselves.
    fn is(&self, group: &str, plural: &str) -> bool {
        self.is_subresource(group, plural, "")
    }

    fn is_subresource(&self, group: &str, plural: &str, subresource: &str) -> bool {
        self.scope.resource.group == group
            && self.scope.resource.plural == plural
            && self.caller.subresource == subresource
    }

    /// The objects of a built-in resource in the namespace of the request, by name.
    fn in_namespace(&self, group: &str, version: &str, plural: &str) -> Vec<Arc<Object>> {
        let Some((namespace, resource)) = self.scope.namespace.zip(api::kinds::find(group, version, plural)) else {
            return Vec::new();
        };
        let Ok(cache) = self.registry.resource_cache(resource) else { return Vec::new() };
        cache.snapshot(0).range(Some(namespace)).cloned().collect()
    }

    /// Warns the client of something.
    fn warn(&self, warning: String) {
        if let Some(warnings) = self.caller.warnings {
            warnings.add(warning);
        }
    }

    /// Notes something for the audit log, if somebody reads that.
    fn annotate(&self, key: &'static str, value: impl FnOnce() -> String) {
        if let Some(annotations) = self.caller.annotations {
            annotations.add(key, value());
        }
    }

    /// 403 about the object.
    pub(crate) fn forbidden(&self, object: &Value, why: impl std::fmt::Display) -> Status {
        let name = match api::meta::name(object) {
            "" => api::meta::generate_name(object).unwrap_or_default(),
            name => name,
        };
        Status::forbidden(&self.scope.resource.group, &self.scope.resource.plural, name, why)
    }
}

type Plugin = fn(&Attributes<'_>, &mut Value) -> Result<(), Status>;

/// Plugins for creations, in upstream's order.
const CREATE: [Plugin; 13] = [
    namespace_lifecycle::create,
    limit_ranger::set_defaults,
    service_account::create,
    node_restriction::judge,
    node_taint::create,
    pod_priority::create,
    pod_tolerations::add,
    default_class::storage,
    storage_protection::create,
    runtime_class::complete,
    certificates::restrict_subject,
    default_class::ingress,
    rbac::check_escalation,
];

/// Plugins for updates, of subresources too, in upstream's order.
const UPDATE: [Plugin; 6] = [
    node_restriction::judge,
    pod_priority::update,
    pod_tolerations::add,
    certificates::approve,
    certificates::sign,
    rbac::check_escalation,
];

/// Plugins for deletions, in upstream's order.
const DELETE: [Plugin; 3] = [namespace_lifecycle::delete, node_restriction::judge, pod_priority::delete];

/// Plugins that judge a new object once it is complete and valid, in upstream's order.
const VALIDATE_CREATE: [Plugin; 3] = [limit_ranger::check, pod_security::validate, runtime_class::check];

/// Plugins that judge a changed object once it is complete and valid, in upstream's order.
const VALIDATE_UPDATE: [Plugin; 3] = [limit_ranger::check, pod_security::validate, volume_resize::check];

/// Admits a new object.
pub(crate) async fn admit_create(
    registry: &Registry,
    scope: Scope<'_>,
    caller: Caller<'_>,
    object: &mut Value,
) -> Result<(), Status> {
    run(&CREATE, Attributes { registry, scope, caller, operation: Operation::Create, old: None }, object).await
}

/// Admits a changed object.
pub(crate) async fn admit_update(
    registry: &Registry,
    scope: Scope<'_>,
    caller: Caller<'_>,
    object: &mut Value,
    old: &Value,
) -> Result<(), Status> {
    run(&UPDATE, Attributes { registry, scope, caller, operation: Operation::Update, old: Some(old) }, object).await
}

/// Judges an object that is about to be written: a new one, or one that replaces `old`. Last, when nothing else can refuse
/// it, it uses up quota.
pub(crate) async fn validate(
    registry: &Registry,
    scope: Scope<'_>,
    caller: Caller<'_>,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<Charge, Status> {
    let (operation, plugins) = match old {
        None => (Operation::Create, &VALIDATE_CREATE),
        Some(_) => (Operation::Update, &VALIDATE_UPDATE),
    };
    let attributes = Attributes { registry, scope, caller, operation, old };
    run(plugins, attributes, object).await?;
    pod_security::judge_existing(&attributes, object).await?;
    resource_quota::charge(&attributes, object).await
}

/// Admits the deletion of an object, or a pod's eviction.
pub(crate) async fn admit_delete(
    registry: &Registry,
    scope: Scope<'_>,
    caller: Caller<'_>,
    object: &Value,
) -> Result<(), Status> {
    let attributes = Attributes { registry, scope, caller, operation: Operation::Delete, old: None };
    run(&DELETE, attributes, &mut object.clone()).await
}

/// Admits a token for a service account.
pub(crate) async fn admit_token(
    registry: &Registry,
    scope: Scope<'_>,
    caller: Caller<'_>,
    request: &mut Value,
) -> Result<(), Status> {
    let attributes = Attributes { registry, scope, caller, operation: Operation::Create, old: None };
    run(&[node_restriction::judge], attributes, request).await
}

async fn run(plugins: &[Plugin], attributes: Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    let mut is_fresh = false;
    for plugin in plugins {
        let Err(refusal) = plugin(&attributes, object) else { continue };
        if is_fresh {
            return Err(refusal);
        }
        attributes.registry.fresh().await?;
        is_fresh = true;
        plugin(&attributes, object)?;
    }
    Ok(())
}
