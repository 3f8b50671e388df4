//! The sorts of volumes.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use api::quantity::Quantity;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, HostPathVolumeSource, Pod, Volume};

use super::payload::{self, Payload};
use super::{atomic, ownership, volume_dir};
use crate::context::Context;
use crate::pods::{References, spec};

/// A volume in its place.
pub struct Place {
    /// Where it is on the node.
    pub path: PathBuf,
    /// When it has to be renewed.
    pub refresh_at: Option<Timestamp>,
}

impl Place {
    fn at(path: PathBuf) -> Self {
        Self { path, refresh_at: None }
    }
}

/// Brings one volume in place; an error is a message for the user.
pub async fn bring(context: &Context, pod: &Pod, volume: &Volume, references: &References) -> Result<Place, String> {
    let fs_group = spec::spec(pod).security_context.as_ref().and_then(|security| security.fs_group);
    if let Some(source) = &volume.empty_dir {
        let dir = volume_dir(context, pod, "empty-dir", volume);
        let (source, made) = (source.clone(), dir.clone());
        blocking(move || empty_dir(&made, &source, fs_group)).await?;
        return Ok(Place::at(dir));
    }
    if let Some(source) = &volume.host_path {
        let checked = source.clone();
        blocking(move || host_path(&checked)).await?;
        return Ok(Place::at(PathBuf::from(&source.path)));
    }
    let mut refresh_at = None;
    let (sort, payload) = if let Some(source) = &volume.config_map {
        ("configmap", payload::config_map(source, references).await?)
    } else if let Some(source) = &volume.secret {
        ("secret", payload::secret(source, references).await?)
    } else if let Some(source) = &volume.downward_api {
        let mode = payload::mode(source.default_mode);
        ("downward-api", payload::downward_api(context, pod, source.items.as_deref(), mode)?)
    } else if let Some(source) = &volume.projected {
        let (payload, until) = payload::projected(context, pod, &volume.name, source, references).await?;
        refresh_at = until;
        ("projected", payload)
    } else {
        return Err("no volume plugin matched".to_owned());
    };
    let dir = volume_dir(context, pod, sort, volume);
    let written = dir.clone();
    // What is secret must not reach a disk.
    let in_memory = sort != "configmap";
    blocking(move || write(&written, &payload, in_memory, fs_group)).await?;
    Ok(Place { path: dir, refresh_at })
}

async fn blocking(work: impl FnOnce() -> Result<(), String> + Send + 'static) -> Result<(), String> {
    tokio::task::spawn_blocking(work).await.map_err(|err| err.to_string())?
}

fn write(dir: &Path, payload: &Payload, in_memory: bool, fs_group: Option<i64>) -> Result<(), String> {
    fs::create_dir_all(dir).map_err(|err| format!("cannot create {}: {err}", dir.display()))?;
    if in_memory {
        mount_tmpfs(dir, None)?;
    }
    let changed = atomic::write(dir, payload).map_err(|err| err.to_string())?;
    if changed && let Some(group) = fs_group {
        ownership::apply(dir, group, true)
            .map_err(|err| format!("applyFSGroup failed for vol {}: {err}", dir.display()))?;
    }
    Ok(())
}

fn empty_dir(dir: &Path, source: &EmptyDirVolumeSource, fs_group: Option<i64>) -> Result<(), String> {
    let made = !dir.exists();
    fs::create_dir_all(dir).map_err(|err| format!("cannot create {}: {err}", dir.display()))?;
    let mut mounted = false;
    match source.medium.as_deref().unwrap_or_default() {
        "" => {}
        "Memory" => {
            let limit = source.size_limit.as_ref().map(|limit| Quantity::parse(&limit.0).map(Quantity::value));
            let limit = limit.transpose().map_err(|err| format!("invalid sizeLimit: {err}"))?;
            mounted = mount_tmpfs(dir, limit.filter(|limit| *limit > 0))?;
        }
        other => return Err(format!("unknown storage medium \"{other}\"")),
    }
    if !made && !mounted {
        return Ok(());
    }
    // Whoever the containers run as may write here.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o777))
        .map_err(|err| format!("cannot open {}: {err}", dir.display()))?;
    match fs_group {
        Some(group) => ownership::apply(dir, group, false)
            .map_err(|err| format!("cannot set the owner of {}: {err}", dir.display())),
        None => Ok(()),
    }
}

