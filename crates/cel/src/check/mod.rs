//! The type checker. Its messages are those of cel-go, because people know them and tests compare them.

mod unify;

use std::collections::HashMap;

use crate::library::{self, Overload};
use crate::syntax::ast::{Ast, Entry, Expr, ExprKind, Fold, Literal, MessageField};
use crate::syntax::issue::Issue;
use crate::types::{self, Type};
use crate::value::{parse_duration, parse_rfc3339};
use unify::Unifier;

/// What the checker found out.
#[derive(Default)]
pub(crate) struct Checked {
    /// The type of each node, by id.
    types: HashMap<u32, Type>,
    /// The overloads that a call may use, by id: one, or several where types are not known.
    overloads: HashMap<u32, Vec<&'static Overload>>,
    /// The nodes that are names of types.
    names: HashMap<u32, Type>,
}

impl Checked {
    /// The type of a node.
    pub(crate) fn type_of(&self, expr: &Expr) -> &Type {
        self.types.get(&expr.id).unwrap_or(&Type::Dyn)
    }

    /// The overloads that a call may use.
    pub(crate) fn overloads(&self, expr: &Expr) -> &[&'static Overload] {
        self.overloads.get(&expr.id).map_or(&[], Vec::as_slice)
    }

    /// The type that a node names, if it names one.
    pub(crate) fn named(&self, expr: &Expr) -> Option<&Type> {
        self.names.get(&expr.id)
    }
}

/// Checks an expression whose free variables are `variables`; with `messages` it may make objects and patches.
pub(crate) fn check(ast: &Ast, variables: &[(String, Type)], messages: bool) -> Result<Checked, Vec<Issue>> {
    let mut checker = Checker {
        ast,
        messages,
        scopes: variables.to_vec(),
        unifier: Unifier::default(),
        checked: Checked::default(),
        issues: Vec::new(),
    };
    checker.expr(&ast.root);
    if !checker.issues.is_empty() {
        return Err(checker.issues);
    }
    let Checker { unifier, mut checked, .. } = checker;
    for ty in checked.types.values_mut() {
        *ty = unifier.resolve(ty, true);
    }
    let mut issues = Vec::new();
    check_literals(ast, &ast.root, &mut issues);
    if issues.is_empty() { Ok(checked) } else { Err(issues) }
}

struct Checker<'e> {
    ast: &'e Ast,
    messages: bool,
    /// All variables in sight, inner ones last.
    scopes: Vec<(String, Type)>,
    unifier: Unifier,
    checked: Checked,
    issues: Vec<Issue>,
}

