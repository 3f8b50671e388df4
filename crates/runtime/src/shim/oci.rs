//! Containers by another OCI runtime: a program with runc's command line.
//!
//! It makes the container's processes and leaves; they become children of this process, which is a subreaper, and from
//! there everything is as with libcontainer.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::contained::ProcessStdio;
use super::init::{InitError, system};
use super::protocol::state_dir;
use super::sys;
use crate::disk;

/// A container of such a program.
pub(super) struct OciContainer {
    program: PathBuf,
    bundle: PathBuf,
    id: String,
}

/// A line of the program's log.
#[derive(Deserialize)]
struct LogEntry {
    level: String,
    msg: String,
}

impl OciContainer {
    /// The container that [`OciContainer::create`] made, or will.
    pub(super) fn new(program: &Path, bundle: &Path, id: &str) -> Self {
        Self { program: program.to_owned(), bundle: bundle.to_owned(), id: id.to_owned() }
    }

    fn log(&self) -> PathBuf {
        self.bundle.join("oci.log")
    }

    fn command(&self, verb: &str) -> Result<Command, InitError> {
        // Only what this call says matters.
        disk::remove_file(&self.log())?;
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(state_dir(&self.bundle)).arg("--log").arg(self.log());
        command.args(["--log-format", "json", verb]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        base::restore_open_files(&mut command);
        // Not what it makes: that outlives it.
        sys::end_with_this(&mut command);
        Ok(command)
    }

    /// Runs `command`, which gets the container's identifier: an error in the program's own words if it fails.
    fn run(&self, mut command: Command) -> Result<(), InitError> {
        let status = command.arg(&self.id).status();
        let status = status.map_err(|source| InitError::Program { program: self.program.clone(), source })?;
        if status.success() {
            return Ok(());
        }
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        Err(InitError::Start(
            last_error(&log).unwrap_or_else(|| format!("{} ended with {status}", self.program.display())),
        ))
    }

    /// Runs `command` with stdio of its process: the process.
    fn run_with(&self, mut command: Command, stdio: ProcessStdio) -> Result<i32, InitError> {
        let pid_file = self.bundle.join("oci.pid");
        command.arg("--pid-file").arg(&pid_file);
        match stdio {
            ProcessStdio::Console(socket) => {
                // Its whole path may be longer than the kernel takes for a socket.
                command.current_dir(&self.bundle).arg("--console-socket").arg(socket.file_name().unwrap_or_default());
            }
            ProcessStdio::Pipes([stdin, stdout, stderr]) => {
                command.stdin(stdin).stdout(stdout).stderr(stderr);
            }
        }
        self.run(command)?;
        let text = fs::read_to_string(&pid_file).map_err(system("read the process's number"))?;
        disk::remove_file(&pid_file)?;
        let invalid = |_| system("read the process's number")(io::Error::from(io::ErrorKind::InvalidData));
        text.trim().parse().map_err(invalid)
    }

    /// Makes the container: its first process, which waits for [`OciContainer::start`].
    pub(super) fn create(&self, stdio: ProcessStdio) -> Result<i32, InitError> {
        let mut command = self.command("create")?;
        command.arg("--bundle").arg(&self.bundle);
        self.run_with(command, stdio)
    }

    /// Lets the first process become its program.
    pub(super) fn start(&self) -> Result<(), InitError> {
        self.run(self.command("start")?)
    }

    /// Runs the process that `process_file` describes.
    pub(super) fn exec(&self, process_file: &Path, stdio: ProcessStdio) -> Result<i32, InitError> {
        let mut command = self.command("exec")?;
        command.arg("--detach").arg("--process").arg(process_file);
        self.run_with(command, stdio)
    }

    /// Removes what the program keeps of the container, and its processes.
    pub(super) fn delete(&self) -> Result<(), InitError> {
        let mut command = self.command("delete")?;
        command.arg("--force");
        self.run(command)
    }
}

/// What went wrong, from the log of a program.
fn last_error(log: &str) -> Option<String> {
    let entries = log.lines().rev().filter_map(|line| serde_json::from_str::<LogEntry>(line).ok());
    let error = entries.into_iter().find(|entry| entry.level == "error")?;
    // runc puts its own steps in front of what users know.
    let text =
        error.msg.rsplit_once("unable to start container process: ").map_or(error.msg.as_str(), |(_, text)| text);
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_last_error_is_told() {
        let log = "{\"level\":\"warning\",\"msg\":\"old\",\"time\":\"x\"}\n\
                   {\"level\":\"error\",\"msg\":\"runc create failed: unable to start container process: exec: no\",\"time\":\"x\"}\n";
        assert_eq!(last_error(log).as_deref(), Some("exec: no"));
        assert_eq!(last_error("no log\n"), None);
    }
}
