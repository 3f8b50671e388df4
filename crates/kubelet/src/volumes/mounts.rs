//! A container's mounts of its pod's volumes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cri as v1;
use k8s_openapi::api::core::v1::{Container, Pod, VolumeDevice, VolumeMount};

use super::{Mounted, subpath};
use crate::context::Context;
use crate::environment::expand;
use crate::pods::spec;

/// A mount that cannot be made. The messages are shown to users.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The volume is not there.
    #[error("cannot find volume \"{volume}\" to mount into container \"{container}\"")]
    UnknownVolume {
        /// The volume.
        volume: String,
        /// The container.
        container: String,
    },
    /// A path in the volume is made of variables that the container does not have, or that are empty.
    #[error("missing value for {}", names.join(", "))]
    MissingValue {
        /// Their names.
        names: Vec<String>,
    },
    /// A path in the volume is not inside it.
    #[error("failed to prepare subPath for volumeMount \"{volume}\" of container \"{container}\": {source}")]
    SubPath {
        /// The volume.
        volume: String,
        /// The container.
        container: String,
        /// What is wrong.
        source: subpath::SubPathError,
    },
    /// A mount cannot be read-only all the way down.
    #[error("volume \"{volume}\" requested recursiveReadOnly mode, but it is {why}")]
    Recursive {
        /// The volume.
        volume: String,
        /// Why not.
        why: String,
    },
}

/// What a container's mounts are made from, beside pod and container.
pub struct Sources<'a> {
    /// The pod's volumes.
    pub mounted: &'a Mounted,
    /// The images that are volumes, by the volumes' names, as the runtime identifies them.
    pub images: &'a BTreeMap<String, v1::ImageSpec>,
    /// The container's variables.
    pub environment: &'a [(String, String)],
    /// Whether the runtime can make mounts read-only all the way down.
    pub can_be_deep: bool,
}

/// Whether a container has mounts for which it matters what the runtime can do.
pub fn asks_for_deep_read_only(container: &Container) -> bool {
    let mut asked = container.volume_mounts.iter().flatten().filter_map(|mount| mount.recursive_read_only.as_deref());
    asked.any(|mode| matches!(mode, "Enabled" | "IfPossible"))
}

/// Whether a mount is to be read-only all the way down.
fn is_deep(mount: &VolumeMount, can_be: bool) -> Result<bool, MountError> {
    let mode = mount.recursive_read_only.as_deref();
    let fail = |why: String| Err(MountError::Recursive { volume: mount.name.clone(), why });
    match (mode, mount.mount_propagation.as_deref()) {
        (None | Some("Disabled"), _) => Ok(false),
        (Some(_), _) if mount.read_only != Some(true) => fail("not read-only".to_owned()),
        (Some(_), Some(propagation)) if propagation != "None" => {
            fail(format!("not compatible with propagation \"{propagation}\""))
        }
        (Some("IfPossible"), _) => Ok(can_be),
        (Some(_), _) if can_be => Ok(true),
        (Some(_), _) => fail("not supported by the runtime".to_owned()),
    }
}

/// What the runtime mounts for a container.
pub async fn container_mounts(
    context: &Context,
    pod: &Pod,
    container: &Container,
    sources: &Sources<'_>,
) -> Result<Vec<v1::Mount>, MountError> {
    let mut mounts = Vec::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let sub_path = sub_path(mount, sources.environment)?;
        if let Some(image) = sources.images.get(&mount.name) {
            mounts.push(v1::Mount {
                container_path: absolute(&mount.mount_path, container),
                readonly: true,
                image: Some(image.clone()),
                image_sub_path: sub_path.unwrap_or_default(),
                ..v1::Mount::default()
            });
            continue;
        }
        let unknown = || MountError::UnknownVolume { volume: mount.name.clone(), container: container.name.clone() };
        let in_place = sources.mounted.volumes.get(&mount.name).ok_or_else(unknown)?;
        let host_path = match sub_path {
            None => in_place.path.clone(),
            Some(path) => {
                let place = subpath_place(context, pod, container, &mount.name, index);
                let volume = in_place.path.clone();
                let prepare = move || subpath::prepare(&volume, &path, &place);
                let prepared = context.volume_work.run(spec::uid(pod), prepare).await;
                let prepared = prepared.unwrap_or(Err(subpath::SubPathError::Interrupted));
                prepared.map_err(|source| MountError::SubPath {
                    volume: mount.name.clone(),
                    container: container.name.clone(),
                    source,
                })?
            }
        };
        let propagation = match mount.mount_propagation.as_deref() {
            Some("HostToContainer") => v1::MountPropagation::PropagationHostToContainer,
            Some("Bidirectional") => v1::MountPropagation::PropagationBidirectional,
            _ => v1::MountPropagation::PropagationPrivate,
        };
        mounts.push(v1::Mount {
            container_path: absolute(&mount.mount_path, container),
            host_path: host_path.to_string_lossy().into_owned(),
            readonly: mount.read_only == Some(true) || in_place.read_only,
            propagation: propagation as i32,
            recursive_read_only: is_deep(mount, sources.can_be_deep)?,
            selinux_relabel: in_place.relabel,
            ..v1::Mount::default()
        });
    }
    Ok(mounts)
}

