//! ValidatingAdmissionPolicy: refuses, warns of or notes what does not hold.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use api::status::{Cause, Status, reason};
use cel::Value as CelValue;
use cel::admission::{Activation, BUDGET, EvaluationError, Expression, Inputs, Purpose};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::super::matching::{FailurePolicy, MatchOutcome, Needs, Subject, is_exempt};
use super::super::plugin::{Handler, Plugin};
use super::super::{Attributes, Operation};
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
}

/// What a policy says of a request.
#[derive(Default)]
struct Outcome {
    failures: Vec<Failure>,
    /// Values of audit annotations, by the number of their key.
    annotations: Vec<(usize, String)>,
    /// Why values could not be made, which refuses the request.
    errors: Vec<String>,
}

impl Outcome {
    /// Of a policy that could not be asked.
    fn unasked(policy: FailurePolicy, message: String) -> Self {
        let failure = Failure { index: 0, message, reason: None };
        let failures = if policy == FailurePolicy::Fail { vec![failure] } else { Vec::new() };
        Self { failures, ..Self::default() }
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
            MatchOutcome::Failed(why) => return Outcome::unasked(policy, why),
        }
        let mut annotating = activation.with_budget(BUDGET);
        let judged = self.judge(&mut activation).and_then(|failures| self.annotate(&mut annotating, failures));
        judged.unwrap_or_else(|error| Outcome::unasked(policy, error.to_string()))
    }

    /// What does not hold. An error means that the budget is spent.
    fn judge(&self, activation: &mut Activation<'_>) -> Result<Vec<Failure>, EvaluationError> {
        let is_strict = self.definition.failure_policy == FailurePolicy::Fail;
        let mut failures = Vec::new();
        for (index, validation) in self.validations.iter().enumerate() {
            match activation.evaluate(&validation.expression) {
                Ok(CelValue::Bool(true)) => {}
                Ok(_) => {
                    let reason = validation.reason.clone();
                    failures.push(Failure { index, message: String::new(), reason });
                }
                Err(error @ EvaluationError::OutOfBudget) => return Err(error),
                Err(error) if is_strict => {
                    failures.push(Failure { index, message: error.to_string(), reason: None });
                }
                Err(_) => {}
            }
        }
        for failure in failures.iter_mut().filter(|failure| failure.message.is_empty()) {
            match self.validations[failure.index].message(activation) {
                Ok(message) => failure.message = message,
                Err(error) if is_strict => {
                    failure.message = format!("failed messageExpression: {error}");
                    failure.reason = None;
                }
                Err(_) => {}
            }
        }
        // Without a message the budget was spent, which counts as nothing.
        failures.retain(|failure| !failure.message.is_empty());
        Ok(failures)
    }

    /// Adds audit annotations to what does not hold. An error means that the budget is spent.
    fn annotate(&self, activation: &mut Activation<'_>, failures: Vec<Failure>) -> Result<Outcome, EvaluationError> {
        let mut outcome = Outcome { failures, ..Outcome::default() };
        for (index, (_, expression)) in self.annotations.iter().enumerate() {
            match activation.evaluate(expression) {
                Ok(CelValue::String(value)) if !value.trim().is_empty() => {
                    outcome.annotations.push((index, value.trim().to_owned()));
                }
                Err(error @ EvaluationError::OutOfBudget) => return Err(error),
                Err(error) if self.definition.failure_policy == FailurePolicy::Fail => {
                    outcome.errors.push(error.to_string());
                }
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
        if judge(attributes, object).await.is_ok() {
            return Ok(());
        }
        // The policy may be gone or another one.
        attributes.registry.fresh().await?;
        judge(attributes, object).await
    })
}

/// Why a request is refused: the policy, the binding that puts it into force, and what the policy says.
struct Denial {
    policy: Arc<str>,
    binding: Option<Arc<str>>,
    message: String,
    reason: Option<String>,
}

/// Asks every policy that is for the request. The first that denies it decides.
async fn judge(attributes: &Attributes<'_>, object: Option<&Value>) -> Result<(), Status> {
    let hooks = attributes.registry.admission.policies.validating.read(|hooks| hooks.all());
    let mut denials = Vec::new();
    for hook in &*hooks {
        let policy = &*hook.policy;
        let asks = match policy.definition.asks(&hook.bindings, attributes, object).await {
            Ok(None) => continue,
            Ok(Some(asks)) => asks,
            Err(why) => {
                policy.misconfigured(None, &why, &mut denials);
                continue;
            }
        };
        let request = match asks.found.show(attributes, object).await {
            Ok(request) => request,
            Err(status) => {
                let why = format!("failed to convert object version: {}", status.message);
                policy.misconfigured(None, &why, &mut denials);
                continue;
            }
        };
        let subject = Subject::new(&request, policy.needs).await?;
        let mut notes = BTreeMap::new();
        for Ask { binding, params } in &asks.bindings {
            let params = match params {
                Ok(params) => params,
                Err(why) => {
                    policy.misconfigured(Some(binding), why, &mut denials);
                    continue;
                }
            };
            for params in params {
                let inputs = subject.inputs(request.object.as_deref(), request.old.as_deref(), params.as_ref());
                let outcome = policy.evaluate(&inputs);
                policy.act(attributes, binding, outcome, &mut denials, &mut notes);
            }
        }
        for (index, values) in notes {
            let key = format!("{}/{}", policy.definition.name, policy.annotations[index].0);
            attributes.annotate(key, || values.join(", "));
        }
    }
    match denials.into_iter().next() {
        None => Ok(()),
        Some(denial) => Err(denial.status(attributes, object)),
    }
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
        denials: &mut Vec<Denial>,
        notes: &mut BTreeMap<usize, Vec<String>>,
    ) {
        let name = &*self.definition.name;
        for Failure { index, message, reason } in outcome.failures {
            for action in &binding.actions {
                match action {
                    Action::Deny => self.deny(Some(binding), message.clone(), reason.clone(), denials),
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
            self.deny(Some(binding), error, None, denials);
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
