//! Rules are spoken as text to the `nft` program, one transaction a call; changes of elements alone as a [`Batch`].

mod batch;

use std::io::{self, Write};
use std::process::{Command, Stdio};

pub use batch::{Batch, BatchSocket, Data};

/// A transaction that was not applied; the kernel's rules are as before.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The program could not be run.
    #[error("run nft: {0}")]
    Run(#[source] io::Error),
    /// The program refused the transaction; the text is its own (its first lines).
    #[error("nft refused the rules: {0}")]
    Refused(String),
    /// The kernel cannot be spoken to.
    #[error("speak to nftables: {0}")]
    Socket(#[source] io::Error),
    /// The kernel refused a batch.
    #[error("nftables refused the elements: {0}")]
    Kernel(#[source] io::Error),
}

impl NftError {
    /// Whether an object that the transaction names is missing or is there already, which means that somebody else
    /// changed the table.
    pub fn is_out_of_step(&self) -> bool {
        match self {
            Self::Refused(text) => text.contains("No such file or directory") || text.contains("File exists"),
            Self::Kernel(error) => batch::is_out_of_step(error),
            Self::Run(_) | Self::Socket(_) => false,
        }
    }
}

/// Applies a script as one transaction in the calling thread's network namespace. Blocking (milliseconds).
pub fn apply(script: &str) -> Result<(), NftError> {
    run(&["-f", "-"], script).map(drop)
}

/// The text of a table, `None` if there is no such table. Blocking.
pub fn list_table(family: &str, table: &str) -> Result<Option<String>, NftError> {
    match run(&["-n", "list", "table", family, table], "") {
        Ok(text) => Ok(Some(text)),
        Err(err) if err.is_out_of_step() => Ok(None),
        Err(err) => Err(err),
    }
}

/// Deletes a table; one that is not there is no error. Blocking.
pub fn delete_table(family: &str, table: &str) -> Result<(), NftError> {
    apply(&format!("add table {family} {table}\ndelete table {family} {table}\n"))
}

fn run(arguments: &[&str], script: &str) -> Result<String, NftError> {
    let mut command = Command::new("nft");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = base::restore_open_files(&mut command).spawn().map_err(NftError::Run)?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    // nft reads its whole input before it writes anything, so writing first cannot block for ever. It closes the pipe
    // early only when it fails, and then its own message says why.
    let written = stdin.write_all(script.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().map_err(NftError::Run)?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(NftError::Refused(text.lines().take(4).collect::<Vec<_>>().join("; ")));
    }
    written.map_err(NftError::Run)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
