//! What each sandbox has been given, one file a sandbox, so that a restart gives nothing out twice.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ipnet::IpNet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::HostPort;

/// A reservation that could not be written, read or removed.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}: {error}", path.display())]
pub struct ReservationError {
    operation: &'static str,
    path: PathBuf,
    #[source]
    error: io::Error,
}

/// What one sandbox has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reservation {
    /// One address a pod CIDR, in the CIDRs' order.
    pub ips: Vec<IpAddr>,
    /// The node's ports that lead to it.
    pub host_ports: Vec<HostPort>,
}

const POD_CIDRS: &str = "pod-cidrs";
const SUFFIX: &str = ".json";
const TEMPORARY: &str = "tmp";

/// The directory of the files.
#[derive(Debug)]
pub(crate) struct Directory {
    sandboxes: PathBuf,
    root: PathBuf,
}

impl Directory {
    /// Opens the directory, making it where needed.
    pub fn open(root: PathBuf) -> Result<Self, ReservationError> {
        let sandboxes = root.join("sandboxes");
        fs::create_dir_all(&sandboxes).map_err(failed("create", &sandboxes))?;
        for dir in [&root, &sandboxes] {
            remove_abandoned(dir)?;
        }
        Ok(Self { sandboxes, root })
    }

    /// All reservations. One that cannot be read is of nothing: its sandbox may live, and others may know what it has.
    pub fn load(&self) -> Result<BTreeMap<String, Reservation>, ReservationError> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(&self.sandboxes).map_err(failed("list", &self.sandboxes))? {
            let path = entry.map_err(failed("list", &self.sandboxes))?.path();
            let id = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(SUFFIX));
            let Some(id) = id else { continue };
            let reservation = read(&path)?.unwrap_or_else(|| {
                tracing::warn!(path = %path.display(), "a reservation of addresses cannot be read");
                Reservation::default()
            });
            found.insert(id.to_owned(), reservation);
        }
        Ok(found)
    }

    /// Writes a sandbox's reservation.
    pub fn write(&self, sandbox_id: &str, reservation: &Reservation) -> Result<(), ReservationError> {
        write(&self.path(sandbox_id), reservation)
    }

    /// Removes a sandbox's reservation; one that is gone is no error.
    pub fn remove(&self, sandbox_id: &str) -> Result<(), ReservationError> {
        remove(&self.path(sandbox_id))
    }

    /// The pod CIDRs that were last set.
    pub fn pod_cidrs(&self) -> Result<Option<Vec<IpNet>>, ReservationError> {
        read(&self.pod_cidrs_path())
    }

    /// Writes the pod CIDRs.
    pub fn write_pod_cidrs(&self, cidrs: &[IpNet]) -> Result<(), ReservationError> {
        write(&self.pod_cidrs_path(), &cidrs)
    }

    /// The networks of other nodes to which routes may lead.
    pub fn routes(&self) -> Result<Vec<IpNet>, ReservationError> {
        Ok(read(&self.routes_path())?.unwrap_or_default())
    }

    /// Writes the networks of other nodes to which routes may lead.
    pub fn write_routes(&self, destinations: &[IpNet]) -> Result<(), ReservationError> {
        write(&self.routes_path(), &destinations)
    }

    fn routes_path(&self) -> PathBuf {
        self.root.join("routes").with_extension(&SUFFIX[1..])
    }

    fn pod_cidrs_path(&self) -> PathBuf {
        self.root.join(POD_CIDRS).with_extension(&SUFFIX[1..])
    }

    fn path(&self, sandbox_id: &str) -> PathBuf {
        self.sandboxes.join(format!("{sandbox_id}{SUFFIX}"))
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ReservationError {
    move |error| ReservationError { operation, path: path.to_owned(), error }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ReservationError> {
    match fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(failed("read", path)(err)),
    }
}

/// Whole or not at all: a process that is killed leaves at most a temporary file. A kubelet and a runtime that start
/// together write the same files, each over a temporary file of its own.
fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), ReservationError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let temporary = path.with_extension(format!("{count}.{process}.{TEMPORARY}"));
    let bytes = serde_json::to_vec(value).expect("addresses and ports have a JSON form");
    fs::write(&temporary, bytes).map_err(failed("write", &temporary))?;
    fs::rename(&temporary, path).map_err(failed("write", path))
}

/// Removes what processes that are no more had begun to write.
fn remove_abandoned(dir: &Path) -> Result<(), ReservationError> {
    for entry in fs::read_dir(dir).map_err(failed("list", dir))? {
        let path = entry.map_err(failed("list", dir))?.path();
        if path.extension().is_some_and(|extension| extension == TEMPORARY) {
            let writer = path.file_stem().map(Path::new).and_then(Path::extension);
            let lives = writer.is_some_and(|process| Path::new("/proc").join(process).exists());
            if !lives {
                remove(&path)?;
            }
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), ReservationError> {
    match fs::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(err)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubelet_and_runtime_may_write_and_open_together() {
        let dir = tempfile::tempdir().expect("a directory");
        let cidrs = ["10.42.0.0/24".parse().expect("a network")];
        let part = || {
            for _ in 0..200 {
                let directory = Directory::open(dir.path().to_owned()).expect("opened");
                directory.write_pod_cidrs(&cidrs).expect("written");
                directory.write("one", &Reservation::default()).expect("written");
                assert_eq!(directory.pod_cidrs().expect("read"), Some(cidrs.to_vec()));
                assert_eq!(directory.load().expect("read").len(), 1);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(part);
            }
        });
    }

    #[test]
    fn what_a_killed_process_began_is_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        Directory::open(dir.path().to_owned()).expect("made");
        // No process has this number.
        let abandoned = [dir.path().join("pod-cidrs.0.4194305.tmp"), dir.path().join("sandboxes/one.1.4194305.tmp")];
        let mine = dir.path().join(format!("sandboxes/one.7.{}.tmp", std::process::id()));
        for path in abandoned.iter().chain([&mine]) {
            fs::write(path, "{").expect("written");
        }
        let directory = Directory::open(dir.path().to_owned()).expect("opened");
        assert!(directory.load().expect("read").is_empty());
        let left = abandoned.iter().chain([&mine]).map(|path| path.exists());
        assert_eq!(left.collect::<Vec<_>>(), [false, false, true]);
    }
}
