//! What no configuration may hold: it would be found out late, in other words, or by what cannot be removed any more.

use std::path::{Component, Path};

use cri::{ContainerConfig, PodSandboxConfig, Status};
use serde::Serialize;
use serde_json::Value;

use crate::dots::without_dots;

/// Checks the configuration of a sandbox, also where it comes with a container.
pub(super) fn check_sandbox(config: &PodSandboxConfig) -> Result<(), Status> {
    check_texts("pod sandbox config", config)?;
    let parent = config.linux.as_ref().map(|linux| linux.cgroup_parent.as_str()).unwrap_or_default();
    if Path::new(parent).components().any(|component| component == Component::ParentDir) {
        return Err(Status::invalid_argument(format!("cgroup_parent {parent:?} leads out of the machine's cgroups")));
    }
    Ok(())
}

/// Checks the configuration of a container.
pub(super) fn check_container(config: &ContainerConfig) -> Result<(), Status> {
    check_texts("container config", config)?;
    for variable in &config.envs {
        if variable.key.is_empty() {
            return Err(Status::invalid_argument("an environment variable has no name"));
        }
        if variable.key.contains('=') {
            let text = format!("environment variable {:?} has an equals sign in its name", variable.key);
            return Err(Status::invalid_argument(text));
        }
    }
    for mount in &config.mounts {
        if without_dots(Path::new(&mount.container_path)).as_os_str().is_empty() {
            let image = mount.image.as_ref().map(|image| image.image.as_str());
            let source = image.unwrap_or(&mount.host_path);
            let text = format!(
                "mount of {source:?} needs a place in the container other than its root, and has {:?}",
                mount.container_path
            );
            return Err(Status::invalid_argument(text));
        }
    }
    Ok(())
}

/// The kernel takes no text with a NUL byte. What is told is where it is, for values may be secrets.
fn check_texts(what: &str, config: &impl Serialize) -> Result<(), Status> {
    let value = serde_json::to_value(config).map_err(|err| Status::invalid_argument(err.to_string()))?;
    match nul(&value) {
        Some(mut keys) => {
            keys.reverse();
            Err(Status::invalid_argument(format!("{what}: {} has a NUL byte", keys.join("."))))
        }
        None => Ok(()),
    }
}

/// The keys that lead to a text with a NUL byte, the last one first.
fn nul(value: &Value) -> Option<Vec<String>> {
    let below = |key: String, value: &Value| {
        let mut keys = nul(value)?;
        keys.push(key);
        Some(keys)
    };
    match value {
        Value::String(text) => text.contains('\0').then(Vec::new),
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| below(index.to_string(), item)),
        Value::Object(fields) => fields.iter().find_map(|(key, field)| {
            if key.contains('\0') { Some(vec!["a key".to_owned()]) } else { below(key.clone(), field) }
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}
