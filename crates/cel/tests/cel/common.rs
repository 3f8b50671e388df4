//! Helpers of the tests: an environment with `self` and an evaluation that has to come out in one way.

use api::structural::Structural;
use serde_json::Value as Json;
use skiff_cel::{Bindings, CompileError, Decl, Env, EvalError, PER_CALL_LIMIT, Program, Type, Value};
use std::sync::Arc;

/// Compiles an expression over no variables.
pub fn compile(source: &str) -> Result<Program, CompileError> {
    Env::new().compile(source)
}

/// The expression must evaluate to `true`.
#[track_caller]
pub fn holds(source: &str) {
    outcome(source, Ok(true));
}

/// The expression must compile and fail with this message.
#[track_caller]
pub fn fails(source: &str, message: &str) {
    outcome(source, Err(message));
}

#[track_caller]
fn outcome(source: &str, expected: Result<bool, &str>) {
    let program = compile(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    let evaluation = program.evaluate(&Bindings::new(), PER_CALL_LIMIT);
    verdict(source, evaluation.result, expected);
}

#[track_caller]
fn verdict(source: &str, result: Result<Value<'_>, EvalError>, expected: Result<bool, &str>) {
    match (result, expected) {
        (Ok(Value::Bool(actual)), Ok(expected)) => assert_eq!(actual, expected, "{source}"),
        (Err(error), Err(message)) => assert_eq!(error.to_string(), message, "{source}"),
        (actual, expected) => panic!("{source}: {actual:?}, expected {expected:?}"),
    }
}

/// The expression must not compile, with this mistake at this column.
#[track_caller]
pub fn refused(source: &str, column: usize, message: &str) {
    let error = compile(source).expect_err(source).to_string();
    let start = format!("compilation failed: ERROR: <input>:1:{column}: {message}\n | {source}\n | ");
    assert!(error.starts_with(&start), "{source}: {error}");
}

/// The shape that a schema declares.
pub fn declare(schema: &Json) -> Arc<Decl> {
    Decl::new(&Structural::parse(schema).expect("a schema"), false).expect("the schema is visible")
}

/// An expression over `self`, which has the schema and the value given.
#[track_caller]
pub fn about(schema: &Json, document: &Json, source: &str, expected: Result<bool, &str>) {
    let decl = declare(schema);
    let env = Env::new().declared("self", decl.type_of(), &decl);
    let program = env.compile(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    let value = Value::from_json(document, &decl);
    let evaluation = program.evaluate(&Bindings::new().bind_result("self", value), PER_CALL_LIMIT);
    verdict(source, evaluation.result, expected);
}

/// An expression over a `self` of which nothing is known.
#[track_caller]
pub fn dynamic(document: &Json, source: &str, expected: Result<bool, &str>) {
    let program =
        Env::new().variable("self", Type::Dyn).compile(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    let bindings = Bindings::new().bind("self", Value::dynamic(document));
    verdict(source, program.evaluate(&bindings, PER_CALL_LIMIT).result, expected);
}
