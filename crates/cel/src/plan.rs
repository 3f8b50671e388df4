//! From a checked tree to steps that can be evaluated: names are resolved, overloads chosen, constants made.

use std::collections::HashMap;
use std::sync::Arc;

use crate::check::Checked;
use crate::cost::Regexes;
use crate::library::{self, Overload};
use crate::syntax::ast::{Expr, ExprKind, Fold, Literal, MessageField};
use crate::value::{List, Str, Value};

/// A step of an evaluation.
#[derive(Debug)]
pub(crate) enum Step {
    /// A value that is known already.
    Const(Value<'static>),
    /// A variable of the environment.
    Global(usize),
    /// A variable of a loop.
    Local(usize),
    /// A field of a map or object.
    Field {
        operand: Box<Step>,
        name: Arc<str>,
        optional: bool,
    },
    /// Whether a map or object has a field.
    Has {
        operand: Box<Step>,
        name: Arc<str>,
    },
    And(Box<Step>, Box<Step>),
    Or(Box<Step>, Box<Step>),
    /// Whether a loop that looks for an answer may go on.
    NotStrictlyFalse(Box<Step>),
    /// Condition, value if true, value if false.
    Choice(Box<[Step; 3]>),
    /// Elements, each with whether it may be left out.
    List(Vec<(Step, bool)>),
    /// Keys and values, each with whether it may be left out.
    Map(Vec<(Step, Step, bool)>),
    /// An object or a patch: its type, and its fields, each with whether it may be left out.
    Message {
        name: Arc<str>,
        fields: Vec<(Arc<str>, Step, bool)>,
    },
    /// A call of one of several overloads.
    Call {
        overloads: Vec<&'static Overload>,
        args: Vec<Step>,
    },
    /// Adds an element to the list in a variable, without copying the list.
    Append {
        slot: usize,
        item: Box<Step>,
    },
    /// Adds an entry to the map in a variable, without copying the map.
    Insert {
        slot: usize,
        key: Box<Step>,
        value: Box<Step>,
        overload: &'static Overload,
    },
    Fold(Box<FoldStep>),
}

/// A loop.
#[derive(Debug)]
pub(crate) struct FoldStep {
    pub range: Step,
    /// Where the accumulator is; the variables follow.
    pub slot: usize,
    /// Whether there are two variables.
    pub two: bool,
    pub init: Step,
    pub condition: Step,
    pub step: Step,
    pub result: Step,
}

/// What a plan consists of.
pub(crate) struct Plan {
    pub root: Step,
    /// How many variables of loops there are at once.
    pub slots: usize,
    /// The patterns that the expression spells out.
    pub regexes: Regexes,
    /// The variables of the environment that are used.
    pub used: Vec<bool>,
}

/// Plans an expression whose free variables are `variables`.
pub(crate) fn plan(root: &Expr, checked: &Checked, variables: &[String]) -> Plan {
    let globals = variables.iter().enumerate().map(|(index, name)| (name.as_str(), index)).collect();
    let used = vec![false; variables.len()];
    let mut planner = Planner { checked, globals, locals: Vec::new(), slots: 0, regexes: Regexes::new(), used };
    let root = planner.step(root);
    Plan { root, slots: planner.slots, regexes: planner.regexes, used: planner.used }
}

struct Planner<'e> {
    checked: &'e Checked,
    globals: HashMap<&'e str, usize>,
    /// The variables of loops in sight; the place is the slot.
    locals: Vec<&'e str>,
    slots: usize,
    regexes: Regexes,
    used: Vec<bool>,
}

impl<'e> Planner<'e> {
    fn boxed(&mut self, expr: &'e Expr) -> Box<Step> {
        Box::new(self.step(expr))
    }

    fn step(&mut self, expr: &'e Expr) -> Step {
        if let Some(ty) = self.checked.named(expr) {
            return Step::Const(Value::Type(Arc::new(ty.clone())));
        }
        match &expr.kind {
            ExprKind::Literal(literal) => Step::Const(constant(literal)),
            ExprKind::Ident(name) => self.variable(name),
            ExprKind::Select { operand, field, test: false } => {
                if let Some(variable) = self.qualified_variable(expr) {
                    return variable;
                }
                Step::Field { operand: self.boxed(operand), name: field.as_str().into(), optional: false }
            }
            ExprKind::Select { operand, field, test: true } => {
                Step::Has { operand: self.boxed(operand), name: field.as_str().into() }
            }
            ExprKind::Call { target, function, args } => self.call(expr, target.as_deref(), function, args),
            ExprKind::List(elements) => {
                let steps: Vec<(Step, bool)> =
                    elements.iter().map(|element| (self.step(&element.value), element.optional)).collect();
                constant_list(&steps).map_or(Step::List(steps), Step::Const)
            }
            ExprKind::Map(entries) => {
                let mut steps = Vec::with_capacity(entries.len());
                for entry in entries {
                    steps.push((self.step(&entry.key), self.step(&entry.value), entry.optional));
                }
                Step::Map(steps)
            }
            ExprKind::Message { name, fields } => {
                let field =
                    |field: &'e MessageField| (field.name.as_str().into(), self.step(&field.value), field.optional);
                Step::Message { name: name.as_str().into(), fields: fields.iter().map(field).collect() }
            }
            ExprKind::Fold(fold) => self.fold(fold),
        }
    }

