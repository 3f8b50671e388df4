//! Volumes that are there before a pod and after it: behind a claim, or named by the pod itself.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{
    HostPathVolumeSource, LocalVolumeSource, NFSVolumeSource, PersistentVolume, Pod, Volume,
};

use super::claims::{Bound, KEEP};
use super::iscsi::{self, Disk};
use super::ownership::Ownership;
use super::sorts::{Place, blocking};
use super::table::is_mount_point;
use super::{Fault, Ready, give_to_group, host_path};
use crate::context::Context;
use crate::csi::{self, CsiVolume, Published};
use crate::pods::spec;

/// Brings the volume behind a claim in place.
pub async fn claimed(context: &Context, pod: &Pod, volume: &Volume, bound: &Bound) -> Result<Place, Fault> {
    let of = bound.volume.spec.clone().unwrap_or_default();
    let name = bound.volume.metadata.name.clone().unwrap_or_default();
    let options = options(&bound.volume, bound.read_only);
    let mut place = if let Some(source) = &of.csi {
        driven(context, pod, volume, bound, &CsiVolume::persistent(&bound.volume, source, bound.read_only)).await?
    } else if let Some(source) = &of.host_path {
        node_path(source).await?
    } else if let Some(source) = &of.local {
        local(context, pod, &name, source, bound).await?
    } else if let Some(source) = &of.nfs {
        nfs(context, pod, &name, source, options).await?
    } else if let Some(source) = &of.iscsi {
        let (disk, mut used) = Disk::persistent(&name, source);
        used.options = of.mount_options.clone().unwrap_or_default();
        used.read_only |= bound.read_only;
        used.is_block = bound.is_block();
        iscsi::bring(context, pod, &name, &disk, &used).await?
    } else {
        return Err("no volume plugin matched".to_owned().into());
    };
    place.read_only |= bound.read_only;
    place.is_device = bound.is_block();
    Ok(place)
}

/// Options of the mount of a volume.
fn options(volume: &PersistentVolume, read_only: bool) -> Vec<String> {
    let mut options = volume.spec.as_ref().and_then(|spec| spec.mount_options.clone()).unwrap_or_default();
    if read_only {
        options.push("ro".to_owned());
    }
    options
}

/// A volume of a driver, as large as its claim says.
async fn driven(context: &Context, pod: &Pod, volume: &Volume, bound: &Bound, csi: &CsiVolume) -> Result<Place, Fault> {
    let csi = &CsiVolume { name_in_pod: volume.name.clone(), ..csi.clone() };
    let published = csi::publish(context, pod, csi).await?;
    let Published { path, outdated, relabel, .. } = published;
    let mut place = Place { outdated, relabel, read_only: csi.read_only, ..Place::at(path) };
    // A claim that grows is found by looking.
    let look = context.env.now().checked_add(KEEP).ok();
    place.refresh_at = [published.refresh_at, look].into_iter().flatten().min();
    match csi::expand(context, &bound.claim, &bound.volume, csi, &place.path).await {
        Ok(true) => {
            context.claims.outdate(spec::uid(pod), &volume.name);
            let (name, node) = (bound.name(), &context.config.node_name);
            let message = format!("MountVolume.NodeExpandVolume succeeded for volume \"{name}\" {node}");
            context.event(pod, None, client::EventType::Normal, "FileSystemResizeSuccessful", message);
        }
        Ok(false) => {}
        // The pod can go on with what it has.
        Err(message) => {
            context.event(pod, None, client::EventType::Warning, "VolumeResizeFailed", message);
        }
    }
    Ok(place)
}

/// A path of the node.
pub async fn node_path(source: &HostPathVolumeSource) -> Result<Place, String> {
    let checked = source.clone();
    blocking(move || host_path::check(&checked)).await?;
    Ok(Place::at(PathBuf::from(&source.path)))
}

/// A directory or a disk of the node.
async fn local(
    context: &Context,
    pod: &Pod,
    name: &str,
    source: &LocalVolumeSource,
    bound: &Bound,
) -> Result<Place, String> {
    let path = PathBuf::from(&source.path);
    let metadata = fs::metadata(&path).map_err(|err| format!("path \"{}\" does not exist: {err}", source.path))?;
    let is_disk = metadata.file_type().is_block_device();
    if bound.is_block() {
        return match is_disk {
            true => Ok(Place::at(path)),
            false => Err(format!("path \"{}\" is not a block device", source.path)),
        };
    }
    let target = target(context, pod, "local-volume", name)?;
    let is_there = is_mount_point(&target).map_err(|err| format!("cannot look at {}: {err}", target.display()))?;
    let place = Place { relabel: !bound.read_only, ..Place::at(target.clone()) };
    let ready = Ready::of(context, pod, "local-volume", name);
    if is_there && ready.is_set() {
        return Ok(place);
    }
    ready.clear()?;
    if !is_there && is_disk {
        let options = options(&bound.volume, bound.read_only);
        let kind = source.fs_type.as_deref().unwrap_or_default();
        context.programs.format_and_mount(&source.path, &target, kind, &options).await?;
    } else if !is_there {
        let to = target.clone();
        let bind =
            move || rustix::mount::mount_bind_recursive(&path, &to).map_err(|err| format!("mount failed: {err}"));
        context.volume_work.run(spec::uid(pod), bind).await??;
    }
    own(pod, &target, bound.read_only).await?;
    ready.set()?;
    Ok(place)
}

/// A directory of a server.
pub async fn nfs(
    context: &Context,
    pod: &Pod,
    name: &str,
    source: &NFSVolumeSource,
    mut options: Vec<String>,
) -> Result<Place, String> {
    let target = target(context, pod, "nfs", name)?;
    let is_there = is_mount_point(&target).map_err(|err| format!("cannot look at {}: {err}", target.display()))?;
    let mut place = Place::at(target.clone());
    place.read_only = source.read_only == Some(true);
    if is_there {
        return Ok(place);
    }
    context.programs.find("mount.nfs", "an NFS client (nfs-common, nfs-utils)")?;
    if place.read_only && !options.iter().any(|option| option == "ro") {
        options.push("ro".to_owned());
    }
    // An address of IPv6 would be taken apart at its colons.
    let server = match source.server.contains(':') {
        true => format!("[{}]", source.server),
        false => source.server.clone(),
    };
    context.programs.mount("nfs", &format!("{server}:{}", source.path), &target, &options).await?;
    Ok(place)
}

/// Makes the directory on which a volume is mounted for a pod.
pub fn target(context: &Context, pod: &Pod, sort: &str, name: &str) -> Result<PathBuf, String> {
    let dir = context.config.pod_dir(spec::uid(pod)).join("volumes").join(format!("kubernetes.io~{sort}")).join(name);
    fs::create_dir_all(&dir).map_err(|err| format!("cannot create {}: {err}", dir.display()))?;
    Ok(dir)
}

/// Gives a volume to the pod's group, if it has one.
pub async fn own(pod: &Pod, target: &Path, read_only: bool) -> Result<(), String> {
    let Some(group) = spec::fs_group(pod).filter(|_| !read_only) else { return Ok(()) };
    let security = spec::spec(pod).security_context.as_ref();
    let policy = security.and_then(|security| security.fs_group_change_policy.as_deref());
    let on_root_mismatch = policy == Some("OnRootMismatch");
    give_to_group(target, Ownership { group, read_only: false, on_root_mismatch }).await
}
