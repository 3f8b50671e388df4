//! Custom resources, from their definition to their end.

use serde_json::{Value, json};

use crate::support::Cluster;

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";
const MERGE: &str = "application/merge-patch+json";

/// A definition of widgets with one version; `version` is added to it.
fn definition(version: Value) -> Value {
    let spec = json!({"type": "object", "properties": {
        "color": {"type": "string", "default": "red", "maxLength": 10},
        "size": {"type": "integer", "minimum": 1},
        "replicas": {"type": "integer"},
        "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"},
                "value": {"type": "string"}}}},
    }});
    let status = json!({"type": "object", "properties": {"replicas": {"type": "integer"}}});
    let schema = json!({"type": "object", "properties": {"spec": spec, "status": status}});
    let mut v1 = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
    for (key, value) in version.as_object().into_iter().flatten() {
        v1[key] = value.clone();
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "versions": [v1],
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"]},
        },
    })
}

fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

async fn with_widgets(version: Value) -> Cluster {
    let cluster = Cluster::start().await;
    cluster.post(CRDS, definition(version)).await.expect(201);
    cluster.eventually(WIDGETS).await;
    cluster
}

#[tokio::test]
async fn a_definition_makes_a_resource_and_takes_it_away() {
    let cluster = with_widgets(json!({})).await;
    let crd = cluster.get(&format!("{CRDS}/widgets.example.com")).await.expect(200);
    assert_eq!(crd["status"]["acceptedNames"]["singular"], "widget");
    assert_eq!(crd["status"]["conditions"][1]["reason"], "InitialNamesAccepted");
    assert_eq!(crd["status"]["storedVersions"], json!(["v1"]));
    let group = cluster.get("/apis/example.com").await.expect(200);
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let resources = cluster.get("/apis/example.com/v1").await.expect(200);
    assert_eq!(resources["resources"][0]["shortNames"], json!(["wd"]));

    let created = cluster.post(WIDGETS, widget("a", json!({"size": 1, "unknown": 1}))).await.expect(201);
    assert_eq!(created["spec"], json!({"color": "red", "size": 1}));
    assert_eq!(created["metadata"]["generation"], 1);
    let mut watch = cluster.watch("/apis/example.com/v1/widgets?watch=1").await;
    let wrong = cluster.post(WIDGETS, widget("b", json!({"size": 0}))).await.expect(422);
    assert_eq!(
        wrong["message"],
        "Widget.example.com \"b\" is invalid: spec.size: Invalid value: 0: spec.size in body should be greater than or \
         equal to 1"
    );

    let going = cluster.delete(&format!("{CRDS}/widgets.example.com")).await.expect(200);
    assert_eq!(going["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    assert_eq!(watch.take(2).await, ["ADDED a", "DELETED a"]);
    cluster.until_gone(&format!("{CRDS}/widgets.example.com")).await;
    cluster.get(WIDGETS).await.expect(404);
    // It can come back, and nothing of before is left.
    cluster.post(CRDS, definition(json!({}))).await.expect(201);
    assert_eq!(cluster.eventually(WIDGETS).await["items"], json!([]));
}

#[tokio::test]
async fn a_definition_stays_until_the_last_finalizer_of_its_instances_is_gone() {
    let cluster = with_widgets(json!({})).await;
    let mut held = widget("a", json!({"size": 1}));
    held["metadata"]["finalizers"] = json!(["example.com/stay"]);
    cluster.post(WIDGETS, held).await.expect(201);
    let definition = format!("{CRDS}/widgets.example.com");
    cluster.delete(&definition).await.expect(200);
    let is_deleting = |object: &Value| object["metadata"]["deletionTimestamp"].is_string();
    cluster.eventually_with(&format!("{WIDGETS}/a"), is_deleting).await;
    let in_progress = |crd: &Value| crd["status"]["conditions"][2]["reason"] == "InstanceDeletionInProgress";
    cluster.eventually_with(&definition, in_progress).await;
    // What is there can be read and changed. There will be no more of it.
    let list = cluster.get(WIDGETS).await.expect(200);
    assert_eq!((&list["kind"], &list["items"][0]["metadata"]["name"]), (&json!("WidgetList"), &json!("a")));
    let refused = cluster.post(WIDGETS, widget("b", json!({}))).await.expect(405);
    let why = "create not allowed while custom resource definition is terminating";
    let about = json!({"group": "example.com", "kind": "widgets"});
    assert_eq!((&refused["message"], &refused["details"]), (&json!(why), &about));
    let resources = cluster.get("/apis/example.com/v1").await.expect(200);
    assert_eq!(resources["resources"][0]["verbs"], json!(["delete", "deletecollection", "get", "list", "watch"]));
    cluster.patch(&format!("{WIDGETS}/a"), MERGE, json!({"metadata": {"finalizers": null}})).await.expect(200);
    cluster.until_gone(&definition).await;
}

#[tokio::test]
async fn names_that_are_taken_are_not_given_twice() {
    let cluster = with_widgets(json!({})).await;
    let mut second = definition(json!({}));
    second["metadata"]["name"] = "gadgets.example.com".into();
    second["spec"]["names"] = json!({"plural": "gadgets", "kind": "Widget", "shortNames": ["gd"]});
    cluster.post(CRDS, second).await.expect(201);
    let path = format!("{CRDS}/gadgets.example.com");
    let refused = cluster.eventually_with(&path, |crd| crd["status"]["conditions"][0]["status"] == "False").await;
    assert_eq!(refused["status"]["conditions"][0]["message"], "\"WidgetList\" is already in use");
    cluster.get("/apis/example.com/v1/gadgets").await.expect(404);
    cluster.delete(&format!("{CRDS}/widgets.example.com")).await.expect(200);
    cluster.eventually("/apis/example.com/v1/gadgets").await;
}

#[tokio::test]
async fn status_and_scale_are_subresources() {
    let subresources = json!({"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas"}});
    let cluster = with_widgets(json!({"subresources": subresources})).await;
    let mut new = widget("a", json!({"replicas": 2}));
    new["status"] = json!({"replicas": 7});
    let created = cluster.post(WIDGETS, new).await.expect(201);
    assert!(created.get("status").is_none());
    let status = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 9}, "status": {"replicas": 1}});
    let changed = cluster.patch(&format!("{WIDGETS}/a/status"), MERGE, status).await.expect(200);
    assert_eq!((&changed["spec"]["replicas"], &changed["status"]["replicas"]), (&json!(2), &json!(1)));
    assert!(changed["metadata"].get("labels").is_none() && changed["metadata"]["generation"] == 1);
    let scale = cluster.patch(&format!("{WIDGETS}/a/scale"), MERGE, json!({"spec": {"replicas": 5}})).await.expect(200);
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["replicas"]), (&json!(5), &json!(1)));
    let scaled = cluster.get(&format!("{WIDGETS}/a")).await.expect(200);
    assert_eq!((&scaled["spec"]["replicas"], &scaled["metadata"]["generation"]), (&json!(5), &json!(2)));
    // Nobody owns what is written through a scale.
    let managers = scaled["metadata"]["managedFields"].as_array().expect("managers");
    let owners = managers.iter().filter(|entry| !entry["fieldsV1"]["f:spec"]["f:replicas"].is_null());
    assert_eq!(owners.count(), 0, "{managers:?}");
}

