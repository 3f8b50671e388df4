//! The API described by itself: one OpenAPI v3 document for each group and version, built when it is first asked for.
//!
//! Types and their descriptions come from `k8s-openapi`, extensions, defaults and what is required from
//! [`crate::schema`], paths from [`crate::kinds`]. kubectl reads from here which query parameters a server takes and
//! what `kubectl explain` says.

mod components;
mod operations;
mod parameters;
mod paths;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{LazyLock, OnceLock};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::kinds::{self, Resource, Stability};

/// One document, encoded.
#[derive(Debug)]
pub struct Document {
    /// The document as JSON.
    pub json: Bytes,
    /// Changes with the document; clients keep a document as long as this is the same.
    pub hash: String,
}

/// A document that may not have been built yet.
struct Slot {
    resources: Vec<&'static Resource>,
    document: OnceLock<Document>,
}

static SLOTS: LazyLock<BTreeMap<String, Slot>> = LazyLock::new(|| {
    let mut slots = BTreeMap::new();
    for resource in kinds::all().iter().filter(|resource| resource.stability == Stability::Stable) {
        let slot = slots
            .entry(path_of(&resource.group, &resource.version))
            .or_insert_with(|| Slot { resources: Vec::new(), document: OnceLock::new() });
        slot.resources.push(resource);
    }
    slots
});

/// The key of a group and version in the index, such as `apis/apps/v1`.
pub fn path_of(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// The entries of the index of built-in documents, by key; each leads to the document's URL. Building it builds every
/// document once.
pub fn v3_index() -> BTreeMap<String, Value> {
    SLOTS.iter().map(|(path, slot)| (path.clone(), index_entry(path, &slot.document().hash))).collect()
}

/// An entry of the index, for a document from anywhere.
pub fn index_entry(path: &str, hash: &str) -> Value {
    json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")})
}

/// The document of a built-in group and version, by its key in the index.
pub fn v3_document(path: &str) -> Option<&'static Document> {
    SLOTS.get(path).map(Slot::document)
}

impl Slot {
    fn document(&self) -> &Document {
        self.document.get_or_init(|| encode(&build(&self.resources)))
    }
}

/// Encodes a document, also one that was made elsewhere.
pub fn encode(document: &Value) -> Document {
    let json = Bytes::from(document.to_string());
    let mut hasher = DefaultHasher::new();
    json.hash(&mut hasher);
    Document { hash: format!("{:016X}", hasher.finish()), json }
}

fn build(resources: &[&'static Resource]) -> Value {
    let mut document = wrap(paths::of_resources(resources), components::schemas(resources));
    document["components"]["securitySchemes"] = json!({
        "BearerToken": {"type": "apiKey", "in": "header", "name": "authorization", "description": "bearer token"},
    });
    document
}

/// A whole document from its paths and schemas.
pub fn wrap(paths: Value, schemas: Value) -> Value {
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.35.0"},
        "paths": paths,
        "components": {"schemas": schemas},
    })
}

pub use paths::{Place, of_place};

#[cfg(test)]
mod tests {
    use super::*;

    fn document(path: &str) -> Value {
        let document = v3_document(path).expect("a document");
        serde_json::from_slice(&document.json).expect("JSON")
    }

    #[test]
    fn every_stable_group_has_a_document() {
        let index = v3_index();
        for path in ["api/v1", "apis/apps/v1", "apis/autoscaling/v2", "apis/apiextensions.k8s.io/v1"] {
            let url = index[path]["serverRelativeURL"].as_str().expect("an URL");
            assert!(url.starts_with(&format!("/openapi/v3/{path}?hash=")), "{url}");
        }
        assert!(!index.keys().any(|path| path.contains("beta")));
    }

    #[test]
    fn references_lead_to_schemas() {
        for path in v3_index().keys() {
            let document = document(path);
            let schemas = &document["components"]["schemas"];
            let text = document.to_string();
            for part in text.split("\"#/components/schemas/").skip(1) {
                let name = part.split('"').next().expect("the rest of a reference");
                assert!(!schemas[name].is_null(), "{path}: {name}");
            }
        }
    }

    #[test]
    fn patching_takes_field_validation() {
        let document = document("apis/apps/v1");
        let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        let gvk = json!({"group": "apps", "kind": "Deployment", "version": "v1"});
        assert_eq!(patch["x-kubernetes-group-version-kind"], gvk);
        let parameters = patch["parameters"].as_array().expect("parameters");
        assert!(parameters.iter().any(|parameter| parameter["name"] == "fieldValidation"));
    }

    #[test]
    fn fields_carry_extensions_and_defaults() {
        let document = document("api/v1");
        let schemas = &document["components"]["schemas"];
        let ports = &schemas["io.k8s.api.core.v1.ServiceSpec"]["properties"]["ports"];
        assert_eq!(ports["x-kubernetes-list-type"], "map");
        assert_eq!(ports["x-kubernetes-list-map-keys"], json!(["port", "protocol"]));
        assert_eq!(ports["x-kubernetes-patch-merge-key"], "port");
        assert_eq!(schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"]["default"], "TCP");
        assert_eq!(schemas["io.k8s.api.core.v1.PodSpec"]["required"], json!(["containers"]));
        let pod = &schemas["io.k8s.api.core.v1.Pod"];
        assert_eq!(pod["x-kubernetes-group-version-kind"], json!([{"group": "", "kind": "Pod", "version": "v1"}]));
        assert_eq!(pod.get("required"), None);
        let list = &schemas["io.k8s.api.core.v1.PodList"];
        assert_eq!(list["x-kubernetes-group-version-kind"][0]["kind"], "PodList");
    }
}
