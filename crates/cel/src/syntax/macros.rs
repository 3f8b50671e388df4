//! Macros: calls that stand for loops, tests and conditions.

use super::ast::{Element, Expr, ExprKind, Fold, Literal};
use super::issue::Issue;
use super::parser::Nodes;

/// The accumulator of the loops that macros make. No text can name it.
const ACCU: &str = "@result";

type Made = Result<Expr, Issue>;

/// Makes the call `target.function(args)` or `function(args)`, or what it stands for if it is a macro.
pub(super) fn call(nodes: &mut Nodes, at: u32, target: Option<Expr>, function: &str, args: Vec<Expr>) -> Made {
    let Some(target) = target else {
        if function == "has" && args.len() == 1 {
            return has(nodes, at, args);
        }
        return nodes.call(at, function, args);
    };
    let is_cel = matches!(&target.kind, ExprKind::Ident(name) if name == "cel");
    match (function, args.len()) {
        ("bind", 3) if is_cel => bind(nodes, at, args),
        ("all", 2 | 3) => quantifier(nodes, at, target, args, true),
        ("exists", 2 | 3) => quantifier(nodes, at, target, args, false),
        ("exists_one" | "existsOne", 2 | 3) => exists_one(nodes, at, target, args),
        ("map", 2 | 3) => map(nodes, at, target, args),
        ("filter", 2) => filter(nodes, at, target, args),
        ("optMap" | "optFlatMap", 2) => opt_map(nodes, at, target, args, function == "optMap"),
        ("transformList" | "transformMap" | "transformMapEntry", 3 | 4) => transform(nodes, at, target, args, function),
        _ => {
            let target = Some(Box::new(target));
            nodes.make(at, ExprKind::Call { target, function: function.to_owned(), args })
        }
    }
}

/// The pieces of a loop, apart from what it runs over.
struct Loop {
    vars: (String, Option<String>),
    init: Expr,
    condition: Expr,
    step: Expr,
    result: Expr,
}

fn fold(nodes: &mut Nodes, at: u32, range: Expr, body: Loop) -> Made {
    let fold = Fold {
        range,
        iter_var: body.vars.0,
        iter_var2: body.vars.1,
        accu_var: ACCU.to_owned(),
        accu_init: body.init,
        condition: body.condition,
        step: body.step,
        result: body.result,
    };
    nodes.make(at, ExprKind::Fold(Box::new(fold)))
}

fn accu(nodes: &mut Nodes, at: u32) -> Made {
    nodes.ident(at, ACCU)
}

fn truth(nodes: &mut Nodes, at: u32) -> Made {
    nodes.literal(at, Literal::Bool(true))
}

/// The name that an argument is.
fn name(nodes: &Nodes, arg: &Expr) -> Result<String, Issue> {
    let simple = match &arg.kind {
        ExprKind::Ident(name) => Some(name.clone()),
        _ => None,
    };
    let name = simple.ok_or_else(|| Issue::new(nodes.position(arg), "argument must be a simple name"))?;
    if name == ACCU {
        return Err(Issue::new(nodes.position(arg), "iteration variable overwrites accumulator variable"));
    }
    Ok(name)
}

/// Takes the names of the iteration variables off `args`: two where `two` is set.
fn names(nodes: &Nodes, args: &mut Vec<Expr>, two: bool) -> Result<(String, Option<String>), Issue> {
    let first = name(nodes, &args.remove(0))?;
    if !two {
        return Ok((first, None));
    }
    let arg = args.remove(0);
    let second = name(nodes, &arg)?;
    if first == second {
        let message = format!("duplicate variable name: {second}");
        return Err(Issue::new(nodes.position(&arg), message));
    }
    Ok((first, Some(second)))
}

fn last(args: &mut Vec<Expr>) -> Expr {
    args.pop().expect("the number of arguments was matched")
}

fn has(nodes: &mut Nodes, at: u32, mut args: Vec<Expr>) -> Made {
    let arg = last(&mut args);
    match arg.kind {
        ExprKind::Select { operand, field, test: false } => {
            nodes.make(at, ExprKind::Select { operand, field, test: true })
        }
        _ => Err(Issue::new(nodes.position(&arg), "invalid argument to has() macro")),
    }
}

fn bind(nodes: &mut Nodes, at: u32, mut args: Vec<Expr>) -> Made {
    let body = last(&mut args);
    let init = last(&mut args);
    let variable = match &args[0].kind {
        ExprKind::Ident(name) => name.clone(),
        _ => return Err(Issue::new(nodes.position(&args[0]), "cel.bind() variable names must be simple identifiers")),
    };
    let_in(nodes, at, variable, init, body)
}

/// `body` with a variable that stands for `init`: a loop with no rounds.
fn let_in(nodes: &mut Nodes, at: u32, variable: String, init: Expr, body: Expr) -> Made {
    let fold = Fold {
        range: nodes.make(at, ExprKind::List(Vec::new()))?,
        iter_var: "#unused".to_owned(),
        iter_var2: None,
        accu_init: init,
        condition: nodes.literal(at, Literal::Bool(false))?,
        step: nodes.ident(at, &variable)?,
        accu_var: variable,
        result: body,
    };
    nodes.make(at, ExprKind::Fold(Box::new(fold)))
}

