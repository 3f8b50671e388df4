//! Runs rules on an object.

use std::sync::Arc;

use api::field::{ErrorList, ErrorType, FieldError};
use api::schema::ListType;
use api::structural::Structural;
use api::structural::correlate::Old;
use api::structural::place::Place;
use serde_json::Value as Json;

use super::compile::{OLD_SELF, Rule, SELF};
use super::{Node, OBJECT_BUDGET, Rules, values};
use crate::error::EvalError;
use crate::program::{Bindings, PER_CALL_LIMIT, Program};
use crate::schema::Decl;
use crate::value::Value;

/// The longest message that an expression may make, in bytes.
const MAX_MESSAGE: usize = 5 * 1024;
/// What is said when an object's budget is spent.
const SPENT: &str = "validation failed due to running out of cost budget, no further validation rules will be run";

/// What rules say about an object.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What is wrong.
    pub errors: ErrorList,
    /// What is wrong and was so before the update, with the text of a warning for each.
    pub warnings: Vec<String>,
}

impl Rules {
    /// Runs the rules on a whole object that its schema accepts; `old` is what it was before an update. `schema` is
    /// what the rules were compiled from.
    #[must_use]
    pub fn validate(&self, schema: &Structural, new: &Json, old: Option<&Json>) -> Verdict {
        let mut run = Run { budget: OBJECT_BUDGET, verdict: Verdict::default() };
        if let Some(root) = &self.root {
            let before = Before { value: old, ratchet: Ratchet::root(old) };
            // The budget's end is among the errors.
            let _ = run.node(root, schema, &Place::Root(None), new, before);
        }
        run.verdict
    }
}

/// The budget is spent: no more rules are run.
struct Spent;

type Ran = Result<(), Spent>;

/// What was there before an update.
#[derive(Clone, Copy)]
struct Before<'a> {
    /// What `oldSelf` is.
    value: Option<&'a Json>,
    /// Whether errors are none if nothing changed.
    ratchet: Ratchet<'a>,
}

