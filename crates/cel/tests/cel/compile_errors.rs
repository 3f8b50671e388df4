//! Expressions that do not compile, and where the mistakes are shown.

use super::common::{compile, declare, refused};
use serde_json::json;
use skiff_cel::{Bindings, CompileError, Env, PER_CALL_LIMIT, Type};

const OPERAND: &str =
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

#[test]
fn syntax() {
    let end = format!("Syntax error: mismatched input '<EOF>' expecting {OPERAND}");
    refused("1 +", 4, &end);
    refused("f(1,", 5, &end);
    refused("a &&", 5, &end);
    refused("1 + + 2", 5, &format!("Syntax error: extraneous input '+' expecting {OPERAND}"));
    refused(")", 1, &format!("Syntax error: mismatched input ')' expecting {OPERAND}"));
    refused("1 2", 3, "Syntax error: extraneous input '2' expecting <EOF>");
    refused("(1", 3, "Syntax error: missing ')' at '<EOF>'");
    refused("f(1", 4, "Syntax error: missing ')' at '<EOF>'");
    refused("[1", 3, "Syntax error: mismatched input '<EOF>' expecting {']', ','}");
    refused("[1 2]", 4, "Syntax error: extraneous input '2' expecting {']', ','}");
    refused("{'a' 1}", 6, "Syntax error: missing ':' at '1'");
    refused("a.", 3, "Syntax error: no viable alternative at input '.'");
    refused("1 = 1", 3, "Syntax error: token recognition error at: '= '");
    refused("'a", 1, "Syntax error: token recognition error at: ''a'");
    refused("1 # 2", 3, "Syntax error: token recognition error at: '#'");
    refused("if", 1, "reserved identifier: if");
    refused("99999999999999999999", 1, "invalid int literal");
}

#[test]
fn names() {
    refused("x", 1, "undeclared reference to 'x' (in container '')");
    refused("f(1)", 2, "undeclared reference to 'f' (in container '')");
    refused("1.f()", 4, "undeclared reference to 'f' (in container '')");
    refused("1 + x.y", 5, "undeclared reference to 'x' (in container '')");
    refused("Pod{a: 1}", 4, "undeclared reference to 'Pod' (in container '')");
    refused("[1].map(x, x) == x", 18, "undeclared reference to 'x' (in container '')");
}

#[test]
fn types() {
    refused("1 + 'a'", 3, "found no matching overload for '_+_' applied to '(int, string)'");
    refused("1 == 'a'", 3, "found no matching overload for '_==_' applied to '(int, string)'");
    refused("'a'.startsWith(1)", 15, "found no matching overload for 'startsWith' applied to 'string.(int)'");
    refused("size(1)", 5, "found no matching overload for 'size' applied to '(int)'");
    refused("!1", 1, "found no matching overload for '!_' applied to '(int)'");
    refused("[1, 'a']", 5, "expected type 'int' but found 'string'");
    refused("{'a': 1, 'b': 'c'}", 15, "expected type 'int' but found 'string'");
    refused("(1).a", 4, "type 'int' does not support field selection");
    refused("1 in {'a': 1}", 3, "found no matching overload for '@in' applied to '(int, map(string, int))'");
    refused(
        "'a'.all(x, true)",
        1,
        "expression of type 'string' cannot be range of a comprehension (must be list, map, or dynamic)",
    );
    refused("[1].all(x, x)", 8, "found no matching overload for '_&&_' applied to '(bool, int)'");
    refused("true ? 1 : 'a'", 6, "found no matching overload for '_?_:_' applied to '(bool, int, string)'");
    refused("'a' == null", 5, "found no matching overload for '_==_' applied to '(string, null)'");
}

#[test]
fn fields_of_schemas() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}, "list": {"type": "array", "items":
        {"type": "object", "properties": {"name": {"type": "string"}}}}}});
    let decl = declare(&schema);
    let env = Env::new().declared("self", decl.type_of(), &decl);
    let error = |source: &str| env.compile(source).unwrap_err().to_string();
    assert_eq!(
        error("self.nope > 1"),
        "compilation failed: ERROR: <input>:1:5: undefined field 'nope'\n | self.nope > 1\n | ....^"
    );
    assert_eq!(
        error("self.list.all(x, x.nope == 1) && self.a.b == 'c'"),
        "compilation failed: ERROR: <input>:1:19: undefined field 'nope'\n | self.list.all(x, x.nope == 1) && self.a.b == 'c'\n | ..................^\n\
         ERROR: <input>:1:40: type 'int' does not support field selection\n | self.list.all(x, x.nope == 1) && self.a.b == 'c'\n | .......................................^"
    );
    assert!(error("self.list == 1").contains("applied to '(list(selfType.list.@idx), int)'"));
    assert!(env.compile("self == null || self.list.exists(x, x.name == 'a')").is_ok());
}

#[test]
fn results_have_the_type_that_is_asked_for() {
    let program = compile("1 + 1").unwrap();
    assert_eq!(
        program.expect(&Type::Bool).unwrap_err(),
        CompileError::ResultType { expected: "bool".into(), actual: "int".into() }
    );
    assert!(compile("'a'").unwrap().expect(&Type::String).is_ok());
}

#[test]
fn nesting_is_limited() {
    for (open, close) in [("(", ")"), ("[", "]"), ("-(", ")"), ("f(", ")"), ("{1:", "}"), ("!(", ")"), ("1+(", ")")] {
        let source = format!("{}1{}", open.repeat(20_000), close.repeat(20_000));
        let error = compile(&source).unwrap_err().to_string();
        assert!(error.contains("expression recursion limit exceeded: 100"), "{open}");
        let _ = compile(&format!("{}1{}", open.repeat(99), close.repeat(99)));
    }
    assert!(compile(&format!("1{}", "+1".repeat(400))).is_err());
    assert!(compile(&format!("true{}", " && true".repeat(10_000))).is_ok());
    assert!(compile(&format!("optional.of(1){}.hasValue()", ".optMap(x, x)".repeat(40))).is_ok());
    assert!(compile(&"1+".repeat(60_000)).is_err());
}

#[test]
fn deep_expressions_need_little_stack() {
    let deep = || {
        let pairs = [("(", "1", ")"), ("[", "1", "]"), ("dyn(", "1", ")"), ("{1:", "1", "}"), ("!(", "true", ")")];
        let more = [
            ("[1].map(x,", "1", ")"),
            ("[1].all(x, x == 1 && ", "true", ")"),
            ("1 == 1 ? true : (", "true", ")"),
            ("cel.bind(x, 1, ", "1", ")"),
        ];
        for (open, middle, close) in pairs.into_iter().chain(more) {
            for depth in [40, 99] {
                let source = format!("{}{middle}{}", open.repeat(depth), close.repeat(depth));
                if let Ok(program) = compile(&source) {
                    let _ = program.evaluate(&Bindings::new(), PER_CALL_LIMIT);
                }
            }
        }
        let program = compile(&format!("1{} > 0", "+1".repeat(240))).unwrap();
        assert!(program.evaluate(&Bindings::new(), PER_CALL_LIMIT).result.is_ok());
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(deep).unwrap().join().unwrap();
}