/// The path in the volume that is mounted, if it is not all of it.
fn sub_path(mount: &VolumeMount, environment: &[(String, String)]) -> Result<Option<String>, MountError> {
    let not_empty = |path: &Option<String>| path.clone().filter(|path| !path.is_empty());
    let Some(expression) = not_empty(&mount.sub_path_expr) else { return Ok(not_empty(&mount.sub_path)) };
    let mut missing = BTreeSet::new();
    let path = expand(&expression, |name| {
        let value = environment.iter().find(|(existing, value)| existing == name && !value.is_empty());
        if value.is_none() {
            missing.insert(name.to_owned());
        }
        value.map(|(_, value)| value.clone())
    });
    // What a variable leaves out would lead to another directory, and in the end to the whole volume.
    if missing.is_empty() {
        Ok(Some(path))
    } else {
        Err(MountError::MissingValue { names: missing.into_iter().collect() })
    }
}

fn absolute(path: &str, container: &Container) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    let base = container.working_dir.as_deref().unwrap_or("/");
    Path::new("/").join(base).join(path).to_string_lossy().into_owned()
}

/// The devices that a container gets of its pod's volumes.
pub fn container_devices(container: &Container, mounted: &Mounted) -> Result<Vec<v1::Device>, MountError> {
    let device = |device: &VolumeDevice| {
        let unknown = || MountError::UnknownVolume { volume: device.name.clone(), container: container.name.clone() };
        let in_place = mounted.volumes.get(&device.name).filter(|volume| volume.is_device).ok_or_else(unknown)?;
        Ok(v1::Device {
            container_path: device.device_path.clone(),
            host_path: in_place.path.to_string_lossy().into_owned(),
            permissions: if in_place.read_only { "r" } else { "mrw" }.to_owned(),
        })
    };
    container.volume_devices.iter().flatten().map(device).collect()
}

/// Where a path in a volume is bound for a container. Every instance of the container has the same place: what an
/// earlier one was given stays in the namespace that it had.
fn subpath_place(context: &Context, pod: &Pod, container: &Container, volume: &str, index: usize) -> PathBuf {
    let dir = context.config.pod_dir(spec::uid(pod)).join("volume-subpaths");
    dir.join(volume).join(&container.name).join(index.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(more: Value, can_be: bool, expected: Result<bool, &str>) {
        let mut mount = json!({"name": "v", "mountPath": "/v"});
        mount.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let found = is_deep(&serde_json::from_value(mount).expect("a mount"), can_be);
        let why = "volume \"v\" requested recursiveReadOnly mode, but it is ";
        let expected = expected.map_err(|end| format!("{why}{end}"));
        assert_eq!(found.map_err(|err| err.to_string()), expected, "{more}");
    }

    #[track_caller]
    fn check_path(more: Value, expected: Result<Option<&str>, &str>) {
        let mut mount = json!({"name": "v", "mountPath": "/v"});
        mount.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let environment = [("NAME", "web"), ("EMPTY", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let found = sub_path(&serde_json::from_value(mount).expect("a mount"), &environment);
        assert_eq!(
            found.map_err(|err| err.to_string()),
            expected.map(|path| path.map(str::to_owned)).map_err(str::to_owned),
            "{more}"
        );
    }

    #[test]
    fn a_path_of_variables_needs_them_all() {
        check_path(json!({}), Ok(None));
        check_path(json!({"subPath": ""}), Ok(None));
        check_path(json!({"subPath": "$(NAME)"}), Ok(Some("$(NAME)")));
        check_path(json!({"subPathExpr": ""}), Ok(None));
        check_path(json!({"subPathExpr": "logs/$(NAME)"}), Ok(Some("logs/web")));
        check_path(json!({"subPathExpr": "$$(NONE)"}), Ok(Some("$(NONE)")));
        check_path(json!({"subPathExpr": "$(NONE)"}), Err("missing value for NONE"));
        check_path(json!({"subPathExpr": "a/$(EMPTY)"}), Err("missing value for EMPTY"));
        check_path(json!({"subPathExpr": "$(NONE)/$(NAME)$(EMPTY)$(NONE)"}), Err("missing value for EMPTY, NONE"));
    }

    #[test]
    fn a_mount_is_read_only_all_the_way_down_where_it_can_be_or_must_be() {
        let asked = |mode: &str| json!({"readOnly": true, "recursiveReadOnly": mode});
        check(json!({"readOnly": true}), true, Ok(false));
        check(asked("Disabled"), true, Ok(false));
        check(asked("IfPossible"), true, Ok(true));
        check(asked("IfPossible"), false, Ok(false));
        check(asked("Enabled"), true, Ok(true));
        check(asked("Enabled"), false, Err("not supported by the runtime"));
        check(json!({"recursiveReadOnly": "IfPossible"}), true, Err("not read-only"));
        let shared = json!({"readOnly": true, "recursiveReadOnly": "Enabled", "mountPropagation": "HostToContainer"});
        check(shared, true, Err("not compatible with propagation \"HostToContainer\""));
    }
}
