use super::*;

#[test]
fn types() {
    let wrong = |wanted: &str, found: &str| {
        format!("x: Invalid value: \"{found}\": x in body must be of type {wanted}: \"{found}\"")
    };
    for (ty, value, found) in [
        ("string", json!(5), "integer"),
        ("integer", json!(1.5), "number"),
        ("integer", json!("3"), "string"),
        ("number", json!("3"), "string"),
        ("boolean", json!("true"), "string"),
        ("object", json!([]), "array"),
        ("array", json!({}), "object"),
        ("string", Value::Null, "null"),
    ] {
        check(json!({"type": ty}), value, &[&wrong(ty, found)]);
    }
    for (ty, value) in
        [("integer", json!(1.0)), ("number", json!(1)), ("integer", json!(u64::MAX)), ("object", json!({}))]
    {
        check(json!({"type": ty}), value, &[]);
    }
    check(json!({"type": "string", "nullable": true}), Value::Null, &[]);
    check(json!({"x-kubernetes-preserve-unknown-fields": true}), json!([null]), &[]);
}

#[test]
fn int_or_string() {
    let x = json!({"x-kubernetes-int-or-string": true});
    check(x.clone(), json!(1), &[]);
    check(x.clone(), json!("50%"), &[]);
    check(x, json!(true), &["x: Invalid value: \"boolean\": x in body must be of type integer,string: \"boolean\""]);
    let bounded = json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}], "minimum": 1, "pattern": "%$"});
    check(bounded.clone(), json!(1), &[]);
    check(bounded.clone(), json!(0), &["x: Invalid value: 0: x in body should be greater than or equal to 1"]);
    check(bounded, json!("5"), &["x: Invalid value: \"5\": x in body should match '%$'"]);
}

#[test]
fn numbers() {
    let should = |value: &str, what: &str| format!("x: Invalid value: {value}: x in body should be {what}");
    for (x, value, shown, what) in [
        (json!({"minimum": 1}), json!(0), "0", "greater than or equal to 1"),
        (json!({"minimum": 0, "exclusiveMinimum": true}), json!(0), "0", "greater than 0"),
        (json!({"maximum": 10}), json!(11), "11", "less than or equal to 10"),
        (json!({"maximum": 10, "exclusiveMaximum": true}), json!(10), "10", "less than 10"),
        (json!({"minimum": 0.5}), json!(0.25), "0.25", "greater than or equal to 0.5"),
        (json!({"multipleOf": 0.5}), json!(0.7), "0.7", "a multiple of 0.5"),
        (json!({"multipleOf": 5}), json!(12), "12", "a multiple of 5"),
        (json!({"maximum": 1e7}), json!(1.5e7), "1.5e+07", "less than or equal to 1e+07"),
    ] {
        let mut x = x;
        x["type"] = json!("number");
        check(x, value, &[&should(shown, what)]);
    }
    for (x, value) in [
        (json!({"multipleOf": 0.1}), json!(0.3)),
        (json!({"minimum": 1, "maximum": 1}), json!(1)),
        (json!({"minimum": 9_007_199_254_740_993_i64}), json!(i64::MAX)),
    ] {
        check(x, value, &[]);
    }
}

#[test]
fn strings() {
    let x = json!({"type": "string", "minLength": 2, "maxLength": 3, "pattern": "^[a-z]+$"});
    check(x.clone(), json!("abcd"), &["x: Too long: may not be more than 3 bytes"]);
    check(x.clone(), json!("A"), &["x: Invalid value: \"A\": x in body should be at least 2 chars long"]);
    check(x.clone(), json!("AB"), &["x: Invalid value: \"AB\": x in body should match '^[a-z]+$'"]);
    check(x, json!("ab"), &[]);
    // Characters count, not bytes.
    check(json!({"type": "string", "maxLength": 2}), json!("éé"), &[]);
    check(
        json!({"type": "string", "enum": ["a", "b"]}),
        json!("c"),
        &["x: Unsupported value: \"c\": supported values: \"a\", \"b\""],
    );
    check(
        json!({"type": "integer", "enum": [1, 2]}),
        json!(3),
        &["x: Unsupported value: 3: supported values: \"1\", \"2\""],
    );
    check(json!({"type": "integer", "enum": [1, 2]}), json!(2), &[]);
}

