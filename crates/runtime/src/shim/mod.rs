//! The process that owns one container.
//!
//! A shim is this program again, started as `<program> shim run <bundle>` with a listening unix socket as standard
//! input and a pipe for its first answer as standard output. It is single-threaded (libcontainer changes the calling
//! process), leaves the session and the cgroups of the runtime, creates and starts the container, owns its stdio,
//! writes its log, reaps everything below it, records how it ended, and exits then. The runtime may die and come back
//! at any time: the socket and the files in the container's directories are all that they share.
//!
//! `<program> shim pause <namespace> <file> <cgroup>` is another mode: process 1 of a pid namespace that the containers of a pod share.
//! `<program> shim namespaces <kind>...` makes namespaces that the runtime binds.

mod attach;
mod contained;
mod exec;
mod executor;
mod init;
mod log;
mod main_loop;
mod namespaces;
mod oci;
mod pause;
pub(crate) mod protocol;
mod sys;
mod users;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// Runs as a shim. `args` are the arguments after the word `shim`.
///
/// Must be called before any thread is started: what it does to the calling process is not undone.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let args: Vec<&Path> = args.iter().map(Path::new).collect();
    match args.as_slice() {
        [mode, bundle] if mode.as_os_str() == "run" => init::run(bundle),
        [mode, namespace, pid_file, cgroup] if mode.as_os_str() == "pause" => {
            pause::make(namespace, pid_file, cgroup, None)
        }
        [mode, namespace, pid_file, cgroup, users] if mode.as_os_str() == "pause" => {
            pause::make(namespace, pid_file, cgroup, Some(users))
        }
        [mode, users] if mode.as_os_str() == "pause-in" => pause::make_in(users),
        [mode] if mode.as_os_str() == "pause-init" => pause::run(),
        [mode, kinds @ ..] if mode.as_os_str() == "namespaces" => namespaces::make(kinds),
        _ => ExitCode::from(2),
    }
}
