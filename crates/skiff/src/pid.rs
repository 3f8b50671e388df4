//! The process id file of a server or agent, by which `skiff down` finds it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use base::Instance;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::layout;

/// Removes the file when the process ends in order.
pub struct PidFile(PathBuf);

impl Drop for PidFile {
    fn drop(&mut self) {
        // A file that stays names a process that is gone, which readers find out.
        let _ = fs::remove_file(&self.0);
    }
}

/// Writes the file; fails where another process of this installation runs.
pub fn claim(instance: &Instance) -> Result<PidFile> {
    if let Some(pid) = running(instance) {
        bail!(
            "skiff runs already with run directory {} (process {pid}); stop it with `skiff down`, or use another --run-dir and --data-dir",
            instance.run_dir().display()
        );
    }
    let path = layout::pid_file(instance);
    fs::write(&path, format!("{}\n", std::process::id()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(PidFile(path))
}

/// The process that the file names, if it is alive and a skiff.
pub fn running(instance: &Instance) -> Option<Pid> {
    let text = fs::read_to_string(layout::pid_file(instance)).ok()?;
    let pid: i32 = text.trim().parse().ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let own = pid == i32::try_from(std::process::id()).ok()?;
    let is_skiff = command.split(|byte| *byte == 0).next().is_some_and(|program| program.ends_with(b"skiff"));
    let pid = Pid::from_raw(pid);
    let alive = kill(pid, None) != Err(Errno::ESRCH);
    (!own && is_skiff && alive).then_some(pid)
}