    /// The variable of the environment that a chain of fields names.
    fn qualified_variable(&mut self, expr: &Expr) -> Option<Step> {
        let name = self.globals.keys().any(|name| name.contains('.')).then(|| expr.qualified_name())??;
        let is_local = self.locals.iter().any(|local| name.split('.').next() == Some(local));
        (!is_local && self.globals.contains_key(name.as_str())).then(|| self.variable(&name))
    }

    fn variable(&mut self, name: &str) -> Step {
        if let Some(slot) = self.locals.iter().rposition(|local| *local == name) {
            return Step::Local(slot);
        }
        let index = self.globals.get(name).copied().expect("the checker knows every variable");
        self.used[index] = true;
        Step::Global(index)
    }

    fn call(&mut self, expr: &'e Expr, target: Option<&'e Expr>, function: &str, args: &'e [Expr]) -> Step {
        match (function, args) {
            ("_&&_", [left, right]) => return Step::And(self.boxed(left), self.boxed(right)),
            ("_||_", [left, right]) => return Step::Or(self.boxed(left), self.boxed(right)),
            ("@not_strictly_false", [operand]) => return Step::NotStrictlyFalse(self.boxed(operand)),
            ("_?_:_", [condition, yes, no]) => {
                return Step::Choice(Box::new([self.step(condition), self.step(yes), self.step(no)]));
            }
            ("_?._", [operand, Expr { kind: ExprKind::Literal(Literal::String(name)), .. }]) => {
                return Step::Field { operand: self.boxed(operand), name: Arc::clone(name), optional: true };
            }
            ("_+_", [Expr { kind: ExprKind::Ident(name), .. }, Expr { kind: ExprKind::List(elements), .. }])
                if name.starts_with('@') && elements.len() == 1 =>
            {
                if let Step::Local(slot) = self.variable(name) {
                    return Step::Append { slot, item: self.boxed(&elements[0].value) };
                }
            }
            ("cel.@mapInsert", [Expr { kind: ExprKind::Ident(name), .. }, key, value]) => {
                if let (Step::Local(slot), [overload, ..]) = (self.variable(name), self.checked.overloads(expr)) {
                    let (key, value) = (self.boxed(key), self.boxed(value));
                    return Step::Insert { slot, key, value, overload };
                }
            }
            _ => {}
        }
        let overloads = self.checked.overloads(expr).to_vec();
        let member = overloads.first().is_some_and(|overload| overload.member);
        if matches!(function, "matches" | "find" | "findAll")
            && let Some(Expr { kind: ExprKind::Literal(Literal::String(pattern)), .. }) = args.get(usize::from(!member))
            && let Ok(regex) = library::compile_regex(pattern)
        {
            self.regexes.insert(Arc::clone(pattern), regex);
        }
        let target = target.filter(|_| member);
        let args = target.into_iter().chain(args).map(|arg| self.step(arg)).collect();
        Step::Call { overloads, args }
    }

    fn fold(&mut self, fold: &'e Fold) -> Step {
        let range = self.step(&fold.range);
        let init = self.step(&fold.accu_init);
        let slot = self.locals.len();
        self.locals.push(&fold.accu_var);
        self.locals.push(&fold.iter_var);
        if let Some(second) = &fold.iter_var2 {
            self.locals.push(second);
        }
        self.slots = self.slots.max(self.locals.len());
        let condition = self.step(&fold.condition);
        let step = self.step(&fold.step);
        self.locals.truncate(slot + 1);
        let result = self.step(&fold.result);
        self.locals.truncate(slot);
        let two = fold.iter_var2.is_some();
        Step::Fold(Box::new(FoldStep { range, slot, two, init, condition, step, result }))
    }
}

fn constant(literal: &Literal) -> Value<'static> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Uint(value) => Value::Uint(*value),
        Literal::Double(value) => Value::Double(*value),
        Literal::String(text) => Value::String(Str::Shared(Arc::clone(text))),
        Literal::Bytes(bytes) => Value::Bytes(Arc::clone(bytes)),
    }
}

/// The list that constant elements make.
fn constant_list(steps: &[(Step, bool)]) -> Option<Value<'static>> {
    let values = steps.iter().map(|step| match step {
        (Step::Const(value), false) => Some(value.clone()),
        _ => None,
    });
    // An empty list grows in a loop; made anew it is the loop's own.
    let values: Vec<Value<'static>> = values.collect::<Option<_>>()?;
    (!values.is_empty()).then(|| Value::List(List::owned(values)))
}
