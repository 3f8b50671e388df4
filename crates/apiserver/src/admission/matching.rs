//! Which requests webhooks and policies are asked about, and what they are shown: one mechanism for all of them.
//!
//! A configuration object is read once, when the watch cache has it ([`Configurations`]): its rules and selectors become
//! [`Criteria`], its conditions compiled [`MatchConditions`]. A request that meets the criteria is a [`Match`], which
//! says in which version the rules want to see the object; [`Views`] makes the request in that version.

mod authorizer;
mod conditions;
mod configurations;
mod rules;
mod subject;
mod versions;

use api::kinds::Resource;
use api::selector::LabelSelector;
use api::status::Status;
use serde_json::Value;

use super::{Attributes, Operation};

pub(crate) use authorizer::CelAuthorizer;
pub(crate) use conditions::{FailurePolicy, MatchConditions, MatchOutcome, WEBHOOKS};
pub(crate) use configurations::{Configuration, Configurations};
use rules::Rule;
pub(crate) use subject::{Needs, Subject};
pub(crate) use versions::{Match, ObjectKind, VersionedAttributes, Views};

/// What a webhook's or policy's configuration says about the requests that it is for.
#[derive(Debug)]
pub(crate) struct Criteria {
    /// `None` where everything is meant.
    rules: Option<Vec<Rule>>,
    exclude: Vec<Rule>,
    /// `matchPolicy: Equivalent`: rules are also for the same objects in other versions or groups.
    equivalent: bool,
    namespace_selector: Selector,
    object_selector: Selector,
}

/// A selector, or what is wrong with it.
type Selector = Result<LabelSelector, String>;

impl Criteria {
    /// Those of a webhook, which is for nothing without rules.
    pub(crate) fn of_webhook(hook: &Value) -> Self {
        Self {
            rules: Some(Rule::list(&hook["rules"])),
            exclude: Vec::new(),
            equivalent: hook["matchPolicy"] == "Equivalent",
            namespace_selector: selector(&hook["namespaceSelector"]),
            object_selector: selector(&hook["objectSelector"]),
        }
    }

    /// Those of `matchConstraints` or `matchResources`, which are for everything without rules.
    pub(crate) fn of_match_resources(resources: &Value) -> Self {
        Self {
            rules: Some(Rule::list(&resources["resourceRules"])).filter(|rules| !rules.is_empty()),
            exclude: Rule::list(&resources["excludeResourceRules"]),
            equivalent: resources["matchPolicy"] != "Exact",
            namespace_selector: selector(&resources["namespaceSelector"]),
            object_selector: selector(&resources["objectSelector"]),
        }
    }

    /// Whether the request is meant. `object` is `None` for a deletion.
    pub(crate) async fn find(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
    ) -> Result<Option<Match>, Status> {
        // What is wrong with a selector only matters if everything else matches.
        let labels = self.selects_labels(attributes, object);
        if matches!(labels, Ok(false)) || self.find_rule(&self.exclude, attributes, object)?.is_some() {
            return Ok(None);
        }
        let found = match &self.rules {
            None => Some(Match::as_requested()),
            Some(rules) => self.find_rule(rules, attributes, object)?,
        };
        let Some(found) = found else { return Ok(None) };
        if !self.selects_namespace(attributes, object).await? || !labels? {
            return Ok(None);
        }
        Ok(Some(found))
    }

    fn find_rule(
        &self,
        rules: &[Rule],
        attributes: &Attributes<'_>,
        object: Option<&Value>,
    ) -> Result<Option<Match>, Status> {
        let matches = |rule: &Rule, resource: &Resource| rule.matches(attributes, resource, object);
        if rules.iter().any(|rule| matches(rule, attributes.scope.resource)) {
            return Ok(Some(Match::as_requested()));
        }
        if !self.equivalent || rules.is_empty() {
            return Ok(None);
        }
        // The other rows under which the objects of the request are served.
        let (own, subresource) = (attributes.scope.resource, attributes.caller.subresource);
        let kinds = attributes.registry.kinds();
        let is_other = |row: &Resource| {
            (&row.group, &row.version) != (&own.group, &own.version)
                && (subresource.is_empty() || row.subresource(subresource).is_some())
        };
        for rule in rules {
            let mut others = kinds.stored_with(own).iter().filter(|row| is_other(row));
            if let Some(other) = others.find(|other| matches(rule, other)) {
                return Ok(Some(Match::in_version(other.clone())));
            }
        }
        Ok(None)
    }

    fn selects_labels(&self, attributes: &Attributes<'_>, object: Option<&Value>) -> Result<bool, Status> {
        let selector = self.object_selector.as_ref().map_err(Status::internal)?;
        if selector.is_empty() {
            return Ok(true);
        }
        let selects = |object: &Value| object.is_object() && selector.matches_json(api::meta::labels(object));
        // What is connected with is told in options, which have no labels.
        let object = object.filter(|_| attributes.operation != Operation::Connect);
        Ok(object.is_some_and(selects) || attributes.old.is_some_and(selects))
    }

    /// Whether the labels of the namespace are selected. What is in no namespace always is.
    async fn selects_namespace(&self, attributes: &Attributes<'_>, object: Option<&Value>) -> Result<bool, Status> {
        let is_namespace = attributes.scope.resource.plural == "namespaces";
        let namespace = attributes.namespace(object);
        if namespace.is_empty() && !is_namespace {
            return Ok(true);
        }
        let selector = self.namespace_selector.as_ref().map_err(Status::internal)?;
        if selector.is_empty() {
            return Ok(true);
        }
        if is_namespace && attributes.caller.subresource.is_empty() && attributes.operation != Operation::Delete {
            return Ok(selector.matches_json(object.and_then(api::meta::labels)));
        }
        let registry = attributes.registry;
        let find = || registry.cached_by("", "v1", "namespaces", None, namespace);
        let found = match find() {
            Some(found) => Some(found),
            None => {
                registry.fresh().await?;
                find()
            }
        };
        let found = found.ok_or_else(|| Status::not_found("", "namespaces", namespace))?;
        Ok(selector.matches_lookup(|key| found.labels.get(key)))
    }
}

fn selector(selector: &Value) -> Selector {
    if selector.is_null() {
        return Ok(LabelSelector::everything());
    }
    let selector = serde_json::from_value(selector.clone()).map_err(|err| err.to_string())?;
    LabelSelector::from_k8s(&selector).map_err(|err| err.to_string())
}

/// Whether the request is about what says how requests are admitted: that is beyond webhooks and policies, so that none
/// of them can lock everybody out.
pub(crate) fn is_exempt(attributes: &Attributes<'_>) -> bool {
    const EXEMPT: [&str; 6] = [
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding",
        "MutatingWebhookConfiguration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
    ];
    let resource = attributes.scope.resource;
    resource.group == "admissionregistration.k8s.io" && EXEMPT.contains(&&*resource.kind)
}