#[tokio::test]
async fn configurations_are_applied_by_the_schema() {
    let cluster = with_widgets(json!({})).await;
    let part = |name: &str, value: &str| widget("a", json!({"parts": [{"name": name, "value": value}]}));
    let apply = "application/apply-patch+yaml";
    cluster.patch(&format!("{WIDGETS}/a?fieldManager=m1"), apply, part("x", "1")).await.expect(201);
    let both = cluster.patch(&format!("{WIDGETS}/a?fieldManager=m2"), apply, part("y", "2")).await.expect(200);
    assert_eq!(both["spec"]["parts"].as_array().map(Vec::len), Some(2));
    let conflict = cluster.patch(&format!("{WIDGETS}/a?fieldManager=m2"), apply, part("x", "3")).await.expect(409);
    assert_eq!(
        conflict["message"],
        "Apply failed with 1 conflict: conflict with \"m1\": .spec.parts[name=\"x\"].value"
    );
    cluster.patch(&format!("{WIDGETS}/a"), "application/strategic-merge-patch+json", json!({})).await.expect(415);
}

#[tokio::test]
async fn versions_show_what_their_schemas_know() {
    let cluster = Cluster::start().await;
    let mut crd = definition(json!({}));
    let of = |field: &str| {
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "both": {"type": "string"}, field: {"type": "string"}}}}})
    };
    crd["spec"]["versions"] = json!([
        {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": of("old")}},
        {"name": "v2", "served": true, "storage": false, "schema": {"openAPIV3Schema": of("new")}},
    ]);
    cluster.post(CRDS, crd).await.expect(201);
    cluster.eventually(WIDGETS).await;
    cluster.post(WIDGETS, widget("a", json!({"both": "b", "old": "o"}))).await.expect(201);
    let v2 = WIDGETS.replace("v1", "v2");
    let seen = cluster.get(&format!("{v2}/a")).await.expect(200);
    assert_eq!((&seen["apiVersion"], &seen["spec"]), (&json!("example.com/v2"), &json!({"both": "b"})));
    let list = cluster.get(&v2).await.expect(200);
    assert_eq!(list["items"][0], seen);
    let mut watch = cluster.watch("/apis/example.com/v2/widgets?watch=1").await;
    assert_eq!(watch.take(1).await, ["ADDED a"]);
    // The storage version changes, and what was stored before is still there.
    let versions = json!([
        {"op": "replace", "path": "/spec/versions/0/storage", "value": false},
        {"op": "replace", "path": "/spec/versions/1/storage", "value": true},
    ]);
    let changed = cluster.patch(&format!("{CRDS}/widgets.example.com"), "application/json-patch+json", versions).await;
    assert_eq!(changed.expect(200)["status"]["storedVersions"], json!(["v1", "v2"]));
    let seen = cluster.get(&format!("{WIDGETS}/a")).await.expect(200);
    assert_eq!(seen["spec"], json!({"both": "b", "old": "o"}));
}

