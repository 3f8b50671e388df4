//! Variables that are expressions themselves: evaluated when an expression first asks for them, and only once.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::error::{CompileError, EvalError};
use crate::program::{Bindings, PER_CALL_LIMIT, Program};
use crate::schema::Decl;
use crate::types::Type;
use crate::value::{Key, Map, Outcome, Str, Value};

/// The variable whose fields these variables are.
pub(crate) const VARIABLES: &str = "variables";

/// A variable: its name, and the expression that makes its value or why that cannot be compiled.
#[derive(Debug)]
pub(crate) struct Variable {
    pub name: String,
    pub program: Result<Program, CompileError>,
}

/// The shape of `variables`.
pub(crate) fn declare(variables: &[Variable]) -> Arc<Decl> {
    let field = |variable: &Variable| {
        let ty = variable.program.as_ref().map_or(Type::Dyn, |program| known(program.result_type()));
        (variable.name.clone(), Decl::typed(ty))
    };
    Decl::object("kubernetes.variables", variables.iter().map(field))
}

/// What is known of a variable's type where it is used: of all but scalars, lists and maps nothing.
fn known(ty: &Type) -> Type {
    match ty {
        Type::List(element) => Type::list(known(element)),
        Type::Map(key, value) => Type::map(known(key), known(value)),
        Type::Bool
        | Type::Int
        | Type::Uint
        | Type::Double
        | Type::String
        | Type::Bytes
        | Type::Null
        | Type::Timestamp
        | Type::Duration => ty.clone(),
        _ => Type::Dyn,
    }
}

/// The variables of one evaluation.
pub(crate) struct Variables<'a> {
    declared: &'a [Variable],
    /// What else expressions may use.
    bindings: Bindings<'a>,
    values: Vec<OnceLock<Outcome<'a>>>,
    /// What evaluating variables has cost and nobody has paid yet.
    cost: AtomicU64,
}

impl fmt::Debug for Variables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.declared.iter().map(|variable| &variable.name)).finish()
    }
}

impl<'a> Variables<'a> {
    pub(crate) fn new(declared: &'a [Variable], bindings: Bindings<'a>) -> Arc<Self> {
        let values = declared.iter().map(|_| OnceLock::new()).collect();
        Arc::new(Self { declared, bindings, values, cost: AtomicU64::new(0) })
    }

    /// The bindings of expressions that may use all variables.
    pub(crate) fn bindings(self: &Arc<Self>) -> Bindings<'a> {
        self.before(self.declared.len())
    }

    /// The bindings of a variable, which may use those that stand before it: none can wait for itself.
    fn before(self: &Arc<Self>, visible: usize) -> Bindings<'a> {
        self.bindings.clone().with_variables(Visible { variables: Arc::clone(self), count: visible })
    }

    /// What variables have cost since the last call.
    pub(crate) fn take_cost(&self) -> u64 {
        self.cost.swap(0, Ordering::Relaxed)
    }

    fn evaluate(self: &Arc<Self>, index: usize) -> Outcome<'a> {
        let Variable { name, program } = &self.declared[index];
        let name = api::field::quote(name);
        let fails = |error| EvalError::failed(format!("composited variable {name} fails to compile: {error}"));
        let program = program.as_ref().map_err(fails)?;
        let evaluation = program.evaluate(&self.before(index), PER_CALL_LIMIT);
        self.cost.fetch_add(evaluation.cost, Ordering::Relaxed);
        let fails = |error| EvalError::failed(format!("composited variable {name} fails to evaluate: {error}"));
        evaluation.result.map_err(fails)
    }
}

/// The first of some variables: those that an expression may use.
#[derive(Clone, Debug)]
pub(crate) struct Visible<'a> {
    variables: Arc<Variables<'a>>,
    count: usize,
}

impl<'a> Visible<'a> {
    /// The value of a variable, if there is such a one.
    pub(crate) fn get(&self, name: &str) -> Result<Option<Value<'a>>, EvalError> {
        let Self { variables, count } = self;
        let Some(index) = variables.declared[..*count].iter().rposition(|variable| variable.name == name) else {
            return Ok(None);
        };
        variables.values[index].get_or_init(|| variables.evaluate(index)).clone().map(Some)
    }

    /// All variables, as the value of an object.
    pub(crate) fn all(&self) -> Outcome<'a> {
        let mut values = BTreeMap::new();
        for variable in &self.variables.declared[..self.count] {
            if let Some(value) = self.get(&variable.name)? {
                values.insert(Key::String(Str::Shared(variable.name.as_str().into())), value);
            }
        }
        Ok(Value::Map(Map::owned(values)))
    }
}
