//! Values from outside: the authorizer of admission, whose functions are declared here and answered there.

use std::sync::Arc;

use skiff_cel::{Bindings, Env, EvalError, Opaque, PER_CALL_LIMIT, Type, Value};

/// An authorizer that writes down what it is asked, and allows reading.
#[derive(Debug)]
struct Asked {
    type_name: &'static str,
    question: String,
}

impl Opaque for Asked {
    fn type_name(&self) -> &'static str {
        self.type_name
    }

    fn call<'a>(&self, function: &str, args: &[Value<'a>]) -> Result<Value<'a>, EvalError> {
        let type_name = match function {
            "allowed" => return Ok(Value::Bool(self.question.ends_with(" check get"))),
            "reason" => return Ok(Value::Null),
            "check" => "kubernetes.authorization.Decision",
            "path" => "kubernetes.authorization.PathCheck",
            "group" => "kubernetes.authorization.GroupCheck",
            _ => "kubernetes.authorization.ResourceCheck",
        };
        let Some(Value::String(arg)) = args.first() else { return Err(EvalError::NoSuchOverload) };
        Ok(Value::opaque(Arc::new(Self { type_name, question: format!("{} {function} {arg}", self.question) })))
    }
}

#[track_caller]
fn check(source: &str, expected: bool) {
    let env = Env::new().variable("authorizer", Type::Opaque("kubernetes.authorization.Authorizer"));
    let program = env.compile(source).expect(source).expect(&Type::Bool).expect(source);
    let type_name = "kubernetes.authorization.Authorizer";
    let authorizer = Value::opaque(Arc::new(Asked { type_name, question: String::new() }));
    let evaluation = program.evaluate(&Bindings::new().bind("authorizer", authorizer), PER_CALL_LIMIT);
    assert!(matches!(evaluation.result, Ok(Value::Bool(actual)) if actual == expected), "{source}");
    assert!(evaluation.cost > 350_000);
}

#[test]
fn questions_go_to_the_authorizer() {
    check("authorizer.path('/healthz').check('get').allowed()", true);
    check("authorizer.path('/healthz').check('post').allowed()", false);
    check("authorizer.group('apps').resource('deployments').namespace('a').name('b').check('get').allowed()", true);
}

#[test]
fn nobody_else_has_an_authorizer() {
    let error =
        Env::new().compile("authorizer.path('/').check('get').allowed()").expect_err("no authorizer").to_string();
    assert!(error.contains("undeclared reference to 'authorizer'"), "{error}");
}

#[test]
fn a_variable_without_a_value_is_an_error_where_it_is_used() {
    let program = Env::new().variable("x", Type::Int).compile("true || x == 1").expect("it compiles");
    assert!(program.evaluate(&Bindings::new(), PER_CALL_LIMIT).result.is_ok());
    let program = Env::new().variable("x", Type::Int).compile("x == 1").expect("it compiles");
    let error = program.evaluate(&Bindings::new(), PER_CALL_LIMIT).result.expect_err("x has no value");
    assert_eq!(error.to_string(), "no such attribute(s): x");
}
