//! ConfigMaps, Secrets, Namespaces.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use serde_json::Value;

use super::{check, names};
use crate::field::{ErrorList, FieldError, Path};

/// How much a ConfigMap or a Secret may hold.
const SIZE_LIMIT: usize = 1024 * 1024;

const FROZEN: &str = "field is immutable when `immutable` is set";

/// Judges a ConfigMap.
pub(super) fn config_map(map: &ConfigMap, errors: &mut ErrorList) {
    let mut size = 0;
    let path = Path::new("data");
    for (key, value) in map.data.iter().flatten() {
        check::invalid(errors, &path.key(key), key.as_str(), names::config_map_key(key));
        if map.binary_data.as_ref().is_some_and(|data| data.contains_key(key)) {
            let why = "duplicate of key present in binaryData";
            errors.push(FieldError::invalid(&path.key(key), key.as_str(), why));
        }
        size += value.len();
    }
    let path = Path::new("binaryData");
    for (key, value) in map.binary_data.iter().flatten() {
        check::invalid(errors, &path.key(key), key.as_str(), names::config_map_key(key));
        size += value.0.len();
    }
    if size > SIZE_LIMIT {
        // The whole object is too long.
        errors.push(FieldError::too_long(&Path::nameless(), SIZE_LIMIT));
    }
}

/// Judges an update of a ConfigMap.
pub(super) fn config_map_update(new: &ConfigMap, old: &ConfigMap, errors: &mut ErrorList) {
    if old.immutable != Some(true) {
        return;
    }
    for (field, changed) in [
        ("immutable", new.immutable != Some(true)),
        ("data", new.data.clone().unwrap_or_default() != old.data.clone().unwrap_or_default()),
        ("binaryData", new.binary_data.clone().unwrap_or_default() != old.binary_data.clone().unwrap_or_default()),
    ] {
        if changed {
            errors.push(FieldError::forbidden(&Path::new(field), FROZEN));
        }
    }
}

/// Judges a Secret.
pub(super) fn secret(secret: &Secret, errors: &mut ErrorList) {
    let path = Path::new("data");
    let mut size = 0;
    for (key, value) in secret.data.iter().flatten() {
        check::invalid(errors, &path.key(key), key.as_str(), names::config_map_key(key));
        size += value.0.len();
    }
    if size > SIZE_LIMIT {
        errors.push(FieldError::too_long(&path, SIZE_LIMIT));
    }
    let get = |key: &str| secret.data.as_ref().and_then(|data| data.get(key));
    let mut require = |key: &str| {
        if get(key).is_none() {
            errors.push(FieldError::required(&path.key(key), ""));
        }
    };
    match check::text(&secret.type_) {
        // One of the two is enough.
        "kubernetes.io/basic-auth" if get("username").is_none() && get("password").is_none() => {
            require("username");
            require("password");
        }
        "kubernetes.io/ssh-auth" if get("ssh-privatekey").is_none_or(|key| key.0.is_empty()) => {
            errors.push(FieldError::required(&path.key("ssh-privatekey"), ""));
        }
        "kubernetes.io/tls" => {
            require("tls.crt");
            require("tls.key");
        }
        "kubernetes.io/dockercfg" => registry_logins(get(".dockercfg"), &path.key(".dockercfg"), errors),
        "kubernetes.io/dockerconfigjson" => {
            registry_logins(get(".dockerconfigjson"), &path.key(".dockerconfigjson"), errors);
        }
        "kubernetes.io/service-account-token" => {
            let name = "kubernetes.io/service-account.name";
            let annotations = secret.metadata.annotations.as_ref();
            if annotations.and_then(|annotations| annotations.get(name)).is_none_or(String::is_empty) {
                let path = Path::new("metadata").child("annotations").key(name);
                errors.push(FieldError::required(&path, ""));
            }
        }
        _ => {}
    }
}

fn registry_logins(bytes: Option<&ByteString>, path: &Path, errors: &mut ErrorList) {
    let Some(bytes) = bytes else {
        errors.push(FieldError::required(path, ""));
        return;
    };
    if let Err(error) = serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes.0) {
        let why = match error.is_eof() {
            true => "unexpected end of JSON input".to_owned(),
            false => go_json_error(&bytes.0).unwrap_or_else(|| error.to_string()),
        };
        errors.push(FieldError::invalid(path, "<secret contents redacted>", why));
    }
}

/// The message of Go's JSON decoder where the text starts like a literal but is none, or like nothing at all.
fn go_json_error(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?.trim_start();
    let Some(first) = text.chars().next() else {
        return Some("unexpected end of JSON input".to_owned());
    };
    let literal = ["null", "true", "false"].into_iter().find(|literal| literal.starts_with(first));
    match literal {
        Some(literal) => {
            let (found, expected) = text.chars().zip(literal.chars()).find(|(found, expected)| found != expected)?;
            Some(format!("invalid character '{found}' in literal {literal} (expecting '{expected}')"))
        }
        None if !"{[\"-0123456789".contains(first) => {
            Some(format!("invalid character '{first}' looking for beginning of value"))
        }
        None => None,
    }
}

/// Judges an update of a Secret.
pub(super) fn secret_update(new: &Secret, old: &Secret, errors: &mut ErrorList) {
    check::immutable(errors, &Path::new("type"), &new.type_, &old.type_);
    if old.immutable != Some(true) {
        return;
    }
    if new.immutable != Some(true) {
        errors.push(FieldError::forbidden(&Path::new("immutable"), FROZEN));
    }
    if new.data.clone().unwrap_or_default() != old.data.clone().unwrap_or_default() {
        errors.push(FieldError::forbidden(&Path::new("data"), FROZEN));
    }
}

/// Judges a new namespace.
pub(super) fn namespace(namespace: &Namespace, errors: &mut ErrorList) {
    let path = Path::new("spec").child("finalizers");
    for finalizer in namespace.spec.iter().flat_map(|spec| spec.finalizers.iter().flatten()) {
        namespace_finalizer(finalizer, &path, errors);
    }
}

/// Judges what a namespace still waits for, of which upstream tells with its index.
pub(super) fn namespace_finalize(namespace: &Namespace, errors: &mut ErrorList) {
    let list = Path::new("spec").child("finalizers");
    let finalizers = namespace.spec.iter().flat_map(|spec| spec.finalizers.iter().flatten());
    for (index, finalizer) in finalizers.enumerate() {
        namespace_finalizer(finalizer, &list.index(index), errors);
    }
}

fn namespace_finalizer(finalizer: &str, path: &Path, errors: &mut ErrorList) {
    check::invalid(errors, path, finalizer, names::qualified_name(finalizer));
    if !finalizer.contains('/') && !["kubernetes", "orphan", "foregroundDeletion"].contains(&finalizer) {
        let why = "name is neither a standard finalizer name nor is it fully qualified";
        errors.push(FieldError::invalid(path, finalizer, why));
    }
}

/// Judges an update of the status of a namespace.
pub(super) fn namespace_status(new: &Namespace, _: &Namespace, errors: &mut ErrorList) {
    let phase = new.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    let path = Path::new("status").child("Phase");
    if new.metadata.deletion_timestamp.is_none() {
        if phase != "Active" {
            let why = "may only be 'Active' if `deletionTimestamp` is empty";
            errors.push(FieldError::invalid(&path, phase, why));
        }
    } else if phase != "Terminating" {
        let why = "may only be 'Terminating' if `deletionTimestamp` is not empty";
        errors.push(FieldError::invalid(&path, phase, why));
    }
}
