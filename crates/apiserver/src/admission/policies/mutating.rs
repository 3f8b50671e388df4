//! MutatingAdmissionPolicy: changes what is about to be written.
//!
//! A mutation is a configuration that is merged as server-side apply merges, owned by nobody, or a JSON patch. Policies
//! change the object one after the other; those that ask for it see it once more when something after them changed it.

use std::sync::Arc;

use api::status::{Cause, Status, reason};
use cel::admission::{BUDGET, EvaluationError, Expression, Purpose, apply_configuration, json_patch};
use futures::future::BoxFuture;
use serde_json::Value;

use super::super::matching::{
    FailurePolicy, Match, MatchOutcome, Needs, ObjectKind, Subject, VersionedAttributes, Views, is_exempt,
};
use super::super::plugin::{Handler, Plugin};
use super::super::reinvocation::{Callers, Calls};
use super::super::{Attributes, Operation};
use super::checks::{Check, Trouble};
use super::hooks::{Binding, Hook, Policy};
use super::{Ask, Definition};
use crate::http::options::FieldValidation;
use crate::registry::{self, check_applied, check_patched, complete};

pub(in super::super) const PLUGIN: Plugin = Plugin {
    // A deletion has nothing to change.
    admit: &[
        (Operation::Create, Handler::Later(mutate)),
        (Operation::Update, Handler::Later(mutate)),
        (Operation::Connect, Handler::Later(mutate)),
    ],
    ..Plugin::named("MutatingAdmissionPolicy")
};

/// A mutating policy.
pub(super) struct MutatingPolicy {
    definition: Definition,
    mutations: Vec<Mutation>,
    /// Whether it sees the object once more when something after it changed that.
    is_reinvoked: bool,
    needs: Needs,
}

/// What makes a change.
enum Mutation {
    Apply(Expression),
    Patch(Expression),
}

impl Mutation {
    fn expression(&self) -> &Expression {
        match self {
            Self::Apply(expression) | Self::Patch(expression) => expression,
        }
    }
}

impl Policy for MutatingPolicy {
    const RESOURCES: &'static [(&'static str, &'static str)] = &[
        ("admissionregistration.k8s.io", "mutatingadmissionpolicies"),
        ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"),
    ];

    fn read(policy: &Value) -> Self {
        let definition = Definition::read(policy);
        let compile = |purpose: Purpose, value: &Value| {
            definition.environment.compile(purpose, value["expression"].as_str().unwrap_or_default())
        };
        let mutation = |mutation: &Value| match mutation["patchType"].as_str() {
            Some("JSONPatch") => Mutation::Patch(compile(Purpose::JsonPatch, &mutation["jsonPatch"])),
            _ => Mutation::Apply(compile(Purpose::ApplyConfiguration, &mutation["applyConfiguration"])),
        };
        let spec = &policy["spec"];
        let mutations: Vec<Mutation> = spec["mutations"].as_array().into_iter().flatten().map(mutation).collect();
        let needs = Needs::of(|variable| {
            definition.uses(variable) || mutations.iter().any(|mutation| mutation.expression().uses(variable))
        });
        Self { is_reinvoked: spec["reinvocationPolicy"] == "IfNeeded", mutations, needs, definition }
    }
}

fn mutate<'a>(attributes: &'a Attributes<'a>, object: &'a mut Value) -> BoxFuture<'a, Result<(), Status>> {
    Box::pin(async move {
        if is_exempt(attributes) {
            return Ok(());
        }
        let hooks = || attributes.registry.admission.policies.mutating.read(|hooks| hooks.all());
        let mut outcome = change(&hooks(), attributes, object).await;
        if !outcome.as_ref().is_ok_and(|changed| changed.found.failures.is_empty()) {
            // The policy may be gone or another one.
            attributes.registry.fresh().await?;
            outcome = change(&hooks(), attributes, object).await;
        }
        let Changed { object: changed, calls, found } = outcome?;
        attributes.registry.admission.policies.checks.count(&found.checks);
        if !found.failures.is_empty() {
            return Err(refusal(attributes, object, &found.failures));
        }
        if let Some(changed) = changed {
            *object = changed;
        }
        attributes.end_round(Callers::Policies, calls, object);
        Ok(())
    })
}

/// A policy to be asked, with one of its bindings and one of its parameters.
struct Invocation<'h> {
    policy: &'h MutatingPolicy,
    found: Match,
    binding: Arc<Binding>,
    params: Option<Value>,
}

/// Why a policy could not be asked, or its change could not be made.
struct Failure {
    policy: Arc<str>,
    binding: Option<Arc<str>>,
    message: String,
    reason: Option<&'static str>,
}

