use proptest::prelude::*;
use serde_json::json;

use super::*;

fn document() -> Value {
    json!({
        "kind": "List",
        "items": [
            {"name": "a", "size": 1, "ready": true, "labels": {"x.y/z": "1"}},
            {"name": "b", "size": 2, "ready": false},
            {"name": "c", "size": 3, "tags": ["t", "u"]},
        ],
        "empty": [],
        "nothing": null,
        "ratio": 1.5,
    })
}

#[track_caller]
fn check(path: &str, expected: Value) {
    let document = document();
    let parsed = JsonPath::parse(path).expect(path);
    let found = parsed.find(&document).expect(path);
    let found: Vec<Value> = found.into_iter().map(Cow::into_owned).collect();
    assert_eq!(Value::Array(found), expected, "{path}");
}

#[track_caller]
fn check_lost(path: &str, expected: &str) {
    let document = document();
    let parsed = JsonPath::parse(path).expect(path);
    assert_eq!(parsed.find(&document).expect_err(path).to_string(), expected, "{path}");
}

#[track_caller]
fn check_refused(path: &str, expected: &str) {
    assert_eq!(JsonPath::parse(path).expect_err(path).to_string(), expected, "{path}");
}

#[test]
fn fields() {
    check(".kind", json!(["List"]));
    check("$.kind", json!(["List"]));
    check("@['kind']", json!(["List"]));
    check(".missing.deeper", json!([]));
    check(".kind.deeper", json!([]));
    check(".nothing", json!([null]));
    check(".nothing.deeper", json!([]));
    check(r".items[0].labels.x\.y/z", json!(["1"]));
    check(r".items[0].labels['x\.y/z']", json!(["1"]));
    check(".", json!([]));
}

#[test]
fn lists() {
    check(".items[0].name", json!(["a"]));
    check(".items[-1].name", json!(["c"]));
    check(".items[*].name", json!(["a", "b", "c"]));
    check(".items[0:2].name", json!(["a", "b"]));
    check(".items[1:].name", json!(["b", "c"]));
    check(".items[:-1].name", json!(["a", "b"]));
    check(".items[0:3:2].name", json!(["a", "c"]));
    check(".items[0,2].name", json!(["a", "c"]));
    check(".items[0]['name','size']", json!(["a", 1]));
    check(".empty[*]", json!([]));
    check(".nothing[0]", json!([]));
    check_lost(".items[3]", "array index out of bounds: index 3, length 3");
    check_lost(".items[-4]", "array index out of bounds: index -1, length 3");
    check_lost(".empty[0]", "array index out of bounds: index 0, length 0");
    check_lost(".items[2:1]", "starting index 2 is greater than ending index 1");
    check_lost(".items[0:2:0]", "step must be > 0");
    check_lost(".kind[0]", "string is not array or slice");
}

#[test]
fn wildcards_and_descent() {
    check(".items[0].labels.*", json!(["1"]));
    check("..name", json!(["a", "b", "c"]));
    check(".items..tags[0]", json!(["t"]));
}

#[test]
fn filters() {
    check(".items[?(@.name=='b')].size", json!([2]));
    check(".items[?(@.name==\"b\")].size", json!([2]));
    check(".items[?(@.size>1)].name", json!(["b", "c"]));
    check(".items[?(@.size<=2)].name", json!(["a", "b"]));
    check(".items[?(@.name!='b')].name", json!(["a", "c"]));
    check(".items[?(@.ready==true)].name", json!(["a"]));
    check(".items[?(@.tags)].name", json!(["c"]));
    check(".items[?(@.labels.x\\.y/z=='1')].name", json!(["a"]));
    check(".items[?(@.name=='(x)')].name", json!([]));
    check_lost(".kind[?(@.a)]", "string is not array or slice");
    check_lost(".items[?(@.size=='1')]", "incompatible types for comparison");
}

#[test]
fn what_is_no_path_is_refused() {
    check_refused(".items[", "unterminated array");
    check_refused(".items[x]", "invalid array index x");
    check_refused(".items[?(@.a", "unterminated filter");
    check_refused(".items[?(@.a=='b')", "unterminated array");
    check_refused(".items[?(@.a=~'b')]", "unrecognized filter operator =");
    check_refused(".items[?(@.a=='b]", "unterminated filter");
    check_refused(".items[?(@.a<>'b')]", "unrecognized filter operator <>");
    check_refused("....a", "invalid multiple recursive descent");
    check_refused("range", "unrecognized identifier range");
    check_refused("#", "unrecognized character in action: '#'");
    check_refused("'a", "unterminated quoted string");
    check_refused("1.2.3", "cannot parse number 1.2.3");
}

#[test]
fn values_are_printed_without_quotes() {
    for (value, text) in [
        (json!("a"), "a"),
        (json!(1), "1"),
        (json!(0.5), "0.5"),
        (json!(true), "true"),
        (json!(["a", 1]), r#"["a",1]"#),
        (json!({"a": "b"}), r#"{"a":"b"}"#),
        (Value::Null, "<no value>"),
    ] {
        assert_eq!(printed(&value), text);
    }
}

proptest! {
    #[test]
    fn whatever_is_a_path_can_be_followed(text in r#"[.a\[\]*?()@$'"0-3:,=<>! \\~}-]{0,14}"#) {
        if let Ok(path) = JsonPath::parse(&text) {
            let _ = path.find(&document());
        }
    }
}
