//! Discovery: which groups, versions and resources there are, in the old documents and in the aggregated one.

use std::sync::{Arc, LazyLock};

use api::kinds::{Resource, Stability, Subresource};
use base64::Engine;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, HeaderValue, VARY};
use http::{Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::http::body::{self, Body};
use crate::pipeline::Core;

fn served() -> impl Iterator<Item = &'static Arc<Resource>> {
    api::kinds::all().iter().filter(|resource| resource.stability == Stability::Stable)
}

/// Groups in the order in which upstream lists them; others follow by name.
const GROUP_ORDER: [&str; 22] = [
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "storagemigration.k8s.io",
];

/// Every group but the core one, with its versions, the preferred one first.
pub(crate) fn served_groups() -> &'static [(&'static str, Vec<&'static str>)] {
    static GROUPS: LazyLock<Vec<(&'static str, Vec<&'static str>)>> = LazyLock::new(|| {
        let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
        for resource in served().filter(|resource| !resource.group.is_empty()) {
            match groups.iter_mut().find(|(group, _)| *group == resource.group) {
                Some((_, versions)) if versions.contains(&&*resource.version) => {}
                Some((_, versions)) => versions.push(&resource.version),
                None => groups.push((&resource.group, vec![&resource.version])),
            }
        }
        let place = |group: &str| GROUP_ORDER.iter().position(|known| *known == group).unwrap_or(usize::MAX);
        groups.sort_by_key(|(group, _)| (place(group), *group));
        for (_, versions) in &mut groups {
            // `v2` is preferred to `v1`: later stable versions replace earlier ones.
            versions.sort_by(|a, b| b.cmp(a));
        }
        groups
    });
    &GROUPS
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

fn group_document(group: &str, versions: &[&str]) -> Value {
    let version = |version: &&str| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    json!({
        "name": group, "versions": versions.iter().map(version).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(version),
    })
}

/// `/apis`.
pub(crate) fn groups() -> Value {
    let groups: Vec<Value> = served_groups().iter().map(|(group, versions)| group_document(group, versions)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/<group>`.
pub(crate) fn group(group: &str) -> Option<Value> {
    let (group, versions) = served_groups().iter().find(|(name, _)| *name == group)?;
    let mut document = group_document(group, versions);
    document["kind"] = "APIGroup".into();
    document["apiVersion"] = "v1".into();
    Some(document)
}

/// `/api/v1` or `/apis/<group>/<version>`.
pub(crate) fn resources(group: &str, version: &str) -> Option<Value> {
    let mut rows: Vec<Value> = Vec::new();
    let of_version = served().filter(|resource| resource.group == group && resource.version == version);
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
pub(crate) fn aggregated_response(is_core: bool, version: &str) -> Response<Body> {
    static CORE: LazyLock<Value> = LazyLock::new(|| aggregated_items(&[("", vec!["v1"])]));
    static OTHERS: LazyLock<Value> = LazyLock::new(|| aggregated_items(served_groups()));
    let items: &Value = if is_core { &CORE } else { &OTHERS };
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

fn aggregated_items(groups: &[(&'static str, Vec<&'static str>)]) -> Value {
    let items = groups.iter().map(|(group, versions)| {
        let versions: Vec<Value> = versions.iter().map(|version| aggregated_version(group, version)).collect();
        let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
        json!({"metadata": metadata, "versions": versions})
    });
    Value::Array(items.collect())
}

fn aggregated_version(group: &str, version: &str) -> Value {
    let mut rows: Vec<&Arc<Resource>> =
        served().filter(|resource| resource.group == group && resource.version == version).collect();
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
