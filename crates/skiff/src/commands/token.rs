//! `skiff token`: prints the token with which agents join.

use anyhow::{Context, Result};

use crate::layout;
use crate::options::user::Token;

/// Prints it.
pub fn run(options: &Token) -> Result<()> {
    let path = layout::token_file(&options.installation.instance());
    let token = std::fs::read_to_string(&path).with_context(|| {
        format!("cannot read the join token {}: start `skiff server` first, or name its --data-dir", path.display())
    })?;
    println!("{}", token.trim());
    Ok(())
}
