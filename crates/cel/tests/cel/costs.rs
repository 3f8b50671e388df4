//! What evaluation costs, what it is estimated to cost at most, and where it is stopped.

use serde_json::{Value, json};
use skiff_cel::{Bindings, Env, EvalError, PER_CALL_LIMIT};

use super::common::{compile, declare};

#[track_caller]
fn actual(source: &str, expected: u64) {
    let evaluation = compile(source).expect(source).evaluate(&Bindings::new(), PER_CALL_LIMIT);
    assert!(evaluation.result.is_ok(), "{source}: {:?}", evaluation.result);
    assert_eq!(evaluation.cost, expected, "{source}");
}

#[track_caller]
fn estimated(schema: &Value, source: &str, expected: u64) {
    let decl = declare(schema);
    let program = Env::new().declared("self", decl.type_of(), &decl).compile(source).expect(source);
    assert_eq!(program.max_cost(), expected, "{source}");
}

#[test]
fn steps_cost_what_upstream_charges() {
    actual("1 + 2 == 3", 2);
    actual("'abcdefghijk'.startsWith('a')", 2);
    actual("'ab' + 'cd' == 'abcd'", 2);
    actual("{'a': 1}.a == 1", 30 + 2 + 1);
    actual("[1, 2, 3].all(x, x > 0)", 3 * (2 + 1 + 1 + 1) + 1);
    actual("'abcdefghij'.matches('a.*j')", 2);
    actual("sets.contains([1, 2], [1, 2])", 5);
    actual("1 in [1, 2, 3]", 3);
}

#[test]
fn estimates_follow_the_bounds_of_schemas() {
    let bounded = json!({"type": "object", "properties": {
        "list": {"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 5}},
        "text": {"type": "string", "maxLength": 25}, "int": {"type": "integer"}}});
    estimated(&bounded, "self.int == 1", 2);
    estimated(&bounded, "self.text.startsWith('a')", 3);
    estimated(&bounded, "self.text == self.text", 2 + 2 + 10);
    estimated(&bounded, "self.text.contains('ab')", 2 + 10);
    estimated(&bounded, "has(self.text)", 1);
    // Ten rounds: the condition is 2, the step is 1 for the accumulator and 2 for the test.
    estimated(&bounded, "self.list.all(x, x == 'a')", 2 + 10 * (2 + 3) + 1);
    estimated(&bounded, "self.list.all(x, self.list.all(y, x == y))", 2 + 10 * (3 + 2 + 10 * (2 + 1 + 2 + 2) + 1) + 1);
}

#[test]
fn estimates_without_bounds_assume_the_largest_request() {
    let unbounded = json!({"type": "array", "items": {"type": "string"}});
    // 3 MiB hold a million empty strings.
    let items = (3 * 1024 * 1024 - 2) / 3;
    estimated(&unbounded, "self.all(x, x == 'a')", 1 + items * (2 + 1 + 1 + 1) + 1);
    let nested = json!({"type": "array", "items": {"type": "array", "items": {"type": "string"}}});
    let decl = declare(&nested);
    let program = Env::new().declared("self", decl.type_of(), &decl).compile("self.all(x, x.all(y, y.matches('a+')))");
    assert!(program.unwrap().max_cost() > 1_000_000_000_000);
}

#[track_caller]
fn stopped(source: &str) {
    let evaluation = compile(source).expect(source).evaluate(&Bindings::new(), PER_CALL_LIMIT);
    assert_eq!(evaluation.result.expect_err(source), EvalError::CostLimitExceeded, "{source}");
    assert!(evaluation.cost > PER_CALL_LIMIT);
}

#[test]
fn evaluation_is_stopped() {
    let ten = "[1,2,3,4,5,6,7,8,9,10]";
    let nest =
        |depth: usize, inner: &str| (0..depth).fold(inner.to_owned(), |inner, _| format!("{ten}.all(x, {inner})"));
    stopped(&nest(7, "true"));
    // An error that ends the evaluation is not made up for by the other side.
    stopped(&format!("true == false || {} || true == true", nest(7, "true")));
    // What doubles with every step.
    let double = |start: &str, depth: usize| {
        (0..depth)
            .fold("x.size() > 0".to_owned(), |body, _| format!("cel.bind(x, x + x, {body})"))
            .replacen("x + x", start, 1)
    };
    stopped(&double("'abcdefghij'", 60));
    stopped(&double("[1, 2]", 60));
    let long = format!("'{}'", "abcdefghij".repeat(200));
    stopped(&format!("cel.bind(s, {long}, s.replace('', s).replace('', s).replace('', s).size() > 0)"));
}
