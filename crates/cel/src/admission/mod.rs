//! Expressions of admission: match conditions of webhooks, and what validating and mutating policies consist of.
//!
//! An [`Environment`] compiles the expressions of one policy or webhook, once. A request is judged by an
//! [`Activation`] of it, which spends a budget and makes the values of variables when they are first asked for.

mod activation;
mod mutation;
mod types;

use std::sync::Arc;

pub use activation::{Activation, EvaluationError, Inputs};
pub use mutation::{apply_configuration, json_patch};

use crate::error::CompileError;
use crate::program::{Env, Program};
use crate::schema::Decl;
use crate::types::{JSON_PATCH, OBJECT, Type};
use crate::variables::{self, VARIABLES, Variable};

/// What the expressions of a policy may cost for one request.
pub const BUDGET: u64 = crate::rules::OBJECT_BUDGET;
/// What match conditions may cost for one request.
pub const MATCH_CONDITIONS_BUDGET: u64 = BUDGET / 4;

/// What an expression is for: what it must evaluate to, and what it may use beside the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A match condition or a validation.
    Condition,
    /// The message of a validation.
    Message,
    /// The value of an audit annotation, which `null` leaves out.
    AuditAnnotation,
    /// A variable.
    Variable,
    /// The configuration that a mutation applies.
    ApplyConfiguration,
    /// The JSON patch that a mutation is.
    JsonPatch,
}

impl Purpose {
    /// What the expression may evaluate to; anything, where this is empty.
    fn results(self) -> Vec<Type> {
        match self {
            Self::Condition => vec![Type::Bool],
            Self::Message => vec![Type::String],
            Self::AuditAnnotation => vec![Type::String, Type::Null],
            Self::Variable => Vec::new(),
            Self::ApplyConfiguration => vec![Type::Message(OBJECT.into())],
            Self::JsonPatch => vec![Type::list(Type::Message(JSON_PATCH.into()))],
        }
    }

    fn makes_messages(self) -> bool {
        matches!(self, Self::ApplyConfiguration | Self::JsonPatch)
    }
}

/// An expression, compiled once.
#[derive(Debug)]
pub struct Expression {
    source: String,
    program: Result<Program, CompileError>,
}

impl Expression {
    /// The text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Why it cannot be evaluated.
    #[must_use]
    pub fn error(&self) -> Option<&CompileError> {
        self.program.as_ref().err()
    }

    /// Whether it asks for a variable.
    #[must_use]
    pub fn uses(&self, variable: &str) -> bool {
        self.program.as_ref().is_ok_and(|program| program.uses(variable))
    }
}

/// What the expressions of a policy or a webhook may use.
#[derive(Debug)]
pub struct Environment {
    /// The type of `object` and `oldObject`.
    object: Type,
    /// The type of `params`, where there are any.
    params: Option<Type>,
    /// Whether there is an object of variables.
    composes: bool,
    variables: Vec<Variable>,
}

impl Environment {
    /// Of a webhook, or of a policy without variables and, unless `has_params`, without parameters.
    #[must_use]
    pub fn new(has_params: bool) -> Self {
        Self { object: Type::Dyn, params: has_params.then_some(Type::Dyn), composes: false, variables: Vec::new() }
    }

    /// With objects and parameters of known shapes, against which the expressions of a policy are checked when
    /// nothing is to be evaluated.
    #[must_use]
    pub fn typed(object: &Arc<Decl>, params: Option<&Arc<Decl>>) -> Self {
        Self { object: object.type_of(), params: params.map(Decl::type_of), composes: true, variables: Vec::new() }
    }

    /// With a variable, which expressions and variables after it may use. What is wrong with it is answered, too; who
    /// uses it all the same fails.
    pub fn add_variable(&mut self, name: &str, source: &str) -> Option<CompileError> {
        self.composes = true;
        let program = self.program(Purpose::Variable, source);
        let error = program.as_ref().err().cloned();
        self.variables.push(Variable { name: name.to_owned(), program });
        error
    }

    /// Compiles an expression.
    #[must_use]
    pub fn compile(&self, purpose: Purpose, source: &str) -> Expression {
        Expression { source: source.to_owned(), program: self.program(purpose, source) }
    }

    /// Whether a variable of a policy asks for what `name` stands for.
    #[must_use]
    pub fn variables_use(&self, name: &str) -> bool {
        self.variables.iter().any(|variable| variable.program.as_ref().is_ok_and(|program| program.uses(name)))
    }

    fn program(&self, purpose: Purpose, source: &str) -> Result<Program, CompileError> {
        let program = self.env(purpose).compile(source)?;
        let results = purpose.results();
        if results.is_empty() || results.iter().any(|wanted| program.result_type().is(wanted)) {
            return Ok(program);
        }
        let shown: Vec<String> = results.iter().map(Type::declared).collect();
        let expected = match shown.as_slice() {
            [one] => one.clone(),
            several => format!("one of [{}]", several.join(" ")),
        };
        Err(CompileError::ResultType { expected, actual: program.result_type().declared() })
    }

    fn env(&self, purpose: Purpose) -> Env {
        let mut env = Env::new()
            .variable("object", self.object.clone())
            .variable("oldObject", self.object.clone())
            .variable("namespaceObject", types::NAMESPACE.type_of())
            .variable("request", types::REQUEST.type_of());
        if let Some(params) = &self.params {
            env = env.variable("params", params.clone());
        }
        if purpose != Purpose::Message {
            env = env
                .variable("authorizer", Type::Opaque("kubernetes.authorization.Authorizer"))
                .variable("authorizer.requestResource", Type::Opaque("kubernetes.authorization.ResourceCheck"));
        }
        if self.composes {
            env = env.variable(VARIABLES, variables::declare(&self.variables).type_of());
        }
        if purpose.makes_messages() { env.messages() } else { env }
    }
}
