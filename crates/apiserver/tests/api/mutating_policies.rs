//! Mutating admission policies: what they change, in which order, and what becomes of mistakes in them.

use crate::support::Cluster;
use serde_json::{Value, json};

pub const GROUP: &str = "/apis/admissionregistration.k8s.io/v1beta1";
pub const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

pub async fn start() -> Cluster {
    let settings = "admissionregistration.k8s.io/v1beta1=true,admissionregistration.k8s.io/v1alpha1=true";
    Cluster::start_with(|config| config.runtime_config = settings.parse().expect("settings")).await
}

pub fn apply(expression: &str) -> Value {
    json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}})
}

fn patch(expression: &str) -> Value {
    json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}})
}

/// Puts a policy for deployments into force, with `changes` made to its spec and to its binding's.
pub async fn put_into_force(cluster: &Cluster, name: &str, mutations: Value, changes: Value, bound: Value) {
    let rules = json!([{"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"],
        "operations": ["CREATE", "UPDATE"]}]);
    let mut policy = json!({"metadata": {"name": name}, "spec": {
        "matchConstraints": {"resourceRules": rules}, "mutations": mutations, "reinvocationPolicy": "Never"}});
    let mut binding = json!({"metadata": {"name": format!("{name}-binding")}, "spec": {"policyName": name}});
    for (object, changes) in [(&mut policy, changes), (&mut binding, bound)] {
        for (field, value) in changes.as_object().into_iter().flatten() {
            object["spec"][field] = value.clone();
        }
    }
    cluster.post(&format!("{GROUP}/mutatingadmissionpolicies"), policy).await.expect(201);
    cluster.post(&format!("{GROUP}/mutatingadmissionpolicybindings"), binding).await.expect(201);
    // A list is as new as the writes before it, so the cache has them after this.
    cluster.get(&format!("{GROUP}/mutatingadmissionpolicybindings")).await.expect(200);
}

pub fn deployment(name: &str) -> Value {
    let labels = json!({"app": name});
    json!({"metadata": {"name": name}, "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": {
        "metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "example.com/a:1"}]}}}})
}

/// What becomes of a deployment, at these places.
async fn check(cluster: &Cluster, name: &str, expected: &[(&str, Value)]) {
    let created = cluster.post(DEPLOYMENTS, deployment(name)).await.expect(201);
    for (pointer, value) in expected {
        assert_eq!(created.pointer(pointer).unwrap_or(&Value::Null), value, "{pointer} of {created}");
    }
}

/// A deployment must be refused, with this status and message.
async fn refused(cluster: &Cluster, name: &str, code: u16, reason: &str, message: &str) {
    let status = cluster.post(DEPLOYMENTS, deployment(name)).await.expect(code);
    assert_eq!((status["message"].as_str(), status["reason"].as_str()), (Some(message), Some(reason)));
}

#[tokio::test]
async fn configurations_are_merged_and_completed() {
    let cluster = start().await;
    let sidecar = "Object{spec: Object.spec{replicas: object.spec.replicas + 1, template: Object.spec.template{
        spec: Object.spec.template.spec{containers: [Object.spec.template.spec.containers{
            name: 'sidecar', image: variables.image}]}}}}";
    let variables = json!([{"name": "image", "expression": "'example.com/' + request.namespace"}]);
    put_into_force(&cluster, "sidecar", json!([apply(sidecar)]), json!({"variables": variables}), json!({})).await;
    let containers = "/spec/template/spec/containers";
    check(
        &cluster,
        "web",
        &[
            ("/spec/replicas", json!(3)),
            (&format!("{containers}/0/image"), json!("example.com/a:1")),
            (&format!("{containers}/1/image"), json!("example.com/default")),
            // Defaults come after the change.
            (&format!("{containers}/1/imagePullPolicy"), json!("Always")),
        ],
    )
    .await;
    // Updates see what is there: the sidecar stays one.
    let path = format!("{DEPLOYMENTS}/web");
    let changed =
        cluster.patch(&path, "application/merge-patch+json", json!({"spec": {"paused": true}})).await.expect(200);
    assert_eq!(changed.pointer(containers).and_then(Value::as_array).map(Vec::len), Some(2));
    assert_eq!(changed["spec"]["replicas"], 4);
}

