use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::compare::compare;
use super::fields::set_of;
use super::merge::merge;
use super::remove::remove;
use super::*;
use crate::status::Status;
use crate::structural::Structural;

const CONFIG_MAP: &str = "io.k8s.api.core.v1.ConfigMap";
const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";
const SERVICE: &str = "io.k8s.api.core.v1.Service";
const POD: &str = "io.k8s.api.core.v1.Pod";
const WIDGET: &str = "example.com.v1.Widget";

fn no_versions<'s>(_: &Value, _: &str) -> Option<(Value, Shape<'s>)> {
    None
}

fn write<'a>(manager: &'a str, type_name: &'a str) -> Write<'a> {
    let api_version = if type_name == DEPLOYMENT { "apps/v1" } else { "v1" };
    let reset: &[&[&str]] = if type_name == DEPLOYMENT { &[&["status"]] } else { &[] };
    Write {
        manager,
        subresource: "",
        api_version,
        shape: Shape::root(type_name),
        reset,
        now: at(1),
        convert: &no_versions,
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

/// An object as the server has stored it, with identity.
fn stored(mut object: Value) -> Value {
    crate::meta::set_uid(&mut object, "u");
    object
}

fn config_map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

fn create(manager: &str, type_name: &str, object: Value) -> Value {
    let mut object = stored(object);
    track(&write(manager, type_name), None, &mut object);
    object
}

fn update(manager: &str, type_name: &str, live: &Value, change: impl FnOnce(&mut Value)) -> Value {
    let mut new = live.clone();
    change(&mut new);
    track(&write(manager, type_name), Some(live), &mut new);
    new
}

fn applied(manager: &str, type_name: &str, live: &Value, config: &Value, force: bool) -> Result<Value, Status> {
    Ok(stored(apply(&write(manager, type_name), live, config, force)?))
}

#[track_caller]
fn owns(object: &Value, expected: Value) {
    let managers = Managers::decode(object).expect("managers");
    let found = managers.0.iter().map(|(manager, managed)| (manager.name.clone(), managed.set.encode()));
    assert_eq!(Value::Object(found.collect()), expected, "{object:#}");
}

#[track_caller]
fn check_set(type_name: &str, value: Value, expected: Value) {
    assert_eq!(set_of(&value, Shape::root(type_name)).encode(), expected);
}

#[test]
fn a_configuration_sets_leaves_items_and_keys() {
    check_set(CONFIG_MAP, json!({"data": {"a": "1"}}), json!({"f:data": {"f:a": {}}}));
    check_set(
        POD,
        json!({"metadata": {"finalizers": ["x"]}}),
        json!({"f:metadata": {"f:finalizers": {"v:\"x\"": {}}}}),
    );
    check_set(
        SERVICE,
        json!({"spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}}),
        json!({"f:spec": {"f:selector": {}, "f:ports": {r#"k:{"port":80,"protocol":"TCP"}"#: {".": {}, "f:port": {}}}}}),
    );
    check_set(
        POD,
        json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}], "containers": []}}),
        json!({"f:spec": {"f:volumes": {r#"k:{"name":"v"}"#: {".": {}, "f:name": {}, "f:emptyDir": {}}}}}),
    );
}

#[test]
fn kinds_without_schema_have_atomic_lists_and_granular_maps() {
    check_set(
        WIDGET,
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"size": 1, "parts": [{"name": "x"}]}}),
        json!({
            "f:metadata": {"f:labels": {"f:a": {}}},
            "f:spec": {".": {}, "f:size": {}, "f:parts": {}},
        }),
    );
}

#[test]
fn a_create_owns_what_was_not_there_before() {
    let created = create("m", CONFIG_MAP, config_map(json!({"k": "v"})));
    owns(&created, json!({"m": {"f:data": {".": {}, "f:k": {}}}}));
    let pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}});
    let containers = json!({r#"k:{"name":"c"}"#: {".": {}, "f:name": {}}});
    owns(&create("m", POD, pod), json!({"m": {"f:spec": {"f:containers": containers}}}));
}

#[test]
fn an_update_takes_the_fields_it_changes() {
    let created = create("a", CONFIG_MAP, config_map(json!({"k": "v", "gone": "x"})));
    let updated = update("b", CONFIG_MAP, &created, |new| new["data"] = json!({"k": "w", "l": "1"}));
    owns(&updated, json!({"a": {"f:data": {}}, "b": {"f:data": {"f:k": {}, "f:l": {}}}}));
}

#[test]
fn an_update_that_changes_nothing_leaves_the_managers() {
    let created = create("a", CONFIG_MAP, config_map(json!({"k": "v"})));
    assert_eq!(update("b", CONFIG_MAP, &created, |_| ()), created);
}

#[test]
fn a_client_that_drops_the_managers_does_not_lose_them() {
    let created = create("a", CONFIG_MAP, config_map(json!({"k": "v"})));
    let updated = update("b", CONFIG_MAP, &created, |new| {
        new["metadata"]["managedFields"] = json!([]);
        new["data"]["l"] = json!("1");
    });
    owns(&updated, json!({"a": {"f:data": {".": {}, "f:k": {}}}, "b": {"f:data": {"f:l": {}}}}));
}

#[test]
fn a_reset_forgets_the_managers_until_something_is_applied() {
    let created = create("a", CONFIG_MAP, config_map(json!({"k": "v"})));
    let reset = update("b", CONFIG_MAP, &created, |new| new["metadata"]["managedFields"] = json!([{}]));
    owns(&reset, json!({}));
    let again = update("b", CONFIG_MAP, &reset, |new| new["data"]["k"] = json!("w"));
    owns(&again, json!({}));
    let applied = applied("m", CONFIG_MAP, &again, &config_map(json!({"l": "1"})), false).expect("it applies");
    owns(&applied, json!({"before-first-apply": {"f:data": {".": {}, "f:k": {}}}, "m": {"f:data": {"f:l": {}}}}));
}

#[test]
fn what_is_no_longer_applied_is_removed_unless_another_applies_it() {
    let empty = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    let first = applied("a", CONFIG_MAP, &empty, &config_map(json!({"x": "1", "y": "2"})), false).expect("it applies");
    let shared = applied("b", CONFIG_MAP, &first, &config_map(json!({"y": "2"})), false).expect("it applies");
    let left = applied("a", CONFIG_MAP, &shared, &config_map(json!({"z": "3"})), false).expect("it applies");
    assert_eq!(left["data"], json!({"y": "2", "z": "3"}));
    owns(&left, json!({"a": {"f:data": {"f:z": {}}}, "b": {"f:data": {"f:y": {}}}}));
}

#[test]
fn what_is_no_longer_applied_stays_with_its_updater() {
    let empty = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    let first = applied("a", CONFIG_MAP, &empty, &config_map(json!({"x": "1"})), false).expect("it applies");
    let updated = update("u", CONFIG_MAP, &first, |new| new["data"]["x"] = json!("2"));
    let again = applied("a", CONFIG_MAP, &updated, &config_map(json!({"x": "2"})), false).expect("it is equal");
    let left = applied("a", CONFIG_MAP, &again, &config_map(json!({"z": "3"})), false).expect("it applies");
    assert_eq!(left["data"], json!({"x": "2", "z": "3"}));
}

#[test]
fn another_value_is_a_conflict_that_force_wins() {
    let empty = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    let first = applied("a", CONFIG_MAP, &empty, &config_map(json!({"x": "1"})), false).expect("it applies");
    let other = config_map(json!({"x": "2"}));
    let status = applied("b", CONFIG_MAP, &first, &other, false).expect_err("a conflict");
    assert_eq!(status.code, 409);
    assert_eq!(status.message, "Apply failed with 1 conflict: conflict with \"a\": .data.x");
    assert_eq!(status.details.expect("details").causes[0].field, ".data.x");
    let forced = applied("b", CONFIG_MAP, &first, &other, true).expect("force wins");
    assert_eq!(forced["data"], json!({"x": "2"}));
    owns(&forced, json!({"b": {"f:data": {"f:x": {}}}}));
}

fn deployment(containers: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"template": {"spec": {"containers": containers}}},
    })
}

