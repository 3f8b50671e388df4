//! Admission: what is refused or completed before an object is validated.
//!
//! Plugins run in the order of [`CREATE`] and [`UPDATE`]. They look at other objects in the watch cache; because a
//! cache can be behind, a refusal counts only when the cache was fresh.

mod namespace_lifecycle;
mod node_taint;
mod pod_priority;
mod pod_tolerations;
mod service_account;
mod storage_protection;

use api::status::Status;
use serde_json::Value;

use crate::access::rbac;
use crate::registry::{Caller, Registry, Scope};

/// What a plugin is asked about.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) scope: Scope<'a>,
    pub(crate) caller: Caller<'a>,
    /// The object before an update.
    pub(crate) old: Option<&'a Value>,
}

impl Attributes<'_> {
    fn is(&self, group: &str, plural: &str) -> bool {
        self.scope.resource.group == group && self.scope.resource.plural == plural
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

/// Plugins for creations, in order.
const CREATE: [Plugin; 7] = [
    namespace_lifecycle::create,
    service_account::create,
    node_taint::create,
    pod_priority::create,
    pod_tolerations::add,
    storage_protection::create,
    rbac::check_escalation,
];

/// Plugins for updates, in order.
const UPDATE: [Plugin; 3] = [pod_priority::update, pod_tolerations::add, rbac::check_escalation];

/// Admits a new object.
pub(crate) async fn admit_create(
    registry: &Registry,
    scope: Scope<'_>,
    caller: Caller<'_>,
    object: &mut Value,
) -> Result<(), Status> {
    run(&CREATE, Attributes { registry, scope, caller, old: None }, object).await
}

/// Admits a changed object.
pub(crate) async fn admit_update(
    registry: &Registry,
    scope: Scope<'_>,
    caller: Caller<'_>,
    object: &mut Value,
    old: &Value,
) -> Result<(), Status> {
    run(&UPDATE, Attributes { registry, scope, caller, old: Some(old) }, object).await
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

/// Admits a deletion.
pub(crate) fn admit_delete(scope: Scope<'_>, name: &str) -> Result<(), Status> {
    namespace_lifecycle::delete(scope, name)
}