/// What comes of asking policies.
#[derive(Default)]
struct Findings {
    failures: Vec<Failure>,
    checks: Vec<Check>,
}

/// What comes of a round.
struct Changed {
    /// The object, if it is another.
    object: Option<Value>,
    calls: Calls,
    found: Findings,
}

/// Asks all policies, or in the second round those that it is for.
async fn change(
    hooks: &[Hook<MutatingPolicy>],
    attributes: &Attributes<'_>,
    object: &Value,
) -> Result<Changed, Status> {
    let mut found = Findings::default();
    let invocations = invocations(hooks, attributes, object, &mut found).await;
    let mut calls = attributes.begin_round(Callers::Policies, object);
    let mut changed: Option<Value> = None;
    let mut invocations = invocations.iter();
    loop {
        let mut views = Views::new(attributes, Some(changed.as_ref().unwrap_or(object)));
        match run_until_changed(&mut invocations, &mut views, &mut calls, &mut found).await? {
            None => return Ok(Changed { object: changed, calls, found }),
            after => changed = after,
        }
    }
}

/// Asks policies until one changes the object; what it makes of it.
async fn run_until_changed(
    invocations: &mut std::slice::Iter<'_, Invocation<'_>>,
    views: &mut Views<'_>,
    calls: &mut Calls,
    found: &mut Findings,
) -> Result<Option<Value>, Status> {
    for invocation in invocations {
        let id = invocation.id();
        if !calls.may_call(&id) {
            continue;
        }
        let after = match invocation.run(views, found).await? {
            Outcome::Unasked => continue,
            Outcome::Changed(after) => Some(after).filter(|after| Some(after) != views.given().1),
            Outcome::Unchanged => None,
        };
        calls.called(id, invocation.policy.is_reinvoked, after.is_some());
        if after.is_some() {
            return Ok(after);
        }
    }
    Ok(None)
}

/// Whom to ask. Which policies are for the request does not change with the object.
async fn invocations<'h>(
    hooks: &'h [Hook<MutatingPolicy>],
    attributes: &Attributes<'_>,
    object: &Value,
    found: &mut Findings,
) -> Vec<Invocation<'h>> {
    let mut invocations = Vec::new();
    for hook in hooks {
        let policy = &*hook.policy;
        let asks = match policy.definition.asks(&hook.bindings, attributes, Some(object)).await {
            Ok(None) => continue,
            Ok(Some(asks)) => asks,
            Err(why) => {
                policy.fail(None, format!("failed to configure policy: {why}"), None, found);
                continue;
            }
        };
        for Ask { binding, params } in asks.bindings {
            match params {
                Ok(params) => invocations.extend(params.into_iter().map(|params| Invocation {
                    policy,
                    found: asks.found.clone(),
                    binding: Arc::clone(&binding),
                    params,
                })),
                Err(why) => {
                    policy.fail(Some(&binding), format!("failed to configure binding: {why}"), None, found);
                }
            }
        }
    }
    invocations
}

impl MutatingPolicy {
    fn fail(&self, binding: Option<&Binding>, message: String, reason: Option<&'static str>, found: &mut Findings) {
        if self.definition.failure_policy == FailurePolicy::Fail {
            let (policy, binding) = (self.definition.name.clone(), binding.map(|binding| binding.name.clone()));
            found.failures.push(Failure { policy, binding, message, reason });
        }
    }
}

/// What a policy did with an object.
enum Outcome {
    /// Nothing: its match conditions do not hold, or could not be asked.
    Unasked,
    /// It left the object as it is.
    Unchanged,
    Changed(Value),
}

/// Why a change could not be made.
enum MutationError {
    /// The failure policy says what that means.
    Failed(String, Trouble),
    /// The request ends with this.
    Ended(Status),
}

impl MutationError {
    fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string(), Trouble::Invalid)
    }
}

impl From<EvaluationError> for MutationError {
    fn from(error: EvaluationError) -> Self {
        Self::Failed(error.to_string(), Trouble::from(&error))
    }
}

impl From<Status> for MutationError {
    fn from(status: Status) -> Self {
        Self::Ended(status)
    }
}