#[test]
fn list_items_merge_by_key() {
    let empty = json!({"apiVersion": "apps/v1", "kind": "Deployment"});
    let two = deployment(json!([{"name": "c1", "image": "a"}, {"name": "c2", "image": "b"}]));
    let first = applied("a", DEPLOYMENT, &empty, &two, false).expect("it applies");
    let env = deployment(json!([{"name": "c1", "env": [{"name": "E", "value": "1"}]}]));
    let second = applied("b", DEPLOYMENT, &first, &env, false).expect("it applies");
    let one = deployment(json!([{"name": "c1", "image": "a"}]));
    let third = applied("a", DEPLOYMENT, &second, &one, false).expect("it applies");
    let containers = &third["spec"]["template"]["spec"]["containers"];
    assert_eq!(*containers, json!([{"name": "c1", "image": "a", "env": [{"name": "E", "value": "1"}]}]));
    let stolen = deployment(json!([{"name": "c1", "image": "stolen"}]));
    let status = applied("b", DEPLOYMENT, &third, &stolen, false).expect_err("a conflict");
    let path = ".spec.template.spec.containers[name=\"c1\"].image";
    assert_eq!(status.message, format!("Apply failed with 1 conflict: conflict with \"a\": {path}"));
}

#[test]
fn the_status_is_not_applied_with_the_rest() {
    let live = json!({"apiVersion": "apps/v1", "kind": "Deployment", "status": {"replicas": 1}});
    let mut config = deployment(json!([]));
    config["status"] = json!({"replicas": 3});
    let applied = applied("a", DEPLOYMENT, &live, &config, false).expect("it applies");
    assert_eq!(applied["status"], json!({"replicas": 1}));
    owns(&applied, json!({}));
}

