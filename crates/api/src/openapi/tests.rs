use super::*;
use crate::kinds::{self, Stability};

/// The document of a group and version, as a server with all built-in resources has it.
fn document(group: &str, version: &str) -> Value {
    let rows = kinds::all().iter().filter(|row| row.group == group && row.version == version);
    let entries: Vec<Entry<'_>> =
        rows.map(|resource| Entry { resource, returns_deleted: resource.kind == "Pod", schema: None }).collect();
    group_version(group, version, &entries)
}

/// The versions that are at least so settled.
fn versions(least: Stability) -> impl Iterator<Item = (&'static str, &'static str)> {
    let mut versions: Vec<(&str, &str)> = kinds::all()
        .iter()
        .filter(move |row| row.stability >= least)
        .map(|row| (row.group.as_ref(), row.version.as_ref()))
        .collect();
    versions.dedup();
    versions.into_iter()
}

/// Fails if a document refers to what it does not have.
#[track_caller]
fn check_references(document: &Value) {
    let text = document.to_string();
    for part in text.split("\"$ref\":\"#").skip(1) {
        let path = part.split('"').next().expect("the rest of a reference");
        assert!(document.pointer(path).is_some(), "{path}");
    }
}

#[test]
fn references_lead_to_schemas() {
    for (group, version) in versions(Stability::Alpha) {
        check_references(&document(group, version));
    }
    for key in GENERAL_KEYS.iter().chain(&["apis/apps"]) {
        check_references(&general(key));
    }
}

#[test]
fn the_second_version_has_all_groups_in_one() {
    let mut all = Part::new(json!({})).expect("a document");
    for (group, version) in versions(Stability::Stable) {
        let part = Part::new(document(group, version)).expect("a document");
        all.paths.extend(part.paths);
        all.definitions.extend(part.definitions);
        all.parameters.extend(part.parameters);
    }
    let [head, between, end] = frame(&all.parameters).expect("a document");
    let members = |members: &Members| {
        let text = serde_json::to_string(members).expect("JSON");
        text[1..text.len() - 1].to_owned()
    };
    let text = [head, members(&all.paths), between, members(&all.definitions), end].concat();
    let merged: Value = serde_json::from_str(&text).expect("JSON");
    check_references(&merged);
    let pod = &merged["definitions"]["io.k8s.api.core.v1.Pod"];
    assert_eq!(pod["x-kubernetes-group-version-kind"], json!([{"group": "", "kind": "Pod", "version": "v1"}]));
    assert_eq!(pod["properties"]["spec"]["$ref"], "#/definitions/io.k8s.api.core.v1.PodSpec");
    assert!(!merged["definitions"].to_string().contains("\"default\":{}"));
    let create = &merged["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments"]["post"];
    assert_eq!(create["consumes"], json!(["*/*"]));
    assert_eq!(create["responses"]["201"]["schema"]["$ref"], "#/definitions/io.k8s.api.apps.v1.Deployment");
}

#[test]
fn operations_are_named_as_clients_are_generated() {
    let core = document("", "v1");
    for (path, method, expected, action) in [
        ("/api/v1/", "get", "getCoreV1APIResources", ""),
        ("/api/v1/pods", "get", "listCoreV1PodForAllNamespaces", "list"),
        ("/api/v1/namespaces/{namespace}/pods", "post", "createCoreV1NamespacedPod", "post"),
        ("/api/v1/namespaces/{namespace}/pods", "delete", "deleteCoreV1CollectionNamespacedPod", "deletecollection"),
        ("/api/v1/namespaces/{namespace}/pods/{name}", "put", "replaceCoreV1NamespacedPod", "put"),
        ("/api/v1/namespaces/{namespace}/pods/{name}/status", "patch", "patchCoreV1NamespacedPodStatus", "patch"),
        ("/api/v1/namespaces/{namespace}/pods/{name}/eviction", "post", "createCoreV1NamespacedPodEviction", "post"),
        ("/api/v1/namespaces/{namespace}/pods/{name}/exec", "get", "connectCoreV1GetNamespacedPodExec", "connect"),
        ("/api/v1/namespaces/{namespace}/pods/{name}/log", "get", "readCoreV1NamespacedPodLog", "get"),
        ("/api/v1/nodes/{name}/proxy/{path}", "head", "connectCoreV1HeadNodeProxyWithPath", "connect"),
        ("/api/v1/watch/pods", "get", "watchCoreV1PodListForAllNamespaces", "watchlist"),
        ("/api/v1/watch/namespaces/{namespace}/pods/{name}", "get", "watchCoreV1NamespacedPod", "watch"),
    ] {
        let operation = &core["paths"][path][method];
        assert_eq!(operation["operationId"], expected, "{path}");
        assert_eq!(operation["x-kubernetes-action"].as_str().unwrap_or_default(), action, "{path}");
    }
    let scale = &document("apps", "v1")["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"];
    assert_eq!(scale["get"]["operationId"], "readAppsV1NamespacedDeploymentScale");
    assert_eq!(scale["get"]["x-kubernetes-group-version-kind"]["group"], "autoscaling");
}

