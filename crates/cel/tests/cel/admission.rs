//! Expressions of admission: what they see of a request, variables, budgets, and what mutations make.

use serde_json::{Value as Json, json};
use skiff_cel::admission::{
    self, BUDGET, Environment, EvaluationError, Inputs, MATCH_CONDITIONS_BUDGET, Purpose, apply_configuration,
};
use skiff_cel::{EvalError, Value};

/// A request to scale a deployment.
struct Request {
    object: Json,
    old: Json,
    request: Json,
    namespace: Json,
}

impl Request {
    fn new() -> Self {
        Self {
            object: json!({"metadata": {"name": "web", "labels": {"a/b": "c"}}, "spec": {"replicas": 5}}),
            old: json!({"metadata": {"name": "web"}, "spec": {"replicas": 3}}),
            request: json!({"operation": "UPDATE", "name": "web", "namespace": "shop", "dryRun": false,
                "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
                "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
                "userInfo": {"username": "ann", "groups": ["dev"], "extra": {"k": ["v"]}},
                "options": {"kind": "UpdateOptions"}}),
            namespace: json!({"metadata": {"name": "shop", "labels": {"env": "prod"},
                "creationTimestamp": "2024-01-01T00:00:00Z"}}),
        }
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs {
            object: Some(&self.object),
            old_object: Some(&self.old),
            request: Some(&self.request),
            namespace: Some(&self.namespace),
            ..Inputs::default()
        }
    }
}

/// With these variables, the expression must evaluate to true or fail with the message.
#[track_caller]
fn check_with(variables: &[(&str, &str)], source: &str, expected: Result<bool, &str>) {
    let mut environment = Environment::new(false);
    for (name, source) in variables {
        environment.add_variable(name, source);
    }
    let expression = environment.compile(Purpose::Condition, source);
    let request = Request::new();
    let result = environment.activate(&request.inputs(), BUDGET).evaluate(&expression);
    match (result, expected) {
        (Ok(Value::Bool(actual)), Ok(expected)) => assert_eq!(actual, expected, "{source}"),
        (Err(error), Err(message)) => assert_eq!(error.to_string(), message, "{source}"),
        (actual, expected) => panic!("{source}: {actual:?}, expected {expected:?}"),
    }
}

#[track_caller]
fn holds(source: &str) {
    check_with(&[], source, Ok(true));
}

#[test]
fn expressions_see_the_request() {
    holds("object.spec.replicas - oldObject.spec.replicas == 2");
    holds("object.metadata.labels['a/b'] == 'c' && !has(object.metadata.annotations)");
    holds("request.operation == 'UPDATE' && request.kind.kind == 'Deployment' && !request.dryRun");
    holds("request.userInfo.username == 'ann' && 'dev' in request.userInfo.groups");
    holds("request.userInfo.extra['k'] == ['v'] && request.options.kind == 'UpdateOptions'");
    holds("namespaceObject.metadata.labels['env'] == 'prod'");
    holds("namespaceObject.metadata.creationTimestamp < timestamp('2025-01-01T00:00:00Z')");
    holds("!has(request.subResource)");
    let why = "expression 'object.spec.nothing == 1' resulted in error: no such key: nothing";
    check_with(&[], "object.spec.nothing == 1", Err(why));
}

#[test]
fn what_is_not_there_is_null() {
    let environment = Environment::new(true);
    let expression = environment.compile(
        Purpose::Condition,
        "object == null && oldObject == null && params == null && namespaceObject == null",
    );
    let result = environment.activate(&Inputs::default(), BUDGET).evaluate(&expression);
    assert!(matches!(result, Ok(Value::Bool(true))), "{result:?}");
}

#[test]
fn variables_build_on_those_before_them() {
    let variables = [("replicas", "object.spec.replicas"), ("twice", "variables.replicas * 2"), ("bad", "1 / (1 - 1)")];
    check_with(&variables, "variables.twice == 10 && has(variables.replicas)", Ok(true));
    // What is not asked for is not evaluated.
    check_with(&variables, "variables.twice == 10 || variables.bad == 1", Ok(true));
    let why = "expression 'variables.bad == 1' resulted in error: composited variable \"bad\" fails to evaluate: \
               division by zero";
    check_with(&variables, "variables.bad == 1", Err(why));
    check_with(&[("a__b", "[1, 2]")], "variables.a__b.sum() == 3", Ok(true));
    check_with(&[("x", "1"), ("x", "variables.x + 1")], "variables.x == 2", Ok(true));
}

