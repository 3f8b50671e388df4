//! Tests of the three kinds of patches.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{json, merge, strategic};
use crate::status::Status;

#[track_caller]
fn check_json(document: Value, patch: Value, result: Result<Value, u16>) {
    assert_eq!(json::apply(document, &patch).map_err(|status| status.code), result, "{patch}");
}

#[test]
fn json_patches_do_each_operation() {
    let document = || json!({"a": {"b": 1, "c/d": "x"}, "l": [1, 2, 3]});
    check_json(
        document(),
        json!([{"op": "add", "path": "/a/z", "value": 2}]),
        Ok(json!({"a": {"b": 1, "c/d": "x", "z": 2}, "l": [1, 2, 3]})),
    );
    check_json(
        document(),
        json!([{"op": "add", "path": "/l/1", "value": 9}]),
        Ok(json!({"a": {"b": 1, "c/d": "x"}, "l": [1, 9, 2, 3]})),
    );
    check_json(
        document(),
        json!([{"op": "add", "path": "/l/-", "value": 9}]),
        Ok(json!({"a": {"b": 1, "c/d": "x"}, "l": [1, 2, 3, 9]})),
    );
    check_json(document(), json!([{"op": "remove", "path": "/a/c~1d"}]), Ok(json!({"a": {"b": 1}, "l": [1, 2, 3]})));
    check_json(
        document(),
        json!([{"op": "replace", "path": "/l/0", "value": 7}]),
        Ok(json!({"a": {"b": 1, "c/d": "x"}, "l": [7, 2, 3]})),
    );
    check_json(
        document(),
        json!([{"op": "move", "from": "/a/b", "path": "/m"}]),
        Ok(json!({"a": {"c/d": "x"}, "l": [1, 2, 3], "m": 1})),
    );
    check_json(
        document(),
        json!([{"op": "copy", "from": "/l/2", "path": "/m"}]),
        Ok(json!({"a": {"b": 1, "c/d": "x"}, "l": [1, 2, 3], "m": 3})),
    );
    check_json(document(), json!([{"op": "test", "path": "/a/b", "value": 1.0}]), Ok(document()));
    check_json(document(), json!([{"op": "test", "path": "/nope", "value": null}]), Ok(document()));
}

#[test]
fn json_patches_that_cannot_be_applied_are_refused() {
    let document = || json!({"a": {"b": 1}, "l": []});
    for patch in [
        json!([{"op": "test", "path": "/a/b", "value": 2}]),
        json!([{"op": "remove", "path": "/nope"}]),
        json!([{"op": "replace", "path": "/nope", "value": 1}]),
        json!([{"op": "add", "path": "/nope/x", "value": 1}]),
        json!([{"op": "add", "path": "/l/1", "value": 1}]),
        json!([{"op": "frob", "path": "/a"}]),
        json!([{"op": "move", "from": "/a", "path": "/a/c"}]),
        json!([{"path": "/a"}]),
        json!([{"op": "add", "path": "a", "value": 1}]),
    ] {
        check_json(document(), patch, Err(422));
    }
    check_json(document(), json!({"op": "add"}), Err(400));
}

#[test]
fn merge_patches_merge_objects_and_remove_nulls() {
    let merged = merge::apply(
        json!({"a": {"b": 1, "c": 2}, "l": [1]}),
        json!({"a": {"b": null, "d": {"e": null, "f": 3}}, "l": [2]}),
    );
    assert_eq!(merged, Ok(json!({"a": {"c": 2, "d": {"f": 3}}, "l": [2]})));
    assert_eq!(merge::apply(json!({}), json!([1])).map_err(|status| status.code), Err(400));
}

const POD: &str = "io.k8s.api.core.v1.Pod";

#[track_caller]
fn check_pod(document: Value, patch: Value, result: Result<Value, &str>) {
    let merged = strategic::apply(document, patch.clone(), POD);
    assert_eq!(merged.map_err(|status| status.message), result.map_err(str::to_owned), "{patch}");
}

fn pod(containers: Value) -> Value {
    json!({"spec": {"containers": containers}})
}