#[tokio::test]
async fn tables_have_the_declared_columns() {
    let columns = json!([{"name": "Color", "type": "string", "jsonPath": ".spec.color"}]);
    let selectable = json!([{"jsonPath": ".spec.color"}]);
    let cluster = with_widgets(json!({"additionalPrinterColumns": columns, "selectableFields": selectable})).await;
    for (name, color) in [("a", "red"), ("b", "blue")] {
        cluster.post(WIDGETS, widget(name, json!({"color": color}))).await.expect(201);
    }
    let table = cluster.get_as(WIDGETS, "application/json;as=Table;v=v1;g=meta.k8s.io").await.expect(200);
    assert_eq!(table["columnDefinitions"][1]["name"], "Color");
    assert_eq!(table["rows"][1]["cells"], json!(["b", "blue"]));
    let blue = cluster.get(&format!("{WIDGETS}?fieldSelector=spec.color%3Dblue")).await.expect(200);
    assert_eq!(blue["items"].as_array().map(Vec::len), Some(1));
    let wrong = cluster.get(&format!("{WIDGETS}?fieldSelector=spec.size%3D1")).await.expect(400);
    assert_eq!(wrong["message"], "field label not supported: spec.size");
}

#[tokio::test]
async fn rules_are_run() {
    let rules = json!([
        {"rule": "self.min <= self.max", "messageExpression": "self.max == 2 ? 'at most two' : 'less'", "fieldPath": ".min"},
        {"rule": "self.max >= oldSelf.max", "message": "it may not shrink"},
    ]);
    let spec = json!({"type": "object", "x-kubernetes-validations": rules,
        "properties": {"min": {"type": "integer"}, "max": {"type": "integer"}}});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}});
    let cluster = with_widgets(json!({"schema": schema})).await;
    let wrong = cluster.post(WIDGETS, widget("a", json!({"min": 3, "max": 2}))).await.expect(422);
    assert_eq!(wrong["message"], "Widget.example.com \"a\" is invalid: spec.min: Invalid value: at most two");
    cluster.post(WIDGETS, widget("a", json!({"min": 1, "max": 2}))).await.expect(201);
    let path = format!("{WIDGETS}/a");
    let less = cluster.patch(&path, MERGE, json!({"spec": {"max": 1}})).await.expect(422);
    let causes = less["details"]["causes"].as_array().expect("causes");
    assert!(causes[0]["message"].as_str().expect("a message").contains("it may not shrink"), "{less}");
    cluster.patch(&path, MERGE, json!({"spec": {"max": 5}})).await.expect(200);

    let mut crd = definition(json!({}));
    crd["metadata"]["name"] = "gadgets.example.com".into();
    crd["spec"]["names"] = json!({"plural": "gadgets", "kind": "Gadget"});
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] = json!([{"rule": "self.no"}]);
    let refused = cluster.post(CRDS, crd).await.expect(422);
    assert_eq!(
        refused["details"]["causes"][0]["field"],
        "spec.validation.openAPIV3Schema.x-kubernetes-validations[0].rule"
    );
}

