//! Further processes in a pod whose users are not the machine's.
//!
//! libcontainer does not take such a process into the user namespace. It stays the machine's root until the last moment,
//! then enters, and becomes the user that it shall be with nothing that this one may not have.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::unistd::{Gid, Uid};
use oci_spec::runtime::{Process, User};
use rustix::thread::CapabilitySet;

use crate::spec;

/// The user that a process becomes.
pub(super) struct PodUser {
    namespace: File,
    user: User,
    /// The numbers of the capabilities that its programs may have.
    capabilities: Vec<u32>,
}

impl PodUser {
    /// Takes the user of `process`, which is the machine's root then. The namespace is bound at `namespace`.
    pub(super) fn take(process: &mut Process, namespace: &Path) -> io::Result<Self> {
        let capabilities = process.capabilities().as_ref().and_then(|sets| sets.bounding().clone()).unwrap_or_default();
        let numbers = capabilities.iter().filter_map(|capability| {
            let name = serde_json::to_value(capability).ok()?;
            spec::capability_number(name.as_str()?)
        });
        let taken =
            Self { namespace: File::open(namespace)?, user: process.user().clone(), capabilities: numbers.collect() };
        process.set_user(User::default());
        process.set_capabilities(None);
        Ok(taken)
    }

    /// Enters the namespace.
    pub(super) fn enter(&self) -> io::Result<()> {
        rustix::thread::move_into_link_name_space(self.namespace.as_fd(), None)?;
        let groups = self.user.additional_gids().iter().flatten();
        nix::unistd::setgroups(&groups.map(|gid| Gid::from_raw(*gid)).collect::<Vec<_>>())?;
        let gid = Gid::from_raw(self.user.gid());
        nix::unistd::setresgid(gid, gid, gid)?;
        for number in (0..spec::CAPABILITIES).filter(|number| !self.capabilities.contains(number)) {
            rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number))?;
        }
        Ok(())
    }

    /// Becomes the user. What it may do more than its programs ends with the next program.
    pub(super) fn become_user(&self) -> io::Result<()> {
        let uid = Uid::from_raw(self.user.uid());
        Ok(nix::unistd::setresuid(uid, uid, uid)?)
    }
}