#[test]
fn containers_merge_by_name() {
    let old = || {
        pod(json!([{"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}]}, {"name": "b", "image": "b:1"}]))
    };
    check_pod(
        old(),
        pod(json!([{"name": "a", "image": "a:2", "env": [{"name": "Y", "value": "2"}]}])),
        Ok(pod(json!([
            {"name": "a", "image": "a:2", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}]},
            {"name": "b", "image": "b:1"}]))),
    );
    check_pod(
        old(),
        pod(json!([{"name": "c", "image": "c:1"}])),
        Ok(pod(json!([
            {"name": "c", "image": "c:1"},
            {"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}]},
            {"name": "b", "image": "b:1"}]))),
    );
    check_pod(old(), pod(json!([{"name": "a", "$patch": "delete"}])), Ok(pod(json!([{"name": "b", "image": "b:1"}]))));
    check_pod(
        old(),
        pod(json!([{"$patch": "replace"}, {"name": "z", "image": "z:1"}])),
        Ok(pod(json!([{"name": "z", "image": "z:1"}]))),
    );
}

#[test]
fn wrong_patches_are_told_like_upstream() {
    let old = || pod(json!([{"name": "a", "image": "a:1"}]));
    check_pod(
        old(),
        pod(json!([{"image": "nokey"}])),
        Err("map: map[image:nokey] does not contain declared merge key: name"),
    );
    check_pod(
        old(),
        pod(json!([{"name": "a", "$patch": "frob"}])),
        Err("unknown patch type: frob in map: map[$patch:frob name:a]"),
    );
}

#[test]
fn the_order_of_elements_can_be_set() {
    check_pod(
        pod(json!([{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}, {"name": "c", "image": "c:1"}])),
        json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "b", "image": "b:2"}]}}),
        Ok(pod(json!([{"name": "b", "image": "b:2"}, {"name": "a", "image": "a:1"}, {"name": "c", "image": "c:1"}]))),
    );
    check_pod(
        json!({"metadata": {"finalizers": ["x/b"]}}),
        json!({"metadata": {"$setElementOrder/finalizers": ["x/c", "x/b"], "finalizers": ["x/c"]}}),
        Ok(json!({"metadata": {"finalizers": ["x/c", "x/b"]}})),
    );
}

#[test]
fn primitive_lists_are_sets() {
    let old = || json!({"metadata": {"finalizers": ["x/a"]}});
    check_pod(
        old(),
        json!({"metadata": {"finalizers": ["x/b"]}}),
        Ok(json!({"metadata": {"finalizers": ["x/b", "x/a"]}})),
    );
    check_pod(old(), json!({"metadata": {"finalizers": ["x/a"]}}), Ok(old()));
    check_pod(
        old(),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x/a"]}}),
        Ok(json!({"metadata": {"finalizers": []}})),
    );
    check_pod(old(), json!({"metadata": {"finalizers": null}}), Ok(json!({"metadata": {}})));
}

#[test]
fn volumes_keep_only_the_retained_keys() {
    check_pod(
        json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
        json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "secret"], "secret": {"secretName": "s"}}]}}),
        Ok(json!({"spec": {"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}})),
    );
}

#[test]
fn maps_can_be_replaced_and_other_lists_are() {
    check_pod(
        json!({"spec": {"nodeSelector": {"a": "1", "b": "2"}, "tolerations": [{"key": "a"}]}}),
        json!({"spec": {"nodeSelector": {"a": null}, "tolerations": [{"key": "b"}]}}),
        Ok(json!({"spec": {"nodeSelector": {"b": "2"}, "tolerations": [{"key": "b"}]}})),
    );
    check_pod(
        json!({"spec": {"securityContext": {"runAsUser": 1}}}),
        json!({"spec": {"securityContext": {"$patch": "replace", "runAsGroup": 2}}}),
        Ok(json!({"spec": {"securityContext": {"runAsGroup": 2}}})),
    );
    // Where there is nothing yet, a key of a map is only a key.
    check_pod(
        json!({"metadata": {}}),
        json!({"metadata": {"annotations": {"$patch": "delete"}}}),
        Ok(json!({"metadata": {"annotations": {"$patch": "delete"}}})),
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3).prop_map(Value::from),
        "[ab]{0,2}".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[abc]", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_object() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[abc]", any_json(), 0..4)
        .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>()))
}

fn any_pod_patch() -> impl Strategy<Value = Value> {
    let container =
        ("[a-c]", "[x-z]", prop::collection::btree_map("[A-C]", "[0-9]", 0..3)).prop_map(|(name, image, env)| {
            let env: Vec<Value> = env.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
            json!({"name": name, "image": image, "env": env})
        });
    prop::collection::vec(container, 0..4).prop_map(|mut containers| {
        containers.sort_by_key(|container| container["name"].as_str().map(str::to_owned));
        containers.dedup_by_key(|container| container["name"].as_str().map(str::to_owned));
        pod(Value::Array(containers))
    })
}

