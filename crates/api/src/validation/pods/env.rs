//! Environment variables and what they may refer to.

use k8s_openapi::api::core::v1::{
    EnvFromSource, EnvVar, EnvVarSource, ObjectFieldSelector, PodSpec, ResourceFieldSelector,
};

use super::containers;
use crate::field::{ErrorList, FieldError, Path};
use crate::quantity::Quantity;
use crate::validation::{check, names};

/// The fields of a pod that its environment may show.
const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// The fields of a pod that a volume may show.
pub(super) const VOLUME_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// The field labels that upstream knows besides those above.
const OTHER_FIELDS: [&str; 3] = ["spec.restartPolicy", "spec.schedulerName", "status.phase"];

const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// Judges single variables.
pub(super) fn env(variables: &[EnvVar], path: &Path, errors: &mut ErrorList) {
    for (index, variable) in variables.iter().enumerate() {
        let path = path.index(index);
        check::required_name(errors, &path.child("name"), &variable.name, names::env_var_name);
        if let Some(source) = &variable.value_from {
            value_from(source, check::text(&variable.value), &path.child("valueFrom"), errors);
        }
    }
}

fn value_from(source: &EnvVarSource, value: &str, path: &Path, errors: &mut ErrorList) {
    let mut sources = 0;
    if let Some(field) = &source.field_ref {
        sources += 1;
        field_ref(field, &ENV_FIELDS, &path.child("fieldRef"), errors);
    }
    if let Some(resource) = &source.resource_field_ref {
        sources += 1;
        resource_field_ref(resource, false, &path.child("resourceFieldRef"), errors);
    }
    let keys = [
        ("configMapKeyRef", source.config_map_key_ref.as_ref().map(|found| (&found.name, &found.key))),
        ("secretKeyRef", source.secret_key_ref.as_ref().map(|found| (&found.name, &found.key))),
    ];
    for (field, found) in keys {
        if let Some((name, key)) = found {
            sources += 1;
            let path = path.child(field);
            check::invalid(errors, &path.child("name"), name.as_str(), names::dns_subdomain(name));
            check::required_name(errors, &path.child("key"), key, names::config_map_key);
        }
    }
    if let Some(key) = &source.file_key_ref {
        sources += 1;
        let path = path.child("fileKeyRef");
        check::required_name(errors, &path.child("key"), &key.key, names::env_var_name);
        check::required_name(errors, &path.child("volumeName"), &key.volume_name, names::dns_label);
        if check::required(errors, &path.child("path"), &key.path) {
            check::no_backsteps(errors, &path.child("path"), &key.path);
        }
    }
    let why = match (sources, value.is_empty()) {
        (0, _) => "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
        (_, false) => "may not be specified when `value` is not empty",
        (1, true) => return,
        (_, true) => "may not have more than one field specified at a time",
    };
    errors.push(FieldError::invalid(path, "", why));
}

/// Judges where the files with variables are: on volumes that begin empty.
pub(super) fn files(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    for container in containers::every(spec) {
        for (index, variable) in container.env.iter().enumerate() {
            let Some(file) = variable.value_from.as_ref().and_then(|source| source.file_key_ref.as_ref()) else {
                continue;
            };
            let name = file.volume_name.as_str();
            let volume = spec.volumes.iter().flatten().rfind(|volume| volume.name == name);
            if volume.is_some_and(|volume| volume.empty_dir.is_some()) {
                continue;
            }
            let path = container.path(path).child("env").index(index).child("valueFrom").child("fileKeyRef");
            let path = path.child("volumeName");
            errors.push(match volume {
                None => FieldError::not_found(&path, name),
                Some(_) => FieldError::invalid(&path, name, "referenced volume must be of type emptyDir"),
            });
        }
    }
}

