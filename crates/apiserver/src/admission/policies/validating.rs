//! ValidatingAdmissionPolicy: refuses, warns of or notes what does not hold.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use api::status::{Cause, Status, reason};
use cel::Value as CelValue;
use cel::admission::{Activation, BUDGET, EvaluationError, Expression, Inputs, Purpose};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::super::matching::{FailurePolicy, MatchOutcome, Needs, Subject, Views, is_exempt};
use super::super::plugin::{Handler, Plugin};
use super::super::{Attributes, Operation};
use super::checks::{Check, Trouble};
use super::hooks::{Action, Binding, Policy};
use super::{Ask, Definition};

pub(in super::super) const PLUGIN: Plugin = Plugin {
    validate: &[
        (Operation::Create, Handler::Later(validate)),
        (Operation::Update, Handler::Later(validate)),
        (Operation::Delete, Handler::Later(validate)),
        (Operation::Connect, Handler::Later(validate)),
    ],
    ..Plugin::named("ValidatingAdmissionPolicy")
};

/// The longest message that an expression may make, in bytes.
const MAX_MESSAGE: usize = 5 * 1024;
/// The longest value of an audit annotation, in bytes.
const MAX_ANNOTATION: usize = 10 * 1024;
/// The audit annotation that tells of what does not hold.
const FAILURE_ANNOTATION: &str = "validation.policy.admission.k8s.io/validation_failure";

/// A validating policy.
pub(super) struct ValidatingPolicy {
    definition: Definition,
    validations: Vec<Validation>,
    /// The keys of audit annotations, and what makes their values.
    annotations: Vec<(String, Expression)>,
    needs: Needs,
}

/// What has to hold.
struct Validation {
    expression: Expression,
    /// What makes the message.
    message_expression: Option<Expression>,
    message: String,
    reason: Option<String>,
}

impl Policy for ValidatingPolicy {
    const RESOURCES: &'static [(&'static str, &'static str)] = &[
        ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
    ];

    fn read(policy: &Value) -> Self {
        let definition = Definition::read(policy);
        let list = |field: &str| policy["spec"][field].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let environment = &definition.environment;
        let validation = |validation: &Value| Validation {
            expression: environment.compile(Purpose::Condition, &text(&validation["expression"])),
            message_expression: Some(text(&validation["messageExpression"]))
                .filter(|source| !source.trim().is_empty())
                .map(|source| environment.compile(Purpose::Message, &source)),
            message: text(&validation["message"]).trim().to_owned(),
            reason: validation["reason"].as_str().map(str::to_owned),
        };
        let annotation = |annotation: &Value| {
            let source = text(&annotation["valueExpression"]);
            (text(&annotation["key"]), environment.compile(Purpose::AuditAnnotation, &source))
        };
        let validations = list("validations").map(validation).collect();
        let annotations = list("auditAnnotations").map(annotation).collect();
        let mut policy = Self { validations, annotations, definition, needs: Needs::default() };
        policy.needs = Needs::of(|variable| policy.uses(variable));
        policy
    }
}

/// What does not hold, or could not be found out, which counts as the same.
#[derive(Debug)]
struct Failure {
    /// The number of the validation.
    index: usize,
    message: String,
    reason: Option<String>,
    trouble: Trouble,
}

/// What a policy says of a request.
#[derive(Default)]
struct Outcome {
    failures: Vec<Failure>,
    /// Values of audit annotations, by the number of their key.
    annotations: Vec<(usize, String)>,
    /// Why values could not be made, which refuses the request.
    errors: Vec<EvaluationError>,
    /// What could not be found out and counts as nothing.
    ignored: Vec<Trouble>,
}

impl Outcome {
    /// Of a policy that could not be asked.
    fn unasked(policy: FailurePolicy, message: String, trouble: Trouble) -> Self {
        match policy {
            FailurePolicy::Fail => {
                let failure = Failure { index: 0, message, reason: None, trouble };
                Self { failures: vec![failure], ..Self::default() }
            }
            FailurePolicy::Ignore => Self { ignored: vec![trouble], ..Self::default() },
        }
    }
}

impl ValidatingPolicy {
    fn uses(&self, variable: &str) -> bool {
        let validation = |validation: &Validation| {
            validation.expression.uses(variable)
                || validation.message_expression.as_ref().is_some_and(|message| message.uses(variable))
        };
        self.definition.uses(variable)
            || self.validations.iter().any(validation)
            || self.annotations.iter().any(|(_, value)| value.uses(variable))
    }

    /// Asks the policy about a request, if it meets the match conditions.
    fn evaluate(&self, inputs: &Inputs<'_>) -> Outcome {
        let policy = self.definition.failure_policy;
        let mut activation = self.definition.environment.activate(inputs, BUDGET);
        match self.definition.conditions.evaluate(&activation) {
            MatchOutcome::Matches => {}
            MatchOutcome::Excluded => return Outcome::default(),
            MatchOutcome::Failed(why) => return Outcome::unasked(policy, why, Trouble::Invalid),
        }
        let mut annotating = activation.with_budget(BUDGET);
        let judged = self.judge(&mut activation).and_then(|outcome| self.annotate(&mut annotating, outcome));
        judged.unwrap_or_else(|error| Outcome::unasked(policy, error.to_string(), Trouble::from(&error)))
    }