#[tokio::test]
async fn patches_are_applied_unless_a_test_in_them_does_not_hold() {
    let cluster = start().await;
    let annotate =
        "[JSONPatch{op: 'add', path: '/metadata/annotations', value: {'a.io/b': string(object.spec.replicas)}},
        JSONPatch{op: 'add', path: '/metadata/annotations/' + jsonpatch.escapeKey('c.io/d'), value: 'e'}]";
    let unless = "[JSONPatch{op: 'test', path: '/spec/replicas', value: 7}, JSONPatch{op: 'replace', path: '/spec/replicas', value: 0}]";
    put_into_force(&cluster, "annotate", json!([patch(annotate), patch(unless)]), json!({}), json!({})).await;
    check(
        &cluster,
        "web",
        &[("/metadata/annotations", json!({"a.io/b": "2", "c.io/d": "e"})), ("/spec/replicas", json!(2))],
    )
    .await;
}

#[tokio::test]
async fn policies_are_chosen_and_see_parameters() {
    let cluster = start().await;
    let limit = json!({"metadata": {"name": "limit"}, "data": {"max": "1"}});
    cluster.post("/api/v1/namespaces/default/configmaps", limit).await.expect(201);
    let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConditions": [{"name": "many", "expression": "object.spec.replicas > int(params.data.max)"},
            {"name": "web", "expression": "object.metadata.name.startsWith('web')"}]});
    let bound = json!({"paramRef": {"name": "limit", "parameterNotFoundAction": "Deny"}});
    let expression = "Object{spec: Object.spec{replicas: int(params.data.max)}}";
    put_into_force(&cluster, "limit", json!([apply(expression)]), spec, bound).await;
    check(&cluster, "web", &[("/spec/replicas", json!(1))]).await;
    check(&cluster, "db", &[("/spec/replicas", json!(2))]).await;
}

