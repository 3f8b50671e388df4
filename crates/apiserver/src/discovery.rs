//! Discovery: which groups, versions and resources there are, in the old documents and in the aggregated one.

use std::sync::{Arc, OnceLock};

use api::kinds::{Resource, Subresource};
use base64::Engine;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, HeaderValue, VARY};
use http::{Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::http::body::{self, Body};
use crate::kinds::{Group, Kinds};
use crate::pipeline::Core;

/// The aggregated items of one snapshot of the kinds, made when they are first asked for.
#[derive(Default)]
pub(crate) struct Documents {
    core: OnceLock<Value>,
    others: OnceLock<Value>,
}

/// `/api`.
pub(crate) fn core_versions(core: &Core) -> Value {
    let address = core.config.advertised_address();
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{
            "clientCIDR": "0.0.0.0/0",
            "serverAddress": std::net::SocketAddr::new(address, core.config.secure_port).to_string(),
        }],
    })
}

fn group_document(group: &Group) -> Value {
    let Group { name: group, versions } = group;
    let version = |version: &String| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    json!({
        "name": group, "versions": versions.iter().map(version).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(version),
    })
}

/// `/apis`.
pub(crate) fn groups(kinds: &Kinds) -> Value {
    let groups: Vec<Value> = kinds.groups().iter().map(group_document).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/<group>`.
pub(crate) fn group(kinds: &Kinds, group: &str) -> Option<Value> {
    let mut document = group_document(kinds.groups().iter().find(|each| each.name == group)?);
    document["kind"] = "APIGroup".into();
    document["apiVersion"] = "v1".into();
    Some(document)
}

/// `/api/v1` or `/apis/<group>/<version>`.
pub(crate) fn resources(kinds: &Kinds, group: &str, version: &str) -> Option<Value> {
    let mut rows: Vec<Value> = Vec::new();
    let of_version = kinds.served().iter().filter(|resource| resource.group == group && resource.version == version);
    for resource in of_version {
        rows.push(resource_document(resource));
        rows.extend(resource.subresources.iter().map(|subresource| subresource_document(resource, subresource)));
    }
    if rows.is_empty() {
        return None;
    }
    rows.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": rows}))
}

fn resource_document(resource: &Resource) -> Value {
    let mut document = json!({
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
        "kind": resource.kind, "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        document["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        document["categories"] = json!(resource.categories);
    }
    if resource.is_stored() {
        document["storageVersionHash"] = storage_version_hash(resource).into();
    }
    document
}

fn subresource_document(resource: &Resource, subresource: &Subresource) -> Value {
    let mut document = json!({
        "name": format!("{}/{}", resource.plural, subresource.name), "singularName": "",
        "namespaced": resource.namespaced, "kind": subresource.kind, "verbs": subresource.verbs,
    });
    // Upstream names group and version only of kinds that are not those of the list.
    if (&subresource.group, &subresource.version) != (&resource.group, &resource.version) {
        if !subresource.group.is_empty() {
            document["group"] = (*subresource.group).into();
        }
        document["version"] = (*subresource.version).into();
    }
    document
}

/// Changes when objects are stored in another version; clients only compare it.
fn storage_version_hash(resource: &Resource) -> String {
    let text = format!("{}/{}/{}", resource.storage_group, resource.storage_version, resource.kind);
    base64::prelude::BASE64_STANDARD.encode(&Sha256::digest(text)[..8])
}

/// The aggregated document of the core group or of all others, with its ETag.
pub(crate) fn aggregated_response(kinds: &Kinds, is_core: bool, version: &str) -> Response<Body> {
    let items = match is_core {
        true => kinds.documents.core.get_or_init(|| {
            let core = Group { name: String::new(), versions: vec!["v1".to_owned()] };
            aggregated_items(kinds, &[core])
        }),
        false => kinds.documents.others.get_or_init(|| aggregated_items(kinds, kinds.groups())),
    };
    let document = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {}, "items": items,
    });
    let bytes = Bytes::from(document.to_string());
    let tag = format!("\"{}\"", hex_upper(&Sha256::digest(&bytes)));
    let mut response = Response::new(body::full(bytes));
    *response.status_mut() = StatusCode::OK;
    let content_type = format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    let headers = response.headers_mut();
    if let (Ok(content_type), Ok(tag)) = (HeaderValue::try_from(content_type), HeaderValue::try_from(tag)) {
        headers.insert(CONTENT_TYPE, content_type);
        headers.insert(ETAG, tag);
    }
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    response
}

fn hex_upper(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn aggregated_items(kinds: &Kinds, groups: &[Group]) -> Value {
    let items = groups.iter().map(|Group { name: group, versions }| {
        let versions: Vec<Value> = versions.iter().map(|version| aggregated_version(kinds, group, version)).collect();
        let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
        json!({"metadata": metadata, "versions": versions})
    });
    Value::Array(items.collect())
}

fn aggregated_version(kinds: &Kinds, group: &str, version: &str) -> Value {
    let mut rows: Vec<&Arc<Resource>> =
        kinds.served().iter().filter(|resource| resource.group == group && resource.version == version).collect();
    rows.sort_by(|a, b| a.plural.cmp(&b.plural));
    let rows: Vec<Value> = rows
        .into_iter()
        .map(|resource| {
            let kind =
                |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
            let mut document = json!({
                "resource": resource.plural, "singularResource": resource.singular,
                "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
                "responseKind": kind(&resource.group, &resource.version, &resource.kind), "verbs": resource.verbs,
            });
            if !resource.short_names.is_empty() {
                document["shortNames"] = json!(resource.short_names);
            }
            if !resource.categories.is_empty() {
                document["categories"] = json!(resource.categories);
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
                document["subresources"] = subresources.into();
            }
            document
        })
        .collect();
    json!({"version": version, "freshness": "Current", "resources": rows})
}