#[test]
fn parameters_of_all_operations_stand_at_the_path() {
    let document = document("apps", "v1");
    let item = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
    let names = |value: &Value| -> Vec<String> {
        let parameters = value["parameters"].as_array().expect("parameters");
        parameters.iter().map(|parameter| parameter["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(item), ["name", "namespace", "pretty"]);
    assert_eq!(names(&item["patch"]), ["dryRun", "fieldManager", "fieldValidation", "force"]);
    assert_eq!(item["get"].get("parameters"), None);
}

#[test]
fn a_deletion_answers_the_object_or_a_status() {
    let document = document("", "v1");
    let answer = |path: &str| {
        let content = &document["paths"][path]["delete"]["responses"]["200"]["content"];
        content["application/json"]["schema"]["$ref"]
            .as_str()
            .and_then(|name| name.rsplit('.').next().map(str::to_owned))
    };
    assert_eq!(answer("/api/v1/namespaces/{namespace}/pods/{name}").as_deref(), Some("Pod"));
    assert_eq!(answer("/api/v1/namespaces/{namespace}/configmaps/{name}").as_deref(), Some("Status"));
}

#[test]
fn fields_carry_extensions_and_defaults() {
    let document = document("", "v1");
    let schemas = &document["components"]["schemas"];
    let field = |ty: &str, field: &str| &schemas[format!("io.k8s.api.core.v1.{ty}")]["properties"][field];
    let ports = field("ServiceSpec", "ports");
    assert_eq!(ports["x-kubernetes-list-type"], "map");
    assert_eq!(ports["x-kubernetes-list-map-keys"], json!(["port", "protocol"]));
    assert_eq!(ports["x-kubernetes-patch-merge-key"], "port");
    assert_eq!(ports["items"]["default"], json!({}));
    assert_eq!(field("ContainerPort", "protocol")["default"], "TCP");
    assert_eq!(field("ContainerPort", "containerPort")["default"], 0);
    assert_eq!(field("ContainerPort", "hostPort").get("default"), None);
    assert_eq!(field("Container", "resources")["default"], json!({}));
    assert_eq!(field("Container", "securityContext").get("default"), None);
    assert_eq!(field("PodSpec", "restartPolicy")["enum"], json!(["Always", "Never", "OnFailure"]));
    assert_eq!(schemas["io.k8s.api.core.v1.PodSpec"]["required"], json!(["containers"]));
    assert_eq!(schemas["io.k8s.api.core.v1.Pod"].get("required"), None);
    let list = &schemas["io.k8s.api.core.v1.PodList"];
    assert_eq!(list["x-kubernetes-group-version-kind"][0]["kind"], "PodList");
    let profile = &schemas["io.k8s.api.core.v1.SeccompProfile"]["x-kubernetes-unions"];
    let members = json!({"localhostProfile": "LocalhostProfile"});
    assert_eq!(profile, &json!([{"discriminator": "type", "fields-to-discriminateBy": members}]));
}