/// Mounts a tmpfs unless one is there already; true where it was mounted now.
fn mount_tmpfs(dir: &Path, limit: Option<i64>) -> Result<bool, String> {
    use rustix::mount::{MountFlags, mount};
    let is_mounted = || -> io::Result<bool> {
        use std::os::unix::fs::MetadataExt;
        let parent = dir.parent().unwrap_or(dir);
        Ok(fs::metadata(dir)?.dev() != fs::metadata(parent)?.dev())
    };
    if is_mounted().map_err(|err| format!("cannot look at {}: {err}", dir.display()))? {
        return Ok(false);
    }
    let options = limit.map_or_else(|| "mode=0777".to_owned(), |limit| format!("mode=0777,size={limit}"));
    let options = std::ffi::CString::new(options).map_err(|err| err.to_string())?;
    mount("tmpfs", dir, "tmpfs", MountFlags::empty(), Some(options.as_c_str()))
        .map_err(|err| format!("cannot mount a tmpfs at {}: {err}", dir.display()))?;
    Ok(true)
}

/// Checks that a path of the node is what the volume says, or makes it.
fn host_path(source: &HostPathVolumeSource) -> Result<(), String> {
    let path = Path::new(&source.path);
    let type_ = source.type_.as_deref().unwrap_or_default();
    let kind = fs::metadata(path).ok().map(|metadata| metadata.file_type());
    let fail = |what: &str| Err(format!("hostPath type check failed: {} is not {what}", source.path));
    match (type_, kind) {
        ("", _) => Ok(()),
        ("DirectoryOrCreate", None) => {
            fs::create_dir_all(path).map_err(|err| format!("cannot create {}: {err}", source.path))?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(|err| err.to_string())
        }
        ("DirectoryOrCreate" | "Directory", Some(kind)) if kind.is_dir() => Ok(()),
        ("DirectoryOrCreate" | "Directory", _) => fail("a directory"),
        ("FileOrCreate", None) => {
            fs::write(path, b"").map_err(|err| format!("cannot create {}: {err}", source.path))?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o644)).map_err(|err| err.to_string())
        }
        ("FileOrCreate" | "File", Some(kind)) if kind.is_file() => Ok(()),
        ("FileOrCreate" | "File", _) => fail("a file"),
        ("Socket", Some(kind)) if kind.is_socket() => Ok(()),
        ("Socket", _) => fail("a socket file"),
        ("CharDevice", Some(kind)) if kind.is_char_device() => Ok(()),
        ("CharDevice", _) => fail("a character device"),
        ("BlockDevice", Some(kind)) if kind.is_block_device() => Ok(()),
        ("BlockDevice", _) => fail("a block device"),
        (other, _) => Err(format!("hostPath type \"{other}\" is not a valid path type")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &Path, type_: &str, expected: Result<(), &str>) {
        let source = HostPathVolumeSource { path: path.display().to_string(), type_: Some(type_.to_owned()) };
        let outcome = host_path(&source);
        match expected {
            Ok(()) => assert_eq!(outcome, Ok(())),
            Err(part) => assert!(outcome.as_ref().is_err_and(|err| err.contains(part)), "{outcome:?}"),
        }
    }

    #[test]
    fn a_path_of_the_node_is_checked_or_made() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x");
        check(&path, "Directory", Err("is not a directory"));
        check(&path, "DirectoryOrCreate", Ok(()));
        check(&path, "File", Err("is not a file"));
        check(&path.join("f"), "FileOrCreate", Ok(()));
        check(&path.join("f"), "Socket", Err("is not a socket"));
        check(&path.join("nothing"), "", Ok(()));
    }
}
