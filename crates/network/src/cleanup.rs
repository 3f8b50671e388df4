//! Removal of everything that an instance's pod network has put into the kernel.

use std::fs;
use std::io;
use std::path::PathBuf;

use base::Instance;

use crate::netlink::{NetlinkError, Socket};
use crate::netns::{self, NetnsError};
use crate::nft::{self, NftError};
use crate::reservations::Directory;
use crate::routes::ROUTE_PROTOCOL;
use crate::{ReservationError, bridge_name, table_name};

/// Something that could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    /// A link or route.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The table.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// The notes of routes.
    #[error(transparent)]
    Notes(#[from] ReservationError),
    /// A namespace.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// A directory.
    #[error("remove {}: {error}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        error: io::Error,
    },
}

/// Removes the instance's namespaces (those in [`netns::directory`]), veth pairs, bridge, table, reservations, and its
/// routes to networks inside `cluster_cidrs`. What is not there is no error; calling it again after a failure goes on. Blocking.
pub fn cleanup(instance: &Instance, cluster_cidrs: &[ipnet::IpNet]) -> Result<(), CleanupError> {
    let namespaces = netns::directory(instance);
    for path in fs::read_dir(&namespaces).into_iter().flatten().flatten().map(|entry| entry.path()) {
        netns::remove(&path)?;
    }
    remove_directory(namespaces)?;
    let mut socket = Socket::open()?;
    let name = bridge_name(instance);
    if let Some(bridge) = socket.link(&name)? {
        for port in socket.links()?.into_iter().filter(|link| link.controller == Some(bridge.index)) {
            socket.delete_link(&port.name)?;
        }
        socket.delete_link(&name)?;
    }
    let directory = instance.run_dir().join("network");
    if directory.exists() {
        let noted = Directory::open(directory.clone())?.routes()?;
        for route in socket.routes()?.into_iter().filter(|route| route.protocol == ROUTE_PROTOCOL) {
            let inside = cluster_cidrs.iter().any(|cidr| cidr.contains(&route.destination));
            if inside && noted.contains(&route.destination) {
                socket.delete_route(route)?;
            }
        }
    }
    nft::delete_table("inet", &table_name(instance, "net"))?;
    remove_directory(directory)
}

fn remove_directory(path: PathBuf) -> Result<(), CleanupError> {
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(CleanupError::Directory { path, error }),
        _ => Ok(()),
    }
}