#[test]
fn the_configurations_order_of_items_wins() {
    let live = json!({"spec": {"containers": [{"name": "a"}, {"name": "x"}, {"name": "b"}, {"name": "c"}]}});
    let config = json!({"spec": {"containers": [{"name": "c"}, {"name": "new"}, {"name": "a"}]}});
    let merged = merge(&live, &config, Shape::root(POD));
    let names = merged.pointer("/spec/containers").and_then(Value::as_array).expect("a list");
    let names: Vec<&str> = names.iter().filter_map(|item| item["name"].as_str()).collect();
    assert_eq!(names, ["x", "b", "c", "new", "a"]);
}

#[track_caller]
fn check_refusal(type_name: &str, config: Value, code: u16, expected: &str) {
    let status = applied("m", type_name, &json!({}), &config, false).expect_err("refused");
    assert_eq!((status.code, status.message.as_str()), (code, expected));
}

#[test]
fn configurations_that_do_not_fit_are_refused() {
    let mut unknown = config_map(json!({}));
    unknown["bogus"] = json!(1);
    let prefix = "failed to create typed patch object (/a; /v1, Kind=ConfigMap)";
    check_refusal(CONFIG_MAP, unknown, 500, &format!("{prefix}: .bogus: field not declared in schema"));
    let mistyped = config_map(json!({"a": 1}));
    check_refusal(
        CONFIG_MAP,
        mistyped,
        500,
        &format!("{prefix}: .data.a: expected string, got &value.valueUnstructured{{Value:1}}"),
    );
    let mut managed = config_map(json!({}));
    managed["metadata"]["managedFields"] = json!([{"manager": "x"}]);
    check_refusal(CONFIG_MAP, managed, 400, "metadata.managedFields must be nil");
    let prefix = "failed to create typed patch object (/d; apps/v1, Kind=Deployment): .spec.template.spec.containers";
    let twice = deployment(json!([{"name": "x"}, {"name": "x"}]));
    check_refusal(DEPLOYMENT, twice, 500, &format!("{prefix}: duplicate entries for key [name=\"x\"]"));
}

