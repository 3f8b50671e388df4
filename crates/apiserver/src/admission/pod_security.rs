//! PodSecurity: what pods may ask of their nodes, as the labels of their namespace say.
//!
//! `enforce` refuses pods; `warn` warns of pods and of templates that controllers make pods of. The labels of `audit` are
//! checked, but have no effect: there is no audit log.

mod configuration;
mod namespaces;
mod pods;
mod templates;

use api::pod_security::Policy;
use api::status::Status;
use serde_json::Value;

use super::Attributes;

pub use configuration::PodSecurityConfiguration;
pub(super) use namespaces::judge_existing;

/// Judges pods, what holds the template of one, and the labels of namespaces.
pub(super) fn validate(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
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
    let label = |key: &str| namespace.labels.get(key).map(String::as_str);
    Some(Policy::from_labels(label, &configuration(attributes).defaults).0)
}

fn configuration<'a>(attributes: &Attributes<'a>) -> &'a PodSecurityConfiguration {
    &attributes.registry.config.pod_security
}

/// Whether the policy does not count for the namespace of the request, or for who makes it.
fn is_exempt(attributes: &Attributes<'_>) -> bool {
    let exemptions = configuration(attributes);
    exemptions.has_namespace(attributes.scope.namespace.unwrap_or_default())
        || exemptions.has_username(&attributes.caller.identity.user)
}

/// Warns of a pod or template that does not meet a policy.
fn warn(attributes: &Attributes<'_>, policy: &Policy, pod: &Value) {
    let violations = api::pod_security::evaluate(policy.warn, pod);
    if !violations.is_empty() {
        attributes.warn(format!("would violate PodSecurity \"{}\": {}", policy.warn, violations.details()));
    }
}