impl Checker<'_> {
    fn complain(&mut self, expr: &Expr, message: String) -> Type {
        self.issues.push(Issue::new(self.ast.position(expr.id), message));
        Type::Error
    }

    fn undeclared(&mut self, expr: &Expr, name: &str) -> Type {
        self.complain(expr, format!("undeclared reference to '{name}' (in container '')"))
    }

    fn variable(&self, name: &str) -> Option<Type> {
        self.scopes.iter().rev().find(|(known, _)| known == name).map(|(_, ty)| ty.clone())
    }

    /// Checks a node and everything below it.
    fn expr(&mut self, expr: &Expr) -> Type {
        let ty = match &expr.kind {
            ExprKind::Literal(literal) => literal_type(literal),
            ExprKind::Ident(name) => self.ident(expr, name),
            ExprKind::Select { operand, field, test } => self.select(expr, operand, field, *test),
            ExprKind::Call { target, function, args } => self.call(expr, target.as_deref(), function, args),
            ExprKind::List(elements) => {
                let mut joined = None;
                for element in elements {
                    let ty = self.expr(&element.value);
                    let ty = if element.optional { self.unwrapped(&element.value, &ty) } else { ty };
                    joined = Some(self.join(&element.value, joined, ty));
                }
                Type::list(joined.unwrap_or_else(|| self.unifier.fresh()))
            }
            ExprKind::Map(entries) => self.map(entries),
            ExprKind::Message { name, fields } => self.message(expr, name, fields),
            ExprKind::Fold(fold) => self.fold(fold),
        };
        self.checked.types.insert(expr.id, ty.clone());
        ty
    }

    fn ident(&mut self, expr: &Expr, name: &str) -> Type {
        if let Some(ty) = self.variable(name) {
            return ty;
        }
        match types::named(name) {
            Some(ty) => self.named_type(expr, ty),
            None => self.undeclared(expr, name),
        }
    }

    fn named_type(&mut self, expr: &Expr, ty: Type) -> Type {
        self.checked.names.insert(expr.id, ty.clone());
        Type::of_type(ty)
    }

    fn select(&mut self, expr: &Expr, operand: &Expr, field: &str, test: bool) -> Type {
        let is_variable = |name: &str| self.variable(name.split('.').next().unwrap_or_default()).is_some();
        if let Some(name) = expr.qualified_name()
            && !is_variable(&name)
            && let Some(ty) = types::named(&name)
        {
            return self.named_type(expr, ty);
        }
        if !test && let Some(ty) = self.qualified_variable(expr) {
            return ty;
        }
        let operand_type = self.expr(operand);
        let ty = self.field(expr, &operand_type, field);
        if test { Type::Bool } else { ty }
    }

    /// The type of the variable that a chain of fields names, such as `authorizer.requestResource`.
    fn qualified_variable(&self, expr: &Expr) -> Option<Type> {
        self.scopes.iter().any(|(name, _)| name.contains('.')).then(|| expr.qualified_name())?.and_then(|name| {
            let root = name.split('.').next().unwrap_or_default();
            // A variable of a loop hides it.
            let hidden = self.scopes.iter().filter(|(known, _)| known == root).count() > 1;
            self.variable(&name).filter(|_| !hidden)
        })
    }

    /// The type of the field of a value of type `operand`.
    fn field(&mut self, expr: &Expr, operand: &Type, field: &str) -> Type {
        match self.unifier.resolve(operand, false) {
            Type::Object(decl) => match decl.field(field) {
                Some(decl) => decl.type_of(),
                None => self.complain(expr, format!("undefined field '{field}'")),
            },
            Type::Map(_, value) => value.as_ref().clone(),
            Type::Message(name) => match types::message_field(&name, field) {
                Some(ty) => ty,
                None => self.complain(expr, format!("undefined field '{field}'")),
            },
            Type::Optional(inner) => Type::optional(self.field(expr, &inner, field)),
            Type::Dyn | Type::Error | Type::Var(_) => Type::Dyn,
            other => self.complain(expr, format!("type '{other}' does not support field selection")),
        }
    }

    fn call(&mut self, expr: &Expr, target: Option<&Expr>, function: &str, args: &[Expr]) -> Type {
        if function == "_?._"
            && let [operand, Expr { kind: ExprKind::Literal(Literal::String(field)), .. }] = args
        {
            let operand = self.expr(operand);
            return match self.field(expr, &operand, field) {
                Type::Optional(inner) => Type::Optional(inner),
                ty => Type::optional(ty),
            };
        }
        let arg_types: Vec<Type> = args.iter().map(|arg| self.expr(arg)).collect();
        let Some(target) = target else {
            return match library::overloads(function) {
                Some(overloads) => self.resolve(expr, function, overloads, false, arg_types),
                None => self.undeclared(expr, function),
            };
        };
        let is_declared = |function: &str| self.messages || !function.starts_with("jsonpatch.");
        // What looks like a target may be the first part of the name of a global function.
        if let Some(name) = target.qualified_name()
            && self.variable(name.split('.').next().unwrap_or_default()).is_none()
        {
            let qualified = format!("{name}.{function}");
            if let Some(overloads) = library::overloads(&qualified).filter(|_| is_declared(&qualified)) {
                return self.resolve(expr, &qualified, overloads, false, arg_types);
            }
        }
        let mut types = vec![self.expr(target)];
        types.extend(arg_types);
        match library::overloads(function) {
            Some(overloads) => self.resolve(expr, function, overloads, true, types),
            None => self.undeclared(expr, function),
        }
    }

    /// Finds the overloads that take arguments of these types.
    fn resolve(
        &mut self,
        expr: &Expr,
        function: &str,
        overloads: &'static [Overload],
        member: bool,
        args: Vec<Type>,
    ) -> Type {
        let mut found: Vec<&'static Overload> = Vec::new();
        let mut result: Option<Type> = None;
        for overload in overloads.iter().filter(|overload| overload.member == member) {
            let mut fresh = HashMap::new();
            let params: Vec<Type> =
                overload.params.iter().map(|param| self.unifier.instantiate(param, &mut fresh)).collect();
            if !self.unifier.assign_all(&params, &args) {
                continue;
            }
            found.push(overload);
            let ty = self.unifier.instantiate(&overload.result, &mut fresh);
            let ty = self.unifier.resolve(&ty, false);
            result = Some(match result {
                None => ty,
                Some(known) if known.is_dyn() || known.is(&ty) => known,
                Some(_) => Type::Dyn,
            });
        }
        let Some(result) = result else {
            let shown: Vec<String> = args.iter().map(|arg| self.unifier.resolve(arg, true).to_string()).collect();
            let applied = match shown.split_first() {
                Some((target, rest)) if member => format!("{target}.({})", rest.join(", ")),
                _ => format!("({})", shown.join(", ")),
            };
            let message = format!("found no matching overload for '{function}' applied to '{applied}'");
            return self.complain(expr, message);
        };
        self.checked.overloads.insert(expr.id, found);
        result
    }

    /// The type inside of an optional one, for elements that may be left out.
    fn unwrapped(&mut self, expr: &Expr, ty: &Type) -> Type {
        match self.unifier.resolve(ty, false) {
            Type::Optional(inner) => inner.as_ref().clone(),
            Type::Dyn | Type::Error | Type::Var(_) => Type::Dyn,
            other => {
                let message = format!("expected type 'optional_type({other})' but found '{other}'");
                self.complain(expr, message)
            }
        }
    }

    /// The type of a literal's elements: they are all of the type of the first.
    fn join(&mut self, expr: &Expr, joined: Option<Type>, ty: Type) -> Type {
        let Some(joined) = joined else { return ty };
        if !self.unifier.assign(&joined, &ty) {
            self.mismatch(expr, &joined, &ty);
            return joined;
        }
        if ty.is_dyn() { ty } else { joined }
    }

    fn mismatch(&mut self, expr: &Expr, expected: &Type, actual: &Type) {
        let (expected, actual) = (self.unifier.resolve(expected, true), self.unifier.resolve(actual, true));
        self.complain(expr, format!("expected type '{expected}' but found '{actual}'"));
    }

    fn map(&mut self, entries: &[Entry]) -> Type {
        let (mut keys, mut values) = (None, None);
        for entry in entries {
            let key = self.expr(&entry.key);
            keys = Some(self.join(&entry.key, keys, key));
            let value = self.expr(&entry.value);
            let value = if entry.optional { self.unwrapped(&entry.value, &value) } else { value };
            values = Some(self.join(&entry.value, values, value));
        }
        match (keys, values) {
            (Some(key), Some(value)) => Type::map(key, value),
            _ => Type::map(self.unifier.fresh(), self.unifier.fresh()),
        }
    }

    fn message(&mut self, expr: &Expr, name: &str, fields: &[MessageField]) -> Type {
        if !self.messages || !types::is_message(name) {
            return self.undeclared(expr, name);
        }
        for MessageField { name: field, value, optional } in fields {
            let actual = self.expr(value);
            let actual = if *optional { self.unwrapped(value, &actual) } else { actual };
            let Some(expected) = types::message_field(name, field) else {
                self.complain(value, format!("undefined field '{field}'"));
                continue;
            };
            if !self.unifier.assign(&expected, &actual) {
                let actual = self.unifier.resolve(&actual, true);
                let why = format!("expected type of field '{field}' is '{expected}' but provided type is '{actual}'");
                self.complain(value, why);
            }
        }
        Type::Message(name.into())
    }

    fn fold(&mut self, fold: &Fold) -> Type {
        let range = self.expr(&fold.range);
        let accu = self.expr(&fold.accu_init);
        let (first, second) = match self.unifier.resolve(&range, false) {
            Type::List(element) => (Type::Int, element.as_ref().clone()),
            Type::Map(key, value) => (key.as_ref().clone(), value.as_ref().clone()),
            Type::Dyn | Type::Error | Type::Var(_) => (Type::Dyn, Type::Dyn),
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.complain(&fold.range, message);
                (Type::Error, Type::Error)
            }
        };
        let is_list = matches!(self.unifier.resolve(&range, false), Type::List(_));
        let outside = self.scopes.len();
        self.scopes.push((fold.accu_var.clone(), accu.clone()));
        match &fold.iter_var2 {
            Some(name) => {
                self.scopes.push((fold.iter_var.clone(), first));
                self.scopes.push((name.clone(), second));
            }
            None => self.scopes.push((fold.iter_var.clone(), if is_list { second } else { first })),
        }
        let condition = self.expr(&fold.condition);
        self.expect(&fold.condition, &Type::Bool, &condition);
        let step = self.expr(&fold.step);
        self.expect(&fold.step, &accu, &step);
        self.scopes.truncate(outside + 1);
        let result = self.expr(&fold.result);
        self.scopes.truncate(outside);
        result
    }

    fn expect(&mut self, expr: &Expr, expected: &Type, actual: &Type) {
        if !self.unifier.assign(expected, actual) {
            self.mismatch(expr, expected, actual);
        }
    }
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}

/// Durations, instants and patterns that are written out must be valid: they would fail on every evaluation.
fn check_literals(ast: &Ast, expr: &Expr, issues: &mut Vec<Issue>) {
    if let ExprKind::Call { function, args, .. } = &expr.kind
        && let Some(Expr { id, kind: ExprKind::Literal(Literal::String(text)), .. }) = args.last()
    {
        let valid = match function.as_str() {
            "duration" => parse_duration(text).is_some(),
            "timestamp" => parse_rfc3339(text).is_some(),
            "matches" => library::compile_regex(text).is_ok(),
            _ => true,
        };
        if !valid {
            issues.push(Issue::new(ast.position(*id), format!("invalid {function} argument")));
        }
    }
    for child in expr.children() {
        check_literals(ast, child, issues);
    }
}