#[test]
fn formats() {
    let wrong = |format: &str, text: &str| {
        format!("x: Invalid value: \"{text}\": x in body must be of type {format}: \"{text}\"")
    };
    for (format, text) in [("date-time", "yesterday"), ("ipv4", "999.1.1.1"), ("byte", "!"), ("uuid", "1")] {
        check(json!({"type": "string", "format": format}), json!(text), &[&wrong(format, text)]);
    }
    check(json!({"type": "string", "format": "unheard-of"}), json!("x"), &[]);
    check(json!({"type": "integer", "format": "int32"}), json!(1), &[]);
}

#[test]
fn lists_and_maps() {
    let list = json!({"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2});
    check(list.clone(), json!([]), &["x: Invalid value: 0: x in body should have at least 1 items"]);
    check(list.clone(), json!(["a", "b", "c"]), &["x: Too many: 3: must have at most 2 items"]);
    check(
        list,
        json!(["a", 1]),
        &["x[1]: Invalid value: \"integer\": x[1] in body must be of type string: \"integer\""],
    );
    let map =
        json!({"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1, "maxProperties": 2});
    check(map.clone(), json!({}), &["x: Invalid value: 0: x in body should have at least 1 properties"]);
    check(map.clone(), json!({"a": 1, "b": 2, "c": 3}), &["x: Too many: 3: must have at most 2 items"]);
    check(map, json!({"a": "b"}), &["x.a: Invalid value: \"string\": x.a in body must be of type integer: \"string\""]);
    let required = json!({"type": "array", "items": {"type": "object", "required": ["key"], "properties": {"key": {"type": "string"}}}});
    check(required, json!([{}]), &["x[0].key: Required value"]);
    check(
        json!({"type": "object", "additionalProperties": false}),
        json!({"a": 1}),
        &["x: Invalid value: \"a\": x.a in body is a forbidden property"],
    );
}

#[test]
fn what_belongs_to_the_whole_object_has_no_field() {
    let root = schema(json!({"type": "object", "required": ["spec"], "minProperties": 3}));
    let found = texts(root.validate(&json!({"a": 1}), None));
    assert_eq!(found, ["<nil>: Invalid value: 1:  in body should have at least 3 properties", "spec: Required value"]);
}

#[test]
fn branches() {
    let one = json!({"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}], "properties": {"a": {"type": "string"}, "b": {"type": "string"}}});
    check(one.clone(), json!({"a": "1"}), &[]);
    check(
        one.clone(),
        json!({}),
        &[
            "<nil>: Invalid value: \"\": \"x\" must validate one and only one schema (oneOf). Found none valid",
            "x.a: Required value",
        ],
    );
    check(
        one,
        json!({"a": "1", "b": "2"}),
        &[
            "<nil>: Invalid value: \"\": \"x\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
        ],
    );
    let any = json!({"type": "integer", "anyOf": [{"minimum": 10}, {"maximum": 0}]});
    check(any.clone(), json!(0), &[]);
    check(
        any,
        json!(5),
        &[
            "<nil>: Invalid value: \"\": \"x\" must validate at least one schema (anyOf)",
            "x: Invalid value: 5: x in body should be greater than or equal to 10",
        ],
    );
    let all = json!({"type": "integer", "allOf": [{"minimum": 10}, {"maximum": 0}]});
    check(
        all,
        json!(5),
        &[
            "x: Invalid value: 5: x in body should be greater than or equal to 10",
            "x: Invalid value: 5: x in body should be less than or equal to 0",
            "<nil>: Invalid value: \"\": \"x\" must validate all the schemas (allOf). None validated",
        ],
    );
    check(
        json!({"type": "string", "not": {"enum": ["bad"]}}),
        json!("bad"),
        &["<nil>: Invalid value: \"\": \"x\" must not validate the schema (not)"],
    );
}

#[test]
fn sets_and_keyed_lists_hold_nothing_twice() {
    let set = json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"});
    check(set, json!(["a", "b", "a", "a"]), &["x[2]: Duplicate value: \"a\""]);
    let map = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k", "p"],
        "items": {"type": "object", "properties": {"k": {"type": "string"}, "p": {"type": "string"}, "v": {"type": "string"}}}});
    check(map.clone(), json!([{"k": "a", "p": "1"}, {"k": "a", "p": "2"}]), &[]);
    check(
        map.clone(),
        json!([{"k": "a", "p": "1"}, {"k": "a", "p": "1", "v": "x"}]),
        &["x[1]: Duplicate value: {\"k\":\"a\",\"p\":\"1\"}"],
    );
    check(map.clone(), json!([{"k": "a"}, {"k": "a"}]), &["x[1]: Duplicate value: {\"k\":\"a\"}"]);
    let twice = json!([{"k": "a"}, {"k": "a"}]);
    check_update(map, twice.clone(), json!([{"k": "a"}, {"k": "a"}, {"k": "b"}]), &[]);
    let nested = json!({"type": "object", "additionalProperties": {"type": "array", "items": {"type": "integer"}, "x-kubernetes-list-type": "set"}});
    check(nested, json!({"k": [1, 1]}), &["x[k][1]: Duplicate value: 1"]);
}

#[test]
fn embedded_resources_are_objects() {
    let x =
        json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true});
    check(x.clone(), json!({"apiVersion": "v1", "kind": "Pod"}), &[]);
    check(
        x.clone(),
        json!({"metadata": {"name": "x"}}),
        &["x.apiVersion: Required value: must not be empty", "x.kind: Required value: must not be empty"],
    );
    check(
        x.clone(),
        json!({"apiVersion": "a/b/c", "kind": "Pod"}),
        &["x.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c"],
    );
    let found = texts(
        with_x(x.clone())
            .validate(&json!({"x": {"apiVersion": "v1", "kind": "P_d", "metadata": {"name": "a/b"}}}), None),
    );
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0]
            .starts_with("x.kind: Invalid value: \"P_d\": may have mixed case, but should otherwise match: a DNS-1035"),
        "{found:?}"
    );
    assert_eq!(found[1], "x.metadata.name: Invalid value: \"a/b\": may not contain '/'");
}

