//! Tasks for the people who build Skiff: code generation and tidy checks.

mod codegen;

use std::path::Path;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// Tasks for the people who build Skiff.
#[derive(Parser)]
#[command(name = "xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Write the tables of kinds and types in `crates/api/src/generated`.
    Codegen {
        /// Write nothing; fail if the tables are out of date.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace has no directory")?;
    match Arguments::parse().task {
        Task::Codegen { check } => codegen::run(root, check),
    }
}