fn quantifier(nodes: &mut Nodes, at: u32, range: Expr, mut args: Vec<Expr>, all: bool) -> Made {
    let two = args.len() == 3;
    let vars = names(nodes, &mut args, two)?;
    let predicate = last(&mut args);
    let init = nodes.literal(at, Literal::Bool(all))?;
    let mut so_far = accu(nodes, at)?;
    if !all {
        so_far = nodes.call(at, "!_", vec![so_far])?;
    }
    let condition = nodes.call(at, "@not_strictly_false", vec![so_far])?;
    let before = accu(nodes, at)?;
    let step = nodes.call(at, if all { "_&&_" } else { "_||_" }, vec![before, predicate])?;
    let result = accu(nodes, at)?;
    fold(nodes, at, range, Loop { vars, init, condition, step, result })
}

fn exists_one(nodes: &mut Nodes, at: u32, range: Expr, mut args: Vec<Expr>) -> Made {
    let two = args.len() == 3;
    let vars = names(nodes, &mut args, two)?;
    let predicate = last(&mut args);
    let init = nodes.literal(at, Literal::Int(0))?;
    let condition = truth(nodes, at)?;
    let (before, one) = (accu(nodes, at)?, nodes.literal(at, Literal::Int(1))?);
    let more = nodes.call(at, "_+_", vec![before, one])?;
    let step = unless(nodes, at, Some(predicate), more)?;
    let (count, one) = (accu(nodes, at)?, nodes.literal(at, Literal::Int(1))?);
    let result = nodes.call(at, "_==_", vec![count, one])?;
    fold(nodes, at, range, Loop { vars, init, condition, step, result })
}

/// `filter ? step : accumulator`, or the step alone.
fn unless(nodes: &mut Nodes, at: u32, filter: Option<Expr>, step: Expr) -> Made {
    let Some(filter) = filter else { return Ok(step) };
    let unchanged = accu(nodes, at)?;
    nodes.call(at, "_?_:_", vec![filter, step, unchanged])
}

/// `accumulator + [item]`.
fn append(nodes: &mut Nodes, at: u32, item: Expr) -> Made {
    let list = nodes.make(at, ExprKind::List(vec![Element { value: item, optional: false }]))?;
    let before = accu(nodes, at)?;
    nodes.call(at, "_+_", vec![before, list])
}

fn collect(nodes: &mut Nodes, at: u32, range: Expr, vars: (String, Option<String>), step: Expr) -> Made {
    let init = nodes.make(at, ExprKind::List(Vec::new()))?;
    let condition = truth(nodes, at)?;
    let result = accu(nodes, at)?;
    fold(nodes, at, range, Loop { vars, init, condition, step, result })
}

fn map(nodes: &mut Nodes, at: u32, range: Expr, mut args: Vec<Expr>) -> Made {
    let vars = names(nodes, &mut args, false)?;
    let transform = last(&mut args);
    let step = append(nodes, at, transform)?;
    let step = unless(nodes, at, args.pop(), step)?;
    collect(nodes, at, range, vars, step)
}

fn filter(nodes: &mut Nodes, at: u32, range: Expr, mut args: Vec<Expr>) -> Made {
    let vars = names(nodes, &mut args, false)?;
    let predicate = last(&mut args);
    let item = nodes.ident(at, &vars.0)?;
    let step = append(nodes, at, item)?;
    let step = unless(nodes, at, Some(predicate), step)?;
    collect(nodes, at, range, vars, step)
}

fn transform(nodes: &mut Nodes, at: u32, range: Expr, mut args: Vec<Expr>, function: &str) -> Made {
    let vars = names(nodes, &mut args, true)?;
    let output = last(&mut args);
    let filter = args.pop();
    if function == "transformList" {
        let step = append(nodes, at, output)?;
        let step = unless(nodes, at, filter, step)?;
        return collect(nodes, at, range, vars, step);
    }
    let mut inserted = vec![accu(nodes, at)?];
    if function == "transformMap" {
        inserted.push(nodes.ident(at, &vars.0)?);
    }
    inserted.push(output);
    let step = nodes.call(at, "cel.@mapInsert", inserted)?;
    let step = unless(nodes, at, filter, step)?;
    let init = nodes.make(at, ExprKind::Map(Vec::new()))?;
    let condition = truth(nodes, at)?;
    let result = accu(nodes, at)?;
    fold(nodes, at, range, Loop { vars, init, condition, step, result })
}

/// `let @opt = target in @opt.hasValue() ? optional.of(let variable = @opt.value() in body) : optional.none()`.
fn opt_map(nodes: &mut Nodes, at: u32, target: Expr, mut args: Vec<Expr>, wrap: bool) -> Made {
    const TARGET: &str = "@opt";
    let body = last(&mut args);
    let variable = name(nodes, &args[0])?;
    let member = |nodes: &mut Nodes, function: &str| {
        let target = Some(Box::new(nodes.ident(at, TARGET)?));
        nodes.make(at, ExprKind::Call { target, function: function.to_owned(), args: Vec::new() })
    };
    let present = member(nodes, "hasValue")?;
    let value = member(nodes, "value")?;
    let mut mapped = let_in(nodes, at, variable, value, body)?;
    if wrap {
        mapped = qualified_call(nodes, at, "of", vec![mapped])?;
    }
    let none = qualified_call(nodes, at, "none", Vec::new())?;
    let choice = nodes.call(at, "_?_:_", vec![present, mapped, none])?;
    let_in(nodes, at, TARGET.to_owned(), target, choice)
}

/// A call of one of the functions of `optional`.
fn qualified_call(nodes: &mut Nodes, at: u32, function: &str, args: Vec<Expr>) -> Made {
    let target = Some(Box::new(nodes.ident(at, "optional")?));
    nodes.make(at, ExprKind::Call { target, function: function.to_owned(), args })
}
