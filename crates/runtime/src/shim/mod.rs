//! The process that owns one container.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs as a shim. `args` are the arguments after the word `shim`.
///
/// Must be called before any thread is started: what it does to the calling process is not undone.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let count = args.into_iter().count();
    if count == 0 { ExitCode::from(2) } else { ExitCode::FAILURE }
}
