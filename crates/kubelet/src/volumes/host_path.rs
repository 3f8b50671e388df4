//! Paths of the node itself.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
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
            // Somebody else may be first, and have filled it by now.
            let made = OpenOptions::new().append(true).create(true).mode(0o644).open(path);
            made.map(drop).map_err(|err| format!("cannot create {}: {err}", source.path))
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
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

    use super::*;

    const TYPES: [&str; 8] =
        ["", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"];

    /// The types that a path may have, and what the others say of it.
    #[track_caller]
    fn check_path(path: &Path, expected: &[&str]) {
        for type_ in TYPES {
            let source = HostPathVolumeSource { path: path.display().to_string(), type_: Some(type_.to_owned()) };
            let outcome = check(&source);
            if type_.is_empty() || expected.contains(&type_) {
                assert_eq!(outcome, Ok(()), "{type_}");
                continue;
            }
            let what = match type_ {
                "DirectoryOrCreate" | "Directory" => "a directory",
                "FileOrCreate" | "File" => "a file",
                "Socket" => "a socket file",
                "CharDevice" => "a character device",
                _ => "a block device",
            };
            let message = format!("hostPath type check failed: {} is not {what}", path.display());
            assert_eq!(outcome, Err(message), "{type_}");
        }
    }

    #[test]
    fn a_path_of_the_node_is_what_the_volume_says() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        let directory = ["DirectoryOrCreate", "Directory"];
        check_path(dir.path(), &directory);
        fs::write(at("file"), "kept").expect("written");
        check_path(&at("file"), &["FileOrCreate", "File"]);
        assert_eq!(fs::read_to_string(at("file")).expect("read"), "kept");
        let _listener = UnixListener::bind(at("socket")).expect("bound");
        check_path(&at("socket"), &["Socket"]);
        check_path(Path::new("/dev/null"), &["CharDevice"]);
        // Nobody opens it, so that it needs no device behind it.
        mknodat(CWD, at("disk"), FileType::BlockDevice, Mode::RUSR, makedev(7, 255)).expect("made");
        check_path(&at("disk"), &["BlockDevice"]);
        symlink(dir.path(), at("link")).expect("linked");
        check_path(&at("link"), &directory);
        let source = HostPathVolumeSource { path: "/".to_owned(), type_: Some("Pipe".to_owned()) };
        assert_eq!(check(&source), Err("hostPath type \"Pipe\" is not a valid path type".to_owned()));
    }

    #[test]
    fn what_is_not_there_is_made_where_the_volume_says_so() {
        let dir = tempfile::tempdir().expect("a directory");
        let check_missing = |type_: &str, mode: Option<u32>| {
            let path = dir.path().join(format!("new/a{type_}"));
            let source = HostPathVolumeSource { path: path.display().to_string(), type_: Some(type_.to_owned()) };
            let outcome = check(&source);
            let made = fs::metadata(&path).ok().map(|metadata| metadata.permissions().mode() & 0o777);
            let fine = mode.is_some() || type_.is_empty();
            assert_eq!((outcome.is_ok(), made), (fine, mode), "{type_}: {outcome:?}");
        };
        // A file is made in a directory that is there.
        check_missing("FileOrCreate", None);
        check_missing("DirectoryOrCreate", Some(0o755));
        check_missing("FileOrCreate", Some(0o644));
        for type_ in ["", "Directory", "File", "Socket", "CharDevice", "BlockDevice"] {
            check_missing(type_, None);
        }
    }
}
