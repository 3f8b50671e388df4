//! A container's environment variables: values and where they come from, expansion, and the variables of services.

mod expand;
mod fields;
mod file;
mod services;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret, Service};

pub use expand::expand;
pub use fields::{FieldContext, FieldError, pod_field, resource_field};
pub use file::parse as parse_file;

use crate::pods::spec;

/// What variables may refer to.
pub struct Inputs<'a> {
    /// ConfigMaps of the pod's namespace by name; `None` for one that does not exist.
    pub config_maps: &'a BTreeMap<String, Option<Arc<ConfigMap>>>,
    /// Secrets of the pod's namespace by name; `None` for one that does not exist.
    pub secrets: &'a BTreeMap<String, Option<Arc<Secret>>>,
    /// Files of variables by volume and path; `None` for one that does not exist.
    pub files: &'a BTreeMap<(String, String), Option<BTreeMap<String, String>>>,
    /// The cluster's services.
    pub services: &'a [Arc<Service>],
    /// What fields of the pod refer to.
    pub fields: &'a FieldContext<'a>,
}

/// Why a container's variables cannot be made. The messages are shown to users.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EnvError {
    /// A referenced object is missing.
    #[error("{kind} \"{name}\" not found")]
    ObjectNotFound {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A referenced key is missing.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    KeyNotFound {
        /// The key.
        key: String,
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// Namespace of the object.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A file of variables is missing.
    #[error("file \"{path}\" not found in volume \"{volume}\"")]
    FileNotFound {
        /// The volume.
        volume: String,
        /// The path in it.
        path: String,
    },
    /// A file of variables lacks one.
    #[error("environment variable key \"{key}\" not found in file \"{path}\"")]
    FileKeyNotFound {
        /// The variable.
        key: String,
        /// The path in the volume.
        path: String,
    },
    /// A field cannot be used in this place.
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// The objects that a container's variables refer to: names of ConfigMaps, names of Secrets.
pub fn references(container: &Container) -> (Vec<String>, Vec<String>) {
    let (mut config_maps, mut secrets) = (Vec::new(), Vec::new());
    for source in container.env_from.iter().flatten() {
        config_maps.extend(source.config_map_ref.as_ref().map(|reference| reference.name.clone()));
        secrets.extend(source.secret_ref.as_ref().map(|reference| reference.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        config_maps.extend(source.config_map_key_ref.as_ref().map(|reference| reference.name.clone()));
        secrets.extend(source.secret_key_ref.as_ref().map(|reference| reference.name.clone()));
    }
    (config_maps, secrets)
}

/// The files that a container's variables refer to: volumes and paths in them.
pub fn file_references(container: &Container) -> BTreeSet<(String, String)> {
    let sources = container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref());
    let files = sources.filter_map(|source| source.file_key_ref.as_ref());
    files.map(|reference| (reference.volume_name.clone(), reference.path.clone())).collect()
}

/// Variables in the order in which they are given to the container.
#[derive(Debug, Default)]
struct Variables(Vec<(String, String)>);

impl Variables {
    fn set(&mut self, name: String, value: String) {
        match self.0.iter_mut().find(|(existing, _)| *existing == name) {
            Some(slot) => slot.1 = value,
            None => self.0.push((name, value)),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(existing, _)| existing == name).map(|(_, value)| value.as_str())
    }
}

/// A container's environment variables.
pub fn build(pod: &Pod, container: &Container, inputs: &Inputs<'_>) -> Result<Vec<(String, String)>, EnvError> {
    let mut variables = Variables::default();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &source.config_map_ref {
            let optional = reference.optional == Some(true);
            if let Some(object) = config_map(inputs, &reference.name, optional)? {
                for (key, value) in object.data.iter().flatten() {
                    set_named(&mut variables, prefix, key, value.clone());
                }
            }
        }
        if let Some(reference) = &source.secret_ref {
            let optional = reference.optional == Some(true);
            if let Some(object) = secret(inputs, &reference.name, optional)? {
                for (key, value) in object.data.iter().flatten() {
                    set_named(&mut variables, prefix, key, String::from_utf8_lossy(&value.0).into_owned());
                }
            }
        }
    }
    let of_services = services::variables(pod, inputs.services);
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) if !value.is_empty() => {
                let lookup = |name: &str| {
                    variables.get(name).or_else(|| of_services.get(name).map(String::as_str)).map(str::to_owned)
                };
                Some(expand(value, lookup))
            }
            (_, Some(source)) => value_from(pod, container, source, inputs)?,
            _ => Some(String::new()),
        };
        if let Some(value) = value {
            variables.set(variable.name.clone(), value);
        }
    }
    for (name, value) in of_services {
        if variables.get(&name).is_none() {
            variables.set(name, value);
        }
    }
    Ok(variables.0)
}