/// What the value, or the nearest value around it that can be told, was before.
#[derive(Clone, Copy)]
enum Ratchet<'a> {
    /// This is a create, or a field whose changes cannot be seen.
    None,
    /// The value itself.
    Known(Old<'a>, bool),
    /// A value around it, what it was, and its schema.
    Around(&'a Json, Old<'a>, &'a Structural),
}

impl<'a> Ratchet<'a> {
    fn root(old: Option<&'a Json>) -> Self {
        if old.is_some() { Self::Known(Old::of(old), true) } else { Self::None }
    }

    /// One step down from `value`, where `old` leads to what was there.
    fn down(self, value: &'a Json, schema: &'a Structural, old: impl Fn(Old<'a>) -> Old<'a>) -> Self {
        match self {
            Self::Known(before, _) => match old(before) {
                old if old.value().is_some() => Self::Known(old, false),
                _ => Self::Around(value, before, schema),
            },
            other => other,
        }
    }

    /// Whether nothing changed.
    fn is_same(self, value: &Json, schema: &Structural) -> bool {
        match self {
            Self::None => false,
            Self::Known(old, _) => old.is_same(value, schema),
            Self::Around(value, old, schema) => old.is_same(value, schema),
        }
    }
}

struct Run {
    budget: u64,
    verdict: Verdict,
}

/// A value with what is known about it.
struct Subject<'a> {
    schema: &'a Structural,
    place: &'a Place<'a>,
    value: &'a Json,
    before: Before<'a>,
}

impl Run {
    fn node<'a>(
        &mut self,
        node: &Node,
        schema: &'a Structural,
        place: &Place<'_>,
        value: &'a Json,
        before: Before<'a>,
    ) -> Ran {
        // Whether there may be a null is for a rule around it to say.
        if value.is_null() {
            return Ok(());
        }
        if let Some(decl) = node.decl.as_ref().filter(|_| !node.rules.is_empty()) {
            self.rules(&node.rules, decl, &Subject { schema, place, value, before })?;
        } else {
            self.uncompiled(&node.rules, &Subject { schema, place, value, before });
        }
        for all_of in &node.all_of {
            let ratchet = match before.ratchet {
                around @ Ratchet::Around(..) => around,
                _ => Ratchet::None,
            };
            self.node(all_of, schema, place, value, Before { ratchet, ..before })?;
        }
        match value {
            Json::Array(items) => {
                let (Some(node), Some(item_schema)) = (&node.items, schema.items.as_deref()) else { return Ok(()) };
                let associative = schema.extensions.list_type == Some(ListType::Map);
                for (index, item) in items.iter().enumerate() {
                    let old = Old::of(before.value).items(schema).item(index, item);
                    let ratchet = before.ratchet.down(value, schema, |old| old.items(schema).item(index, item));
                    let before = Before { value: old.value().filter(|_| associative), ratchet };
                    self.node(node, item_schema, &place.index(index), item, before)?;
                }
            }
            Json::Object(fields) => {
                for (name, field) in fields {
                    let ratchet = match before.ratchet {
                        // Both are converted to one version, so a change of these cannot be seen.
                        Ratchet::Known(_, true) if name == "apiVersion" || name == "kind" => Ratchet::None,
                        ratchet => ratchet.down(value, schema, |old| old.field(name)),
                    };
                    let before = Before { value: before.value.and_then(|old| old.get(name)), ratchet };
                    if let (Some(node), Some(schema)) = (&node.values, values(schema)) {
                        self.node(node, schema, &place.key(name), field, before)?;
                    }
                    if let (Some(node), Some(schema)) = (node.fields.get(name), schema.properties.get(name)) {
                        self.node(node, schema, &place.field(name), field, before)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn uncompiled(&mut self, rules: &[Rule], subject: &Subject<'_>) {
        for rule in rules {
            if let Err(why) = &rule.program {
                self.complain(subject, format!("rule compile error: {why}"));
            }
        }
    }

    fn rules(&mut self, rules: &[Rule], decl: &Arc<Decl>, subject: &Subject<'_>) -> Ran {
        if self.budget == 0 {
            return Err(self.stop(subject, SPENT.to_owned()));
        }
        for rule in rules {
            match &rule.program {
                Ok(Some(program)) => self.rule(rule, program, decl, subject)?,
                Ok(None) => {}
                Err(why) => self.complain(subject, format!("rule compile error: {why}")),
            }
        }
        Ok(())
    }

    fn rule(&mut self, rule: &Rule, program: &Program, decl: &Arc<Decl>, subject: &Subject<'_>) -> Ran {
        let transition = rule.uses_old_self();
        if transition && subject.before.value.is_none() && !rule.is_optional() {
            return Ok(());
        }
        let bindings = bindings(rule, decl, subject);
        let evaluation = program.evaluate(&bindings, PER_CALL_LIMIT);
        let spent = evaluation.cost > self.budget;
        self.budget = self.budget.saturating_sub(evaluation.cost);
        if spent {
            return Err(self.stop(subject, SPENT.to_owned()));
        }
        match evaluation.result {
            Ok(Value::Bool(true)) => Ok(()),
            Ok(_) => self.broken(rule, transition, &bindings, subject),
            Err(error @ EvalError::NoSuchOverload) => {
                let why = "call arguments did not match a supported operator, function or macro signature for rule";
                self.complain(subject, format!("'{error}': {why}: {}", rule.name()));
                Ok(())
            }
            Err(error @ EvalError::CostLimitExceeded) => {
                let why = "no further validation rules will be run due to call cost exceeds limit for rule";
                Err(self.stop(subject, format!("'{error}': {why}: {}", rule.name())))
            }
            Err(error) => {
                self.complain(subject, format!("{error} evaluating rule: {}", rule.name()));
                Ok(())
            }
        }
    }

    /// The rule does not hold.
    fn broken(&mut self, rule: &Rule, transition: bool, bindings: &Bindings<'_>, subject: &Subject<'_>) -> Ran {
        let made = match &rule.message {
            Ok(Some(program)) => self.message(program, bindings, &rule.source.message_expression),
            _ => Ok(None),
        };
        let (message, made) = match made {
            Ok(Some(message)) => (message, true),
            Ok(None) if rule.source.message.is_empty() => (format!("failed rule: {}", rule.name()), false),
            Ok(None) => (rule.name().to_owned(), false),
            Err(why) => return Err(self.stop(subject, why)),
        };
        let mut path = subject.place.path();
        if let Some(field) = &rule.field {
            path = path.child(field);
        }
        // A message of its own shows of the value what it wants to; objects and lists would be too long.
        let value = match (made, subject.value) {
            (true, _) => None,
            (false, Json::Object(_) | Json::Array(_)) => Some(type_name(subject)),
            (false, scalar) => Some(scalar.clone()),
        };
        let error = match rule.source.reason.as_deref() {
            Some("FieldValueForbidden") => FieldError::forbidden(&path, message),
            Some("FieldValueRequired") => FieldError::required(&path, message),
            Some("FieldValueDuplicate") => FieldError {
                error_type: ErrorType::Duplicate,
                field: path.to_string(),
                bad_value: value,
                detail: String::new(),
            },
            _ => FieldError {
                error_type: ErrorType::Invalid,
                field: path.to_string(),
                bad_value: value,
                detail: message,
            },
        };
        if !transition && subject.before.ratchet.is_same(subject.value, subject.schema) {
            self.verdict.warnings.push(error.to_string());
        } else {
            self.verdict.errors.push(error);
        }
        Ok(())
    }

    /// The message that an expression makes; nothing if it makes none that could be shown.
    fn message(&mut self, program: &Program, bindings: &Bindings<'_>, source: &str) -> Result<Option<String>, String> {
        let evaluation = program.evaluate(bindings, PER_CALL_LIMIT);
        if evaluation.cost > self.budget {
            return Err(SPENT.replacen("validation", "messageExpression evaluation", 1));
        }
        self.budget -= evaluation.cost;
        match evaluation.result {
            Ok(Value::String(text)) => {
                let text = text.trim();
                let shown = !text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n');
                Ok(shown.then(|| text.to_owned()))
            }
            Err(EvalError::CostLimitExceeded) => Err(format!(
                "no further validation rules will be run due to call cost exceeds limit for messageExpression: {}",
                api::field::quote(source)
            )),
            _ => Ok(None),
        }
    }

    fn complain(&mut self, subject: &Subject<'_>, detail: String) {
        self.verdict.errors.push(FieldError::invalid(&subject.place.path(), type_name(subject), detail));
    }

    fn stop(&mut self, subject: &Subject<'_>, detail: String) -> Spent {
        self.complain(subject, detail);
        Spent
    }
}

/// What errors show in place of a value.
fn type_name(subject: &Subject<'_>) -> Json {
    Json::from(subject.schema.ty.as_ref().map_or("", |ty| ty.name()))
}

fn bindings<'a>(rule: &Rule, decl: &'a Arc<Decl>, subject: &Subject<'a>) -> Bindings<'a> {
    let bindings = Bindings::new().bind_result(SELF, Value::from_json(subject.value, decl));
    let old = subject.before.value.map(|old| Value::from_json(old, decl));
    match (rule.is_optional(), old) {
        (true, old) => bindings.bind_result(OLD_SELF, old.transpose().map(|old| Value::Optional(old.map(Arc::new)))),
        (false, Some(old)) => bindings.bind_result(OLD_SELF, old),
        (false, None) => bindings,
    }
}