#[test]
fn updates_judge_only_what_has_changed() {
    let x = json!({"type": "object", "required": ["must"], "properties": {
        "must": {"type": "string"},
        "short": {"type": "string", "maxLength": 2},
        "list": {"type": "array", "items": {"type": "integer", "maximum": 3}},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "n": {"type": "integer", "maximum": 3}}}},
        "atomic": {"type": "array", "x-kubernetes-list-type": "atomic", "items": {"type": "integer", "maximum": 3}},
    }});
    let old = json!({"short": "long", "list": [9], "map": [{"k": "a", "n": 9}, {"k": "b"}], "atomic": [9]});
    check_update(x.clone(), old.clone(), old.clone(), &[]);
    let mut new = old.clone();
    new["must"] = json!("here");
    check_update(x.clone(), old.clone(), new.clone(), &[]);
    new["list"] = json!([9, 9]);
    check_update(
        x.clone(),
        old.clone(),
        new.clone(),
        &["x.list[1]: Invalid value: 9: x.list[1] in body should be less than or equal to 3"],
    );
    new["list"] = json!([9]);
    new["map"] = json!([{"k": "b"}, {"k": "a", "n": 9}]);
    check_update(x.clone(), old.clone(), new.clone(), &[]);
    new["map"] = json!([{"k": "b", "n": 9}, {"k": "a", "n": 9}]);
    check_update(
        x.clone(),
        old.clone(),
        new.clone(),
        &["x.map[0].n: Invalid value: 9: x.map[0].n in body should be less than or equal to 3"],
    );
    new["map"] = old["map"].clone();
    new["atomic"] = json!([9, 1]);
    check_update(
        x.clone(),
        old.clone(),
        new.clone(),
        &["x.atomic[0]: Invalid value: 9: x.atomic[0] in body should be less than or equal to 3"],
    );
    new["atomic"] = json!([9]);
    new["short"] = json!("other");
    check_update(x.clone(), old.clone(), new, &["x.short: Too long: may not be more than 2 bytes"]);
    // What is required is asked for as soon as anything beside it changes.
    let mut without = old.clone();
    without["atomic"] = json!([1]);
    check_update(x, old, without, &["x.must: Required value"]);
}

#[test]
fn errors_of_shape_keep_rules_from_being_run() {
    let wrong = with_x(json!({"type": "string"})).validate(&json!({"x": 1}), None);
    let error = unchecked_rules(&wrong).expect("an error");
    assert_eq!(
        error.to_string(),
        "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct \
         the existing errors to complete validation"
    );
    let invalid = with_x(json!({"type": "integer", "minimum": 3})).validate(&json!({"x": 1}), None);
    assert_eq!(unchecked_rules(&invalid), None);
}