#[tokio::test]
async fn a_new_server_serves_what_was_defined_before() {
    let cluster = with_widgets(json!({})).await;
    cluster.post(WIDGETS, widget("a", json!({"size": 1}))).await.expect(201);
    let cluster = cluster.restart().await;
    let found = cluster.get(&format!("{WIDGETS}/a")).await.expect(200);
    assert_eq!(found["spec"], json!({"color": "red", "size": 1}));
    cluster.get("/apis/example.com/v1").await.expect(200);
}

#[tokio::test]
async fn objects_follow_changes_of_their_schema() {
    let cluster = with_widgets(json!({})).await;
    cluster.post(WIDGETS, widget("a", json!({"size": 1}))).await.expect(201);
    let size = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let change = json!([
        {"op": "remove", "path": format!("{size}/size")},
        {"op": "add", "path": format!("{size}/shape"), "value": {"type": "string", "default": "round"}},
    ]);
    let path = format!("{CRDS}/widgets.example.com");
    cluster.patch(&path, "application/json-patch+json", change).await.expect(200);
    let wanted = json!({"color": "red", "shape": "round"});
    cluster.eventually_with(&format!("{WIDGETS}/a"), |found| found["spec"] == wanted).await;
}

#[tokio::test]
async fn unknown_fields_are_refused_if_that_is_asked_for() {
    let cluster = with_widgets(json!({})).await;
    let strict = format!("{WIDGETS}?fieldValidation=Strict");
    let refused = cluster.post(&strict, widget("a", json!({"nonsense": 1}))).await.expect(400);
    assert_eq!(
        refused["message"],
        "Widget in version \"v1\" cannot be handled as a Widget: strict decoding error: unknown field \"spec.nonsense\""
    );
    cluster.post(&strict, widget("a", json!({"size": 1}))).await.expect(201);
    let without_version = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}});
    cluster.put(&format!("{WIDGETS}/a"), without_version).await.expect(422);
    cluster.get_as(&format!("{WIDGETS}/a"), "application/vnd.kubernetes.protobuf").await.expect(406);
}

#[tokio::test]
async fn custom_resources_say_what_they_are() {
    let cluster = with_widgets(json!({})).await;
    for (body, message) in [
        (
            json!([]),
            "the object provided is unrecognized (must be of type Widget): couldn't get version/kind; json parse error",
        ),
        (
            json!({"metadata": {"name": "a"}}),
            "Widget in version \"v1\" cannot be handled as a Widget: Object 'Kind' is missing in",
        ),
        (
            json!({"kind": "Widget", "metadata": {"name": "a"}}),
            "the API version in the data () does not match the expected API version (example.com/v1)",
        ),
    ] {
        let refused = cluster.post(WIDGETS, body).await.expect(400);
        assert!(refused["message"].as_str().is_some_and(|found| found.starts_with(message)), "{refused}");
    }
}

#[tokio::test]
async fn a_webhook_without_a_readable_authority_keeps_a_definition_from_being_served() {
    let cluster = Cluster::start().await;
    let mut crd = definition(json!({}));
    let webhook = |bundle: &str| {
        json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://localhost", "caBundle": bundle}}})
    };
    crd["spec"]["conversion"] = webhook("YWJj");
    cluster.post(CRDS, crd).await.expect(201);
    let path = format!("{CRDS}/widgets.example.com");
    let is_refused = |crd: &Value| crd["status"]["conditions"][1]["reason"] == "InvalidCABundle";
    cluster.eventually_with(&path, is_refused).await;
    cluster.get(WIDGETS).await.expect(404);
    cluster.patch(&path, MERGE, json!({"spec": {"conversion": webhook("")}})).await.expect(200);
    cluster.eventually(WIDGETS).await;
    let refused = cluster.patch(&path, MERGE, json!({"spec": {"conversion": webhook("YWJj")}})).await.expect(422);
    assert_eq!(refused["details"]["causes"][0]["field"], "spec.conversion.webhookClientConfig.caBundle");
}

