//! Disks behind iSCSI: reached over open-iscsi, mounted once for the node and bound into each pod that has them, or given
//! to pods as devices. The last pod that goes takes the disk with it, and the last disk the session with its target.
//!
//! What is to be let go of is written down before it is taken, so that a kubelet that was killed lets go of it too.

mod devices;
mod disk;
mod session;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Pod, Secret, SecretReference};
use kube::Api;

use super::helper::Programs;
use super::persistent::{own, target};
use super::ready::Ready;
use super::sorts::Place;
use super::table::{detach, is_mount_point, is_mounted_elsewhere};
use crate::context::Context;
use crate::pods::spec;

pub use disk::{Disk, Use};
use session::{Iscsiadm, Passwords};

/// The type that secrets with passwords must have.
const SECRET_TYPE: &str = "kubernetes.io/iscsi-chap";

/// Brings a disk to a pod; an error is a message for the user.
pub async fn bring(context: &Context, pod: &Pod, name: &str, disk: &Disk, used: &Use) -> Result<Place, String> {
    let kubelet_dir = context.config.kubelet_dir();
    let dir = disk.dir(&kubelet_dir, used.is_block);
    if used.is_block {
        return device(context, pod, &dir, disk, used).await;
    }
    let target = target(context, pod, "iscsi", name)?;
    let mut place = Place::at(target.clone());
    (place.read_only, place.relabel) = (used.read_only, !used.read_only);
    let ready = Ready::of(context, pod, "iscsi", name);
    let is_there = is_mount_point(&target).map_err(|err| format!("cannot look at {}: {err}", target.display()))?;
    if is_there && ready.is_set() {
        return Ok(place);
    }
    ready.clear()?;
    let lock = context.targets.of(disk.iqn.clone());
    let _held = lock.lock().await;
    if !is_there && !is_mount_point(&dir).map_err(|err| format!("cannot look at {}: {err}", dir.display()))? {
        let device = attach(context, pod, &dir, disk, used).await?;
        // It is the node's: what one pod may only read, another one may write.
        context.programs.format_and_mount(&device.to_string_lossy(), &dir, &used.fs_type, &used.options).await?;
    }
    let read_only = used.read_only;
    let (from, to) = (dir.clone(), target.clone());
    let bind = move || bind(&from, &to, read_only).map_err(|err| format!("mount failed: {err}"));
    context.volume_work.run(spec::uid(pod), bind).await??;
    own(pod, &target, read_only).await?;
    ready.set()?;
    Ok(place)
}

/// What of it was done before a kubelet was ended is not done again.
fn bind(from: &Path, to: &Path, read_only: bool) -> io::Result<()> {
    use rustix::mount::{MountFlags, MountPropagationFlags, mount_bind, mount_change, mount_remount};
    if !is_mount_point(to)? {
        mount_bind(from, to)?;
    }
    mount_change(to, MountPropagationFlags::DOWNSTREAM)?;
    if read_only {
        mount_remount(to, MountFlags::BIND | MountFlags::RDONLY, "")?;
    }
    Ok(())
}

/// A disk as a device: a link by the pod's UID in the disk's directory says that the pod has it.
async fn device(context: &Context, pod: &Pod, dir: &Path, disk: &Disk, used: &Use) -> Result<Place, String> {
    let link = dir.join(spec::uid(pod));
    let is_there = |path: &Path| fs::metadata(path).is_ok();
    let mut place = Place::at(link.clone());
    place.read_only = used.read_only;
    if is_there(&link) {
        place.path = fs::canonicalize(&link).map_err(|err| err.to_string())?;
        return Ok(place);
    }
    let lock = context.targets.of(disk.iqn.clone());
    let _held = lock.lock().await;
    let device = attach(context, pod, dir, disk, used).await?;
    let device = fs::canonicalize(&device).map_err(|err| format!("cannot find {}: {err}", device.display()))?;
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(&device, &link).map_err(|err| format!("cannot write {}: {err}", link.display()))?;
    place.path = device;
    Ok(place)
}

/// Logs in to a disk's target over all of its portals, one of which has to be there; the disk's device.
async fn attach(context: &Context, pod: &Pod, dir: &Path, disk: &Disk, used: &Use) -> Result<PathBuf, String> {
    let iscsiadm = Iscsiadm::find(&context.programs)?;
    let passwords = passwords(context, pod, used).await?;
    disk.write(dir).map_err(|err| format!("cannot write {}: {err}", dir.display()))?;
    let transport = iscsiadm.prepare_iface(disk).await?;
    let (mut paths, mut last) = (Vec::new(), String::new());
    for portal in &disk.portals {
        let there = match iscsiadm.log_in(disk, portal, &passwords).await {
            Ok(()) => devices::wait(&context.env, disk, &transport, portal).await,
            Err(err) => Err(err),
        };
        match there {
            Ok(path) => paths.push(path),
            Err(err) => last = err,
        }
    }
    if !last.is_empty() && !paths.is_empty() {
        tracing::warn!(iqn = disk.iqn, err = last, "iSCSI disk is not reached over all of its portals");
    }
    match devices::join(&context.env, paths, disk.portals.len()).await {
        Some(device) => Ok(device),
        None => {
            iscsiadm.remove_iface(disk).await?;
            Err(format!("failed to get any path for iscsi disk, last err seen:\n{last}"))
        }
    }
}

