//! ServiceAccount: every pod runs as an account of its namespace and finds a token for it in its file system.

use api::status::Status;
use serde_json::{Value, json};

use super::{Attributes, Handler, MIRROR, Operation, Plugin};

/// Where containers find token, CA certificate and namespace.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How long projected tokens live: an hour and seven seconds, which tells them from tokens asked for by others.
const EXPIRATION_SECONDS: i64 = 3607;

pub(super) const PLUGIN: Plugin =
    Plugin { admit: &[(Operation::Create, Handler::Now(create))], ..Plugin::named("ServiceAccount") };

fn create(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    if !attributes.is("", "pods") {
        return Ok(());
    }
    if api::meta::annotation(object, MIRROR).is_some() {
        return check_mirror(attributes, object);
    }
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let name = match text("/spec/serviceAccountName") {
        name if !name.is_empty() => name,
        _ => match text("/spec/serviceAccount") {
            name if !name.is_empty() => name,
            _ => "default".to_owned(),
        },
    };
    let namespace = attributes.scope.namespace.unwrap_or_default();
    let Some(account) = attributes.registry.cached_by("", "v1", "serviceaccounts", Some(namespace), &name) else {
        let why = format!(
            "error looking up service account {namespace}/{name}: serviceaccount {} not found",
            api::field::quote(&name)
        );
        return Err(attributes.forbidden(object, why));
    };
    let account = account.value();
    object["spec"]["serviceAccountName"] = name.clone().into();
    object["spec"]["serviceAccount"] = name.into();
    let wants_token = object
        .pointer("/spec/automountServiceAccountToken")
        .or_else(|| account.get("automountServiceAccountToken"))
        .and_then(Value::as_bool)
        .unwrap_or(true);
    if wants_token {
        mount_token(attributes, object);
    }
    let has_pull_secrets =
        object.pointer("/spec/imagePullSecrets").and_then(Value::as_array).is_some_and(|s| !s.is_empty());
    if let Some(secrets) = account.get("imagePullSecrets").filter(|_| !has_pull_secrets) {
        object["spec"]["imagePullSecrets"] = secrets.clone();
    }
    Ok(())
}

/// A mirror pod runs before the API server knows of it, so it cannot have what only the API server gives.
fn check_mirror(attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
    let account = object.pointer("/spec/serviceAccountName").and_then(Value::as_str).unwrap_or_default();
    if !account.is_empty() {
        return Err(attributes.forbidden(object, "a mirror pod may not reference service accounts"));
    }
    let volumes = object.pointer("/spec/volumes").and_then(Value::as_array).into_iter().flatten();
    let sources = volumes.filter_map(|volume| volume.pointer("/projected/sources")?.as_array()).flatten();
    if sources.into_iter().any(|source| source.get("serviceAccountToken").is_some()) {
        return Err(attributes.forbidden(object, "a mirror pod may not use ServiceAccountToken volume projections"));
    }
    Ok(())
}

fn mount_token(attributes: &Attributes<'_>, object: &mut Value) {
    let volumes = object.pointer("/spec/volumes").and_then(Value::as_array).cloned().unwrap_or_default();
    // A pod made from another's manifest brings its volume along.
    let there =
        volumes.iter().filter_map(|volume| volume["name"].as_str()).find(|name| name.starts_with("kube-api-access-"));
    let name = match there {
        Some(name) => name.to_owned(),
        None => format!("kube-api-access-{}", attributes.registry.env.random().suffix(5)),
    };
    let mut is_mounted = false;
    for containers in ["initContainers", "containers"] {
        let list = object.pointer_mut(&format!("/spec/{containers}")).and_then(Value::as_array_mut);
        for container in list.into_iter().flatten() {
            let Some(container) = container.as_object_mut() else { continue };
            let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
            let Some(mounts) = mounts.as_array_mut() else { continue };
            if mounts.iter().any(|mount| mount["mountPath"] == MOUNT_PATH) {
                continue;
            }
            mounts.push(json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}));
            is_mounted = true;
        }
    }
    if !is_mounted || there.is_some() {
        return;
    }
    let volume = json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": EXPIRATION_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
        ]}},
    ]}});
    let list = &mut object["spec"]["volumes"];
    if !list.is_array() {
        *list = json!([]);
    }
    if let Some(list) = list.as_array_mut() {
        list.push(volume);
    }
}
