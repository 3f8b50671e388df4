//! Namespaces that belong to a new user namespace, for a runtime of several threads, which can neither make nor enter one.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use nix::sched::CloneFlags;

/// Makes the namespaces of these kinds, says so with one byte, and waits for the end of the standard input.
pub(super) fn make(kinds: &[&Path]) -> ExitCode {
    match try_make(kinds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("cannot make namespaces: {err}");
            ExitCode::FAILURE
        }
    }
}

fn try_make(kinds: &[&Path]) -> io::Result<()> {
    let flag = |kind: &&Path| match kind.to_str() {
        Some("user") => Ok(CloneFlags::CLONE_NEWUSER),
        Some("net") => Ok(CloneFlags::CLONE_NEWNET),
        Some("uts") => Ok(CloneFlags::CLONE_NEWUTS),
        Some("ipc") => Ok(CloneFlags::CLONE_NEWIPC),
        _ => Err(io::Error::from(io::ErrorKind::InvalidInput)),
    };
    let flags = kinds.iter().map(flag).collect::<io::Result<CloneFlags>>()?;
    nix::sched::unshare(flags)?;
    io::stdout().write_all(b".")?;
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