#[test]
fn a_variable_is_evaluated_once() {
    let mut environment = Environment::new(false);
    environment.add_variable("sum", "[1,2,3,4,5,6,7,8,9].map(a, [1,2,3,4,5,6,7,8,9].map(b, a * b).sum()).sum()");
    let condition = environment.compile(Purpose::Condition, "variables.sum > 0");
    let request = Request::new();
    let mut activation = environment.activate(&request.inputs(), 3_000);
    for _ in 0..100 {
        assert!(activation.evaluate(&condition).is_ok());
    }
    // Another request evaluates it again, which this budget is too small for.
    let result = environment.activate(&request.inputs(), 500).evaluate(&condition);
    assert_eq!(result.expect_err("too expensive"), EvaluationError::OutOfBudget);
}

#[test]
fn budgets_and_the_limit_of_one_call_end_evaluations() {
    let environment = Environment::new(false);
    let list = "[1,2,3,4,5,6,7,8,9,10]";
    let deep =
        format!("{list}.all(a, {list}.all(b, {list}.all(c, {list}.all(d, {list}.all(e, a + b + c + d + e > 0)))))");
    let expression = environment.compile(Purpose::Condition, &deep);
    let request = Request::new();
    let mut activation = environment.activate(&request.inputs(), BUDGET);
    let Err(EvaluationError::Failed { error, .. }) = activation.evaluate(&expression) else {
        panic!("one call costs too much")
    };
    assert_eq!(error, EvalError::CostLimitExceeded);
    let mut matching = activation.with_budget(MATCH_CONDITIONS_BUDGET);
    for _ in 0..2 {
        assert!(matches!(matching.evaluate(&expression), Err(EvaluationError::Failed { .. })));
    }
    assert_eq!(matching.evaluate(&expression).expect_err("the budget is spent"), EvaluationError::OutOfBudget);
}

#[track_caller]
fn refused(purpose: Purpose, source: &str, message: &str) {
    let environment = Environment::new(false);
    let error = environment.compile(purpose, source).error().map(ToString::to_string).unwrap_or_default();
    assert!(error.starts_with(message), "{source}: {error}");
}

#[test]
fn purposes_ask_for_types() {
    refused(Purpose::Condition, "1", "must evaluate to bool but got int");
    refused(Purpose::Message, "[1]", "must evaluate to string but got list(int)");
    refused(Purpose::AuditAnnotation, "1", "must evaluate to one of [string null_type] but got int");
    refused(Purpose::ApplyConfiguration, "1", "must evaluate to Object but got int");
    refused(Purpose::JsonPatch, "[Object{}]", "must evaluate to list(JSONPatch) but got list(Object)");
    refused(Purpose::ApplyConfiguration, "Object.spec{}", "must evaluate to Object but got Object.spec");
}

#[test]
fn purposes_limit_what_expressions_see() {
    let undeclared = |column: usize, name: &str| {
        format!("compilation failed: ERROR: <input>:1:{column}: undeclared reference to '{name}' (in container '')")
    };
    refused(Purpose::Condition, "params.a == 1", &undeclared(1, "params"));
    refused(Purpose::Condition, "variables.a == 1", &undeclared(1, "variables"));
    refused(Purpose::Message, "authorizer.path('/').check('get').reason()", &undeclared(1, "authorizer"));
    refused(Purpose::Condition, "Object{} == Object{}", &undeclared(7, "Object"));
    refused(Purpose::Condition, "jsonpatch.escapeKey('a') == ''", &undeclared(1, "jsonpatch"));
    refused(
        Purpose::Condition,
        "request.nothing == 1",
        "compilation failed: ERROR: <input>:1:8: undefined field 'nothing'",
    );
}

/// The configuration that an expression makes, or why it makes none.
#[track_caller]
fn check_configuration(source: &str, expected: Result<Json, &str>) {
    let environment = Environment::new(false);
    let expression = environment.compile(Purpose::ApplyConfiguration, source);
    let request = Request::new();
    let value = environment.activate(&request.inputs(), BUDGET).evaluate(&expression).expect(source);
    assert_eq!(apply_configuration(&value).map_err(|error| error.to_string()), expected.map_err(str::to_owned));
}