    /// What does not hold. An error means that the budget is spent.
    fn judge(&self, activation: &mut Activation<'_>) -> Result<Outcome, EvaluationError> {
        let is_strict = self.definition.failure_policy == FailurePolicy::Fail;
        let mut outcome = Outcome::default();
        for (index, validation) in self.validations.iter().enumerate() {
            match activation.evaluate(&validation.expression) {
                Ok(CelValue::Bool(true)) => {}
                Ok(_) => {
                    let reason = validation.reason.clone();
                    outcome.failures.push(Failure { index, message: String::new(), reason, trouble: Trouble::None });
                }
                Err(error @ EvaluationError::OutOfBudget) => return Err(error),
                Err(error) if is_strict => {
                    let (message, trouble) = (error.to_string(), Trouble::from(&error));
                    outcome.failures.push(Failure { index, message, reason: None, trouble });
                }
                Err(error) => outcome.ignored.push(Trouble::from(&error)),
            }
        }
        for failure in outcome.failures.iter_mut().filter(|failure| failure.message.is_empty()) {
            match self.validations[failure.index].message(activation) {
                Ok(message) => failure.message = message,
                Err(error) if is_strict => {
                    failure.message = format!("failed messageExpression: {error}");
                    (failure.reason, failure.trouble) = (None, Trouble::from(&error));
                }
                Err(error) => outcome.ignored.push(Trouble::from(&error)),
            }
        }
        // Without a message the budget was spent, which counts as nothing.
        outcome.failures.retain(|failure| !failure.message.is_empty());
        Ok(outcome)
    }

    /// Adds audit annotations to what does not hold. An error means that the budget is spent.
    fn annotate(&self, activation: &mut Activation<'_>, mut outcome: Outcome) -> Result<Outcome, EvaluationError> {
        for (index, (_, expression)) in self.annotations.iter().enumerate() {
            match activation.evaluate(expression) {
                Ok(CelValue::String(value)) if !value.trim().is_empty() => {
                    outcome.annotations.push((index, value.trim().to_owned()));
                }
                Err(error @ EvaluationError::OutOfBudget) => return Err(error),
                Err(error) if self.definition.failure_policy == FailurePolicy::Fail => outcome.errors.push(error),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(outcome)
    }
}

impl Validation {
    /// What is said when it does not hold. An error means that the budget is spent.
    fn message(&self, activation: &mut Activation<'_>) -> Result<String, EvaluationError> {
        if let Some(expression) = &self.message_expression {
            match activation.evaluate(expression) {
                Ok(CelValue::String(made)) => {
                    let made = made.trim();
                    if !made.is_empty() && made.len() <= MAX_MESSAGE && !made.contains('\n') {
                        return Ok(made.to_owned());
                    }
                }
                Err(error @ EvaluationError::OutOfBudget) => return Err(error),
                // What cannot be made is replaced.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(match self.message.as_str() {
            "" => format!("failed expression: {}", self.expression.source().trim()),
            message => message.to_owned(),
        })
    }
}

fn validate<'a>(attributes: &'a Attributes<'a>, object: &'a mut Value) -> BoxFuture<'a, Result<(), Status>> {
    Box::pin(async move {
        if is_exempt(attributes) {
            return Ok(());
        }
        let object = &*object;
        // What is deleted is an old object.
        let deletion = Attributes { old: Some(object), ..*attributes };
        let (attributes, object) = match attributes.operation {
            Operation::Delete => (&deletion, None),
            _ => (attributes, Some(object)),
        };
        let mut found = judge(attributes, object).await;
        if !found.as_ref().is_ok_and(|found| found.denials.is_empty()) {
            // The policy may be gone or another one.
            attributes.registry.fresh().await?;
            found = judge(attributes, object).await;
        }
        let found = found?;
        attributes.registry.admission.policies.checks.count(&found.checks);
        // The first that denies the request decides.
        match found.denials.into_iter().next() {
            None => Ok(()),
            Some(denial) => Err(denial.status(attributes, object)),
        }
    })
}

/// Why a request is refused: the policy, the binding that puts it into force, and what the policy says.
struct Denial {
    policy: Arc<str>,
    binding: Option<Arc<str>>,
    message: String,
    reason: Option<String>,
}

/// What comes of asking policies.
#[derive(Default)]
struct Findings {
    denials: Vec<Denial>,
    checks: Vec<Check>,
}

