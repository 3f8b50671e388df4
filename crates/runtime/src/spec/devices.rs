//! Devices of the machine that a container gets.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Why a device cannot be given.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeviceError {
    /// It cannot be looked at.
    #[error("cannot use device {}: {source}", path.display())]
    Io {
        /// The device.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is something else.
    #[error("{} is not a device", .0.display())]
    NoDevice(PathBuf),
}

/// A device node.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Device {
    path: PathBuf,
    kind: &'static str,
    major: u32,
    minor: u32,
    mode: u32,
    uid: u32,
    gid: u32,
    access: String,
}

impl Device {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "path": self.path, "type": self.kind, "major": self.major, "minor": self.minor,
            "fileMode": self.mode, "uid": self.uid, "gid": self.gid,
        })
    }

    fn read(host: &Path, container: &Path, access: &str) -> Result<Option<Self>, DeviceError> {
        let metadata = fs::metadata(host).map_err(|source| DeviceError::Io { path: host.to_owned(), source })?;
        let kind = metadata.file_type();
        let kind = match (kind.is_char_device(), kind.is_block_device()) {
            (true, _) => "c",
            (_, true) => "b",
            _ => return Ok(None),
        };
        Ok(Some(Self {
            path: container.to_owned(),
            kind,
            major: rustix::fs::major(metadata.rdev()),
            minor: rustix::fs::minor(metadata.rdev()),
            mode: metadata.mode() & 0o777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            access: if access.is_empty() { "rwm".to_owned() } else { access.to_owned() },
        }))
    }
}

/// Directories below `/dev` that are mounts of their own.
const MOUNTED: &[&str] = &["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/fd"];

/// The devices that are asked for; all of the machine for a privileged container.
pub(super) fn devices(wanted: &[cri::Device], privileged: bool) -> Result<Vec<Device>, DeviceError> {
    let mut devices = Vec::new();
    if privileged {
        let dev = Path::new("/dev");
        below(dev, dev, "rwm", &mut devices);
        // libcontainer makes these itself and binds the console.
        let made = ["console", "full", "null", "ptmx", "random", "tty", "urandom", "zero"];
        devices.retain(|device| !made.iter().any(|name| device.path == dev.join(name)));
    }
    for device in wanted {
        let host = fs::canonicalize(&device.host_path)
            .map_err(|source| DeviceError::Io { path: PathBuf::from(&device.host_path), source })?;
        let container = Path::new(&device.container_path);
        if host.is_dir() {
            below(&host, container, &device.permissions, &mut devices);
            continue;
        }
        let found = Device::read(&host, container, &device.permissions)?;
        devices.retain(|device| device.path != container);
        devices.push(found.ok_or(DeviceError::NoDevice(host))?);
    }
    Ok(devices)
}

/// Every device below `host`; what disappears while it is looked at is left out.
fn below(host: &Path, container: &Path, access: &str, devices: &mut Vec<Device>) {
    let Ok(entries) = fs::read_dir(host) else { return };
    for entry in entries.flatten() {
        let (path, target) = (entry.path(), container.join(entry.file_name()));
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            if !MOUNTED.iter().any(|mounted| path == Path::new(mounted)) {
                below(&path, &target, access, devices);
            }
        } else if !kind.is_symlink()
            && let Ok(Some(device)) = Device::read(&path, &target, access)
        {
            devices.push(device);
        }
    }
}

/// What the cgroup allows: everything for a privileged container, else these and what libcontainer always allows.
pub(super) fn rules(devices: &[Device], privileged: bool) -> Value {
    if privileged {
        return json!([{"allow": true, "access": "rwm"}]);
    }
    let mut rules = vec![json!({"allow": false, "access": "rwm"})];
    rules.extend(devices.iter().map(|device| {
        json!({
            "allow": true, "type": device.kind, "major": device.major, "minor": device.minor, "access": device.access,
        })
    }));
    Value::Array(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_described_by_its_numbers() {
        let wanted = cri::Device {
            host_path: "/dev/zero".to_owned(),
            container_path: "/dev/mine".to_owned(),
            permissions: "r".to_owned(),
        };
        let devices = devices(&[wanted], false).expect("the device exists");
        let [device] = devices.as_slice() else { panic!("one device, not {devices:?}") };
        assert_eq!((device.kind, device.major, device.minor), ("c", 1, 5));
        assert_eq!(rules(&devices, false)[1]["access"], "r");
    }

    #[test]
    fn a_file_is_no_device() {
        let wanted = cri::Device { host_path: "/etc/passwd".to_owned(), ..Default::default() };
        assert!(matches!(devices(&[wanted], false), Err(DeviceError::NoDevice(_))));
    }
}