#[test]
fn configurations_are_made_of_objects() {
    check_configuration(
        "Object{metadata: Object.metadata{annotations: {'a': string(object.spec.replicas)}}, spec: Object.spec{
            replicas: object.spec.replicas + 1, list: [Object.spec.list{name: 'x', on: true}]}}",
        Ok(
            json!({"metadata": {"annotations": {"a": "5"}}, "spec": {"replicas": 6, "list": [{"name": "x", "on": true}]}}),
        ),
    );
    check_configuration(
        "Object{?spec: optional.none(), a: 1.5, b: object.metadata}",
        Ok(json!({"a": 1.5, "b": {"name": "web", "labels": {"a/b": "c"}}})),
    );
    let why = "type mismatch: unexpected type name \"Object.wrong\", expected \"Object.spec\", which matches field name \
               path from root Object type";
    check_configuration("Object{spec: Object.wrong{}}", Err(why));
}

#[test]
fn configurations_have_an_end() {
    let doubled =
        (0..40).fold("'a'".to_owned(), |inner, level| format!("cel.bind(x{level}, {inner}, [x{level}, x{level}])"));
    check_configuration(&format!("Object{{a: {doubled}}}"), Err("the value is too large"));
}

/// The operations that an expression makes.
#[track_caller]
fn check_patch(source: &str, expected: Json) {
    let environment = Environment::new(false);
    let expression = environment.compile(Purpose::JsonPatch, source);
    let request = Request::new();
    let value = environment.activate(&request.inputs(), BUDGET).evaluate(&expression).expect(source);
    assert_eq!(admission::json_patch(&value).expect(source), expected);
}

#[test]
fn patches_are_lists_of_operations() {
    check_patch(
        "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b~c'), value: 'x'},
          JSONPatch{op: 'replace', path: '/spec', value: Object.spec{replicas: 1}}]",
        json!([{"op": "add", "path": "/metadata/labels/a~1b~0c", "value": "x"},
            {"op": "replace", "path": "/spec", "value": {"replicas": 1}}]),
    );
    check_patch("object.spec.replicas > 5 ? [JSONPatch{op: 'remove', path: '/a'}] : []", json!([]));
    check_patch(
        "[1, 2].map(i, JSONPatch{op: 'test', path: '/a', value: {'k': i}})",
        json!([
        {"op": "test", "path": "/a", "value": {"k": 1}}, {"op": "test", "path": "/a", "value": {"k": 2}}]),
    );
}

#[test]
fn types_are_checked_where_they_are_known() {
    refused(
        Purpose::JsonPatch,
        "[JSONPatch{op: 1}]",
        "compilation failed: ERROR: <input>:1:16: expected type of field 'op' is 'string' but provided type is 'int'",
    );
    refused(
        Purpose::JsonPatch,
        "[JSONPatch{what: 1}]",
        "compilation failed: ERROR: <input>:1:18: undefined field 'what'",
    );
}

#[test]
fn what_holds_itself_often_is_not_looked_at_without_end() {
    let doubled = |inner: &str| {
        (0..40).fold(inner.to_owned(), |inner, level| format!("cel.bind(x{level}, {inner}, [x{level}, x{level}])"))
    };
    let (a, b) = (doubled("'a'"), doubled("'a'"));
    for source in [
        format!("{a} == {b}"),
        format!("{a} in [{b}]"),
        format!("[{a}].indexOf({b}) == 0"),
        format!("sets.contains([{a}], [{b}])"),
        format!("'%s'.format([{a}]) == ''"),
        format!("dyn({a}).indexOf('') == 0"),
    ] {
        let environment = Environment::new(false);
        let expression = environment.compile(Purpose::Condition, &source);
        let result = environment.activate(&Inputs::default(), BUDGET).evaluate(&expression);
        match result.expect_err("it has no end") {
            EvaluationError::Failed { error, .. } => assert_eq!(error, EvalError::CostLimitExceeded, "{source}"),
            EvaluationError::OutOfBudget => {}
            other @ EvaluationError::Compilation(_) => panic!("{source}: {other}"),
        }
    }
}
