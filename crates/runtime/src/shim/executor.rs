//! The last steps inside the container: find the program, report what is wrong with it, and become it.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use nix::sys::signal::SigSet;
use oci_spec::runtime::{PosixRlimit, PosixRlimitType, Process, Spec};
use rustix::thread::CapabilitySet;

use super::sys;
use super::users::PodUser;
use crate::seccomp::Filter;

/// Replaces libcontainer's own executor, which hides failures that happen after the start.
#[derive(Clone)]
pub(super) struct ProgramExecutor {
    /// Closed by a successful exec; else it carries the error's text.
    report: Rc<OwnedFd>,
    /// The filter of the program's system calls.
    filter: Option<Rc<Filter>>,
    /// The user that it becomes, where libcontainer does not see to that.
    user: Option<Rc<PodUser>>,
}

impl ProgramExecutor {
    /// An executor that reports on `report`, which must be closed on exec.
    pub(super) fn new(report: OwnedFd, filter: Option<Filter>, user: Option<PodUser>) -> Self {
        Self { report: Rc::new(report), filter: filter.map(Rc::new), user: user.map(Rc::new) }
    }
}

/// Why a program cannot be run, in the words that users know from other runtimes.
#[derive(Debug, thiserror::Error)]
enum ProgramError {
    #[error("no command specified")]
    NoCommand,
    #[error("exec: {0:?}: executable file not found in $PATH")]
    NotInPath(String),
    #[error("exec: {0:?}: is a directory")]
    Directory(String),
    #[error("exec: {0:?}: permission denied")]
    Permission(String),
    #[error("exec: {0:?}: {1}")]
    Io(String, String),
    #[error("cannot install the seccomp filter: {0}")]
    Seccomp(io::Error),
    #[error("cannot become a user of the pod: {0}")]
    User(io::Error),
    #[error("cannot take the SELinux label {0}: {1}")]
    Label(String, io::Error),
}

/// Where the program of `process` is, seen from inside the container.
fn find_program(process: &Process) -> Result<PathBuf, ProgramError> {
    let name = process.args().as_ref().and_then(|args| args.first()).filter(|name| !name.is_empty());
    let name = name.ok_or(ProgramError::NoCommand)?.clone();
    if name.contains('/') {
        check_program(Path::new(&name), &name)?;
        return Ok(PathBuf::from(name));
    }
    let env = process.env().as_deref().unwrap_or_default();
    let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
    let mut refused = None;
    for dir in path.split(':') {
        let candidate = Path::new(if dir.is_empty() { "." } else { dir }).join(&name);
        match check_program(&candidate, &name) {
            Ok(()) => return Ok(candidate),
            Err(err @ ProgramError::Permission(_)) => refused = Some(err),
            Err(_) => {}
        }
    }
    Err(refused.unwrap_or(ProgramError::NotInPath(name)))
}

fn check_program(path: &Path, name: &str) -> Result<(), ProgramError> {
    let metadata = fs::metadata(path).map_err(|err| match err.kind() {
        io::ErrorKind::NotFound => ProgramError::Io(name.to_owned(), format!("stat {name}: no such file or directory")),
        io::ErrorKind::PermissionDenied => ProgramError::Permission(name.to_owned()),
        _ => ProgramError::Io(name.to_owned(), err.to_string()),
    })?;
    if metadata.is_dir() {
        return Err(ProgramError::Directory(name.to_owned()));
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(ProgramError::Permission(name.to_owned()));
    }
    Ok(())
}

fn process(spec: &Spec) -> Option<&Process> {
    spec.process().as_ref()
}

impl Executor for ProgramExecutor {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let process =
            process(spec).ok_or_else(|| ExecutorValidationError::ArgValidationError("no process".to_owned()))?;
        find_program(process).map(drop).map_err(|err| ExecutorValidationError::ArgValidationError(err.to_string()))
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let process = process(spec).ok_or(ExecutorError::InvalidArg)?;
        let err = become_program(process, self.filter.as_deref(), self.user.as_deref());
        // Nobody is left to tell if the other end is gone.
        let _ = rustix::io::write(&*self.report, err.to_string().as_bytes());
        Err(ExecutorError::Other(err.to_string()))
    }
}

/// Installs the filter. The capabilities for that leave with the next program: they are out of what it may have.
fn confine(filter: &Filter) -> io::Result<()> {
    for number in &filter.dropped {
        rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number))?;
    }
    Ok(sys::install_filter(&filter.instructions(), filter.flags())?)
}

fn become_program(process: &Process, filter: Option<&Filter>, user: Option<&PodUser>) -> ProgramError {
    let program = match find_program(process) {
        Ok(program) => program,
        Err(err) => return err,
    };
    let args = process.args().as_deref().unwrap_or_default();
    let name = args.first().cloned().unwrap_or_default();
    let failed = |err: &dyn std::fmt::Display| ProgramError::Io(name.clone(), err.to_string());
    let c_args: Result<Vec<CString>, _> = args.iter().map(|arg| CString::new(arg.as_bytes())).collect();
    let c_args = match c_args {
        Ok(c_args) => c_args,
        Err(err) => return failed(&err),
    };
    let c_program = match CString::new(program.as_os_str().as_bytes()) {
        Ok(c_program) => c_program,
        Err(err) => return failed(&err),
    };
    if let Err(err) = sys::restore_sigpipe() {
        return failed(&err);
    }
    if let Err(err) = SigSet::empty().thread_set_mask() {
        return failed(&err);
    }
    // The shim has more for itself.
    let is_nofile = |limit: &PosixRlimit| limit.typ() == PosixRlimitType::RlimitNofile;
    if !process.rlimits().iter().flatten().any(is_nofile)
        && let Err(err) = base::lower_open_files()
    {
        return failed(&err);
    }
    if let Err(err) = user.map_or(Ok(()), PodUser::enter) {
        return ProgramError::User(err);
    }
    // libcontainer leaves this to others. It is there where the host has SELinux.
    if let Some(label) = process.selinux_label()
        && let Err(err) = fs::write("/proc/self/attr/exec", label)
    {
        return ProgramError::Label(label.clone(), err);
    }
    // The last that happens before the program, which is filtered like all that it does.
    if let Some(filter) = filter
        && let Err(err) = confine(filter)
    {
        return ProgramError::Seccomp(err);
    }
    if let Err(err) = user.map_or(Ok(()), PodUser::become_user) {
        return ProgramError::User(err);
    }
    match nix::unistd::execv(&c_program, &c_args) {
        Ok(never) => match never {},
        Err(nix::errno::Errno::ENOEXEC) => failed(&"exec format error"),
        Err(nix::errno::Errno::ENOENT) => failed(&"no such file or directory (is its interpreter or loader there?)"),
        Err(nix::errno::Errno::EACCES) => ProgramError::Permission(name),
        Err(err) => failed(&err.desc()),
    }
}
