//! Tables and metadata of objects that are stored in another version, and the order of rows.

use serde_json::{Value, json};

use crate::support::Cluster;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const PARTIAL: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";

/// The cells of the first row, as text.
fn cells(table: &Value) -> Vec<String> {
    let cells = table["rows"][0]["cells"].as_array().expect("cells").iter();
    cells.map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned)).collect()
}

#[tokio::test]
async fn an_old_version_shows_all_that_the_stored_one_has() {
    let cluster = Cluster::start().await;
    let metric = |name: &str, percent: i64| {
        let target = json!({"type": "Utilization", "averageUtilization": percent});
        json!({"type": "Resource", "resource": {"name": name, "target": target}})
    };
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"});
    let spec =
        json!({"scaleTargetRef": target, "maxReplicas": 3, "metrics": [metric("cpu", 80), metric("memory", 70)]});
    let object = json!({"metadata": {"name": "a"}, "spec": spec});
    let path = |version: &str| format!("/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers");
    cluster.post(&path("v2"), object).await.expect(201);
    let name = format!("{}/a", path("v1"));
    let whole = cluster.get(&name).await.expect(200);
    assert!(whole["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"].is_string(), "{whole}");
    for path in [&name, &path("v1")] {
        let table = cluster.get_as(path, TABLE).await.expect(200);
        assert_eq!(cells(&table)[2], "cpu: <unknown>/80%, memory: <unknown>/70%");
        // What the old version has no fields for is none of the object's annotations.
        assert_eq!(table["rows"][0]["object"]["metadata"].get("annotations"), None);
        let table = cluster.get_as(&format!("{path}?includeObject=Object"), TABLE).await.expect(200);
        let object = &table["rows"][0]["object"];
        assert_eq!((&object["apiVersion"], &object["metadata"]), (&json!("autoscaling/v1"), &whole["metadata"]));
    }
    let partial = cluster.get_as(&name, PARTIAL).await.expect(200);
    assert_eq!((&partial["metadata"]["name"], partial["metadata"].get("annotations")), (&json!("a"), None));
    let watch = format!("{}?watch=1&timeoutSeconds=1", path("v1"));
    let (_, _, event) = cluster.exchange("GET", &watch, &[("accept", PARTIAL)], "").await;
    let event: Value = serde_json::from_slice(&event).expect("one event");
    assert_eq!(event["object"]["metadata"], partial["metadata"]);
}

#[tokio::test]
async fn events_of_both_groups_look_alike() {
    let cluster = Cluster::start().await;
    let event = json!({
        "metadata": {"name": "e", "namespace": "default"}, "eventTime": "2020-01-01T00:00:00.000000Z", "type": "Normal",
        "reason": "r", "action": "a", "note": "n", "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
        "reportingController": "e.com/c", "reportingInstance": "i",
    });
    let path = |group: &str| format!("/{group}/v1/namespaces/default/events/e");
    cluster.post("/apis/events.k8s.io/v1/namespaces/default/events", event).await.expect(201);
    let new = cells(&cluster.get_as(&path("apis/events.k8s.io"), TABLE).await.expect(200));
    assert_eq!(new[1..7], ["Normal", "r", "pod/p", "", "e.com/c, i", "n"]);
    assert_eq!(new, cells(&cluster.get_as(&path("api"), TABLE).await.expect(200)));
}

#[tokio::test]
async fn flow_schemas_are_shown_as_they_are_tried() {
    let cluster = Cluster::start().await;
    let path = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
    // The last of all that there are is the one for whatever is left.
    cluster.eventually(&format!("{path}/catch-all")).await;
    let table = cluster.get_as(path, TABLE).await.expect(200);
    let rows = table["rows"].as_array().expect("rows");
    let shown: Vec<(i64, &str)> = rows
        .iter()
        .map(|row| (row["cells"][2].as_i64().expect("a number"), row["cells"][0].as_str().expect("a name")))
        .collect();
    assert!(shown.len() > 5 && shown.is_sorted(), "{shown:?}");
    assert_eq!(shown.last(), Some(&(10_000, "catch-all")));
}

#[tokio::test]
async fn bookmarks_are_objects_with_nothing_in_them() {
    let cluster = Cluster::start().await;
    let query = "watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let pods = "/api/v1/namespaces/none/pods";
    let config_maps = "/api/v1/namespaces/none/configmaps";
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/none/rolebindings";
    for (path, accept, expected) in [
        (pods, "application/json", json!({"spec": {"containers": null}, "status": {}})),
        (config_maps, "application/json", json!({})),
        (bindings, "application/json", json!({"roleRef": {"apiGroup": "", "kind": "", "name": ""}})),
        (pods, PARTIAL, json!({})),
        (config_maps, TABLE, json!({})),
    ] {
        let path = format!("{path}?{query}&allowWatchBookmarks=true");
        let (_, _, event) = cluster.exchange("GET", &path, &[("accept", accept)], "").await;
        let first = event.split(|byte| *byte == b'\n').next().expect("a line");
        let event: Value = serde_json::from_slice(first).expect("an event");
        let mut object = event["object"].clone();
        if accept == TABLE {
            assert_eq!((&object["kind"], &object["columnDefinitions"][0]["name"]), (&json!("Table"), &json!("Name")));
            assert_eq!(cells(&object), ["", "0", "<unknown>"]);
            object = object["rows"][0]["object"].take();
        }
        let object = object.as_object_mut().expect("an object");
        object.retain(|key, _| key != "kind" && key != "apiVersion");
        let metadata = object.remove("metadata").expect("metadata");
        assert!(metadata["resourceVersion"].is_string(), "{metadata}");
        assert_eq!(metadata["annotations"], json!({"k8s.io/initial-events-end": "true"}));
        assert_eq!((&event["type"], &Value::from(object.clone())), (&json!("BOOKMARK"), &expected), "{path} {accept}");
    }
}