/// The passwords of a disk, where it needs some.
async fn passwords(context: &Context, pod: &Pod, used: &Use) -> Result<Passwords, String> {
    if !used.chap_discovery && !used.chap_session {
        return Ok(Passwords::default());
    }
    let Some(SecretReference { name: Some(name), namespace }) = used.secret.clone() else {
        return Err("no secret is named for the CHAP authentication".to_owned());
    };
    let namespace = namespace.unwrap_or_else(|| spec::namespace(pod).to_owned());
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &namespace);
    let fail = |what: &dyn std::fmt::Display| format!("Couldn't get secret {namespace}/{name}: {what}");
    let secret = api.get(&name).await.map_err(|err| fail(&err))?;
    if secret.type_.as_deref() != Some(SECRET_TYPE) {
        return Err(fail(&"cannot get secret of the given type"));
    }
    let texts = |(key, value): (String, k8s_openapi::ByteString)| (key, String::from_utf8_lossy(&value.0).into_owned());
    let all: BTreeMap<String, String> = secret.data.unwrap_or_default().into_iter().map(texts).collect();
    Ok(Passwords { discovery: used.chap_discovery.then(|| all.clone()), session: used.chap_session.then_some(all) })
}

/// Takes from the node what a pod that is gone had as devices, and all disks that no pod has.
pub async fn release(context: &Context, uid: &str) -> Result<(), String> {
    let kubelet_dir = context.config.kubelet_dir();
    for (dir, is_block) in disk::all(&kubelet_dir) {
        if is_block {
            match fs::remove_file(dir.join(uid)) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => {
                    return Err(format!("cannot remove {}: {err}", dir.join(uid).display()));
                }
                _ => {}
            }
        }
        let Some(iqn) = disk::target_of(&dir) else { continue };
        let lock = context.targets.of(iqn);
        let _held = lock.lock().await;
        let is_used = is_used(&dir, is_block).map_err(|err| format!("cannot look at {}: {err}", dir.display()))?;
        if !is_used {
            let_go(&context.programs, &kubelet_dir, &dir).await?;
        }
    }
    Ok(())
}

/// Takes all disks from a node whose kubelet does not run, and of which nothing runs. Blocks.
pub fn release_all(kubelet_dir: &Path, programs: &Programs) -> io::Result<()> {
    let all = disk::all(kubelet_dir);
    if all.is_empty() {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for (dir, is_block) in all {
            // What is mounted is somebody's data.
            let links = is_block.then(|| fs::read_dir(&dir)).transpose()?;
            for entry in links.into_iter().flatten().flatten() {
                if entry.file_type()?.is_symlink() {
                    fs::remove_file(entry.path())?;
                }
            }
            let_go(programs, kubelet_dir, &dir).await.map_err(io::Error::other)?;
        }
        Ok(())
    })
}

/// Whether a pod has a disk.
fn is_used(dir: &Path, is_block: bool) -> io::Result<bool> {
    if !is_block {
        return Ok(is_mount_point(dir)? && is_mounted_elsewhere(dir)?);
    }
    let mut entries = fs::read_dir(dir)?.flatten();
    Ok(entries.any(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink())))
}

/// Takes a disk from the node, and with the last one the session with its target.
async fn let_go(programs: &Programs, kubelet_dir: &Path, dir: &Path) -> Result<(), String> {
    detach(dir).map_err(|err| format!("cannot unmount {}: {err}", dir.display()))?;
    let disk = Disk::read(dir).map_err(|err| format!("cannot read {}: {err}", dir.display()))?;
    if let Some(disk) = disk {
        devices::forget(programs, &disk).await;
        let shares = |other: &(PathBuf, bool)| {
            let iface = |dir: &Path| dir.parent().and_then(Path::file_name).map(ToOwned::to_owned);
            other.0 != dir && iface(&other.0) == iface(dir) && disk::target_of(&other.0).as_deref() == Some(&disk.iqn)
        };
        let is_last = !disk::all(kubelet_dir).iter().any(shares);
        // A target that does not answer must not hold what is gone on the node.
        if is_last && let Err(err) = Iscsiadm::find(programs)?.log_out(&disk).await {
            tracing::warn!(iqn = disk.iqn, err, "session with iSCSI target cannot be ended");
        }
    }
    Disk::remove(dir).map_err(|err| format!("cannot remove {}: {err}", dir.display()))
}
