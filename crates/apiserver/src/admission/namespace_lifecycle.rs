//! NamespaceLifecycle: nothing is made in a namespace that does not exist or is on its way out, and the namespaces that
//! every cluster has stay.

use api::status::{Cause, Status};
use serde_json::Value;

use super::{Attributes, Handler, Operation, Plugin};

/// Namespaces that cannot be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-public", "kube-system"];

/// The cause by which controllers recognize a create that came too late.
const TERMINATING: &str = "NamespaceTerminating";

pub(super) const PLUGIN: Plugin = Plugin {
    admit: &[(Operation::Create, Handler::Now(create)), (Operation::Delete, Handler::Now(delete))],
    ..Plugin::named("NamespaceLifecycle")
};

fn create(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    let Some(namespace) = attributes.scope.namespace else { return Ok(()) };
    // A review of access does not make anything in the namespace.
    if !attributes.scope.resource.is_stored() && attributes.scope.resource.plural != "bindings" {
        return Ok(());
    }
    let Some(found) = attributes.registry.cached_by("", "v1", "namespaces", None, namespace) else {
        return Err(Status::not_found("", "namespaces", namespace));
    };
    let is_terminating = found.field("status.phase") == Some("Terminating") || api::meta::is_deleting(&found.value());
    if !is_terminating {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut status = attributes.forbidden(object, why);
    status.details.get_or_insert_default().causes.push(Cause {
        reason: TERMINATING.into(),
        message: format!("namespace {namespace} is being terminated"),
        field: "metadata.namespace".to_owned(),
    });
    Err(status)
}

fn delete(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    if attributes.is("", "namespaces") && IMMORTAL.contains(&api::meta::name(object)) {
        return Err(attributes.forbidden(object, "this namespace may not be deleted"));
    }
    Ok(())
}