/// A container's command and arguments with variables put in.
pub fn command(container: &Container, variables: &[(String, String)]) -> (Vec<String>, Vec<String>) {
    let lookup = |name: &str| variables.iter().find(|(existing, _)| existing == name).map(|(_, value)| value.clone());
    let all = |list: &Option<Vec<String>>| list.iter().flatten().map(|text| expand(text, lookup)).collect();
    (all(&container.command), all(&container.args))
}

/// A key that cannot be a variable's name is left out.
fn set_named(variables: &mut Variables, prefix: &str, key: &str, value: String) {
    let name = format!("{prefix}{key}");
    if !name.is_empty() && name.chars().all(|c| (' '..='~').contains(&c) && c != '=') {
        variables.set(name, value);
    }
}

fn config_map(inputs: &Inputs<'_>, name: &str, optional: bool) -> Result<Option<Arc<ConfigMap>>, EnvError> {
    match inputs.config_maps.get(name).cloned().flatten() {
        None if !optional => Err(EnvError::ObjectNotFound { kind: "configmap", name: name.to_owned() }),
        found => Ok(found),
    }
}

fn secret(inputs: &Inputs<'_>, name: &str, optional: bool) -> Result<Option<Arc<Secret>>, EnvError> {
    match inputs.secrets.get(name).cloned().flatten() {
        None if !optional => Err(EnvError::ObjectNotFound { kind: "secret", name: name.to_owned() }),
        found => Ok(found),
    }
}

fn value_from(
    pod: &Pod,
    container: &Container,
    source: &EnvVarSource,
    inputs: &Inputs<'_>,
) -> Result<Option<String>, EnvError> {
    let missing = |kind, name: &str, key: &str| EnvError::KeyNotFound {
        key: key.to_owned(),
        kind,
        namespace: spec::namespace(pod).to_owned(),
        name: name.to_owned(),
    };
    if let Some(field) = &source.field_ref {
        return Ok(Some(pod_field(pod, &field.field_path, inputs.fields)?));
    }
    if let Some(selector) = &source.resource_field_ref {
        return Ok(Some(resource_field(pod, Some(container), selector, inputs.fields)?));
    }
    if let Some(reference) = &source.config_map_key_ref {
        let optional = reference.optional == Some(true);
        let Some(object) = config_map(inputs, &reference.name, optional)? else { return Ok(None) };
        let value = object.data.as_ref().and_then(|data| data.get(&reference.key)).cloned();
        return match value {
            None if !optional => Err(missing("ConfigMap", &reference.name, &reference.key)),
            value => Ok(value),
        };
    }
    if let Some(reference) = &source.secret_key_ref {
        let optional = reference.optional == Some(true);
        let Some(object) = secret(inputs, &reference.name, optional)? else { return Ok(None) };
        let value = object.data.as_ref().and_then(|data| data.get(&reference.key));
        return match value {
            None if !optional => Err(missing("Secret", &reference.name, &reference.key)),
            value => Ok(value.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned())),
        };
    }
    if let Some(reference) = &source.file_key_ref {
        let (volume, path) = (reference.volume_name.clone(), reference.path.clone());
        let optional = reference.optional == Some(true);
        let file = inputs.files.get(&(volume.clone(), path.clone())).and_then(Option::as_ref);
        return match (file, file.and_then(|file| file.get(&reference.key))) {
            (_, Some(value)) => Ok(Some(value.clone())),
            _ if optional => Ok(None),
            (None, _) => Err(EnvError::FileNotFound { volume, path }),
            (Some(_), None) => Err(EnvError::FileKeyNotFound { key: reference.key.clone(), path }),
        };
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
