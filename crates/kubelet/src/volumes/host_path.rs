//! Paths of the node itself.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use k8s_openapi::api::core::v1::HostPathVolumeSource;

/// Checks that a path of the node is what the volume says, or makes it.
pub fn check(source: &HostPathVolumeSource) -> Result<(), String> {
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
    fn check_path(path: &Path, type_: &str, expected: Result<(), &str>) {
        let source = HostPathVolumeSource { path: path.display().to_string(), type_: Some(type_.to_owned()) };
        let outcome = check(&source);
        match expected {
            Ok(()) => assert_eq!(outcome, Ok(())),
            Err(part) => assert!(outcome.as_ref().is_err_and(|err| err.contains(part)), "{outcome:?}"),
        }
    }

    #[test]
    fn a_path_of_the_node_is_checked_or_made() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x");
        check_path(&path, "Directory", Err("is not a directory"));
        check_path(&path, "DirectoryOrCreate", Ok(()));
        check_path(&path, "File", Err("is not a file"));
        check_path(&path.join("f"), "FileOrCreate", Ok(()));
        check_path(&path.join("f"), "Socket", Err("is not a socket"));
        check_path(&path.join("nothing"), "", Ok(()));
    }
}