#[test]
fn kubectl_takes_over_from_client_side_apply() {
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    let mut object = config_map(json!({"k": "v"}));
    let last = object.to_string();
    object["metadata"]["annotations"] = json!({annotation: last});
    let live = create("kubectl-client-side-apply", CONFIG_MAP, object);
    let config = config_map(json!({"k": "w"}));
    assert_eq!(applied("other", CONFIG_MAP, &live, &config, false).expect_err("a conflict").code, 409);
    let taken = applied("kubectl", CONFIG_MAP, &live, &config, false).expect("no conflict");
    assert_eq!(taken["data"], json!({"k": "w"}));
    assert_eq!(crate::meta::annotation(&taken, annotation), Some(format!("{config}\n").as_str()));

    // What somebody else has changed since is not kubectl's any more.
    let changed = update("other", CONFIG_MAP, &live, |object| object["data"]["k"] = json!("x"));
    assert_eq!(applied("kubectl", CONFIG_MAP, &changed, &config, false).expect_err("a conflict").code, 409);
}

#[test]
fn metadata_outlive_the_last_of_them_that_was_applied() {
    let mut config = config_map(json!({"k": "v"}));
    config["metadata"]["annotations"] = json!({"a": "b"});
    let live = applied("m", CONFIG_MAP, &json!({}), &config, false).expect("made");
    let mut live = live;
    live["metadata"]["resourceVersion"] = json!("7");
    let write = write("m", CONFIG_MAP);
    let left = apply(&write, &live, &config_map(json!({"k": "v"})), false).expect("applied");
    assert_eq!((&left["metadata"]["resourceVersion"], &left["metadata"]["annotations"]), (&json!("7"), &Value::Null));
}

#[test]
fn the_oldest_updaters_become_one() {
    let mut live = create("m0", CONFIG_MAP, config_map(json!({"k0": ""})));
    for number in 1..13_i64 {
        let manager = format!("m{number}");
        let mut new = live.clone();
        new["data"][format!("k{number}")] = json!("");
        let write = Write { now: at(number), ..write(&manager, CONFIG_MAP) };
        track(&write, Some(&live), &mut new);
        live = new;
    }
    let managers = Managers::decode(&live).expect("managers");
    assert_eq!(managers.0.len(), 10);
    let ancient = managers.0.iter().find(|(manager, _)| manager.name == "ancient-changes").expect("the oldest");
    assert_eq!(ancient.1.set.paths(), [".data", ".data.k0", ".data.k1", ".data.k2", ".data.k3"]);
}

#[test]
fn times_are_kept_when_nothing_else_changes() {
    let live = create("a", CONFIG_MAP, config_map(json!({"k": "v"})));
    let mut new = live.clone();
    new["metadata"]["managedFields"][0]["time"] = json!("2030-01-01T00:00:00Z");
    let mut changed = new.clone();
    changed["data"]["k"] = json!("w");
    restore_times(&mut new, &live);
    assert_eq!(new, live);
    let before = changed.clone();
    restore_times(&mut changed, &live);
    assert_eq!(changed, before);
}

fn element() -> impl Strategy<Value = Element> {
    prop_oneof![
        "[a-c]".prop_map(|name| Element::field(&name)),
        "[a-c]".prop_map(|name| Element::keys([("name", Value::from(name))].into_iter())),
        (0..2_usize).prop_map(Element::index),
        "[a-c]".prop_map(|text| Element::value(&Value::from(text))),
    ]
}

fn set() -> impl Strategy<Value = Set> {
    prop::collection::vec(prop::collection::vec(element(), 1..4), 0..8).prop_map(|paths| {
        let mut set = Set::default();
        paths.into_iter().for_each(|path| set.insert(path));
        set
    })
}

