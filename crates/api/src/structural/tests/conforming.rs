use super::*;

#[test]
fn unknown_fields_are_pruned_and_named() {
    let x = json!({"type": "object", "properties": {
        "a": {"type": "string"},
        "list": {"type": "array", "items": {"type": "object", "properties": {"b": {"type": "string"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"c": {"type": "string"}}}},
    }});
    check_conform(
        x,
        json!({"top": 1, "x": {"a": "s", "u": {"v": 1}, "list": [{"b": "s", "w": 1}], "map": {"k": {"c": "s", "z": 1}}}}),
        json!({"x": {"a": "s", "list": [{"b": "s"}], "map": {"k": {"c": "s"}}}}),
        &["top", "x.list[0].w", "x.map.k.z", "x.u"],
    );
}

#[test]
fn what_keeps_unknown_fields_prunes_below_what_it_declares() {
    let x = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
        "known": {"type": "object", "properties": {"a": {"type": "string"}}},
    }});
    check_conform(
        x,
        json!({"x": {"u": {"v": 1}, "known": {"a": "s", "b": 1}}}),
        json!({"x": {"u": {"v": 1}, "known": {"a": "s"}}}),
        &["x.known.b"],
    );
    let free = json!({"x-kubernetes-preserve-unknown-fields": true});
    check_conform(free, json!({"x": [{"a": [1]}]}), json!({"x": [{"a": [1]}]}), &[]);
    let items = json!({"type": "array", "x-kubernetes-preserve-unknown-fields": true,
        "items": {"type": "object", "properties": {"a": {"type": "object"}}}});
    check_conform(items, json!({"x": [{"a": {"b": 1}, "c": 1}]}), json!({"x": [{"a": {}, "c": 1}]}), &["x[0].a.b"]);
}

#[test]
fn maps_of_anything_keep_scalars() {
    let x = json!({"type": "object", "additionalProperties": true});
    check_conform(x, json!({"x": {"a": 1, "b": {"c": 1}}}), json!({"x": {"a": 1, "b": {}}}), &["x.b.c"]);
}

#[test]
fn kind_and_metadata_are_kept_at_the_root_only() {
    let x = json!({"type": "object"});
    let object = json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": "n"}, "x": {"kind": "K"}});
    let expected = json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": "n"}, "x": {}});
    check_conform(x, object, expected, &["x.kind"]);
}

#[test]
fn metadata_have_their_own_fields_only() {
    let x =
        json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true});
    check_conform(
        x,
        json!({"metadata": {"name": "n", "foo": 1}, "x": {
            "apiVersion": "v1", "kind": "Pod", "spec": {"any": 1},
            "metadata": {"labels": {"a": "b"}, "bar": 1, "creationTimestamp": null},
        }, "z": 1}),
        json!({"metadata": {"name": "n"}, "x": {
            "apiVersion": "v1", "kind": "Pod", "spec": {"any": 1}, "metadata": {"labels": {"a": "b"}},
        }}),
        &["metadata.foo", "z", "x.metadata.bar"],
    );
}

#[test]
fn metadata_of_the_wrong_type_are_refused_or_dropped() {
    let x =
        json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true});
    let schema = with_x(x);
    let stored = json!({"x": {"apiVersion": 1, "kind": "K", "metadata": {"name": "n", "labels": "x"}}});
    let error = schema.conform(&mut stored.clone(), Malformed::Refuse).expect_err("a wrong type");
    assert_eq!(error.to_string(), "x.apiVersion: Invalid value: 1: must be a string");
    let mut object = stored;
    let unknown = schema.conform(&mut object, Malformed::Drop).expect("dropped");
    assert_eq!(object, json!({"x": {"kind": "K", "metadata": {"name": "n"}}}));
    assert!(unknown.is_empty());
    let mut labels = json!({"x": {"apiVersion": "v1", "kind": "K", "metadata": {"labels": "x"}}});
    let error = schema.conform(&mut labels, Malformed::Refuse).expect_err("a wrong type");
    assert!(
        error.to_string().starts_with("x.metadata: Invalid value: {\"labels\":\"x\"}: json: cannot unmarshal"),
        "{error}"
    );
}

#[test]
fn nulls_mean_nothing_unless_they_are_values() {
    let x = json!({"type": "object", "properties": {
        "plain": {"type": "string"},
        "nullable": {"type": "string", "nullable": true, "default": "d"},
        "defaulted": {"type": "string", "default": "d"},
        "list": {"type": "array", "items": {"type": "string", "default": "i"}},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
    }});
    check_conform(
        x,
        json!({"x": {"plain": null, "nullable": null, "defaulted": null, "list": ["a", null], "map": {"a": null, "b": "c"}}}),
        json!({"x": {"nullable": null, "defaulted": "d", "list": ["a", "i"], "map": {"b": "c"}}}),
        &[],
    );
}

#[test]
fn defaults_are_set_wherever_there_is_an_object() {
    let item = json!({"type": "object", "properties": {"v": {"type": "string", "default": "v"}}});
    let x = json!({"type": "object", "default": {}, "properties": {
        "n": {"type": "integer", "default": 3},
        "deep": {"type": "object", "default": {"a": 1}, "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "default": 2}}},
        "list": {"type": "array", "items": item},
        "map": {"type": "object", "additionalProperties": item},
        "absent": {"type": "object", "properties": {"c": {"type": "integer", "default": 1}}},
    }});
    check_conform(x.clone(), json!({}), json!({"x": {"n": 3, "deep": {"a": 1, "b": 2}}}), &[]);
    check_conform(
        x,
        json!({"x": {"n": 1, "deep": {"a": 0}, "list": [{}, {"v": "w"}], "map": {"k": {}}}}),
        json!({"x": {"n": 1, "deep": {"a": 0, "b": 2}, "list": [{"v": "v"}, {"v": "w"}], "map": {"k": {"v": "v"}}}}),
        &[],
    );
}

#[test]
fn what_no_tree_can_say_has_none() {
    for (document, expected) in [
        (json!({"id": "x"}), "OpenAPIV3Schema 'id' is not supported"),
        (json!({"properties": {"a": {"$ref": "#/x"}}}), "OpenAPIV3Schema '$ref' is not supported"),
        (json!({"allOf": [{"definitions": {"a": {}}}]}), "OpenAPIV3Schema 'definitions' is not supported"),
        (json!({"items": [{}]}), "OpenAPIV3Schema 'items' must be a schema, but is an array"),
    ] {
        assert_eq!(Structural::parse(&document).expect_err("no tree").to_string(), expected);
    }
}

#[test]
fn whole_numbers_have_no_fraction() {
    let x = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
        "n": {"type": "number", "default": 2.0}, "i": {"type": "integer"}, "s": {"type": "string"}, "f": {"type": "number"},
    }});
    check_conform(
        x,
        json!({"x": {"i": 1.0, "s": 5.0, "f": 0.5, "any": [3.0, {"k": 1e3}], "large": 1e300}}),
        json!({"x": {"n": 2, "i": 1, "s": 5.0, "f": 0.5, "any": [3, {"k": 1000}], "large": 1e300}}),
        &[],
    );
}
