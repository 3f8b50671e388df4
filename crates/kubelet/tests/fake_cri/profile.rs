//! What CRI leaves to each runtime, and where they differ: a kubelet has to get on with all of it.
//!
//! CRI-O's is what its sources of 1.33 and later say (`server/*.go`, `internal/config/cgmgr`), as set up by its packages:
//! cgroups by systemd, no events of pods.

use cri::{CgroupDriver, Code, Status};
use sha2::{Digest, Sha256};

/// Whom the fake runtime answers as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// One that does what CRI asks for and no more.
    #[default]
    Plain,
    /// CRI-O.
    CriO,
}

impl Profile {
    /// The one over which this crate of tests runs the suite.
    pub fn of_suite() -> Self {
        if env!("CARGO_CRATE_NAME") == "kubelet_over_crio" { Self::CriO } else { Self::Plain }
    }

    fn is_crio(self) -> bool {
        self == Self::CriO
    }

    /// The runtime's name, which begins identifiers of containers in statuses.
    pub fn name(self) -> &'static str {
        if self.is_crio() { "cri-o" } else { "fake" }
    }

    pub fn version(self) -> &'static str {
        if self.is_crio() { "1.35.0" } else { "1.0" }
    }

    /// Who makes cgroups; a runtime that is too old to be asked says nothing.
    pub fn cgroup_driver(self) -> Option<CgroupDriver> {
        self.is_crio().then_some(CgroupDriver::Systemd)
    }

    /// Whether it has events. CRI-O ends the stream at once and without an error where they are switched off.
    pub fn has_events(self) -> bool {
        !self.is_crio()
    }

    /// Whether pods have a network only when the runtime was told their addresses: CRI-O has what CNI is configured to.
    pub fn wants_pod_cidr(self) -> bool {
        !self.is_crio()
    }

    /// An identifier made of something that occurs once.
    pub fn id(self, seed: &str) -> String {
        if self.is_crio() { format!("{:x}", Sha256::digest(seed)) } else { seed.to_owned() }
    }

    /// A name of an image, with what stands for it where a short name is resolved.
    pub fn image_name(self, name: &str) -> String {
        let is_short = self.is_crio() && !name.split('/').next().is_some_and(|first| first.contains('.'));
        if is_short { format!("docker.io/library/{name}") } else { name.to_owned() }
    }

    /// The identifier of an image: CRI-O's has no algorithm before it.
    pub fn image_id(self, name: &str) -> String {
        if self.is_crio() { self.id(&self.image_name(name)) } else { name.to_owned() }
    }

    /// What a container is said to be made of.
    pub fn image_ref(self, name: &str) -> String {
        if !self.is_crio() {
            return name.to_owned();
        }
        let full = self.image_name(name);
        let repository = full.rsplit_once(':').map_or(full.as_str(), |(repository, _)| repository);
        format!("{repository}@sha256:{}", self.id(&format!("manifest of {full}")))
    }

    /// Something that is not there.
    pub fn missing(self, what: &str, id: &str) -> Status {
        if self.is_crio() {
            let not_found = format!("{what} with ID starting with {id} not found: ID does not exist");
            return Status::not_found(format!("could not find {what} \"{id}\": {not_found}"));
        }
        Status::not_found(format!("{what} {id} not found"))
    }

    /// Why a sandbox cannot be below a cgroup.
    pub fn check_cgroup(self, parent: &str) -> Result<(), Status> {
        let name = parent.rsplit('/').next().unwrap_or_default();
        if !self.is_crio() || name.is_empty() || name.ends_with(".slice") {
            return Ok(());
        }
        Err(unknown(format!(
            "cri-o configured with systemd cgroup manager, but did not receive slice as parent: {parent}"
        )))
    }

    /// Why nothing can be made under a name that is taken: CRI-O gives each to one container only.
    pub fn check_name(self, kind: &str, taken: Option<&String>) -> Result<(), Status> {
        match taken.filter(|_| self.is_crio()) {
            Some(id) => Err(unknown(format!("{kind} name is reserved for {id}"))),
            None => Ok(()),
        }
    }

    /// Why no container can be made in a sandbox that was stopped.
    pub fn stopped(self, id: &str) -> Status {
        if self.is_crio() {
            return unknown(format!("CreateContainer failed as the sandbox was stopped: {id}"));
        }
        self.missing("sandbox", id)
    }

    /// Why a container has ended: CRI-O says it in words of its own.
    pub fn reason(self, exit_code: i32) -> &'static str {
        match (self, exit_code) {
            (Self::Plain, _) => "",
            (Self::CriO, 0) => "Completed",
            (Self::CriO, _) => "Error",
        }
    }
}

/// What Go's servers answer where no code was chosen.
fn unknown(message: String) -> Status {
    Status::new(Code::Unknown, message)
}