/// A configuration of a deployment with some of the fields that merge in different ways.
fn configuration() -> impl Strategy<Value = Value> {
    let scalars = prop::collection::btree_map("[a-c]", "[xy]", 0..3);
    let containers = prop::collection::btree_map("[a-c]", prop::option::of("[xy]"), 0..3);
    let finalizers = prop::collection::btree_set("[a-c]", 0..3);
    (scalars.clone(), scalars, containers, finalizers, prop::option::of(1..3)).prop_map(
        |(labels, node_selector, containers, finalizers, replicas)| {
            let containers = containers.into_iter().map(|(name, image)| match image {
                Some(image) => json!({"name": name, "image": image}),
                None => json!({"name": name}),
            });
            let mut config = deployment(Value::Array(containers.collect()));
            config["metadata"]["finalizers"] = json!(finalizers);
            config["spec"]["template"]["spec"]["nodeSelector"] = json!(node_selector);
            // An empty map owns itself while it is empty, which is a case of its own.
            if !labels.is_empty() {
                config["metadata"]["labels"] = json!(labels);
            }
            if let Some(replicas) = replicas {
                config["spec"]["replicas"] = json!(replicas);
            }
            config
        },
    )
}

proptest! {
    #[test]
    fn sets_are_an_algebra(a in set(), b in set()) {
        prop_assert_eq!(a.union(&b), b.union(&a));
        prop_assert_eq!(a.intersection(&b), b.intersection(&a));
        prop_assert_eq!(a.difference(&b).union(&a.intersection(&b)), a.clone());
        prop_assert!(a.difference(&b).intersection(&b).is_empty());
        prop_assert_eq!(a.union(&a), a.clone());
        prop_assert_eq!(Set::decode(&a.encode()), Some(a));
    }

    #[test]
    fn a_document_without_its_differences_is_no_different(a in configuration(), b in configuration()) {
        let shape = Shape::root(DEPLOYMENT);
        prop_assert!(compare(&a, &a, shape).is_same());
        let there = compare(&a, &b, shape);
        let back = compare(&b, &a, shape);
        prop_assert_eq!(&there.added, &back.removed);
        prop_assert_eq!(&there.modified, &back.modified);
        let common = remove(&b, &there.added, shape);
        prop_assert!(compare(&a, &common, shape).added.difference(&there.added).is_empty());
    }

    #[test]
    fn applying_twice_is_applying_once(live in configuration(), config in configuration()) {
        let live = create("creator", DEPLOYMENT, live);
        let once = applied("m", DEPLOYMENT, &live, &config, true).expect("force wins");
        let twice = applied("m", DEPLOYMENT, &once, &config, false).expect("it is its own");
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn the_applier_owns_what_it_applies(live in configuration(), config in configuration()) {
        let live = create("creator", DEPLOYMENT, live);
        let object = applied("m", DEPLOYMENT, &live, &config, true).expect("force wins");
        let shape = Shape::root(DEPLOYMENT);
        let config_set = super::managers::tracked(set_of(&config, shape));
        let managers = Managers::decode(&object).expect("managers");
        let own = managers.0.iter().find(|(manager, _)| manager.name == "m").map(|(_, managed)| managed.set.clone());
        prop_assert_eq!(own.unwrap_or_default(), config_set.clone());
        prop_assert!(config_set.difference(&set_of(&object, shape)).is_empty());
    }

    #[test]
    fn applying_nothing_gives_everything_up(config in configuration()) {
        let empty = json!({"apiVersion": "apps/v1", "kind": "Deployment"});
        let object = applied("m", DEPLOYMENT, &empty, &config, false).expect("nobody else is there");
        let nothing = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}});
        let left = applied("m", DEPLOYMENT, &object, &nothing, false).expect("nobody else is there");
        owns(&left, json!({}));
        prop_assert!(super::managers::tracked(set_of(&left, Shape::root(DEPLOYMENT))).is_empty(), "{}", left);
    }
}

