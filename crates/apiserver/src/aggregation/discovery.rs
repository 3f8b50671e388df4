//! Groups and versions of extension API servers in this server's discovery documents.

use serde_json::{Value, json};

use super::api_service::ApiService;

/// What an extension API server says it serves, as a version of the aggregated document. Its own document is the
/// `APIResourceList` that every server has.
pub(super) fn version_item(api: &ApiService, list: &Value) -> Value {
    let list = list["resources"].as_array().cloned().unwrap_or_default();
    let name = |resource: &Value| resource["name"].as_str().unwrap_or_default().to_owned();
    let response_kind = |resource: &Value| {
        let or = |field: &str, default: &str| {
            resource[field].as_str().filter(|text| !text.is_empty()).unwrap_or(default).to_owned()
        };
        json!({"group": or("group", &api.group), "version": or("version", &api.version), "kind": resource["kind"]})
    };
    let item = |resource: &Value| {
        let plural = name(resource);
        let is_namespaced = resource["namespaced"].as_bool().unwrap_or(false);
        let mut item = json!({
            "resource": plural, "responseKind": response_kind(resource), "verbs": resource["verbs"],
            "scope": if is_namespaced { "Namespaced" } else { "Cluster" },
            "singularResource": resource["singularName"].as_str().unwrap_or_default(),
        });
        for field in ["shortNames", "categories"] {
            if let Some(names) = resource.get(field) {
                item[field] = names.clone();
            }
        }
        let subresources: Vec<Value> = list
            .iter()
            .filter_map(|each| {
                let below = name(each);
                let subresource = below.strip_prefix(&format!("{plural}/"))?;
                Some(json!({
                    "subresource": subresource, "responseKind": response_kind(each), "verbs": each["verbs"],
                }))
            })
            .collect();
        if !subresources.is_empty() {
            item["subresources"] = subresources.into();
        }
        item
    };
    let resources: Vec<Value> = list.iter().filter(|resource| !name(resource).contains('/')).map(item).collect();
    json!({"version": api.version, "freshness": "Current", "resources": resources})
}

/// A version of which nothing is known, or only what was true before.
pub(super) fn stale_item(api: &ApiService, known: Option<&Value>) -> Value {
    let resources = known.map_or_else(|| json!([]), |known| known["resources"].clone());
    json!({"version": api.version, "freshness": "Stale", "resources": resources})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api() -> ApiService {
        let service = json!({"namespace": "a", "name": "b"});
        let object = json!({"metadata": {"name": "v1.a"}, "spec": {"group": "a", "version": "v1", "service": service}});
        ApiService::parse(&object).expect("it has a service")
    }

    #[test]
    fn a_list_of_resources_becomes_a_version() {
        let list = json!({"resources": [
            {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": ["get"]},
            {"name": "flunders/scale", "kind": "Scale", "group": "autoscaling", "version": "v1", "verbs": ["get"]},
        ]});
        let kind = |group: &str, kind: &str| json!({"group": group, "version": "v1", "kind": kind});
        let flunders = json!({
            "resource": "flunders", "singularResource": "flunder", "scope": "Namespaced", "verbs": ["get"],
            "responseKind": kind("a", "Flunder"),
            "subresources": [{
                "subresource": "scale", "responseKind": kind("autoscaling", "Scale"), "verbs": ["get"],
            }],
        });
        let expected = json!({"version": "v1", "freshness": "Current", "resources": [flunders]});
        assert_eq!(version_item(&api(), &list), expected);
    }
}