#[test]
fn copies_do_not_multiply() {
    let document = json!({"a": "x".repeat(1000)});
    let copies = |count: usize| -> Value {
        (0..count).map(|number| json!({"op": "copy", "from": "", "path": format!("/c{number}")})).collect()
    };
    assert!(json::apply(document.clone(), &copies(10)).is_ok());
    let err = json::apply(document, &copies(20)).expect_err("a thousand million bytes");
    assert_eq!(err.code, 422);
}

proptest! {
    #[test]
    fn merging_twice_is_merging_once(document in any_object(), patch in any_object()) {
        let once = merge::apply(document, patch.clone()).expect("the patch is an object");
        let twice = merge::apply(once.clone(), patch).expect("the patch is an object");
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn a_strategic_patch_twice_is_the_patch_once(document in any_pod_patch(), patch in any_pod_patch()) {
        let once = strategic::apply(document, patch.clone(), POD).expect("the patch has its merge keys");
        let twice = strategic::apply(once.clone(), patch.clone(), POD).expect("the patch has its merge keys");
        prop_assert_eq!(&once, &twice);
        let list = |value: &Value| value["spec"]["containers"].as_array().cloned().unwrap_or_default();
        for container in list(&patch) {
            let image = list(&once).into_iter().find(|found| found["name"] == container["name"]).map(|found| found["image"].clone());
            prop_assert_eq!(image.as_ref(), container.get("image"));
        }
    }

    #[test]
    fn patches_never_panic(document in any_object(), patch in any_json()) {
        let _ = json::apply(document.clone(), &patch);
        let _ = merge::apply(document.clone(), patch.clone());
        let _ = strategic::apply(document, patch, POD);
    }

    #[test]
    fn a_json_patch_that_replaces_the_root_yields_the_value(document in any_object(), value in any_json()) {
        prop_assert_eq!(json::apply(document, &json!([{"op": "add", "path": "", "value": value.clone()}])), Ok(value));
    }
}

/// What reading a patch finds, or why it is none.
#[track_caller]
fn check_read(found: Result<(Value, Vec<String>), Status>, expected: Result<&[&str], &str>) {
    let found = found.map(|(_, findings)| findings).map_err(|status| status.message);
    assert_eq!(found, expected.map(|list| list.iter().map(|text| (*text).to_owned()).collect()).map_err(str::to_owned));
}

#[test]
fn json_patches_are_lists_of_operations() {
    let read = |text: &str| json::read(text.as_bytes(), true);
    check_read(read(r#"[{"op": "add", "path": "/a", "value": {"x": 1}}]"#), Ok(&[]));
    check_read(read("null"), Ok(&[]));
    check_read(
        read(r#"[{"op": "add", "path": "/a", "value": 1, "value": 2, "more": 3}]"#),
        Ok(&["json patch duplicate field \"[0].value\"", "json patch unknown field \"[0].more\""]),
    );
    for (text, why) in [
        ("{}", "json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"),
        ("[1]", "json: cannot unmarshal number into Go value of type handlers.jsonPatchOp"),
        (r#"[{"op": 1}]"#, "json: cannot unmarshal number into Go struct field jsonPatchOp.op of type string"),
        ("[", "unexpected end of JSON input"),
        ("", "unexpected end of JSON input"),
        ("x", "invalid character 'x' looking for beginning of value"),
        ("[] x", "invalid character 'x' after top-level value"),
    ] {
        check_read(read(text), Err(&format!("error decoding patch: {why}")));
    }
    let why = "json: cannot unmarshal object into Go value of type jsonpatch.Patch";
    check_read(json::read(b"{}", false), Err(why));
    check_read(json::read(br#"[{"op": "add", "path": "/a", "more": 3}]"#, false), Ok(&[]));
}

#[test]
fn other_patches_are_objects() {
    let twice = r#"{"data": {"a": 1, "a": 2}}"#;
    check_read(merge::read(twice.as_bytes(), true), Ok(&["duplicate field \"data.a\""]));
    check_read(strategic::read(twice.as_bytes()), Ok(&["duplicate field \"data.a\""]));
    let why = "json: cannot unmarshal array into Go value of type map[string]interface {}";
    check_read(merge::read(b"[]", true), Err(&format!("error decoding patch: {why}")));
    check_read(strategic::read(b"[]"), Err(why));
    check_read(
        merge::read(b"{x", true),
        Err("error decoding patch: invalid character 'x' looking for beginning of object key string"),
    );
    check_read(merge::read(b"{x", false), Err("Invalid JSON Patch"));
    check_read(merge::read(b"null", true), Err("Invalid JSON Patch"));
    check_read(strategic::read(b"null"), Ok(&[]));
}
