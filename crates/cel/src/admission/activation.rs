//! The expressions of a policy or a webhook over one request.

use std::sync::Arc;

use serde_json::Value as Json;

use super::{Environment, Expression, types};
use crate::error::{CompileError, EvalError};
use crate::program::{Bindings, PER_CALL_LIMIT};
use crate::value::{Opaque, Value};
use crate::variables::Variables;

/// What expressions are about. What is not there is `null`.
#[derive(Clone, Debug, Default)]
pub struct Inputs<'a> {
    /// The new object.
    pub object: Option<&'a Json>,
    /// The object that is there.
    pub old_object: Option<&'a Json>,
    /// The request, as an AdmissionRequest without the objects; needed if an expression uses it.
    pub request: Option<&'a Json>,
    /// The parameters of the policy.
    pub params: Option<&'a Json>,
    /// The namespace of the object.
    pub namespace: Option<&'a Json>,
    /// What answers questions about the user's permissions.
    pub authorizer: Option<Arc<dyn Opaque>>,
    /// The same, about what the request is for.
    pub request_resource: Option<Arc<dyn Opaque>>,
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// It could not be compiled.
    #[error("compilation error: {0}")]
    Compilation(CompileError),
    /// It failed.
    #[error("expression '{expression}' resulted in error: {error}")]
    Failed {
        /// Its text.
        expression: String,
        /// What went wrong.
        error: EvalError,
    },
    /// It, or those before it, cost too much: no other may be evaluated.
    #[error("validation failed due to running out of cost budget, no further validation rules will be run")]
    OutOfBudget,
}

/// A request that expressions are evaluated over, within a budget.
#[derive(Debug)]
pub struct Activation<'a> {
    variables: Arc<Variables<'a>>,
    bindings: Bindings<'a>,
    budget: u64,
}

impl Environment {
    /// Makes ready to evaluate expressions of this environment over a request.
    #[must_use]
    pub fn activate<'a>(&'a self, inputs: &Inputs<'a>, budget: u64) -> Activation<'a> {
        let document = |json: Option<&'a Json>| json.map_or(Value::Null, Value::dynamic);
        let mut bindings = Bindings::new()
            .bind("object", document(inputs.object))
            .bind("oldObject", document(inputs.old_object))
            .bind("params", document(inputs.params));
        for (name, json, decl) in
            [("request", inputs.request, &types::REQUEST), ("namespaceObject", inputs.namespace, &types::NAMESPACE)]
        {
            let value = json.map_or(Ok(Value::Null), |json| Value::from_json(json, decl));
            bindings = bindings.bind_result(name, value);
        }
        for (name, value) in
            [("authorizer", &inputs.authorizer), ("authorizer.requestResource", &inputs.request_resource)]
        {
            if let Some(value) = value {
                bindings = bindings.bind(name, Value::opaque(Arc::clone(value)));
            }
        }
        let variables = Variables::new(&self.variables, bindings);
        let bindings = variables.bindings();
        Activation { variables, bindings, budget }
    }
}

impl<'a> Activation<'a> {
    /// The same request with another budget. Variables that have a value keep it.
    #[must_use]
    pub fn with_budget(&self, budget: u64) -> Self {
        Self { variables: Arc::clone(&self.variables), bindings: self.bindings.clone(), budget }
    }

    /// Evaluates an expression, whose cost and that of the variables which it is the first to use are taken from the
    /// budget.
    ///
    /// # Errors
    ///
    /// It was not compiled, it failed, or the budget is spent.
    pub fn evaluate(&mut self, expression: &Expression) -> Result<Value<'a>, EvaluationError> {
        let program = expression.program.as_ref().map_err(|error| EvaluationError::Compilation(error.clone()))?;
        let evaluation = program.evaluate(&self.bindings, PER_CALL_LIMIT);
        let cost = evaluation.cost.saturating_add(self.variables.take_cost());
        self.budget = self.budget.checked_sub(cost).ok_or(EvaluationError::OutOfBudget)?;
        let failed = |error| EvaluationError::Failed { expression: expression.source.clone(), error };
        evaluation.result.map_err(failed)
    }
}