/// Asks every policy that is for the request.
async fn judge(attributes: &Attributes<'_>, object: Option<&Value>) -> Result<Findings, Status> {
    let mut found = Findings::default();
    let mut views = Views::new(attributes, object);
    let hooks = attributes.registry.admission.policies.validating.read(|hooks| hooks.all());
    for hook in &*hooks {
        let policy = &*hook.policy;
        let asks = match policy.definition.asks(&hook.bindings, attributes, object).await {
            Ok(None) => continue,
            Ok(Some(asks)) => asks,
            Err(why) => {
                policy.misconfigured(None, &why, &mut found.denials);
                continue;
            }
        };
        let request = match views.show(&asks.found).await {
            Ok(request) => request,
            Err(status) => {
                let why = format!("failed to convert object version: {}", status.message);
                policy.misconfigured(None, &why, &mut found.denials);
                continue;
            }
        };
        let subject = Subject::new(&request, policy.needs).await?;
        let mut notes = BTreeMap::new();
        for Ask { binding, params } in &asks.bindings {
            let params = match params {
                Ok(params) => params,
                Err(why) => {
                    policy.misconfigured(Some(binding), why, &mut found.denials);
                    continue;
                }
            };
            for params in params {
                let inputs = subject.inputs(request.object.as_deref(), request.old.as_deref(), params.as_ref());
                let outcome = policy.evaluate(&inputs);
                policy.act(attributes, binding, outcome, &mut found, &mut notes);
            }
        }
        for (index, values) in notes {
            let key = format!("{}/{}", policy.definition.name, policy.annotations[index].0);
            attributes.annotate(key, || values.join(", "));
        }
    }
    Ok(found)
}

impl ValidatingPolicy {
    /// What cannot be asked denies the request, unless that counts as nothing.
    fn misconfigured(&self, binding: Option<&Binding>, why: &str, denials: &mut Vec<Denial>) {
        if self.definition.failure_policy == FailurePolicy::Fail {
            let what = if binding.is_some() { "binding" } else { "policy" };
            self.deny(binding, format!("failed to configure {what}: {why}"), None, denials);
        }
    }

    fn deny(&self, binding: Option<&Binding>, message: String, reason: Option<String>, denials: &mut Vec<Denial>) {
        let (policy, binding) = (self.definition.name.clone(), binding.map(|binding| binding.name.clone()));
        denials.push(Denial { policy, binding, message, reason });
    }

    /// Does what a binding says about what a policy said.
    fn act(
        &self,
        attributes: &Attributes<'_>,
        binding: &Binding,
        outcome: Outcome,
        found: &mut Findings,
        notes: &mut BTreeMap<usize, Vec<String>>,
    ) {
        let name = &*self.definition.name;
        let check = |trouble: Trouble, action: &'static str| {
            let (policy, binding) = (self.definition.name.clone(), binding.name.clone());
            Check { policy, binding, trouble, action: Some(action) }
        };
        found.checks.extend(outcome.ignored.into_iter().map(|trouble| check(trouble, "allow")));
        for Failure { index, message, reason, trouble } in outcome.failures {
            for action in &binding.actions {
                found.checks.push(check(trouble, action.metric()));
                match action {
                    Action::Deny => self.deny(Some(binding), message.clone(), reason.clone(), &mut found.denials),
                    Action::Warn => attributes.warn(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{}': {message}",
                        binding.name
                    )),
                    Action::Audit => attributes.annotate(FAILURE_ANNOTATION, || {
                        let actions: Vec<&str> = binding.actions.iter().map(|action| action.as_str()).collect();
                        json!([{"message": message, "policy": name, "binding": *binding.name,
                            "expressionIndex": index, "validationActions": actions}])
                        .to_string()
                    }),
                }
            }
        }
        for (index, value) in outcome.annotations {
            let values = notes.entry(index).or_default();
            let value = value[..value.floor_char_boundary(MAX_ANNOTATION)].to_owned();
            if !values.contains(&value) {
                values.push(value);
            }
        }
        for error in outcome.errors {
            found.checks.push(check(Trouble::from(&error), Action::Deny.metric()));
            self.deny(Some(binding), error.to_string(), None, &mut found.denials);
        }
    }
}

impl Denial {
    fn status(self, attributes: &Attributes<'_>, object: Option<&Value>) -> Status {
        let Self { policy, binding, message, reason } = self;
        let binding = binding.map(|binding| format!(" with binding '{binding}'")).unwrap_or_default();
        let message = format!("ValidatingAdmissionPolicy '{policy}'{binding} denied request: {message}");
        let about = object.or(attributes.old).unwrap_or(&Value::Null);
        let mut status = attributes.forbidden(about, &message);
        let reason = reason.map_or(Cow::Borrowed(reason::INVALID), Cow::Owned);
        status.code = match &*reason {
            reason::FORBIDDEN => 403,
            reason::UNAUTHORIZED => 401,
            reason::REQUEST_ENTITY_TOO_LARGE => 413,
            _ => 422,
        };
        status.reason = reason;
        let cause = Cause { reason: Cow::Borrowed(""), message, field: String::new() };
        status.details.get_or_insert_default().causes.push(cause);
        status
    }
}
