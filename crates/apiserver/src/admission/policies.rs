//! Admission policies in CEL: validating ones judge what is about to be written, mutating ones change it.
//!
//! A policy says which requests it is for and what is to hold of them; a binding puts it into force and says with which
//! parameters. Both are read when they change ([`hooks`]); a request finds the policies that are for it with
//! [`Definition::asks`].

mod checks;
mod hooks;
pub(super) mod mutating;
mod params;
pub(super) mod permission;
pub(super) mod validating;

use std::sync::Arc;

use api::status::Status;
use cel::admission::Environment;
use prometheus::proto::MetricFamily;
use serde_json::Value;

use super::Attributes;
use super::matching::{Criteria, FailurePolicy, Match, MatchConditions};
use crate::cache::{Cache, Derived};
use checks::Checks;
use hooks::{Binding, Hooks};
use mutating::MutatingPolicy;
use params::ParamKind;
use validating::ValidatingPolicy;

/// The policies that are in force.
pub(super) struct Policies {
    mutating: Derived<Hooks<MutatingPolicy>>,
    validating: Derived<Hooks<ValidatingPolicy>>,
    checks: Checks,
}

impl Policies {
    pub(super) fn new(cache: &Cache) -> Self {
        Self { mutating: Derived::new(cache), validating: Derived::new(cache), checks: Checks::new() }
    }

    /// What policies have found, as metrics.
    pub(super) fn metrics(&self) -> Vec<MetricFamily> {
        self.checks.collect()
    }
}

/// What policies of both kinds say.
struct Definition {
    name: Arc<str>,
    criteria: Criteria,
    params: Option<ParamKind>,
    failure_policy: FailurePolicy,
    /// Compiles the expressions of the policy.
    environment: Environment,
    conditions: MatchConditions,
}

/// A binding whose requests the request is among, with the parameters to ask the policy with, each once, or why they
/// cannot be found.
struct Ask {
    binding: Arc<Binding>,
    params: Result<Vec<Option<Value>>, String>,
}

/// Whom to ask about a request: a policy that is for it.
struct Asks {
    /// In which version the policy wants to see the request.
    found: Match,
    bindings: Vec<Ask>,
}

impl Definition {
    fn read(policy: &Value) -> Self {
        let spec = &policy["spec"];
        let failure_policy = FailurePolicy::parse(&spec["failurePolicy"]);
        let params = ParamKind::read(&spec["paramKind"]);
        let mut environment = Environment::new(params.is_some());
        for variable in spec["variables"].as_array().into_iter().flatten() {
            let text = |field: &str| variable[field].as_str().unwrap_or_default();
            // Who uses one that cannot be compiled fails.
            let _ = environment.add_variable(text("name"), text("expression"));
        }
        Self {
            name: api::meta::name(policy).into(),
            criteria: Criteria::of_match_resources(&spec["matchConstraints"]),
            params,
            failure_policy,
            conditions: MatchConditions::compile(&spec["matchConditions"], &environment, failure_policy),
            environment,
        }
    }

    /// Whether anything before the policy's own expressions asks for a variable.
    fn uses(&self, variable: &str) -> bool {
        self.conditions.uses(variable) || self.environment.variables_use(variable)
    }

    /// Whom to ask about the request; nobody, if the policy is not for it. What is wrong with the policy is an error,
    /// what is wrong with a binding is told with it.
    async fn asks(
        &self,
        bindings: &[Arc<Binding>],
        attributes: &Attributes<'_>,
        object: Option<&Value>,
    ) -> Result<Option<Asks>, String> {
        let words = |status: Status| status.message;
        let Some(found) = self.criteria.find(attributes, object).await.map_err(words)? else { return Ok(None) };
        let kind = self.params.as_ref().map(|params| params.resource(attributes.registry)).transpose()?;
        let mut asks = Vec::new();
        for binding in bindings {
            let found = match &binding.criteria {
                None => Ok(true),
                Some(criteria) => criteria.find(attributes, object).await.map(|found| found.is_some()),
            };
            let params = match found {
                Ok(false) => continue,
                Err(status) => Err(status.message),
                Ok(true) => params::collect(kind.as_deref(), binding.params.as_ref(), attributes, object).await,
            };
            asks.push(Ask { binding: Arc::clone(binding), params });
        }
        Ok(Some(Asks { found, bindings: asks }))
    }
}
