//! Rules on whole files.

use super::Complaint;
use super::source::{SourceFile, Tree};

/// The longest file, in lines, that needs no reason.
const MAX_LINES: usize = 800;

/// Starts the comment that gives the reason for a long file or function.
pub(super) const REASON_MARK: &str = "tidy: long because ";

fn complain(file: &SourceFile, message: String) -> Complaint {
    Complaint { file: file.path.clone(), line: 0, message }
}

/// Files stay below [`MAX_LINES`], generated ones apart.
pub(super) fn file_length(tree: &Tree) -> Vec<Complaint> {
    let long = tree.files.iter().filter(|file| !file.is_generated() && file.text.lines().count() > MAX_LINES);
    let unexplained = long.filter(|file| !file.text.lines().take(12).any(|line| line.contains(REASON_MARK)));
    let message = format!("over {MAX_LINES} lines: split it, or say `// {REASON_MARK}...` at its top");
    unexplained.map(|file| complain(file, message.clone())).collect()
}

/// Every file begins by saying what it is for.
pub(super) fn module_docs(tree: &Tree) -> Vec<Complaint> {
    let undocumented = tree.files.iter().filter(|file| !file.is_test()).filter(|file| {
        let first = file.text.lines().find(|line| !line.starts_with("// ") && !line.trim().is_empty());
        !first.is_some_and(|line| line.starts_with("//!"))
    });
    undocumented.map(|file| complain(file, "has no `//!` line that says what it is for".to_owned())).collect()
}