/// Judges variables taken over from ConfigMaps and Secrets.
pub(super) fn env_from(sources: &[EnvFromSource], path: &Path, errors: &mut ErrorList) {
    for (index, source) in sources.iter().enumerate() {
        let entry = path.index(index);
        check::optional_name(errors, &entry.child("prefix"), check::text(&source.prefix), names::env_var_name);
        if let Some(config_map) = &source.config_map_ref {
            named(&config_map.name, &entry.child("configMapRef").child("name"), errors);
        }
        if let Some(secret) = &source.secret_ref {
            named(&secret.name, &entry.child("secretRef").child("name"), errors);
        }
        // Upstream tells these of the whole list.
        match (&source.config_map_ref, &source.secret_ref) {
            (None, None) => {
                errors.push(FieldError::invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"));
            }
            (Some(_), Some(_)) => {
                errors.push(FieldError::invalid(path, "", "may not have more than one field specified at a time"));
            }
            _ => {}
        }
    }
}

/// The name of an object, of which something may be to come.
fn named(name: &str, path: &Path, errors: &mut ErrorList) {
    if check::required(errors, path, name) {
        check::invalid(errors, path, name, names::dns_subdomain(&names::without_trailing_dash(name)));
    }
}

/// Judges a reference to a field of the pod.
pub(super) fn field_ref(field: &ObjectFieldSelector, allowed: &[&str], path: &Path, errors: &mut ErrorList) {
    let version = check::text(&field.api_version);
    if !check::required(errors, &path.child("apiVersion"), version) {
        return;
    }
    let name = field.field_path.as_str();
    let field_path = path.child("fieldPath");
    if !check::required(errors, &field_path, name) {
        return;
    }
    let unconvertible =
        |why: String| FieldError::invalid(&field_path, name, format!("error converting fieldPath: {why}"));
    if version != "v1" {
        errors.push(unconvertible(format!("unsupported pod version: {version}")));
        return;
    }
    if let Some((base, subscript)) = subscript(name) {
        // Upstream tells of a wrong key as if it were the reference.
        match base {
            "metadata.annotations" => {
                let key = subscript.to_lowercase();
                check::invalid(errors, path, key.as_str(), names::qualified_name(&key));
            }
            "metadata.labels" => check::invalid(errors, path, subscript, names::qualified_name(subscript)),
            _ => errors.push(unconvertible(format!("field label does not support subscript: {name}"))),
        }
        return;
    }
    // What the first clients called the field.
    let name = if name == "spec.host" { "spec.nodeName" } else { name };
    let known = [&ENV_FIELDS[..], &VOLUME_FIELDS, &OTHER_FIELDS].concat();
    if !known.contains(&name) {
        errors.push(unconvertible(format!("field label not supported: {name}")));
        return;
    }
    check::one_of(errors, &field_path, name, allowed);
}

/// Splits `metadata.labels['key']` into the map and the key.
fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['").filter(|(map, _)| !map.is_empty())
}

/// Judges a reference to a container's resources.
pub(super) fn resource_field_ref(field: &ResourceFieldSelector, volume: bool, path: &Path, errors: &mut ErrorList) {
    let name = field.resource.as_str();
    let resource = name.strip_prefix("limits.").or_else(|| name.strip_prefix("requests.")).unwrap_or_default();
    if volume && check::text(&field.container_name).is_empty() {
        errors.push(FieldError::required(&path.child("containerName"), ""));
    } else if check::required(errors, &path.child("resource"), name)
        && !RESOURCES.contains(&name)
        && !resource.starts_with("hugepages-")
    {
        errors.push(FieldError::not_supported(&path.child("resource"), name, &RESOURCES));
    }
    let Some(divisor) = field.divisor.as_ref().and_then(|divisor| Quantity::from_k8s(divisor).ok()) else {
        return;
    };
    const BYTES: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let (allowed, what): (&[&str], &str) = match resource {
        "cpu" => (&["1m", "1"], "cpu resource"),
        "memory" => (&BYTES, "memory resource"),
        "ephemeral-storage" => (&BYTES, "local ephemeral storage resource"),
        _ if resource.starts_with("hugepages-") => (&BYTES, "hugepages resource"),
        _ => return,
    };
    if !divisor.is_zero() && !allowed.contains(&divisor.to_string().as_str()) {
        let list = match resource {
            "cpu" => "1m and 1".to_owned(),
            _ => BYTES.join(", "),
        };
        let why = format!("only divisor's values {list} are supported with the {what}");
        errors.push(FieldError::invalid(&path.child("divisor"), name, why));
    }
}
