//! Expressions about who asks and what is asked: conditions of authorization webhooks, and rules for users of an
//! identity provider.

use std::sync::{Arc, LazyLock};

use serde_json::Value as Json;

use crate::error::{CompileError, EvalError};
use crate::program::{Bindings, Env, PER_CALL_LIMIT, Program};
use crate::schema::Decl;
use crate::types::Type;
use crate::value::Value;

fn object(name: &str, fields: &[(&str, Type)]) -> Arc<Decl> {
    Decl::object(name, fields.iter().map(|(field, ty)| ((*field).to_owned(), Decl::typed(ty.clone()))))
}

fn strings() -> Type {
    Type::list(Type::String)
}

fn texts(names: &[&'static str]) -> Vec<(&'static str, Type)> {
    names.iter().map(|name| (*name, Type::String)).collect()
}

/// `user`: who somebody is.
static USER: LazyLock<Arc<Decl>> = LazyLock::new(|| {
    let mut fields = texts(&["username", "uid"]);
    fields.extend([("groups", strings()), ("extra", Type::map(Type::String, strings()))]);
    object("kubernetes.UserInfo", &fields)
});

/// `request`: the `spec` of a SubjectAccessReview.
static REVIEW: LazyLock<Arc<Decl>> = LazyLock::new(|| {
    let mut requirement = texts(&["key", "operator"]);
    requirement.push(("values", strings()));
    let selector = |name: &str, requirement: &Arc<Decl>| {
        object(name, &[("rawSelector", Type::String), ("requirements", Type::list(requirement.type_of()))])
    };
    let fields =
        selector("kubernetes.FieldSelectorAttributes", &object("kubernetes.FieldSelectorRequirement", &requirement));
    let labels =
        selector("kubernetes.LabelSelectorAttributes", &object("kubernetes.LabelSelectorRequirement", &requirement));
    let mut resource = texts(&["namespace", "verb", "group", "version", "resource", "subresource", "name"]);
    resource.extend([("fieldSelector", fields.type_of()), ("labelSelector", labels.type_of())]);
    let mut review = texts(&["user", "uid"]);
    review.extend([
        ("resourceAttributes", object("kubernetes.ResourceAttributes", &resource).type_of()),
        ("nonResourceAttributes", object("kubernetes.NonResourceAttributes", &texts(&["path", "verb"])).type_of()),
        ("groups", strings()),
        ("extra", Type::map(Type::String, strings())),
    ]);
    object("kubernetes.SubjectAccessReviewSpec", &review)
});

/// An expression that says yes or no about one document.
#[derive(Debug)]
pub struct Condition {
    variable: &'static str,
    decl: &'static Arc<Decl>,
    source: String,
    program: Program,
}

impl Condition {
    /// Of an authorization webhook: about `request`.
    ///
    /// # Errors
    ///
    /// The text is no expression, or one that is no condition of a request.
    pub fn of_review(source: &str) -> Result<Self, CompileError> {
        Self::compile("request", &REVIEW, source)
    }

    /// Of an identity provider: about the `user` that a token stands for.
    ///
    /// # Errors
    ///
    /// The text is no expression, or one that is no condition of a user.
    pub fn of_user(source: &str) -> Result<Self, CompileError> {
        Self::compile("user", &USER, source)
    }

    fn compile(variable: &'static str, decl: &'static Arc<Decl>, source: &str) -> Result<Self, CompileError> {
        let program = Env::new().declared(variable, decl.type_of(), decl).compile(source)?.expect(&Type::Bool)?;
        Ok(Self { variable, decl, source: source.to_owned(), program })
    }

    /// The text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it holds for a document.
    ///
    /// # Errors
    ///
    /// It failed, or cost too much.
    pub fn holds(&self, document: &Json) -> Result<bool, EvalError> {
        let bindings = Bindings::new().bind_result(self.variable, Value::from_json(document, self.decl));
        let value = self.program.evaluate(&bindings, PER_CALL_LIMIT).result?;
        Ok(matches!(value, Value::Bool(true)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(source: &str, expected: Result<bool, &str>) {
        let request = json!({
            "user": "jane", "groups": ["dev"], "uid": "", "extra": {"a": ["b"]},
            "resourceAttributes": {
                "namespace": "web", "verb": "list", "group": "", "version": "v1", "resource": "pods", "subresource": "",
                "name": "",
                "fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n"]}]},
            },
        });
        let holds = Condition::of_review(source).map_err(|err| err.to_string());
        let holds = holds.and_then(|condition| condition.holds(&request).map_err(|err| err.to_string()));
        match expected {
            Ok(expected) => assert_eq!(holds, Ok(expected), "{source}"),
            Err(part) => assert!(holds.as_ref().is_err_and(|err| err.contains(part)), "{source}: {holds:?}"),
        }
    }

    #[test]
    fn conditions_are_about_the_spec_of_a_review() {
        check("has(request.resourceAttributes)", Ok(true));
        check("has(request.nonResourceAttributes)", Ok(false));
        check("request.resourceAttributes.namespace == 'web' && 'dev' in request.groups", Ok(true));
        check("!('kube-system' in request.groups) && request.extra['a'] == ['b']", Ok(true));
        check(
            "request.resourceAttributes.fieldSelector.requirements.exists(r, r.key == 'spec.nodeName' && 'n' in r.values)",
            Ok(true),
        );
        check("has(request.resourceAttributes.labelSelector)", Ok(false));
        check("request.nonResourceAttributes.path == '/'", Err("no such key"));
        check("request.user", Err("bool"));
        check("request.resourceAttributes.nmespace == ''", Err("undefined field 'nmespace'"));
    }

    #[test]
    fn rules_are_about_a_user() {
        let user = json!({"username": "oidc:jane", "groups": ["dev"], "uid": "", "extra": {}});
        let rule = Condition::of_user("!user.username.startsWith('system:') && user.groups.all(g, g != 'root')");
        assert_eq!(rule.expect("a rule").holds(&user), Ok(true));
        assert!(Condition::of_user("user.name == ''").is_err());
    }
}
