//! Discovery: which groups, versions and resources there are, in the old documents and in the aggregated one.

mod aggregated;

use api::kinds::{Resource, Subresource};
use base64::Engine;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::kinds::{Group, Kinds};
use crate::pipeline::Core;

pub(crate) use aggregated::{Documents, response as aggregated_response};

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
