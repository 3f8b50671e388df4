//! Environments, programs, and what goes into and comes out of an evaluation.

use std::fmt;
use std::sync::Arc;

use crate::check;
use crate::error::{CompileError, EvalError};
use crate::estimate::{self, Estimate};
use crate::eval::Machine;
use crate::plan::{self, Plan};
use crate::schema::Decl;
use crate::syntax::{self, issue};
use crate::types::Type;
use crate::value::{Outcome, Value};
use crate::variables::{VARIABLES, Visible};

use crate::cost::Meter;

/// What one evaluation may cost.
pub const PER_CALL_LIMIT: u64 = 1_000_000;

/// The variables that expressions may use.
#[derive(Clone, Default)]
pub struct Env {
    names: Vec<String>,
    types: Vec<Type>,
    decls: Vec<Option<Arc<Decl>>>,
    messages: bool,
}

impl Env {
    /// No variables.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With a variable of a type.
    #[must_use]
    pub fn variable(mut self, name: &str, ty: Type) -> Self {
        self.names.push(name.to_owned());
        self.types.push(ty);
        self.decls.push(None);
        self
    }

    /// With a variable whose shape a schema declares; the type may be another one, such as an optional of it.
    #[must_use]
    pub fn declared(mut self, name: &str, ty: Type, decl: &Arc<Decl>) -> Self {
        self.names.push(name.to_owned());
        self.types.push(ty);
        self.decls.push(Some(Arc::clone(decl)));
        self
    }

    /// With the types of objects and patches, of which expressions may then make values.
    #[must_use]
    pub fn messages(mut self) -> Self {
        self.messages = true;
        self
    }

    /// Compiles an expression.
    ///
    /// # Errors
    ///
    /// The text is no expression, uses what is not declared, or its types do not fit.
    pub fn compile(&self, source: &str) -> Result<Program, CompileError> {
        let invalid = |issues: &[issue::Issue]| CompileError::Invalid(issue::render(source, issues));
        let ast = syntax::parse(source).map_err(|issue| invalid(&[issue]))?;
        let variables: Vec<(String, Type)> = self.names.iter().cloned().zip(self.types.iter().cloned()).collect();
        let checked = check::check(&ast, &variables, self.messages).map_err(|issues| invalid(&issues))?;
        let decls: Vec<(&str, Option<&Arc<Decl>>)> =
            self.names.iter().map(String::as_str).zip(self.decls.iter().map(Option::as_ref)).collect();
        let estimate = estimate::estimate(&ast.root, &checked, &decls);
        let result = checked.type_of(&ast.root).clone();
        let plan = plan::plan(&ast.root, &checked, &self.names);
        Ok(Program { plan, names: self.names.clone(), result, estimate })
    }
}

/// A compiled expression.
pub struct Program {
    plan: Plan,
    names: Vec<String>,
    result: Type,
    estimate: Estimate,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("result", &self.result).finish_non_exhaustive()
    }
}

/// The values of variables.
#[derive(Clone, Debug)]
pub struct Bindings<'a> {
    values: Vec<(&'a str, Outcome<'a>)>,
    variables: Option<Visible<'a>>,
}

impl<'a> Bindings<'a> {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self { values: Vec::new(), variables: None }
    }

    /// With a variable and its value.
    #[must_use]
    pub fn bind(mut self, name: &'a str, value: Value<'a>) -> Self {
        self.values.push((name, Ok(value)));
        self
    }

    /// With a variable and its value or why it has none, which an expression fails with if it uses it.
    #[must_use]
    pub fn bind_result(mut self, name: &'a str, value: Result<Value<'a>, EvalError>) -> Self {
        self.values.push((name, value));
        self
    }
}

impl<'a> Bindings<'a> {
    /// With variables that are evaluated when they are asked for.
    pub(crate) fn with_variables(mut self, variables: Visible<'a>) -> Self {
        self.variables = Some(variables);
        self
    }
}

impl Default for Bindings<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// How an evaluation went.
#[derive(Debug)]
pub struct Evaluation<'a> {
    /// The value, or why there is none.
    pub result: Result<Value<'a>, EvalError>,
    /// What it cost.
    pub cost: u64,
}

impl Program {
    /// The type of what the expression evaluates to.
    #[must_use]
    pub fn result_type(&self) -> &Type {
        &self.result
    }

    /// Checks that the expression evaluates to `wanted`.
    ///
    /// # Errors
    ///
    /// It evaluates to another type.
    pub fn expect(self, wanted: &Type) -> Result<Self, CompileError> {
        if self.result.is(wanted) {
            return Ok(self);
        }
        Err(CompileError::ResultType { expected: wanted.to_string(), actual: self.result.to_string() })
    }

    /// The most that an evaluation can cost, as far as the schemas of the variables tell.
    #[must_use]
    pub fn max_cost(&self) -> u64 {
        self.estimate.max
    }

    /// Whether the expression uses the variable.
    #[must_use]
    pub fn uses(&self, name: &str) -> bool {
        self.names.iter().zip(&self.plan.used).any(|(known, used)| *used && known == name)
    }

    /// Evaluates the expression, which may cost `limit` at most.
    #[must_use]
    pub fn evaluate<'a>(&self, bindings: &Bindings<'a>, limit: u64) -> Evaluation<'a> {
        let find = |name: &String| bindings.values.iter().find(|(bound, _)| bound == name);
        let globals: Vec<Option<Outcome<'a>>> =
            self.names.iter().map(|name| find(name).map(|(_, value)| value.clone())).collect();
        let locals = (0..self.plan.slots).map(|_| Ok(Value::Null)).collect();
        let meter = Meter::new(limit, &self.plan.regexes);
        let position = |_: &Visible<'a>| self.names.iter().position(|name| name == VARIABLES);
        let index = bindings.variables.as_ref().and_then(position);
        let variables = index.zip(bindings.variables.as_ref());
        let mut machine = Machine { globals: &globals, variables, names: &self.names, locals, meter };
        let result = machine.eval(&self.plan.root);
        Evaluation { result, cost: machine.meter.cost() }
    }
}
