//! The aggregated document of `apidiscovery.k8s.io`: everything in one answer, which clients keep by its ETag.

use std::sync::OnceLock;

use api::kinds::{Resource, Subresource};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};

use crate::http::body::{self, Body};
use crate::kinds::{Group, Kinds};
use crate::openapi::hash_of;

/// The aggregated documents of one snapshot of the kinds, each made when it is first asked for: of the core group and of
/// all others, in the versions of `apidiscovery.k8s.io`.
#[derive(Default)]
pub(crate) struct Documents([OnceLock<Document>; 4]);

struct Document {
    bytes: Bytes,
    tag: String,
}

/// The document of the core group or of all others, or that the client has it already.
pub(crate) fn response(kinds: &Kinds, is_core: bool, version: &str, request: &HeaderMap) -> Response<Body> {
    let place = usize::from(is_core) * 2 + usize::from(version == "v2");
    let Document { bytes, tag } = kinds.documents.0[place].get_or_init(|| document(kinds, is_core, version));
    let is_known = request.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = Response::new(if is_known { body::empty() } else { body::full(bytes.clone()) });
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(ETAG, tag);
    }
    let content_type = format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    match HeaderValue::try_from(content_type) {
        Ok(content_type) if !is_known => drop(headers.insert(CONTENT_TYPE, content_type)),
        _ => {}
    }
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    response
}

fn document(kinds: &Kinds, is_core: bool, version: &str) -> Document {
    let core = [Group { name: String::new(), versions: vec!["v1".to_owned()] }];
    let groups = if is_core { &core } else { kinds.groups() };
    let document = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {}, "items": groups.iter().map(|group| group_item(kinds, group)).collect::<Vec<_>>(),
    });
    let bytes = Bytes::from(document.to_string());
    let tag = format!("\"{}\"", hash_of(&bytes));
    Document { bytes, tag }
}

fn group_item(kinds: &Kinds, group: &Group) -> Value {
    let version = |version: &String| {
        let mut remotes = kinds.remotes().iter();
        if let Some(remote) = remotes.find(|remote| remote.group == group.name && remote.version == *version) {
            return remote.item.clone();
        }
        let mut rows = kinds.of_version(&group.name, version);
        rows.sort_by(|a, b| a.plural.cmp(&b.plural));
        let resources: Vec<Value> = rows.iter().map(|row| resource_item(row)).collect();
        json!({"version": version, "freshness": "Current", "resources": resources})
    };
    let versions: Vec<Value> = group.versions.iter().map(version).collect();
    let metadata = if group.name.is_empty() { json!({}) } else { json!({"name": group.name}) };
    json!({"metadata": metadata, "versions": versions})
}

fn kind(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

fn resource_item(resource: &Resource) -> Value {
    let mut item = json!({
        "resource": resource.plural, "singularResource": resource.singular,
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "responseKind": kind(&resource.group, &resource.version, &resource.kind), "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        item["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        item["categories"] = json!(resource.categories);
    }
    let mut subresources: Vec<&Subresource> = resource.subresources.iter().collect();
    subresources.sort_by(|a, b| a.name.cmp(&b.name));
    let subresources: Vec<Value> = subresources
        .into_iter()
        .map(|sub| {
            json!({
                "subresource": sub.name, "responseKind": kind(&sub.group, &sub.version, &sub.kind),
                "verbs": sub.verbs,
            })
        })
        .collect();
    if !subresources.is_empty() {
        item["subresources"] = subresources.into();
    }
    item
}
