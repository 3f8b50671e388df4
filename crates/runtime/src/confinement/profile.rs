//! The profile of AppArmor for containers that want the runtime's own.
//!
//! Such a container may do within itself what its capabilities let it. It may not mount, touch what of `/proc` and `/sys`
//! is the machine's, nor signal or trace processes that are confined otherwise.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where machines have the program that loads profiles.
const PROGRAMS: [&str; 3] = ["usr/sbin/apparmor_parser", "sbin/apparmor_parser", "usr/bin/apparmor_parser"];

/// What containers do not write to below `/proc/sys`. What is left is of namespaces that are their own: all of `net`,
/// message queues, and of `kernel` what begins with `ms`, `sem` and `sh`.
const SETTINGS: &str = "{abi,debug,dev,sunrpc,user,vm}/**,fs/{[^m],m[^q]}**,kernel/{[^ms],m[^s],s[^eh],se[^m]}**";
/// What containers do not write to below `/sys`; their own cgroups are left.
const DEVICES: &str = "{block,bus,class,dev,devices,firmware,hypervisor,kernel,module,power}";

/// A profile could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The machine lacks the program.
    #[error("cannot load apparmor profile {0}: apparmor_parser is not on this machine")]
    NoProgram(String),
    /// The file cannot be written, or the program not be started.
    #[error("cannot load apparmor profile {name}: {source}")]
    Io {
        /// The profile.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The program refuses.
    #[error("cannot load apparmor profile {name}: {message}")]
    Refused {
        /// The profile.
        name: String,
        /// What the program said.
        message: String,
    },
}

/// The profile's name. All installations on a machine have the same kernel.
pub(super) fn name(instance: &str) -> String {
    format!("{instance}-default")
}

/// The profile. It includes nothing: a machine may have the program without the files that come with it.
fn text(name: &str) -> String {
    format!(
        "profile {name} flags=(attach_disconnected,mediate_deleted) {{
  capability,
  file,
  network,
  umount,

  # The node stops containers; containers see and stop those that are confined alike.
  signal (receive) peer=unconfined,
  signal (send, receive) peer={name},
  ptrace (read, readby, trace, tracedby) peer={name},

  deny mount,

  # What is not a process in /proc belongs to the machine.
  deny /proc/[a-z]* w,
  deny /proc/{{acpi,bus,fs,irq,scsi}}/** wklx,
  deny /proc/{{kcore,kmem,mem,sysrq-trigger}} rwklx,
  deny /proc/sys/{{{SETTINGS}}} wklx,

  deny /sys/{DEVICES}/** wklx,
  deny /sys/{{devices/virtual/powercap,firmware,kernel/security}}/** rwklx,
}}
"
    )
}

fn run(root: &Path, name: &str, arguments: &[&str], file: &Path) -> Result<(), LoadError> {
    let fail = |source| LoadError::Io { name: name.to_owned(), source };
    let program = PROGRAMS.iter().map(|path| root.join(path)).find(|path| path.exists());
    let program = program.ok_or_else(|| LoadError::NoProgram(name.to_owned()))?;
    let mut command = Command::new(program);
    base::restore_open_files(&mut command);
    let output = command.args(arguments).arg(file).stdin(Stdio::null()).output().map_err(fail)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let message = if said.is_empty() { output.status.to_string() } else { said };
    Err(LoadError::Refused { name: name.to_owned(), message })
}

fn write(dir: &Path, name: &str) -> io::Result<PathBuf> {
    fs::create_dir_all(dir)?;
    let file = dir.join(format!("{name}.apparmor"));
    fs::write(&file, text(name))?;
    Ok(file)
}

/// Loads the profile into the kernel, in the place of one of its name.
pub(super) fn load(root: &Path, dir: &Path, name: &str) -> Result<(), LoadError> {
    let file = write(dir, name).map_err(|source| LoadError::Io { name: name.to_owned(), source })?;
    run(root, name, &["--replace", "--skip-cache"], &file)
}

/// Takes the profile out of the kernel.
pub(super) fn unload(root: &Path, name: &str) -> Result<(), LoadError> {
    let fail = |source| LoadError::Io { name: name.to_owned(), source };
    let dir = tempfile::tempdir().map_err(fail)?;
    let file = write(dir.path(), name).map_err(fail)?;
    run(root, name, &["--remove"], &file)
}
