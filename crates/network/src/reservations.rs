//! What each sandbox has been given, one file a sandbox, so that a restart gives nothing out twice.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

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
        Ok(Self { sandboxes, root })
    }

    /// All reservations. One that cannot be read is of nothing: its sandbox may live, and others may know what it has.
    pub fn load(&self) -> Result<BTreeMap<String, Reservation>, ReservationError> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(&self.sandboxes).map_err(failed("list", &self.sandboxes))? {
            let path = entry.map_err(failed("list", &self.sandboxes))?.path();
            let id = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(SUFFIX));
            let Some(id) = id else {
                // What a process that was killed had begun to write.
                remove(&path)?;
                continue;
            };
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

/// Whole or not at all: a process that is killed leaves at most a temporary file.
fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), ReservationError> {
    let temporary = path.with_extension("tmp");
    let bytes = serde_json::to_vec(value).expect("addresses and ports have a JSON form");
    fs::write(&temporary, bytes).map_err(failed("write", &temporary))?;
    fs::rename(&temporary, path).map_err(failed("write", path))
}

fn remove(path: &Path) -> Result<(), ReservationError> {
    match fs::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(err)),
        _ => Ok(()),
    }
}
