//! NamespaceExists and NamespaceAutoProvision: nothing is done in a namespace that is not there, or it is made first.

use api::status::Status;
use serde_json::{Value, json};

use super::{Attributes, Handler, Operation, Plugin};
use crate::bootstrap;
use crate::registry::Scope;

pub(super) const EXISTS: Plugin = Plugin {
    validate: &[
        (Operation::Create, Handler::Now(check)),
        (Operation::Update, Handler::Now(check)),
        (Operation::Delete, Handler::Now(check)),
    ],
    ..Plugin::off("NamespaceExists")
};

pub(super) const AUTO_PROVISION: Plugin = Plugin {
    admit: &[(Operation::Create, Handler::Later(|attributes, _| Box::pin(provide(attributes))))],
    ..Plugin::off("NamespaceAutoProvision")
};

/// The namespace of the request, if it is not there.
fn missing<'a>(attributes: &Attributes<'a>) -> Option<&'a str> {
    let namespace = attributes.scope.namespace?;
    let is_there = attributes.registry.cached_by("", "v1", "namespaces", None, namespace).is_some();
    (!is_there).then_some(namespace)
}

fn check(attributes: &Attributes<'_>, _: &mut Value) -> Result<(), Status> {
    match missing(attributes) {
        None => Ok(()),
        Some(namespace) => Err(Status::not_found("", "namespaces", namespace)),
    }
}

async fn provide(attributes: &Attributes<'_>) -> Result<(), Status> {
    if attributes.caller.dry_run || missing(attributes).is_none() {
        return Ok(());
    }
    let registry = attributes.registry;
    registry.fresh().await?;
    let namespaces = api::kinds::find("", "v1", "namespaces").map(AsRef::as_ref);
    let (Some(name), Some(resource)) = (missing(attributes), namespaces) else { return Ok(()) };
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    // A namespace is in none: making it does not lead here again.
    Box::pin(bootstrap::create(registry, Scope { resource, namespace: None }, object)).await?;
    registry.fresh().await.map(drop)
}
