//! Kubernetes in one binary: assembly of the roles.
//!
//! Nothing is decided here: options are parsed, the parts of a role are built from their own crates, run in one set of
//! tasks, and drained when the process is asked to end or one of them fails.

mod assembly;
mod background;
mod cli;
mod commands;
mod configuration;
mod host;
mod layout;
mod options;
mod pid;
mod supervise;

use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use cli::Cli;

/// The version of Kubernetes that Skiff speaks, and its own.
const VERSION: &str = concat!("v1.35.0+skiff", env!("CARGO_PKG_VERSION"));

/// The sub-command under which a container's shim runs; it is started by the runtime, never by people.
const SHIM: &str = "shim";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    // The shim must stay small and single-threaded: it parses its own arguments and never comes back here.
    if arguments.get(1).is_some_and(|argument| argument == SHIM) {
        return runtime::shim::main(arguments.into_iter().skip(2));
    }
    // A container runtime starts the network plugin, whose name is all that tells it from the rest.
    if arguments.first().is_some_and(|path| Path::new(path).file_name() == Some(cni::PLUGIN.as_ref())) {
        return cni::plugin::run();
    }
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("skiff: {}", base::error_chain(err.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Vec<std::ffi::OsString>) -> anyhow::Result<()> {
    let matches = configuration::parse(Cli::command(), arguments)?;
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|err| err.exit());
    // One provider of cryptography for every TLS user in the process; a second call keeps the first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    commands::run(cli.command)
}
