//! Tasks for the people who build Skiff: code generation, tidy checks and benchmarks.

mod bench;
mod codegen;
mod tidy;

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
    /// Measure, and print a line for each figure; all of them go to target/bench.json.
    Bench {
        /// Measure only this area.
        #[arg(long, value_name = "AREA", default_value = "", hide_default_value = true)]
        only: String,
    },
    /// Check the rules of the tree that no compiler knows.
    Tidy,
}

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace has no directory")?;
    match Arguments::parse().task {
        Task::Codegen { check } => codegen::run(root, check),
        Task::Bench { only } => bench::run(root, &only),
        Task::Tidy => tidy::run(root),
    }
}