#[tokio::test]
async fn policies_look_once_more_where_they_ask_for_it() {
    let cluster = start().await;
    let labels = "Object{metadata: Object.metadata{labels: {'seen': string(object.spec.replicas)}}}";
    let again = json!({"reinvocationPolicy": "IfNeeded"});
    put_into_force(&cluster, "a-looks", json!([apply(labels)]), again, json!({})).await;
    let once = "Object{metadata: Object.metadata{annotations: {'seen': string(object.spec.replicas)}}}";
    put_into_force(&cluster, "b-looks-once", json!([apply(once)]), json!({}), json!({})).await;
    let scale = "Object{spec: Object.spec{replicas: 5}}";
    put_into_force(&cluster, "c-scales", json!([apply(scale)]), json!({}), json!({})).await;
    check(
        &cluster,
        "web",
        &[
            ("/metadata/labels/seen", json!("5")),
            ("/metadata/annotations/seen", json!("2")),
            ("/spec/replicas", json!(5)),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_cannot_be_changed_is_refused_unless_failures_are_ignored() {
    let cluster = start().await;
    let denied = |name: &str, why: &str| format!("policy '{name}' with binding '{name}-binding' denied request: {why}");
    for (name, mutation, why) in [
        (
            "atomic",
            apply("Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: {'a': 'b'}}}}"),
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.selector",
        ),
        (
            "unknown",
            apply("Object{spec: Object.spec{nothing: 1}}"),
            "error applying patch: failed to convert patch object to typed object: .spec.nothing: field not declared in schema",
        ),
        (
            "fails",
            apply("Object{spec: Object.spec{replicas: object.spec.nothing}}"),
            "expression 'Object{spec: Object.spec{replicas: object.spec.nothing}}' resulted in error: no such key: nothing",
        ),
        (
            "misnamed",
            apply("Object{spec: Object.metadata{}}"),
            "type mismatch: unexpected type name \"Object.metadata\", expected \"Object.spec\", which matches field name path from root Object type",
        ),
    ] {
        put_into_force(&cluster, name, json!([mutation]), json!({}), json!({})).await;
        refused(&cluster, "web", 403, "Invalid", &denied(name, why)).await;
        cluster.delete(&format!("{GROUP}/mutatingadmissionpolicies/{name}")).await.expect(200);
        cluster.get(&format!("{GROUP}/mutatingadmissionpolicies")).await.expect(200);
    }
    let params = json!({"paramKind": {"apiVersion": "example.com/v1", "kind": "Limit"}});
    put_into_force(&cluster, "lost", json!([apply("Object{}")]), params, json!({})).await;
    let why = "policy \"lost\" denied request: failed to configure policy: failed to find resource referenced by \
               paramKind: 'example.com/v1, Kind=Limit'";
    refused(&cluster, "web", 403, "Forbidden", why).await;
    cluster.delete(&format!("{GROUP}/mutatingadmissionpolicies/lost")).await.expect(200);
    let ignore = json!({"failurePolicy": "Ignore"});
    let mutations =
        json!([apply("Object{spec: Object.spec{nothing: 1}}"), apply("Object{spec: Object.spec{replicas: 9}}")]);
    put_into_force(&cluster, "ignores", mutations, ignore, json!({})).await;
    check(&cluster, "web", &[("/spec/replicas", json!(9))]).await;
}

#[tokio::test]
async fn custom_resources_are_changed_too() {
    let cluster = start().await;
    let spec = json!({"type": "object", "properties": {"size": {"type": "integer"}, "color": {"type": "string", "default": "red"},
        "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "n": {"type": "integer"}}}}}});
    let schema = json!({"type": "object", "properties": {"spec": spec}});
    let definition = json!({"metadata": {"name": "widgets.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}});
    cluster.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).await.expect(201);
    let widgets = "/apis/example.com/v1/namespaces/default/widgets";
    cluster.eventually(widgets).await;
    let rules = json!({"resourceRules": [{"apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["widgets"], "operations": ["*"]}]});
    let expression = "Object{spec: Object.spec{size: 3, parts: [Object.spec.parts{name: 'b', n: 2}]}}";
    put_into_force(&cluster, "widgets", json!([apply(expression)]), json!({"matchConstraints": rules}), json!({}))
        .await;
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"},
        "spec": {"size": 1, "parts": [{"name": "a", "n": 1}, {"name": "b", "n": 1}]}});
    let created = cluster.post(widgets, widget).await.expect(201);
    let expected = json!({"size": 3, "color": "red", "parts": [{"name": "a", "n": 1}, {"name": "b", "n": 2}]});
    assert_eq!(created["spec"], expected);
}

#[tokio::test]
async fn scales_are_changed_as_scales() {
    let cluster = start().await;
    let rules = json!({"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments/scale"],
        "operations": ["UPDATE"]}]});
    let expression = "Object{spec: Object.spec{replicas: object.spec.replicas > 3 ? 3 : object.spec.replicas}}";
    let changes = json!({"matchConstraints": rules});
    put_into_force(&cluster, "limit", json!([apply(expression)]), changes, json!({})).await;
    cluster.post(DEPLOYMENTS, deployment("web")).await.expect(201);
    let path = format!("{DEPLOYMENTS}/web/scale");
    let scaled =
        cluster.patch(&path, "application/merge-patch+json", json!({"spec": {"replicas": 9}})).await.expect(200);
    assert_eq!(scaled["spec"]["replicas"], 3);
    let found = cluster.get(&format!("{DEPLOYMENTS}/web")).await.expect(200);
    assert_eq!(found["spec"]["replicas"], 3);
}