/// A schema of custom resources with a list of each type, an embedded resource and a map.
fn widget_schema() -> Structural {
    let text = json!({"type": "string"});
    let item =
        json!({"type": "object", "properties": {"name": text, "port": {"type": "integer", "default": 80}, "v": text}});
    let schema = json!({"type": "object", "properties": {
        "metadata": {"type": "object"},
        "spec": {"type": "object", "properties": {
            "keyed": {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "port"]},
            "set": {"type": "array", "items": text, "x-kubernetes-list-type": "set"},
            "plain": {"type": "array", "items": text},
            "map": {"type": "object", "additionalProperties": {"type": "integer"}},
            "whole": {"type": "object", "properties": {"a": text, "b": text}, "x-kubernetes-map-type": "atomic"},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "tmpl": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
            "port": {"x-kubernetes-int-or-string": true},
        }},
    }});
    Structural::parse(&schema).expect("a schema")
}

fn widget(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": spec})
}

fn apply_widget(manager: &str, live: &Value, spec: Value) -> Result<Value, Status> {
    let schema = widget_schema();
    let write = Write { shape: Shape::Resource(&schema), ..write(manager, WIDGET) };
    Ok(stored(apply(&write, live, &widget(spec), false)?))
}

#[test]
fn schemas_say_how_custom_resources_merge() {
    let spec = json!({
        "keyed": [{"name": "a", "v": "1"}], "set": ["x"], "plain": ["p"], "map": {"k": 1}, "whole": {"a": "1"},
        "free": {"x": {"y": [1]}}, "port": "50%",
        "tmpl": {"apiVersion": "v1", "kind": "Pod", "metadata": {"finalizers": ["a/b"], "labels": {"l": "1"}}, "spec": {"z": 1}},
    });
    let object = apply_widget("one", &json!({}), spec).expect("applied");
    let expected = json!({"one": {"f:spec": {
        "f:keyed": {"k:{\"name\":\"a\",\"port\":80}": {".": {}, "f:name": {}, "f:v": {}}},
        "f:set": {"v:\"x\"": {}}, "f:plain": {}, "f:map": {"f:k": {}}, "f:whole": {}, "f:port": {},
        "f:free": {"f:x": {".": {}, "f:y": {}}},
        "f:tmpl": {
            "f:apiVersion": {}, "f:kind": {}, "f:spec": {".": {}, "f:z": {}},
            "f:metadata": {"f:finalizers": {"v:\"a/b\"": {}}, "f:labels": {"f:l": {}}},
        },
    }}});
    owns(&object, expected);
    let second = json!({"keyed": [{"name": "b", "v": "2"}, {"name": "a", "port": 81}], "set": ["y"]});
    let object = apply_widget("two", &object, second).expect("applied");
    assert_eq!(
        object["spec"]["keyed"],
        json!([{"name": "a", "v": "1"}, {"name": "b", "v": "2"}, {"name": "a", "port": 81}])
    );
    assert_eq!(object["spec"]["set"], json!(["x", "y"]));
    let status = apply_widget("two", &object, json!({"plain": ["q"], "whole": {"b": "1"}})).expect_err("conflicts");
    assert!(status.message.contains(".spec.plain") && status.message.contains(".spec.whole"), "{}", status.message);
}

#[test]
fn schemas_say_what_cannot_be_applied_to_custom_resources() {
    for (spec, expected) in [
        (json!({"nope": 1}), ".spec.nope: field not declared in schema"),
        (json!({"map": {"a": "b"}}), ".spec.map.a: expected numeric (int or float), got string"),
        (json!({"plain": {}}), ".spec.plain: expected list, got &{map[]}"),
        (json!({"set": ["a", "a"]}), ".spec.set: duplicate entries for key [=\"a\"]"),
        (json!({"keyed": [{"v": "1"}]}), "omits key field \"name\" (and doesn't have default value)"),
        (json!({"tmpl": {"metadata": {"nope": 1}}}), ".spec.tmpl.metadata.nope: field not declared in schema"),
    ] {
        let status = apply_widget("one", &json!({}), spec).expect_err("refused");
        assert!(status.message.contains(expected), "{}", status.message);
    }
    apply_widget("one", &json!({}), json!({"free": {"any": [1]}, "port": 1, "tmpl": {"spec": {"x": 1}}}))
        .expect("applied");
}
