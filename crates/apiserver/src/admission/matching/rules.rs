//! One rule: groups, versions, resources, operations and names.

use api::kinds::Resource;
use serde::Deserialize;
use serde_json::Value;

use super::Attributes;

/// A rule of a webhook or policy.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rule {
    #[serde(default)]
    operations: Vec<String>,
    #[serde(default)]
    api_groups: Vec<String>,
    #[serde(default)]
    api_versions: Vec<String>,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    scope: Option<String>,
    /// Policies alone have them; none means all.
    #[serde(default)]
    resource_names: Vec<String>,
}

impl Rule {
    /// The rules in a list; validation has seen that it is one.
    pub(super) fn list(rules: &Value) -> Vec<Self> {
        let rules = rules.as_array().into_iter().flatten();
        rules.filter_map(|rule| Self::deserialize(rule).ok()).collect()
    }

    /// Whether the rule is for the request, if its resource were `resource`.
    pub(super) fn matches(&self, attributes: &Attributes<'_>, resource: &Resource, object: Option<&Value>) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|each| each == "*" || each == wanted);
        has(&self.operations, attributes.operation.as_str())
            && has(&self.api_groups, &resource.group)
            && has(&self.api_versions, &resource.version)
            && self.has_resource(&resource.plural, attributes.caller.subresource)
            && self.has_scope(attributes, resource, object)
            && (self.resource_names.is_empty()
                || self.resource_names.iter().any(|name| name == attributes.name(object)))
    }

    fn has_resource(&self, plural: &str, subresource: &str) -> bool {
        self.resources.iter().any(|pattern| {
            let (above, below) = pattern.split_once('/').unwrap_or((pattern, ""));
            (above == "*" || above == plural) && (below == "*" || below == subresource)
        })
    }

    fn has_scope(&self, attributes: &Attributes<'_>, resource: &Resource, object: Option<&Value>) -> bool {
        // A namespace is in itself, but it is the cluster's.
        let is_namespace = resource.group.is_empty() && resource.plural == "namespaces";
        let is_in_namespace = !is_namespace && !attributes.namespace(object).is_empty();
        match self.scope.as_deref() {
            None | Some("*") => true,
            Some("Namespaced") => is_in_namespace,
            Some("Cluster") => !is_in_namespace,
            Some(_) => false,
        }
    }
}
