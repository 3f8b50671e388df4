//! Filters of system calls: profiles in the OCI form, and the programs that the kernel runs for them.
//!
//! A profile is the runtime's own ([`default`]) or a file of the node's. [`Filter::compile`] makes the program, before
//! any process of the container exists; the shim installs it in the last moment before the container's program runs.

mod bpf;
mod default;
mod program;
mod table;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompFilterFlag};
use serde::{Deserialize, Serialize};

pub(crate) use default::profile as default_profile;

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SeccompError {
    /// The profile's file cannot be read.
    #[error("cannot load seccomp profile {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The profile is none.
    #[error("cannot decode seccomp profile {}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A path is missing, or leads who knows where.
    #[error("seccomp localhost profile must be an absolute path, not {0:?}")]
    Relative(String),
    /// Nobody would answer the notifications.
    #[error("seccomp action SCMP_ACT_NOTIFY needs a listener, which this runtime does not offer")]
    Notify,
    /// An argument has an impossible place, or lacks a value.
    #[error("invalid argument {index} of system call {name} in seccomp profile")]
    Argument {
        /// The system call.
        name: String,
        /// Which argument.
        index: usize,
    },
    /// The kernel takes no program of this length.
    #[error("seccomp profile is too long: {0} instructions")]
    TooLong(usize),
    /// This program does not know the machine's system calls.
    #[error("seccomp is not supported on this architecture")]
    Architecture,
}

/// A profile of the node's.
pub(crate) fn read(path: &str) -> Result<LinuxSeccomp, SeccompError> {
    let path = Path::new(path);
    if !path.is_absolute() {
        return Err(SeccompError::Relative(path.display().to_string()));
    }
    let text = fs::read(path).map_err(|source| SeccompError::Read { path: path.to_owned(), source })?;
    serde_json::from_slice(&text).map_err(|source| SeccompError::Parse { path: path.to_owned(), source })
}

/// What the shim installs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Filter {
    /// The program: one instruction a number, see [`bpf::Instruction`].
    program: Vec<u64>,
    /// The flags of seccomp(2).
    flags: u32,
    /// The numbers of capabilities that the process has only to install the filter, and must not keep.
    pub dropped: Vec<u32>,
}

impl Filter {
    /// The program of a profile.
    pub(crate) fn compile(profile: &LinuxSeccomp) -> Result<Self, SeccompError> {
        let program = program::compile(profile)?;
        let flags = profile.flags().iter().flatten().map(|flag| match flag {
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 1,
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => 1 << 1,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => 1 << 2,
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 1 << 5,
        });
        let flags = flags.fold(0, |all, flag| all | flag);
        Ok(Self { program: program.into_iter().map(bpf::Instruction::encode).collect(), flags, dropped: Vec::new() })
    }

    /// The program as the kernel takes it.
    pub(crate) fn instructions(&self) -> Vec<libc::sock_filter> {
        let instructions = self.program.iter().map(|code| bpf::Instruction::decode(*code));
        instructions.map(|one| libc::sock_filter { code: one.code, jt: one.jt, jf: one.jf, k: one.k }).collect()
    }

    /// The flags of seccomp(2).
    pub(crate) fn flags(&self) -> u32 {
        self.flags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_of_the_node_are_read() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("p.json");
        let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"],
                       "syscalls": [{"names": ["chmod", "no_such_call"], "action": "SCMP_ACT_ERRNO"}]}"#;
        fs::write(&path, text).expect("written");
        let profile = read(&path.display().to_string()).expect("well formed");
        let filter = Filter::compile(&profile).expect("it can be done");
        assert_eq!(filter.flags(), 2);
        assert!(!filter.instructions().is_empty());
        assert!(matches!(read("p.json"), Err(SeccompError::Relative(_))));
        assert!(matches!(read("/no/such/file"), Err(SeccompError::Read { .. })));
        fs::write(&path, "{").expect("written");
        assert!(matches!(read(&path.display().to_string()), Err(SeccompError::Parse { .. })));
    }
}
