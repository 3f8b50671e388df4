//! The sorts of volumes.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Volume};

use super::claims::Bound;
use super::empty_dir::{self, Medium};
use super::memory::mount_tmpfs;
use super::ownership::{self, Ownership};
use super::payload::{self, Payload};
use super::{Fault, Ready, atomic, iscsi, nested, persistent, volume_dir};
use crate::context::Context;
use crate::csi::{self, CsiVolume, Published};
use crate::pods::{References, spec};

/// A volume in its place.
pub struct Place {
    /// Where it is on the node.
    pub path: PathBuf,
    /// When it has to be renewed.
    pub refresh_at: Option<Timestamp>,
    /// Why it still shows what was true before, if it does.
    pub outdated: Option<String>,
    /// Whether no container may write to it.
    pub read_only: bool,
    /// Whether it is a device.
    pub is_device: bool,
    /// Whether its files are the pod's alone, so that they may be labelled for it.
    pub relabel: bool,
}

impl Place {
    /// A directory that stays as it is.
    pub fn at(path: PathBuf) -> Self {
        Self { path, refresh_at: None, outdated: None, read_only: false, is_device: false, relabel: false }
    }

    /// The same for one that is there for pods.
    pub fn of_pods(path: PathBuf) -> Self {
        Self { relabel: true, ..Self::at(path) }
    }
}

/// Brings one volume in place.
pub async fn bring(
    context: &Context,
    pod: &Pod,
    volume: &Volume,
    bound: Option<&Bound>,
    references: &References,
) -> Result<Place, Fault> {
    let fs_group = spec::fs_group(pod);
    if let Some(source) = &volume.empty_dir {
        let dir = volume_dir(context, pod, "empty-dir", volume);
        let medium = Medium::of(pod, source, &context.allocatable())?;
        let (made, ready) = (dir.clone(), Ready::of(context, pod, "empty-dir", &volume.name));
        let bring = move || empty_dir::bring(&made, &medium, fs_group, &ready);
        context.volume_work.run(spec::uid(pod), bring).await??;
        return Ok(Place::of_pods(dir));
    }
    if let Some(source) = &volume.host_path {
        return Ok(persistent::node_path(source).await?);
    }
    if let Some(bound) = bound {
        return persistent::claimed(context, pod, volume, bound).await;
    }
    if let Some(source) = &volume.nfs {
        return Ok(persistent::nfs(context, pod, &volume.name, source, Vec::new()).await?);
    }
    if let Some(source) = &volume.iscsi {
        let (disk, used) = iscsi::Disk::inline(&volume.name, source);
        return Ok(iscsi::bring(context, pod, &volume.name, &disk, &used).await?);
    }
    if let Some(source) = &volume.csi {
        let csi = CsiVolume::inline(pod, &volume.name, source);
        let published = csi::publish(context, pod, &csi).await?;
        let Published { path, refresh_at, outdated, relabel } = published;
        return Ok(Place { refresh_at, outdated, relabel, read_only: csi.read_only, ..Place::at(path) });
    }
    let Some(sort) = sort_of_files(volume) else { return Err("no volume plugin matched".to_owned().into()) };
    let dir = volume_dir(context, pod, sort, volume);
    let (payload, refresh_at) = match files(context, pod, volume, references).await {
        Ok(files) => files,
        // A pod that has started once runs on with what it was given.
        Err(message) if atomic::is_written(&dir) => {
            return Ok(Place { outdated: Some(message), read_only: true, ..Place::of_pods(dir) });
        }
        Err(message) => return Err(message.into()),
    };
    let (written, now) = (dir.clone(), context.env.now());
    let nested = nested::mount_points(pod, &volume.name);
    // What is secret must not reach a disk.
    let in_memory = sort != "configmap";
    let write = move || {
        make(&written, in_memory, &nested)?;
        write(&written, &payload, fs_group, now)
    };
    context.volume_work.run(spec::uid(pod), write).await??;
    // What comes from the API cannot be written by containers.
    Ok(Place { refresh_at, read_only: true, ..Place::of_pods(dir) })
}

/// The directory's name for volumes whose files come from the API.
fn sort_of_files(volume: &Volume) -> Option<&'static str> {
    let sorts = [
        ("configmap", volume.config_map.is_some()),
        ("secret", volume.secret.is_some()),
        ("downward-api", volume.downward_api.is_some()),
        ("projected", volume.projected.is_some()),
    ];
    sorts.into_iter().find(|(_, is_it)| *is_it).map(|(sort, _)| sort)
}

/// The files of a volume that come from the API, and when they have to be renewed.
async fn files(
    context: &Context,
    pod: &Pod,
    volume: &Volume,
    references: &References,
) -> Result<(Payload, Option<Timestamp>), String> {
    if let Some(source) = &volume.config_map {
        return Ok((payload::config_map(source, references).await?, None));
    }
    if let Some(source) = &volume.secret {
        return Ok((payload::secret(source, references).await?, None));
    }
    if let Some(source) = &volume.downward_api {
        let mode = payload::mode(source.default_mode);
        return Ok((payload::downward_api(context, pod, source.items.as_deref(), mode)?, None));
    }
    let source = volume.projected.clone().unwrap_or_default();
    payload::projected(context, pod, &volume.name, &source, references).await
}

/// Does work that blocks and makes nothing of the pod's; an error is a message for the user.
pub async fn blocking(work: impl FnOnce() -> Result<(), String> + Send + 'static) -> Result<(), String> {
    tokio::task::spawn_blocking(work).await.map_err(|err| err.to_string())?
}

/// Makes the directory of files, and those on which something else is mounted in it.
fn make(dir: &Path, in_memory: bool, nested: &[PathBuf]) -> Result<(), String> {
    let create = |dir: &Path| fs::create_dir_all(dir).map_err(|err| format!("cannot create {}: {err}", dir.display()));
    create(dir)?;
    if in_memory {
        mount_tmpfs(dir, None)?;
    }
    nested.iter().try_for_each(|inner| create(&dir.join(inner)))
}

fn write(dir: &Path, payload: &Payload, fs_group: Option<i64>, now: Timestamp) -> Result<(), String> {
    let own = || match fs_group {
        Some(group) => ownership::apply(dir, Ownership { group, read_only: true, on_root_mismatch: false }),
        None => Ok(()),
    };
    atomic::write(dir, payload, now, own).map(|_| ()).map_err(|err| err.to_string())
}
