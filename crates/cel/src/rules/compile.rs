//! One rule, compiled.

use std::sync::Arc;

use api::structural::field_path::{self, Keys};
use api::structural::{Structural, ValidationRule};

use crate::error::CompileError;
use crate::program::{Env, Program};
use crate::schema::Decl;
use crate::types::Type;

/// The variable that holds the value.
pub(super) const SELF: &str = "self";
/// The variable that holds what the value was before an update.
pub(super) const OLD_SELF: &str = "oldSelf";

/// A rule.
#[derive(Debug)]
pub(super) struct Rule {
    /// As it was written.
    pub source: ValidationRule,
    /// What decides whether the rule holds, or why it cannot be compiled; nothing if the rule is empty.
    pub program: Result<Option<Program>, String>,
    /// What makes the message, or why it cannot be compiled; nothing if the message is fixed.
    pub message: Result<Option<Program>, String>,
    /// The path below the value that errors are about, if another than the value's.
    pub field: Option<String>,
}

/// Compiles the rules of a node.
pub(super) fn all(rules: &[ValidationRule], schema: &Structural, decl: Option<&Arc<Decl>>) -> Vec<Rule> {
    rules.iter().map(|rule| Rule::new(rule, schema, decl)).collect()
}

impl Rule {
    fn new(source: &ValidationRule, schema: &Structural, decl: Option<&Arc<Decl>>) -> Self {
        let found = field_path::resolve(&source.field_path, schema, Keys::Allowed).ok();
        let field = found.map(|found| found.path.to_string()).filter(|_| !source.field_path.is_empty());
        let mut rule = Self { source: source.clone(), program: Ok(None), message: Ok(None), field };
        if source.rule.trim().is_empty() {
            return rule;
        }
        let Some(decl) = decl else {
            let ty = schema.ty.as_ref().map_or("", |ty| ty.name());
            rule.program = Err(format!(
                "rule declared on schema that does not support validation rules type: '{ty}' x-kubernetes-preserve-unknown-fields: '{}'",
                schema.extensions.preserve_unknown_fields
            ));
            return rule;
        };
        let mut old = decl.type_of();
        if rule.is_optional() {
            old = Type::optional(old);
        }
        let env = Env::new().declared(SELF, decl.type_of(), decl).declared(OLD_SELF, old, decl);
        rule.program = compile(&env, &source.rule, &Type::Bool).map(Some).map_err(|error| match error {
            CompileError::ResultType { .. } => "cel expression must evaluate to a bool".to_owned(),
            error => error.to_string(),
        });
        if rule.program.is_ok() && !source.message_expression.trim().is_empty() {
            let message = compile(&env, &source.message_expression, &Type::String).map(Some);
            rule.message = message.map_err(|error| match error {
                CompileError::ResultType { .. } => "messageExpression must evaluate to a string".to_owned(),
                error => format!("messageExpression {error}"),
            });
        }
        rule
    }

    /// Whether the rule also holds for what is new, and has to look whether there was something before.
    pub(super) fn is_optional(&self) -> bool {
        self.source.optional_old_self == Some(true)
    }

    /// Whether the rule looks at what was before.
    pub(super) fn uses_old_self(&self) -> bool {
        matches!(&self.program, Ok(Some(program)) if program.uses(OLD_SELF))
    }

    /// The rule as messages name it.
    pub(super) fn name(&self) -> &str {
        let message = self.source.message.as_str();
        if message.is_empty() { self.source.rule.trim() } else { message.trim() }
    }
}

fn compile(env: &Env, source: &str, wanted: &Type) -> Result<Program, CompileError> {
    env.compile(source)?.expect(wanted)
}