#[tokio::test]
async fn a_schema_without_structure_is_refused() {
    let cluster = Cluster::start().await;
    let mut crd = definition(json!({}));
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = json!({"properties": {"a": {}}});
    let refused = cluster.post(CRDS, crd.clone()).await.expect(422);
    let causes = refused["details"]["causes"].as_array().expect("causes");
    let fields: Vec<&str> = causes.iter().filter_map(|cause| cause["field"].as_str()).collect();
    let schema = "spec.validation.openAPIV3Schema.properties[spec]";
    assert_eq!(fields, [format!("{schema}.properties[a].type"), format!("{schema}.type")], "{refused}");
    crd["spec"]["preserveUnknownFields"] = true.into();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = json!({"type": "object"});
    let refused = cluster.post(CRDS, crd.clone()).await.expect(422);
    assert!(refused["message"].as_str().is_some_and(|why| why.contains("spec.preserveUnknownFields")), "{refused}");
    // So no definition that there is has the condition.
    crd["spec"]["preserveUnknownFields"] = false.into();
    cluster.post(CRDS, crd).await.expect(201);
    cluster.eventually(WIDGETS).await;
    let crd = cluster.get(&format!("{CRDS}/widgets.example.com")).await.expect(200);
    let conditions = crd["status"]["conditions"].as_array().into_iter().flatten();
    let conditions: Vec<&str> = conditions.filter_map(|condition| condition["type"].as_str()).collect();
    assert_eq!(conditions, ["NamesAccepted", "Established"]);
}

#[tokio::test]
async fn resources_in_resources_are_checked_and_pruned_as_such() {
    let embedded = json!({"type": "object", "x-kubernetes-embedded-resource": true,
        "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}});
    let spec = json!({"type": "object", "properties": {"inner": embedded}});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}});
    let cluster = with_widgets(json!({"schema": schema})).await;
    let inner = |metadata: Value| json!({"inner": {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"size": 1, "other": 2}, "more": 3}});
    let made = cluster.post(WIDGETS, widget("a", inner(json!({"name": "x", "labels": {"a": "b"}, "odd": 1})))).await;
    let kept = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "labels": {"a": "b"}}, "spec": {"size": 1}});
    assert_eq!(made.expect(201)["spec"]["inner"], kept);
    let wrong = cluster.post(WIDGETS, widget("b", inner(json!({"labels": {"-": "b"}})))).await.expect(422);
    assert!(
        wrong["details"]["causes"][0]["field"]
            .as_str()
            .is_some_and(|field| field.starts_with("spec.inner.metadata.labels")),
        "{wrong}"
    );
    let none = cluster.post(WIDGETS, widget("c", json!({"inner": {"spec": {"size": 1}}}))).await.expect(422);
    let fields: Vec<&Value> =
        none["details"]["causes"].as_array().into_iter().flatten().map(|cause| &cause["field"]).collect();
    assert!(fields.contains(&&json!("spec.inner.apiVersion")) && fields.contains(&&json!("spec.inner.kind")), "{none}");
}

#[tokio::test]
async fn what_was_wrong_before_keeps_no_change_of_anything_else_out() {
    let cluster = with_widgets(json!({})).await;
    cluster.post(WIDGETS, widget("a", json!({"color": "vermilion", "size": 5}))).await.expect(201);
    let color = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/color/maxLength";
    let shorter = json!([{"op": "replace", "path": color, "value": 5}]);
    let path = format!("{CRDS}/widgets.example.com");
    cluster.patch(&path, "application/json-patch+json", shorter).await.expect(200);
    // The server has taken up the rule as soon as it refuses a new object.
    let refused = widget("b", json!({"color": "vermilion"}));
    let deadline = tokio::time::Instant::now() + crate::support::DEADLINE;
    while cluster.post(&format!("{WIDGETS}?dryRun=All"), refused.clone()).await.status() != 422 {
        assert!(tokio::time::Instant::now() < deadline, "the rule never held");
        tokio::task::yield_now().await;
    }
    let one = format!("{WIDGETS}/a");
    let changed = cluster.patch(&one, MERGE, json!({"spec": {"size": 6}})).await.expect(200);
    assert_eq!(changed["spec"]["color"], "vermilion");
    let wrong = cluster.patch(&one, MERGE, json!({"spec": {"color": "magenta"}})).await.expect(422);
    assert_eq!(wrong["details"]["causes"][0]["field"], "spec.color", "{wrong}");
    cluster.patch(&one, MERGE, json!({"spec": {"color": "red"}})).await.expect(200);
}