impl Invocation<'_> {
    /// What tells it from others in both rounds.
    fn id(&self) -> String {
        let params = self.params.as_ref().map(|params| (api::meta::namespace(params), api::meta::name(params)));
        format!("{}/{}/{params:?}", self.policy.definition.name, self.binding.name)
    }

    /// Makes the changes of the policy to the object, which is in the version of the request again then.
    async fn run(&self, views: &mut Views<'_>, found: &mut Findings) -> Result<Outcome, Status> {
        let request = views.show(&self.found).await?;
        let (attributes, Some(object)) = views.given() else { return Ok(Outcome::Unasked) };
        let subject = Subject::new(&request, self.policy.needs).await?;
        let shown = request.object.as_deref().unwrap_or(object);
        let inputs = subject.inputs(Some(shown), request.old.as_deref(), self.params.as_ref());
        let definition = &self.policy.definition;
        match definition.conditions.evaluate(&definition.environment.activate(&inputs, BUDGET)) {
            MatchOutcome::Matches => {}
            MatchOutcome::Excluded => return Ok(Outcome::Unasked),
            MatchOutcome::Failed(why) => {
                self.policy.fail(Some(&self.binding), why, Some(reason::INVALID), found);
                return Ok(Outcome::Unasked);
            }
        }
        let mut changed: Option<Value> = None;
        for mutation in &self.policy.mutations {
            let trouble = match self.mutate(&request, &subject, mutation, changed.as_ref().unwrap_or(shown)) {
                Ok(after) => {
                    changed = after.or(changed);
                    Trouble::None
                }
                Err(MutationError::Failed(why, trouble)) => {
                    self.policy.fail(Some(&self.binding), why, Some(reason::INVALID), found);
                    trouble
                }
                Err(MutationError::Ended(status)) => return Err(status),
            };
            let (policy, binding) = (definition.name.clone(), self.binding.name.clone());
            found.checks.push(Check { policy, binding, trouble, action: None });
        }
        match changed {
            Some(changed) => Ok(Outcome::Changed(self.found.take_back(attributes, object, changed).await?)),
            None => Ok(Outcome::Unchanged),
        }
    }

    /// The object after one mutation; nothing if that leaves it as it is.
    fn mutate(
        &self,
        request: &VersionedAttributes<'_>,
        subject: &Subject,
        mutation: &Mutation,
        object: &Value,
    ) -> Result<Option<Value>, MutationError> {
        let resource = request.resource();
        let expected = request.expected().ok_or_else(|| unknown(request))?;
        let inputs = subject.inputs(Some(object), request.old.as_deref(), self.params.as_ref());
        let mut activation = self.policy.definition.environment.activate(&inputs, BUDGET);
        let made = activation.evaluate(mutation.expression())?;
        let mut changed = match mutation {
            Mutation::Apply(_) => {
                let config = apply_configuration(&made).map_err(MutationError::failed)?;
                let merged = registry::Subject::adopt(expected, object, &config);
                merged.map_err(|error| MutationError::failed(format!("error applying patch: {error}")))?
            }
            Mutation::Patch(_) => {
                let patch = json_patch(&made).map_err(MutationError::failed)?;
                let patched = api::patch::json::apply_if(object.clone(), &patch);
                match patched.map_err(|status| MutationError::failed(format!("JSONPath: {}", status.message)))? {
                    None => return Ok(None),
                    Some(patched) => {
                        let checked = check_patched(expected, patched, FieldValidation::Strict);
                        checked.map_err(|status| Status::internal(status.message))?.value
                    }
                }
            }
        };
        // Of a scale only the replicas are taken back.
        if expected.kind == &*resource.kind {
            check_applied(resource, &mut changed)?;
            complete(resource, &mut changed);
        }
        Ok(Some(changed))
    }
}

/// What is sent to a subresource can be of a kind that cannot be changed like an object.
fn unknown(request: &VersionedAttributes<'_>) -> Status {
    let ObjectKind { group, version, kind } = ObjectKind::of(request.resource(), request.attributes.caller.subresource);
    Status::service_unavailable(format!(
        "Resource kind {group}/{version}, Kind={kind} not found. There can be a delay between when \
         CustomResourceDefinitions are created and when they are available."
    ))
}

/// What is answered: the first failure decides, all are told.
fn refusal(attributes: &Attributes<'_>, object: &Value, failures: &[Failure]) -> Status {
    let mut status = attributes.forbidden(object, "admission request denied by policy");
    let words = |failure: &Failure| {
        let Failure { policy, binding, message, .. } = failure;
        match binding {
            Some(binding) => format!("policy '{policy}' with binding '{binding}' denied request: {message}"),
            None => format!("policy {} denied request: {message}", api::field::quote(policy)),
        }
    };
    if let Some(first) = failures.first() {
        status.message = words(first);
        if let Some(reason) = first.reason {
            status.reason = reason.into();
        }
    }
    let causes = &mut status.details.get_or_insert_default().causes;
    causes.extend(failures.iter().map(|failure| Cause { message: words(failure), ..Cause::default() }));
    status
}
