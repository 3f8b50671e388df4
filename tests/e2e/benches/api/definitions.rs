//! How soon a new kind is known: the time from sending a CustomResourceDefinition to the first answer of discovery and
//! of OpenAPI that has it. Each document is asked for again and again, the next as soon as one has it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::connection::{Connection, Target};
use crate::quantile;

const DEADLINE: Duration = Duration::from_secs(30);

/// Defines kinds one after another, and prints how long each document took at the median and at most.
pub async fn measure(target: &Target, kinds: usize) {
    let mut connection = target.connect().await;
    let (mut discovery, mut openapi_v3, mut openapi_v2) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..kinds {
        let group = format!("g{number}.example.com");
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let began = Instant::now();
        connection.call("POST", path, definition(&group).to_string().into()).await;
        let mut known = async |path: &str, times: &mut Vec<f64>| {
            until_names(&mut connection, path, "Widget", &group, began).await;
            times.push(began.elapsed().as_secs_f64() * 1e3);
        };
        known(&format!("/apis/{group}/v1"), &mut discovery).await;
        known(&format!("/openapi/v3/apis/{group}/v1"), &mut openapi_v3).await;
        known("/openapi/v2", &mut openapi_v2).await;
    }
    for (name, mut times) in [("discovery", discovery), ("openapi_v3", openapi_v3), ("openapi_v2", openapi_v2)] {
        times.sort_by(f64::total_cmp);
        println!("bench: api.definition.{name}.p50 {:.1} ms", quantile(&times, 0.5));
        println!("bench: api.definition.{name}.max {:.1} ms", quantile(&times, 1.0));
    }
}

/// Asks for a document until it speaks of both texts.
async fn until_names(connection: &mut Connection, path: &str, kind: &str, group: &str, began: Instant) {
    loop {
        assert!(began.elapsed() < DEADLINE, "{path} never names {kind} of {group}");
        let (status, body) = connection.read(path).await;
        let body = String::from_utf8_lossy(&body);
        if status.is_success() && body.contains(kind) && body.contains(group) {
            return;
        }
    }
}

fn definition(group: &str) -> Value {
    let schema = json!({
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}},
    });
    json!({
        "metadata": {"name": format!("widgets.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    })
}
