//! `matchConditions`: expressions that must all hold, compiled once for each configuration object.

use std::sync::LazyLock;

use cel::Value as CelValue;
use cel::admission::{Activation, Environment, EvaluationError, Expression, MATCH_CONDITIONS_BUDGET, Purpose};
use serde_json::Value;

/// What the conditions of webhooks may use.
pub(crate) static WEBHOOKS: LazyLock<Environment> = LazyLock::new(|| Environment::new(false));

/// What a failure to ask counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailurePolicy {
    /// As a refusal.
    Fail,
    /// As nothing.
    Ignore,
}

impl FailurePolicy {
    /// Reads `failurePolicy`.
    pub(crate) fn parse(value: &Value) -> Self {
        if value == "Ignore" { Self::Ignore } else { Self::Fail }
    }
}

/// The conditions of a webhook or policy.
#[derive(Debug)]
pub(crate) struct MatchConditions {
    expressions: Vec<Expression>,
    failure_policy: FailurePolicy,
}

/// What conditions say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MatchOutcome {
    /// All hold.
    Matches,
    /// One does not hold, or could not be asked, which counts as nothing.
    Excluded,
    /// One could not be asked, which counts as a refusal.
    Failed(String),
}

impl MatchConditions {
    /// Compiles a list of conditions.
    pub(crate) fn compile(conditions: &Value, environment: &Environment, failure_policy: FailurePolicy) -> Self {
        let conditions = conditions.as_array().into_iter().flatten();
        let sources = conditions.map(|condition| condition["expression"].as_str().unwrap_or_default());
        let expressions = sources.map(|source| environment.compile(Purpose::Condition, source)).collect();
        Self { expressions, failure_policy }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.expressions.is_empty()
    }

    /// Whether a condition asks for the variable.
    pub(crate) fn uses(&self, variable: &str) -> bool {
        self.expressions.iter().any(|expression| expression.uses(variable))
    }

    /// Whether a request meets all conditions. One that does not hold settles it, whatever is wrong with others.
    pub(crate) fn evaluate(&self, activation: &Activation<'_>) -> MatchOutcome {
        let mut activation = activation.with_budget(MATCH_CONDITIONS_BUDGET);
        let mut errors = Vec::new();
        for expression in &self.expressions {
            match activation.evaluate(expression) {
                Ok(CelValue::Bool(false)) => return MatchOutcome::Excluded,
                Ok(_) => {}
                Err(error @ EvaluationError::OutOfBudget) => return self.failed(error.to_string()),
                Err(error) => errors.push(error.to_string()),
            }
        }
        match errors.as_slice() {
            [] => MatchOutcome::Matches,
            [one] => self.failed(one.clone()),
            several => self.failed(format!("[{}]", several.join(", "))),
        }
    }

    fn failed(&self, why: String) -> MatchOutcome {
        match self.failure_policy {
            FailurePolicy::Fail => MatchOutcome::Failed(why),
            FailurePolicy::Ignore => MatchOutcome::Excluded,
        }
    }
}

#[cfg(test)]
mod tests {
    use cel::admission::Inputs;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(policy: FailurePolicy, expressions: &[&str], expected: MatchOutcome) {
        let list: Value = expressions.iter().map(|text| json!({"name": "c", "expression": text})).collect();
        let conditions = MatchConditions::compile(&list, &WEBHOOKS, policy);
        let object = json!({"metadata": {"name": "web"}});
        let activation = WEBHOOKS.activate(&Inputs { object: Some(&object), ..Inputs::default() }, 0);
        assert_eq!(conditions.evaluate(&activation), expected, "{expressions:?}");
    }

    #[test]
    fn all_conditions_must_hold() {
        check(FailurePolicy::Fail, &[], MatchOutcome::Matches);
        check(FailurePolicy::Fail, &["true", "object.metadata.name == 'web'"], MatchOutcome::Matches);
        check(FailurePolicy::Fail, &["true", "object.metadata.name == 'db'"], MatchOutcome::Excluded);
    }

    #[test]
    fn an_error_counts_as_the_failure_policy_says_unless_another_condition_does_not_hold() {
        let wrong = "object.spec.x == 1";
        let why = "expression 'object.spec.x == 1' resulted in error: no such key: spec";
        check(FailurePolicy::Fail, &[wrong, "true"], MatchOutcome::Failed(why.to_owned()));
        check(FailurePolicy::Fail, &[wrong, wrong], MatchOutcome::Failed(format!("[{why}, {why}]")));
        check(FailurePolicy::Ignore, &[wrong], MatchOutcome::Excluded);
        check(FailurePolicy::Fail, &[wrong, "false"], MatchOutcome::Excluded);
    }

    #[test]
    fn conditions_share_a_budget() {
        let list = "[1,2,3,4,5,6,7,8,9,10]";
        let dear =
            format!("{list}.all(a, {list}.all(b, {list}.all(c, {list}.all(d, [1, 2, 3].all(e, a + b + c + d > e)))))");
        let why = EvaluationError::OutOfBudget.to_string();
        check(FailurePolicy::Ignore, &[dear.as_str(); 8], MatchOutcome::Excluded);
        check(FailurePolicy::Fail, &[dear.as_str(); 8], MatchOutcome::Failed(why));
        check(FailurePolicy::Fail, &[&dear], MatchOutcome::Matches);
    }
}
