//! PodSecurity: what pods may ask of their nodes, as the labels of their namespace say.
//!
//! `enforce` refuses pods; `warn` warns of pods and of templates that controllers make pods of, and `audit` notes them for
//! the audit log.

mod configuration;
mod namespaces;
mod pods;
mod templates;

use api::pod_security::Policy;
use api::status::Status;
use serde_json::Value;

use super::{Attributes, Handler, Operation, Plugin};

pub use configuration::PodSecurityConfiguration;
use namespaces::judge_existing;

pub(super) const PLUGIN: Plugin = Plugin {
    validate: &[
        (Operation::Create, Handler::Now(validate)),
        (Operation::Update, Handler::Now(validate)),
        (Operation::Update, Handler::Later(|attributes, object| Box::pin(judge_existing(attributes, object)))),
    ],
    ..Plugin::named("PodSecurity")
};

/// Judges pods, what holds the template of one, and the labels of namespaces.
fn validate(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    let resource = attributes.scope.resource;
    match (&*resource.group, &*resource.plural) {
        ("", "namespaces") => namespaces::validate(attributes, object),
        ("", "pods") => pods::validate(attributes, object),
        (group, plural) => {
            if let Some(path) = templates::path(group, plural) {
                templates::validate(attributes, object, path);
            }
            Ok(())
        }
    }
}

/// What holds in the namespace of the request; `None` if that is not there.
fn policy(attributes: &Attributes<'_>) -> Option<Policy> {
    let namespace = attributes.scope.namespace.unwrap_or_default();
    let namespace = attributes.registry.cached_by("", "v1", "namespaces", None, namespace)?;
    let label = |key: &str| namespace.labels.get(key);
    Some(Policy::from_labels(label, &configuration(attributes).defaults).0)
}

fn configuration<'a>(attributes: &Attributes<'a>) -> &'a PodSecurityConfiguration {
    &attributes.registry.config.admission.pod_security
}

/// Whether the policy does not count for the namespace of the request, or for who makes it.
fn is_exempt(attributes: &Attributes<'_>) -> bool {
    let exemptions = configuration(attributes);
    let dimension = if exemptions.has_namespace(attributes.scope.namespace.unwrap_or_default()) {
        "namespace"
    } else if exemptions.has_username(&attributes.caller.identity.user) {
        "user"
    } else {
        return false;
    };
    attributes.annotate("pod-security.kubernetes.io/exempt", || dimension.to_owned());
    true
}

/// Whether the policy does not count for the RuntimeClass of a pod or template.
fn has_exempt_runtime_class(attributes: &Attributes<'_>, pod: &Value) -> bool {
    let is_exempt = configuration(attributes).has_runtime_class(pod);
    if is_exempt {
        attributes.annotate("pod-security.kubernetes.io/exempt", || "runtimeClass".to_owned());
    }
    is_exempt
}

/// Notes a pod or template that does not meet a policy.
fn audit(attributes: &Attributes<'_>, policy: &Policy, pod: &Value) {
    if attributes.caller.annotations.is_none() {
        return;
    }
    let violations = api::pod_security::evaluate(policy.audit, pod);
    if !violations.is_empty() {
        let what = || format!("would violate PodSecurity \"{}\": {}", policy.audit, violations.details());
        attributes.annotate("pod-security.kubernetes.io/audit-violations", what);
    }
}

/// Warns of a pod or template that does not meet a policy.
fn warn(attributes: &Attributes<'_>, policy: &Policy, pod: &Value) {
    let violations = api::pod_security::evaluate(policy.warn, pod);
    if !violations.is_empty() {
        attributes.warn(format!("would violate PodSecurity \"{}\": {}", policy.warn, violations.details()));
    }
}
