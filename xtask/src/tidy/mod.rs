//! Checks of the whole tree that no compiler makes: `cargo xtask tidy`.
//!
//! Each rule is one function from the tree to complaints; [`RULES`] is the list of them.

mod dependencies;
mod layering;
mod source;
mod style;
#[cfg(test)]
mod tests;
mod visit;

use std::path::Path;

use anyhow::{Context, Result, bail};

use source::Tree;

/// One thing that is wrong, with its place.
pub(super) struct Complaint {
    /// The file, relative to the workspace.
    file: String,
    /// The line, from 1; 0 where the whole file or crate is meant.
    line: usize,
    /// What is wrong and what to do.
    message: String,
}

type Rule = fn(&Tree) -> Vec<Complaint>;

/// All rules, by name.
const RULES: &[(&str, Rule)] = &[
    ("dependency arrows point down", layering::arrows),
    ("only the API server uses the store", layering::store_users),
    ("every dependency is explained", dependencies::explained),
    ("every dependency of the workspace has a user", dependencies::with_user),
    ("every dependency of a crate is used", dependencies::used),
    ("files are short", style::file_length),
    ("modules say what they are for", style::module_docs),
    ("functions are short", visit::function_length),
    ("nothing is left half done", visit::unfinished),
    ("lints are not switched off", visit::blanket_allow),
    ("no test is ignored", visit::ignored_tests),
    ("tests do not sleep", visit::sleeping_tests),
    ("unsafe code stays in system call modules", visit::unsafe_outside_syscalls),
];

/// Runs every rule on the workspace at `root` and fails if one complains.
pub fn run(root: &Path) -> Result<()> {
    let tree = Tree::read(root).context("reading the source tree")?;
    let mut count = 0;
    for (name, rule) in RULES {
        for complaint in rule(&tree) {
            count += 1;
            eprintln!("{}:{}: {} [{name}]", complaint.file, complaint.line, complaint.message);
        }
    }
    if count > 0 {
        bail!("tidy: {count} complaints");
    }
    println!("tidy: {} rules hold in {} files", RULES.len(), tree.files.len());
    Ok(())
}
